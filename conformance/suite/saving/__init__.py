# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the saving layout, whichever version of the protocol a device speaks."""
