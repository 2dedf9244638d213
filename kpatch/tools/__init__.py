# SPDX-License-Identifier: GPL-2.0-only
"""What everything starts and calls: programs, their processes, the sandbox, git."""
