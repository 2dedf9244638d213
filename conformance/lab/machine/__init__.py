# SPDX-License-Identifier: GPL-2.0-only
"""The virtual machine: command line, accelerator, monitor, emulated functions."""
