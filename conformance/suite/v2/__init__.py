# SPDX-License-Identifier: GPL-2.0-only
"""Tests of version 2 of the protocol, VFIO_DEVICE_FEATURE_MIGRATION."""
