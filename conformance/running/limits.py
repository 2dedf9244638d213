# SPDX-License-Identifier: GPL-2.0-only
"""How long a run may be silent before it counts as hung."""

QUIET = 60.0
"""Seconds without an event; one test takes seconds."""
