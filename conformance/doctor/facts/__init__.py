# SPDX-License-Identifier: GPL-2.0-only
"""What the doctor finds out about a machine and a function. No judgement."""
