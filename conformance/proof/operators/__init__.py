# SPDX-License-Identifier: GPL-2.0-only
"""Operator mutants: a sample of what generic operators make of the driver's C."""
