# SPDX-License-Identifier: GPL-2.0-only
"""Sessions that collect the suite before they know what is to be tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from conformance.plugin import held
from conformance.tests.plugin.inner import BDF, HEAD, PEER, Inner

pytest_plugins = ["pytester"]

SOURCE = """
@pytest.mark.parametrize("number", range(4))
@rule("state.default")
def test_many(number, migration): pass

@rule("region.type", "state.default")
def test_one(migration): pass

@rule("state.default")
def test_last(peer): fail(did="x", expected="y", actual="z")
"""
BEGIN = ["-p", "conformance.plugin", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
BEGIN += ["-p", "no:unraisableexception", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The arguments of the sessions that would have begun, and collected anew."""
    begun: list[Sequence[str]] = []

    def begin(arguments: Sequence[str]) -> None:
        begun.append(arguments)
        pytest.exit("another session begins", returncode=0)

    monkeypatch.setattr(held, "again", begin)
    return begun


def go_on(inner: Inner, *arguments: str, source: str = SOURCE) -> pytest.RunResult:
    """Hold a session that has collected all tests, then have it go on with arguments."""
    inner.pytester.makepyfile(test_it=HEAD + source)
    inner.path.unlink(missing_ok=True)

    def wait() -> Sequence[str]:
        assert not inner.path.exists()
        return [*BEGIN, f"--vfio-device={BDF}", f"--vfio-events={inner.path}", *arguments]

    return inner.pytester.runpytest_inprocess(*BEGIN, "test_it.py", plugins=[held.Held(wait)])


def plain(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != "duration"}


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([f"--vfio-peer={PEER}"], id="all"),
        pytest.param(["-k", "one or 2"], id="expression"),
        pytest.param(["--deselect", "test_it.py::test_one"], id="deselected"),
        pytest.param(["-x", f"--vfio-peer={PEER}"], id="exit first"),
        pytest.param(["--vfio-share=2/2"], id="share"),
        pytest.param(["--vfio-no-skips", "--vfio-protocol=1"], id="other options"),
    ],
)
def test_it_goes_on_as_if_it_had_known(inner: Inner, arguments: list[str]) -> None:
    known = inner.run(SOURCE, "--vfio-seed=7", *arguments, "test_it.py")
    wanted = list(map(plain, inner.events))
    went_on = go_on(inner, "--vfio-seed=7", *arguments, "test_it.py")
    assert went_on.ret == known.ret
    assert list(map(plain, inner.events)) == wanted


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["test_it.py::test_one"], ["test_one"]),
        (["test_it.py::test_many"], [f"test_many[{number}]" for number in range(4)]),
        (["test_it.py::test_many[2]", "test_it.py::test_last"], ["test_many[2]", "test_last"]),
    ],
)
def test_it_runs_what_is_named(inner: Inner, names: list[str], ids: list[str]) -> None:
    go_on(inner, *names)
    assert [one["id"].partition("::")[2] for one in inner.results] == ids
    assert inner.events[0]["collected"] == len(ids)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["test_it.py::test_last", "test_it.py::test_one"], id="another order"),
        pytest.param(["test_it.py::test_gone"], id="a test that there is not"),
        pytest.param(["--vfio-walks=3", "test_it.py"], id="other parameters"),
        pytest.param(["--ignore=test_it.py", "test_it.py"], id="ignored"),
        pytest.param(["--collect-only", "test_it.py"], id="a list"),
        pytest.param(["-p", "no:terminal", "test_it.py"], id="other plugins"),
    ],
)
def test_what_changes_the_collection_is_collected_anew(
    inner: Inner, anew: list[Sequence[str]], arguments: list[str]
) -> None:
    go_on(inner, *arguments)
    assert len(anew) == 1
    assert list(anew[0])[-len(arguments) :] == arguments


@pytest.mark.parametrize("option", ["--vfio-scratch=nonsense", "--vfio-share=3/2", "--no-such"])
def test_wrong_arguments_are_refused(inner: Inner, option: str) -> None:
    assert go_on(inner, option, "test_it.py").ret == pytest.ExitCode.USAGE_ERROR
    assert not inner.path.exists() or inner.events == []


def test_suite_that_cannot_be_collected_is_not_held(inner: Inner) -> None:
    result = go_on(inner, source="import no_such_module\n")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert not inner.path.exists()
