# SPDX-License-Identifier: GPL-2.0-only
"""Measures the cost of a driver, as ratios of times taken in turns in one run.

It judges nothing. It runs where the device is and needs the standard library only.
"""
