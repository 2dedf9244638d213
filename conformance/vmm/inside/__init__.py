# SPDX-License-Identifier: GPL-2.0-only
"""What runs in the lab's guest: QEMU, its monitor, the scenarios. Standard library only."""
