# SPDX-License-Identifier: GPL-2.0-only
"""One thing worth knowing of a kernel module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """Something worth knowing of a module.

    Attributes:
        level: "problem": the kernel refuses it or breaks; "warning": likely not what was meant;
            "note": worth knowing; "ok": checked and good.
        topic: What it is about, in a word.
        what: What was found.
        why: Why that matters; empty where it is good.
        do: What to do about it; empty where there is nothing to do.
    """

    level: Level
    topic: str
    what: str
    why: str = ""
    do: str = ""
