# SPDX-License-Identifier: GPL-2.0-only
"""The guest's agent, which judges the kernel's log by the same table as the suite."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "vm-images/guest"))
    yield importlib.import_module("agent.kernel")
    for name in [name for name in sys.modules if name.partition(".")[0] == "agent"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    ("record", "taint", "words"),
    [
        pytest.param("6,1,5000000,-;igb_vf 0000:01:10.0: enabling device", 0, [], id="quiet"),
        pytest.param(
            "3,1,5000000,-,caller=T9;[ BUG: Invalid wait context ]\n SUBSYSTEM=pci",
            0,
            ["[ BUG: Invalid wait context ]"],
            id="lockdep sets no taint",
        ),
        pytest.param(
            "4,1,5000000,-;WARNING: CPU: 0 PID: 1 at a.c:1", 1 << 9,
            ["WARNING: CPU: 0 PID: 1 at a.c:1"], id="the report, not its taint as well",
        ),
        pytest.param("6,1,5000000,-;overwritten", 1 << 7, ["oops or BUG"], id="the taint alone"),
        pytest.param("3,1,5,-;BUG: MAX_LOCKDEP_CHAINS too low!", 0, [], id="a limit of lockdep"),
        pytest.param("12,1,5,-;WARNING: said by user space", 1 << 12, [], id="user space"),
        pytest.param("no record", 0, [], id="damaged"),
    ],
)  # fmt: skip
def test_complaints(agent: Any, record: str, taint: int, words: list[str]) -> None:
    assert agent.complaints([record], taint) == words


def test_device_that_outlives_its_module(
    agent: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert agent
    functions = importlib.import_module("agent.functions")
    monkeypatch.setattr(functions, "_BUSES", tmp_path)
    (tmp_path / "platform/devices/soft.1").mkdir(parents=True)
    functions.expect_gone(["soft.0"])
    with pytest.raises(functions.Failure, match=r"left the device .*/soft\.1 behind"):
        functions.expect_gone(["soft.0", "soft.1"])


def test_interface_that_cannot_be_set_up(
    agent: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert agent
    functions = importlib.import_module("agent.functions")
    monkeypatch.setattr(functions, "_NET", tmp_path)
    monkeypatch.setattr(functions, "_LINK_TIMEOUT", 0.02)
    monkeypatch.setattr(functions.fcntl, "ioctl", lambda *_: bytes(40))
    with pytest.raises(functions.Failure, match="there is no network interface eth7"):
        functions.set_up("eth7")
    (tmp_path / "eth7").mkdir()
    (tmp_path / "eth7" / "carrier").write_text("0\n")
    with pytest.raises(functions.Failure, match="the link of eth7 did not come up"):
        functions.set_up("eth7")


def test_lines_as_dmesg_shows_them(agent: Any) -> None:
    assert agent.shown("6,1,5000120,-;a line\n SUBSYSTEM=pci") == "[    5.000120] a line"
    assert agent.shown("junk") == "junk"


class FakePort:
    """Takes what the agent says."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, str]] = []

    def phase(self, name: str, detail: str = "") -> None:
        """Ignored."""

    def error(self, phase: str, message: str, klog: Sequence[str] = ()) -> None:
        """Keep what is blamed, and why."""
        self.errors.append((phase, "\n".join([message, *klog])))


class FakeLog:
    """A log that may have trouble."""

    def __init__(self, failure: Exception | None) -> None:
        self.failure = failure

    def mark(self) -> None:
        """Nothing to forget."""

    def lines(self) -> list[str]:
        """Return nothing."""
        return []

    def check(self, when: str) -> None:
        """Fail if there is trouble."""
        if when and self.failure:
            raise self.failure


def test_who_is_blamed(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the agent knows is of the phase; a fault of its own is of none."""
    main = importlib.import_module("agent.__main__")
    monkeypatch.setattr(main, "_wake", lambda _: None)
    failure, order = agent.Failure("why"), {"order": "programs", "names": ["a"]}

    def blamed(start: Exception | None = None, log: Exception | None = None) -> tuple[str, str]:
        def run(*_: object) -> int:
            if start:
                raise start
            return 0

        monkeypatch.setattr(main.job, "read", lambda: {"pytest_args": [], "module": ""})
        monkeypatch.setattr(main.script, "run", run)
        one = main.Agent.__new__(main.Agent)
        one._port, one._log = FakePort(), FakeLog(log)
        one._software, one._functions, one._phase = True, ["0000:01:10.0"], "order"
        one.serve(order)
        (said,) = one._port.errors
        return str(said[0]), str(said[1])

    assert blamed(log=failure) == ("kernel", "why")
    assert blamed(start=failure) == ("programs", "why")
    phase, words = blamed(start=ValueError("what nobody foresaw"))
    assert phase == "agent"
    assert "'programs'" in words
    assert "what nobody foresaw" in words
