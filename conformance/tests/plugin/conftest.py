# SPDX-License-Identifier: GPL-2.0-only
"""The inner session as a fixture."""

import pytest

from conformance import plugin
from conformance.tests.plugin.inner import CATALOGUE, FakeLog, FakeTaint, Inner


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Inner:
    def identity(bdf: str | None) -> dict[str, str] | None:
        return {"bdf": bdf, "driver": "fake"} if bdf else None

    monkeypatch.setattr(plugin, "_identity", identity)
    monkeypatch.setattr(plugin, "_catalogue", lambda: CATALOGUE)
    monkeypatch.setattr(plugin, "KernelLog", FakeLog)
    monkeypatch.setattr(plugin, "Taint", FakeTaint)
    monkeypatch.setattr(FakeTaint, "flags", 12288)
    return Inner(pytester)
