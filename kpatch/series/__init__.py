# SPDX-License-Identifier: GPL-2.0-only
"""The same driver as commits on a kernel source: patches and a cover letter."""
