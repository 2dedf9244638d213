# SPDX-License-Identifier: GPL-2.0-only
"""Proof of the suite: faulty drivers that it must fail, good drivers that it must pass."""
