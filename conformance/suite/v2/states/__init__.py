# SPDX-License-Identifier: GPL-2.0-only
"""The state machine: transitions, errors, what ends a session, power, races."""
