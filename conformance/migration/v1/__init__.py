# SPDX-License-Identifier: GPL-2.0-only
"""Clients of version 1 of the protocol, the migration region."""
