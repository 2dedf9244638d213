# SPDX-License-Identifier: GPL-2.0-only
"""Tables from which tests of either protocol are parametrized."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from conformance.migration.saver import Stage

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet


def named(cases: dict[str, Any]) -> "list[ParameterSet]":
    """Return parameters from a table of readable ids."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), id=name)
        for name, value in cases.items()
    ]


def by_stage(wanted: Iterable[Stage] = Stage) -> "list[ParameterSet]":
    """Return parameters for single stages; the fixture ``stage`` asks whether the device has it."""
    return [pytest.param(stage, id=stage.value) for stage in wanted]


#: For tests of the stages in which mappings count.
SAVING_STAGES = pytest.mark.parametrize(
    "stage", by_stage(stage for stage in Stage if stage.saving), indirect=True
)
#: For tests of all stages.
ALL_STAGES = pytest.mark.parametrize("stage", by_stage(), indirect=True)
