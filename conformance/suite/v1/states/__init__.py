# SPDX-License-Identifier: GPL-2.0-only
"""device_state: transitions, and what the device then does."""
