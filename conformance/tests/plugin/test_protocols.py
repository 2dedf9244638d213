# SPDX-License-Identifier: GPL-2.0-only
"""A session judges one protocol, and tells what a device does not have."""

from types import SimpleNamespace
from typing import Any

import pytest

from conformance.model.v2.fsm import State
from conformance.plugin.protocols import FeatureHome
from conformance.tests.plugin.inner import HEAD, Inner
from conformance.vfio import features
from conformance.vfio.device import Device

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("offered", "option", "ran"),
    [
        (None, (), ["test_any.py::test_it", "test_one.py::test_it"]),
        (0b1, (), ["test_any.py::test_it", "test_two.py::test_it"]),
        (0b1, ("--vfio-protocol=1",), ["test_any.py::test_it", "test_one.py::test_it"]),
    ],
)
def test_a_session_judges_one_protocol(
    inner: Inner,
    monkeypatch: pytest.MonkeyPatch,
    offered: int | None,
    option: tuple[str, ...],
    ran: list[str],
) -> None:
    monkeypatch.setattr(Device, "migration_feature", lambda _device: offered)
    source = HEAD + "@rule('state.default')\ndef test_it(): pass\n"
    for name in ("test_any", "v1/test_one", "v2/walks/test_two"):
        path = inner.pytester.path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    result = inner.run("", *option)
    assert result.parseoutcomes() == {"passed": 2}, "the others are not even collected"
    assert [event["id"] for event in inner.results] == ran
    assert inner.events[0]["collected"] == 2
    assert inner.events[0]["protocol"] == (1 if "test_one" in ran[1] else 2)


def test_what_a_device_does_not_have_is_not_applicable(inner: Inner) -> None:
    source = """
from conformance.plugin.protocols import not_applicable

@rule("state.default")
def test_it(): not_applicable("no P2P")
"""
    assert inner.run(source, "--vfio-no-skips").ret == 0
    (outcome,) = inner.results
    assert (outcome["outcome"], outcome["skip"]) == ("not-applicable", "no P2P")


@pytest.mark.parametrize("takes", [True, False])
def test_a_refused_set_may_have_broken_the_device(
    monkeypatch: pytest.MonkeyPatch, takes: bool
) -> None:
    made: list[int] = []

    def set_state(_device: object, state: int) -> None:
        made.append(state)
        if not takes:
            raise PermissionError

    monkeypatch.setattr(features, "set_state", set_state)
    device: Any = SimpleNamespace(refused=False)
    home = FeatureHome(device)
    assert not home.broken()
    assert made == [], "nothing was refused"
    device.refused = True
    assert home.broken() is not takes
    assert made == ([State.STOP, State.RUNNING] if takes else [State.STOP])
    assert not home.broken()
