# SPDX-License-Identifier: GPL-2.0-only
"""Faulty drivers as data: what they are, the rules they break, the code they touch."""
