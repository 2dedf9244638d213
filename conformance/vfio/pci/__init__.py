# SPDX-License-Identifier: GPL-2.0-only
"""What a function is as a PCI device: configuration space, interrupts, resets."""
