# SPDX-License-Identifier: GPL-2.0-only
"""The healthy machine as a fixture."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.tests.doctor.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)
