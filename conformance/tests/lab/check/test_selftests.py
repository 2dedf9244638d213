# SPDX-License-Identifier: GPL-2.0-only
"""What programs that report in TAP are taken to say; their output and exit status must agree."""

import pytest

from conformance import errors
from conformance.events import kinds
from conformance.gate.building import selftests as gate_selftests
from conformance.lab.check import selftests
from conformance.lab.check.selftests import Ran, read

GOOD = """TAP version 13
1..3
# Starting 3 tests from 2 test cases.
#  RUN           irq.msi.enable ...
MSI: not supported
#      SKIP      MSI: not supported
#            OK  irq.msi.enable
ok 1 irq.msi.enable # SKIP MSI: not supported
ok 2 irq.msix.enable
ok 3 device.reset
# PASSED: 3 / 3 tests passed.
"""


def test_tests_that_passed_and_were_skipped() -> None:
    ran = read("device_test", 0, GOOD)
    assert ran.passed == ("irq.msix.enable", "device.reset")
    assert ran.skipped == ("irq.msi.enable: MSI: not supported",)
    assert ran.failed == ()


@pytest.mark.parametrize(
    ("status", "output", "failed"),
    [
        pytest.param(1, GOOD.replace("ok 3", "not ok 3"), "device.reset", id="a test"),
        pytest.param(1, GOOD, "a ended with status 1", id="status without a test"),
        pytest.param(
            -6, GOOD.partition("ok 3")[0], "a reported 2 of 3 tests", id="it died on the way"
        ),
        pytest.param(
            0, GOOD.replace("ok 3 ", "# "), "a reported 2 of 3 tests", id="a test is lost"
        ),
        pytest.param(0, "", "a reported no test", id="silence"),
        pytest.param(127, "cannot run", "a ended with status 127", id="it did not start"),
        pytest.param(0, GOOD.replace("ok 2", "not ok 2"), "irq.msix.enable", id="status 0"),
    ],
)
def test_faults(status: int, output: str, failed: str) -> None:
    assert read("a", status, output).failed == (failed,)


def test_program_that_has_nothing_to_test() -> None:
    ran = read("driver_test", 4, "No driver found for device 0000:01:10.0\n")
    assert (ran.passed, ran.skipped, ran.failed) == ((), (), ())


def test_the_step_of_the_gate() -> None:
    good, bad = read("a", 0, GOOD), read("b", 1, GOOD.replace("ok 3", "not ok 3"))
    none = Ran("c", 4)
    step = gate_selftests.step([good, none])
    assert (step.verdict, step.details) == (
        "passed",
        ("2 tests of 2 programs passed, 2 skipped",),
    )
    step = gate_selftests.step([good, bad])
    assert (step.verdict, step.reason) == ("failed", "device.reset")
    assert gate_selftests.step([none]).verdict == "skipped"


PROGRAM = (
    kinds.Agent("bind", "0000:01:10.0"),
    kinds.Agent("program", "a"),
    kinds.Output("TAP version 13\n1..1\n"),
    kinds.Output("ok 1 x\n"),
    kinds.Agent("program-ended", "0"),
)


def test_each_program_has_its_own_output() -> None:
    again = (kinds.Agent("program", "b"), kinds.Agent("program-ended", "4"))
    first, second = selftests.follow([*PROGRAM, *again, kinds.Agent("done", "")])
    assert (first.name, first.passed, second) == ("a", ("x",), Ran("b", 4))


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("module", "could not be loaded: why"),
        ("bind", "did not take the functions: why"),
        ("kernel", "upset the kernel: why"),
        ("unload", "could not be removed: why"),
    ],
)
def test_what_is_proven_is_the_drivers(phase: str, words: str) -> None:
    events = [*PROGRAM, kinds.AgentError(phase, "why", ("WARNING: at a.c:1",))]
    with pytest.raises(errors.DriverError, match=words) as error:
        list(selftests.follow(events))
    assert error.value.klog == ("WARNING: at a.c:1",)


@pytest.mark.parametrize("phase", ["plug", "payload", "programs", "agent"])
def test_what_is_not_proven_is_the_labs(phase: str) -> None:
    with pytest.raises(errors.AgentError, match="why"):
        list(selftests.follow([*PROGRAM, kinds.AgentError(phase, "why")]))
