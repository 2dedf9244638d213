# SPDX-License-Identifier: GPL-2.0-only
"""The kernel as a witness: its log, taint, console, leak reports, fault injection."""
