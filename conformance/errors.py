# SPDX-License-Identifier: GPL-2.0-only
"""The errors of the lab and of its command line.

Requirement failed, kernel died and lab failed are never mixed: each class carries the exit code
with which the command ends, and its text says what happened, what was expected and what to do::

    ConformanceError           4
    ├── UsageError             2  the command line asks for what does not exist
    │   ├── UnknownImage       2  no image has that name
    │   ├── UnknownMachine     2  no machine has a function that the driver could drive
    │   └── DefinitionError    2  an image or machine file has mistakes (all of them are listed)
    ├── LabError               4  the lab failed; nobody was judged
    │   ├── ImageError         4  the lab image could not be made
    │   ├── KernelError        4  a kernel tree cannot be booted
    │   ├── QemuError          4  QEMU did not start, or ended by itself
    │   ├── SnapshotError      4  a snapshot could not be written or restored
    │   ├── PayloadError       4  what the guest is to run could not be put together
    │   └── AgentError         4  the guest's agent could not go on
    ├── DriverError            1  the driver under test was not loaded, bound or removed
    └── GuestLost              3  the guest's kernel is gone
        ├── GuestPanicked      3  ... it panicked
        ├── GuestHung          3  ... nothing was heard for too long
        └── GuestSilent        3  ... it never answered

Errors of kpatch (a description, a build, a program) pass through unchanged: they carry their
exit code in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence


class ConformanceError(Exception):
    """Base of all errors of the lab. ``str(error)`` is the complete text for the user."""

    exit_code = 4


class UsageError(ConformanceError):
    """The command line asks for what does not exist or does not go together."""

    exit_code = 2


class UnknownImage(UsageError):
    """No image definition has the name that was asked for."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"There is no image {name!r}. Known images: {', '.join(known)}.")


class UnknownMachine(UsageError):
    """No machine offers the device."""


class DefinitionError(UsageError):
    """An image or machine file has mistakes.

    Attributes:
        mistakes: One line each: key, value, what would be valid.
    """

    def __init__(self, source: str, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        lines = [f"{source} has {count}:", *(f"  {mistake}" for mistake in self.mistakes)]
        super().__init__("\n".join(lines))


class LabError(ConformanceError):
    """The lab failed: nothing is known about the driver."""


class ImageError(LabError):
    """The lab image could not be made."""


class KernelError(LabError):
    """A kernel tree lacks what the lab needs to boot it."""


class QemuError(LabError):
    """QEMU did not start, or ended although the guest did not."""


class SnapshotError(LabError):
    """A snapshot could not be written or restored; the lab can still boot without it."""


class PayloadError(LabError):
    """What the guest is to run could not be put together."""


class AgentError(LabError):
    """The guest's agent could not go on, for a reason that is not the driver's."""


class DriverError(ConformanceError):
    """The driver under test cannot be loaded, bound or removed, or upsets the kernel meanwhile.

    Attributes:
        klog: What the kernel said meanwhile.
        hint: Where to look.
    """

    exit_code = 1

    def __init__(self, message: str, klog: Sequence[str] = (), *, hint: str = "") -> None:
        self.klog = tuple(klog)
        self.hint = hint
        super().__init__("\n".join([message, *(f"  {line}" for line in klog)]))


class GuestLost(ConformanceError):
    """The guest's kernel panicked, hung, or never answered.

    Attributes:
        reason: What was seen, one sentence.
        console: The last lines of its console.
    """

    exit_code = 3

    def __init__(self, reason: str, console: Sequence[str]) -> None:
        self.reason = reason
        self.console = tuple(console)
        shown = "\n".join(f"  {line}" for line in self.console)
        super().__init__(f"{reason}\nThe last lines of its console:\n{shown or '  (nothing)'}")


class GuestPanicked(GuestLost):
    """The kernel of the guest panicked or reset the machine."""


class GuestHung(GuestLost):
    """No event came from the guest for longer than any test may take."""


class GuestSilent(GuestLost):
    """The guest was started and never said that it is ready."""
