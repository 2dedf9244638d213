# SPDX-License-Identifier: GPL-2.0-only
"""The virtual machine on paper: command line, accelerator, monitor, emulated functions."""
