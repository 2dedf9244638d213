# SPDX-License-Identifier: GPL-2.0-only
"""What holds for all tests of this package: how long one drawn example takes is no result."""

from hypothesis import settings

settings.register_profile("kit", deadline=None)
settings.load_profile("kit")
