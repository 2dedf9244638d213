# SPDX-License-Identifier: GPL-2.0-only
"""How many inputs tests draw that look for tracebacks and for planted faults that pass.

VFIO_KIT_EXAMPLES sets it; the default is for every day.
"""

import os

from hypothesis import HealthCheck, settings

_EXAMPLES = int(os.environ.get("VFIO_KIT_EXAMPLES", "0"))


def drawn(usual: int, share: float = 1.0) -> settings:
    """Return the settings of a test.

    Args:
        usual: Its inputs without VFIO_KIT_EXAMPLES.
        share: Its part of VFIO_KIT_EXAMPLES: less where an input takes its time.
    """
    count = int(_EXAMPLES * share) or usual
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
