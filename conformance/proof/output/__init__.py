# SPDX-License-Identifier: GPL-2.0-only
"""What a proof leaves: the kill matrix as text, JSON, JUnit XML and a page."""
