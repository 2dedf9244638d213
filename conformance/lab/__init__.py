# SPDX-License-Identifier: GPL-2.0-only
"""The lab: an image, a virtual machine of it, and a run of the suite inside. Host side only."""
