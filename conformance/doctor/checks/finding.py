# SPDX-License-Identifier: GPL-2.0-only
"""What a check finds: one line for people, an object for programs."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters; the worst first."""

    BLOCKS = "blocks"
    WARNS = "warns"
    FINE = "fine"


class Scope(StrEnum):
    """What a check is about."""

    FUNCTION = "function"  # a PCI function of this machine
    LAB = "lab"  # the virtual machines that `make check` makes


@dataclass(frozen=True)
class Finding:
    """Something found.

    Attributes:
        level: How much it matters.
        what: What was found, a sentence.
        why: Why that matters; empty where it is fine.
        do: What to do about it; empty where there is nothing to do.
    """

    level: Level
    what: str
    why: str = ""
    do: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.why, self.do) if part)


def blocks(what: str, why: str, do: str) -> Finding:
    """Return a finding that stands in the way."""
    return Finding(Level.BLOCKS, what, why, do)


def warns(what: str, why: str, do: str) -> Finding:
    """Return a finding that somebody should know."""
    return Finding(Level.WARNS, what, why, do)


def fine(what: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(Level.FINE, what)
