# SPDX-License-Identifier: GPL-2.0-only
"""Judges functions of this machine: binds them, judges them, restores the machine.

Each change is recorded before it is made, so that a killed run can be undone.
Judging what is bound already, and undoing, need the standard library and pytest only.
"""
