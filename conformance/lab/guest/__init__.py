# SPDX-License-Identifier: GPL-2.0-only
"""A running guest: QEMU, bring-up and snapshot, payload, events port."""
