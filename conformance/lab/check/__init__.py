# SPDX-License-Identifier: GPL-2.0-only
"""The check: prepare a lab, build the driver, run the suite, print a verdict."""
