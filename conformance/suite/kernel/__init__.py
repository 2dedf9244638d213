# SPDX-License-Identifier: GPL-2.0-only
"""Tests of what a driver does to the kernel: fault injection, leaks."""
