# SPDX-License-Identifier: GPL-2.0-only
"""The command line: options, and what each command calls."""
