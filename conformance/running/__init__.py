# SPDX-License-Identifier: GPL-2.0-only
"""What every run needs, in a VM or not: folders, locks, progress, selection of tests."""
