# SPDX-License-Identifier: GPL-2.0-only
"""What a program prints, wherever that goes. Standard library only."""

from __future__ import annotations

import io
import os
import sys


def show_anything() -> None:
    r"""Have standard output show what it cannot encode as an escape, instead of failing.

    Names of files may be any bytes, and a terminal or a CI may know ASCII only: é is then \xe9.
    Standard error does so by itself.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def reader_has_gone() -> None:
    """Have the rest of standard output go nowhere: Python writes it when it ends, or fails."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
