# SPDX-License-Identifier: GPL-2.0-only
"""A real monitor migrates a real guest: QEMU in the lab's guest, with a guest of its own."""
