# SPDX-License-Identifier: GPL-2.0-only
"""The errors of judging on this machine; see :mod:`conformance.errors` for the whole tree.

::

    UsageError               2
    └── Refused              2  it would not be safe, or cannot be; all reasons are listed
    LabError                 4
    └── RestoreError         4  something could not be put back as it was
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conformance.errors import LabError, UsageError


@dataclass(frozen=True)
class Reason:
    """Why something is refused: what was found, and what to do about it, in whole sentences."""

    what: str
    do: str

    def __str__(self) -> str:
        return f"{self.what} {self.do}"


class Refused(UsageError):
    """Nothing was done, for these reasons.

    Attributes:
        reasons: All of them.
    """

    def __init__(self, reasons: Sequence[Reason]) -> None:
        self.reasons = tuple(reasons)
        lines = ["This machine was left as it is:", *(f"  - {reason}" for reason in reasons)]
        super().__init__("\n".join(lines))


class RestoreError(LabError):
    """Something could not be put back.

    Attributes:
        left: What, and why, one sentence each.
    """

    def __init__(self, left: Sequence[str]) -> None:
        self.left = tuple(left)
        lines = [
            "This machine is not as it was before:",
            *(f"  - {line}" for line in left),
            "The journal keeps the open steps. Remove the cause, then run "
            "`python3 -m conformance restore`; a reboot puts everything back as well.",
        ]
        super().__init__("\n".join(lines))
