# SPDX-License-Identifier: GPL-2.0-only
"""A run on this machine, with a suite that is a few lines, and a driver that is put in place."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from conformance.cli.arguments import parse
from conformance.errors import DriverError, GuestHung
from conformance.events.stream import parse as event_of
from conformance.host import bind, check, commands, fitness, judge, safety, suite
from conformance.host.errors import Refused, RestoreError
from conformance.host.journal import FunctionBefore, Journal, the_journal
from conformance.host.judge import HostRequest
from conformance.host.paths import HostPaths
from conformance.host.safety import Look, Question
from conformance.host.suite import Job
from conformance.kernel.log import Taint
from conformance.report import Conclusion, Reporter, Verdict
from conformance.requirements import load
from conformance.running import driver as running_driver
from conformance.running.follow import PYTEST_LOG
from conformance.running.steps import Steps
from conformance.tests.host.fake_host import FakeHost
from kpatch.device.protocols import Protocol
from kpatch.errors import KpatchError
from kpatch.kernel import tree as kernel_tree
from kpatch.kernel.tree import KernelTree

DEVICE = "0000:01:10.0"
SESSION: dict[str, Any] = {"event": "session", "collected": 1, "device": {"bdf": DEVICE}}
START = {"event": "start", "id": "a", "rules": ["state.reset"]}
RESULT = {**START, "event": "result", "outcome": "passed", "duration": 0.1}
FINISH = {"event": "finish", "status": 0, "duration": 1}
GOOD: list[dict[str, Any]] = [SESSION, START, RESULT, FINISH]


def job(monkeypatch: pytest.MonkeyPatch, source: str, *, quiet: float = 20) -> Job:
    """Return a job whose suite is a piece of Python; `tell(event)` is there for it."""
    head = (
        "import json, os, sys, time, signal\n"
        "out = open(sys.argv[1], 'w', buffering=1)\n"
        "def tell(event): out.write(json.dumps(event) + '\\n')\n"
    )

    def argv(_job: Job, events: Path) -> list[str]:
        return [sys.executable, "-c", head + source, str(events)]

    monkeypatch.setattr(Job, "argv", argv)
    return Job(DEVICE, "", (), (), (), quiet, "mark")


def reporter(folder: Path, out: io.StringIO | None = None) -> Reporter:
    return Reporter(folder, out or io.StringIO(), requirements=load(), versions={})


def tell(events: Sequence[dict[str, Any]]) -> str:
    return f"for event in json.loads({json.dumps(json.dumps(events))}): tell(event)\n"


def test_a_suite_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = reporter(tmp_path)
    todo = job(monkeypatch, tell(GOOD) + "print(os.environ['VFIO_KIT_RUN'])")
    verdict = suite.run(todo, tmp_path, one, HostPaths())
    assert one.finish(verdict) == 0
    assert "mark" in (tmp_path / PYTEST_LOG).read_text()


@pytest.mark.parametrize(
    ("source", "conclusion", "words"),
    [
        ("os.kill(os.getpid(), 9)", Conclusion.LAB_FAILED, "killed by SIGKILL"),
        ("print('no such test'); sys.exit(4)", Conclusion.BAD_USAGE, "refused its arguments"),
        ("sys.exit(1)", Conclusion.CONFORMS, ""),  # which its results decide
    ],
)
def test_how_a_suite_ends(
    source: str,
    conclusion: Conclusion,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.StringIO()
    todo = job(monkeypatch, tell([SESSION]) + source)
    verdict = suite.run(todo, tmp_path, reporter(tmp_path, out), HostPaths())
    assert verdict.conclusion is conclusion
    assert words in verdict.reason
    assert ("no such test" in out.getvalue()) == (conclusion is Conclusion.BAD_USAGE)


def test_a_kernel_that_oopses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = iter([0, 1 << 7])
    monkeypatch.setattr(suite, "_taint", lambda: next(flags))
    todo = job(monkeypatch, "os.kill(os.getpid(), 9)")
    verdict = suite.run(todo, tmp_path, reporter(tmp_path), HostPaths())
    assert verdict.conclusion is Conclusion.KERNEL_DIED


def test_a_suite_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    todo = job(monkeypatch, tell([SESSION]) + "time.sleep(60)", quiet=0.5)
    with pytest.raises(GuestHung, match=r"for 0\.5 s"):
        suite.run(todo, tmp_path, reporter(tmp_path), HostPaths())


def test_the_command_of_the_suite() -> None:
    request = HostRequest(
        DEVICE, "0000:01:10.2", ["--vfio-scratch=0:8:1"], (), ["-x"], 60, Path(), frozenset()
    )
    words = request.job("--vfio-as-is").argv(Path("/e"))
    assert words[0] == sys.executable
    assert " ".join(words[1:]) == (
        "-m pytest -p conformance.plugin -p no:cacheprovider conformance/suite "
        f"--vfio-device {DEVICE} --vfio-events /e --vfio-peer 0000:01:10.2 "
        "--vfio-scratch=0:8:1 --vfio-as-is -x"
    )


class FakeDriver:
    """A driver that is bound without a module; the journal knows of it."""

    name = "fake"

    def __init__(self, host: FakeHost) -> None:
        self.host = host

    def look(self, _names: Sequence[str]) -> list[Any]:
        return []

    def prepare(self, *_: object) -> Namespace:
        return Namespace(name="fake", path=Path("fake.ko"), depends=[])


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = FakeHost(tmp_path / "host")
    host.function(DEVICE, "vfio-pci")
    host.driver("igb_vf_vfio_pci")
    host.answer(monkeypatch)
    monkeypatch.setattr(bind, "load", lambda *_, **__: "igb_vf_vfio_pci")
    monkeypatch.setattr(fitness, "is_loaded", lambda *_: False)
    return host


@pytest.fixture
def paths(host: FakeHost, tmp_path: Path) -> HostPaths:
    return HostPaths(host.sysfs, host.proc, tmp_path / "state", tmp_path / "dev")


def request(folder: Path) -> HostRequest:
    return HostRequest(DEVICE, "", (), (), (), 20, folder / "results", frozenset())


def go(
    host: FakeHost, paths: HostPaths, folder: Path, work: Callable[[], Verdict]
) -> tuple[int, str]:
    """Judge with a suite that does some work; return exit code and output."""
    out = io.StringIO()

    def run(_job: Job, _results: Path, reporter: Reporter, _here: HostPaths) -> Verdict:
        assert host.bound(DEVICE) == "igb_vf_vfio_pci"
        for event in GOOD:
            reporter.feed(event_of(event))
        return work()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite, "run", run)
        patch.setattr(safety, "to_bind", lambda *_, **__: Look())
        driver: Any = FakeDriver(host)
        status = check.check(request(folder), driver, out, lambda _: False, paths)
    return status, out.getvalue()


def interrupt() -> Verdict:
    os.kill(os.getpid(), signal.SIGINT)
    raise AssertionError


def break_off() -> Verdict:
    raise DriverError("It broke.")


def fail() -> Verdict:
    raise KeyError("a mistake of ours")


def hang() -> Verdict:
    raise GuestHung("Nothing was heard.", ["a stack"])


@pytest.mark.parametrize(
    ("work", "status", "words"),
    [
        (Verdict.completed, 0, "conforms"),
        (lambda: Verdict.lab_failed("no"), 4, "the lab failed"),
        (interrupt, 130, "interrupted"),
        (break_off, 1, "It broke."),
        (hang, 3, "a stack"),
        (fail, None, "a mistake of ours"),
    ],
)
def test_whatever_happens_all_is_put_back(
    paths: HostPaths,
    tmp_path: Path,
    host: FakeHost,
    *,
    work: Callable[[], Verdict],
    status: int | None,
    words: str,
) -> None:
    if status is None:  # a mistake of ours
        with pytest.raises(KeyError, match=words):
            go(host, paths, tmp_path, work)
    else:
        code, said = go(host, paths, tmp_path, work)
        assert (code, words in said) == (status, True), said
        assert "This machine is as it was before." in said
    assert (host.bound(DEVICE), host.override(DEVICE)) == ("vfio-pci", "")
    assert not (paths.state / "journal").exists()


def test_what_cannot_be_put_back_is_not_overlooked(
    host: FakeHost, paths: HostPaths, tmp_path: Path
) -> None:
    def lose() -> Verdict:
        host.refusing.add("vfio-pci")
        return Verdict.completed()

    code, said = go(host, paths, tmp_path, lose)
    assert code == 4
    assert "This machine is not as it was before:" in said
    assert (paths.state / "journal").exists()
    host.refusing.clear()
    code, said = go(host, paths, tmp_path, Verdict.completed)
    assert code == 0
    assert "An earlier run" in said
    assert host.bound(DEVICE) == "vfio-pci"


def test_a_fault_of_the_kernel_while_it_is_put_back(
    host: FakeHost, paths: HostPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = iter([0, 0, 0, 1 << 9])
    monkeypatch.setattr(Taint, "read", lambda _self: next(flags))
    code, said = go(host, paths, tmp_path, Verdict.completed)
    assert code == 1
    assert "while the driver was unbound and removed: warning" in said


def test_nothing_is_done_where_something_stands_against_it(
    host: FakeHost, paths: HostPaths, tmp_path: Path
) -> None:
    driver: Any = FakeDriver(host)
    host.process(4711, "qemu", "/dev/vfio/12")
    with pytest.raises(Refused, match="process 4711"):
        check.check(request(tmp_path), driver, io.StringIO(), lambda _: True, paths)
    assert host.shown == []
    assert not (tmp_path / "results").exists()


def test_run_tells_of_an_earlier_one(
    host: FakeHost, paths: HostPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safety, "as_bound", lambda *_: Look())
    monkeypatch.setattr(suite, "run", lambda *_: Verdict.lab_failed("not this time"))
    with the_journal(paths) as journal:
        journal.begin()
        journal.note(FunctionBefore(DEVICE, "vfio-pci", ""))
    out = io.StringIO()
    judge.as_bound(request(tmp_path), out, lambda _: False, paths)
    assert "conformance restore" in out.getvalue()
    assert host.shown == []
    assert Journal(paths).read()
    with the_journal(paths):  # it is going on
        out = io.StringIO()
        judge.as_bound(request(tmp_path), out, lambda _: False, paths)
        assert "conformance restore" not in out.getvalue()


def test_run_without_the_right_to_know_of_earlier_ones(
    paths: HostPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "exists", refuse)
    assert not judge._left_behind(paths)


def test_restore_error_says_what_to_do() -> None:
    text = str(RestoreError(["a stays bound to b"]))
    assert "  - a stays bound to b" in text
    assert "conformance restore" in text


def test_options_for_this_machine() -> None:
    words = ["check", "--bdf", DEVICE, "--scratch", "0:8:1", "--volatile", "0:4", "--unbind"]
    arguments = parse(words)
    assert (arguments.command, arguments.bdf, arguments.described) == ("check", DEVICE, None)
    asked = commands._request(arguments, arguments.bdf)
    assert list(asked.options) == ["--vfio-scratch=0:8:1", "--vfio-volatile=0:4"]
    assert asked.consent == {safety.UNBIND}
    shouted = commands._request(arguments, "0000:3B:0A.1")
    assert shouted.device == "0000:3b:0a.1"
    assert commands._request(arguments, "Emulated.0").device == "Emulated.0"
    assert parse(["check", "i40e-vf", "--bdf", DEVICE]).described == "i40e-vf"
    assert parse(["run", "--device", DEVICE, "--", "-x"]).pytest_arguments == ["-x"]
    for words in (["check", "--bdf", DEVICE], ["run", "--device", DEVICE]):
        chosen = commands._request(parse([*words, "--protocol", "v2"]), DEVICE)
        assert list(chosen.options) == ["--vfio-protocol=2"]


def test_the_version_that_is_asked_for_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[tuple[str, ...]] = []

    def build(*_arguments: object, protocols: tuple[str, ...], **_more: object) -> Path:
        built.append(protocols)
        raise KpatchError("no compiler")

    monkeypatch.setattr(KernelTree, "release", "6.12.1")
    monkeypatch.setattr(KernelTree, "identity", "0" * 64)
    monkeypatch.setattr(kernel_tree, "find", lambda *_: KernelTree(tmp_path))
    monkeypatch.setattr(fitness, "of_description", lambda *_: [])
    monkeypatch.setattr(running_driver, "build", build)
    chosen: tuple[tuple[Protocol, ...], ...] = ((), ("v2",))
    for words in chosen:
        one = check.Driver("igb-vf", None, None, HostPaths(), *words)
        one.look([DEVICE])
        with pytest.raises(KpatchError):
            one.prepare([DEVICE], tmp_path, Steps(print))
    assert built == [("v1",), ("v2",)]


@pytest.mark.parametrize(
    "words", [["check", "--peer", DEVICE], ["check", "--unbind"], ["run"], ["run", DEVICE]]
)
def test_options_that_make_no_sense(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(words)
    assert caught.value.code == 2


def test_nobody_is_asked_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    ask = commands._asker(said.append)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert not ask(Question("It would go.", safety.UNBIND))
    assert said == []


@pytest.mark.parametrize(("answer", "given"), [("y", True), ("", False), ("nonsense", False)])
def test_somebody_is_asked_at_a_terminal(
    answer: str, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr("builtins.input", lambda _prompt: answer)
    said: list[str] = []
    assert commands._asker(said.append)(Question("It would go.", safety.UNBIND)) == given
    assert said == ["It would go."]
