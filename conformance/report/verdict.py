# SPDX-License-Identifier: GPL-2.0-only
"""How a run ended. Driver, kernel and lab are never blamed for one another."""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum


class Conclusion(Enum):
    """What a run says, the word for files and the exit code of the command."""

    CONFORMS = ("conforms", 0)
    REQUIREMENT_FAILED = ("requirement-failed", 1)
    BAD_USAGE = ("bad-usage", 2)
    KERNEL_DIED = ("kernel-died", 3)
    LAB_FAILED = ("lab-failed", 4)
    NOT_APPLICABLE = ("not-applicable", 5)  # the device offers nothing that could be judged
    INTERRUPTED = ("interrupted", 130)  # what shells expect after Ctrl-C

    def __init__(self, word: str, exit_code: int) -> None:
        self.word = word
        self.exit_code = exit_code


_WORST_FIRST = (
    *(Conclusion.INTERRUPTED, Conclusion.KERNEL_DIED, Conclusion.REQUIREMENT_FAILED),
    *(Conclusion.LAB_FAILED, Conclusion.NOT_APPLICABLE, Conclusion.BAD_USAGE, Conclusion.CONFORMS),
)
"""A verdict on a driver outranks a failed lab: a dead kernel or a broken rule needs a fix."""


def worst(codes: Collection[int]) -> int:
    """Return the exit code of several runs, of which one at least has a known code.

    >>> worst([0, 4, 1])
    1
    """
    return next(one.exit_code for one in _WORST_FIRST if one.exit_code in codes)


@dataclass(frozen=True)
class Verdict:
    """The end of a run as its host saw it.

    Args:
        conclusion: which of the outcomes.
        reason: what happened, one sentence; empty where the results speak.
        hint: what to do about it.
        console: last lines of the guest's console, for a kernel that died.
    """

    conclusion: Conclusion
    reason: str = ""
    hint: str = ""
    console: tuple[str, ...] = field(default=())

    @classmethod
    def completed(cls) -> "Verdict":
        """Say that the guest did all it was asked: its results decide between 0 and 1."""
        return cls(Conclusion.CONFORMS)

    @classmethod
    def kernel_died(cls, reason: str, console: tuple[str, ...] = ()) -> "Verdict":
        """Say that the guest's kernel panicked, hung, or stopped answering."""
        return cls(Conclusion.KERNEL_DIED, reason, "", console)

    @classmethod
    def lab_failed(cls, reason: str, hint: str = "") -> "Verdict":
        """Say that image, build, QEMU or the kit failed; the driver was not judged."""
        return cls(Conclusion.LAB_FAILED, reason, hint)

    @classmethod
    def bad_usage(cls, reason: str, hint: str = "") -> "Verdict":
        """Say that the run was asked for something that does not exist."""
        return cls(Conclusion.BAD_USAGE, reason, hint)

    @classmethod
    def interrupted(cls, reason: str = "interrupted from the keyboard") -> "Verdict":
        """Say that somebody stopped the run."""
        return cls(Conclusion.INTERRUPTED, reason)

    @property
    def exit_code(self) -> int:
        """The status of the command that made the run."""
        return self.conclusion.exit_code
