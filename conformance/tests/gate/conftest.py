# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of the gate are given."""

from pathlib import Path

import pytest

from conformance.tests.gate.kit import Kit
from kpatch.tests.series import fake_source


@pytest.fixture(autouse=True)
def _user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(fake_source.config(tmp_path)))


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)
