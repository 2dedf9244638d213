# SPDX-License-Identifier: GPL-2.0-only
"""Random walks of any protocol."""
