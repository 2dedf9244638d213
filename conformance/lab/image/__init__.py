# SPDX-License-Identifier: GPL-2.0-only
"""Lab images: definitions, how they are made and cached, kernels that are built for them."""
