# SPDX-License-Identifier: GPL-2.0-only
"""Files for other programs: results.json, JUnit XML, KTAP, KCIDB."""
