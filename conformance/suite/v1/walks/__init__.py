# SPDX-License-Identifier: GPL-2.0-only
"""Random walks with an oracle."""
