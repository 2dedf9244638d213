# SPDX-License-Identifier: GPL-2.0-only
"""Tests of version 1 of the protocol, the migration region."""
