# SPDX-License-Identifier: GPL-2.0-only
"""Events of a test session: one line of JSON each."""
