# SPDX-License-Identifier: GPL-2.0-only
"""What must happen by version 2 of the protocol: the state machine."""
