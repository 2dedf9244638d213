# SPDX-License-Identifier: GPL-2.0-only
"""How many inputs tests draw that look for tracebacks and for planted faults that pass.

VFIO_KIT_EXAMPLES sets it; the default is for every day, and `tox -e build` draws more.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

_EXAMPLES = int(os.environ.get("VFIO_KIT_EXAMPLES", "0"))


def drawn(usual: int, share: float = 1.0) -> Callable[[Any], Any]:
    """Return what marks a test as one that draws, and says how many inputs.

    Args:
        usual: Its inputs without VFIO_KIT_EXAMPLES.
        share: Its part of VFIO_KIT_EXAMPLES: less where an input takes its time.
    """
    count = int(_EXAMPLES * share) or usual
    few = settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    return lambda test: pytest.mark.drawn(few(test))
