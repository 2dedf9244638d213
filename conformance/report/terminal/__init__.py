# SPDX-License-Identifier: GPL-2.0-only
"""What a terminal shows: progress while tests run, the summary at the end."""
