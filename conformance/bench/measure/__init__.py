# SPDX-License-Identifier: GPL-2.0-only
"""Measures what a driver costs, as ratios of times taken side by side in one run.

It judges nothing. It runs where the device is and needs the standard library only.
"""
