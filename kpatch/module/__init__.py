# SPDX-License-Identifier: GPL-2.0-only
"""A built module: what it is, and what hinders it from being loaded by a kernel."""
