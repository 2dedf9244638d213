# SPDX-License-Identifier: GPL-2.0-only
"""Tests of drivers that offer both versions of the protocol: neither may disturb the other."""
