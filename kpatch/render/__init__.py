# SPDX-License-Identifier: GPL-2.0-only
"""A description and a kernel's features become C, through the only jinja2 environment."""
