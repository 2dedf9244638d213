# SPDX-License-Identifier: GPL-2.0-only
"""Judging on the machine itself: functions are bound, judged, and put back as they were.

What is changed is noted before it is changed, so that a run which was killed can be undone.
Judging what is bound already, and undoing, need the standard library and pytest only.
"""
