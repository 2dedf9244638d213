# SPDX-License-Identifier: GPL-2.0-only
"""What must happen by version 1 of the protocol: states and random walks."""
