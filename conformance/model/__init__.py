# SPDX-License-Identifier: GPL-2.0-only
"""The oracle: what the rules say must happen.

Pure: it never sees a device, a driver or its generator, and knows nothing but the rules of
the catalogue. What the driver's generator states too is stated here a second time on
purpose, so that one mistake cannot pass both.
"""
