# SPDX-License-Identifier: GPL-2.0-only
"""Proof of the suite: faulty drivers it must notice, good drivers it must pass."""
