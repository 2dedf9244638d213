# SPDX-License-Identifier: GPL-2.0-only
"""The plugin, with tests of its own kind on a device without a kernel."""

import json
from pathlib import Path
from typing import Any

import pytest

from conformance import plugin
from conformance.events.reader import Result, parse
from conformance.kernel.log import Record
from conformance.plugin import options
from conformance.plugin.devices import DoorbellPlace, Place
from conformance.requirements import Requirement
from conformance.vfio import maps, sysfs
from conformance.vfio.device import Device

pytest_plugins = ["pytester"]

BDF = "0000:01:10.0"
PEER = "0000:01:10.2"
CATALOGUE = {
    "state.default": Requirement("state.default", "MUST", ("U",), "It runs."),
    "region.type": Requirement("region.type", "MUST", ("U",), "It has a region."),
    "state.arc-free.0-2": Requirement(
        "state.arc-free.0-2", "FREE", ("U",), "It may.", ("taken", "refused")
    ),
}
CONFTEST = """
import pytest
from conformance.plugin.devices import DEVICES
from conformance.tests.vfio.fake_device import FakeDevice

class FakeContainer:
    def close(self):
        pass

@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    devices = config.stash[DEVICES]
    devices.open_container = FakeContainer
    devices.open_device = FakeDevice.open
"""
NO_REGION = CONFTEST.replace(
    "FakeDevice.open\n",
    "no_region\n\ndef no_region(bdf, container, prefix=''):\n"
    "    device = FakeDevice(bdf, prefix=prefix)\n"
    "    device.defects.add('no region')\n    return device\n",
)
HEAD = """
import pytest
from conformance.plugin.checks import fail, expect_equal, expect_errno
from conformance.tests.plugin import test_plugin
rule = pytest.mark.rule
"""


class FakeLog:
    """Stands for the kernel log; a test puts lines into ``coming``."""

    coming: list[str] = []  # noqa: RUF012 - the test in the inner session reaches it here
    missing = ""

    def read(self) -> list[Record]:
        records = [Record(4, 1.0, text) for text in self.coming]
        self.coming.clear()
        return records

    def close(self) -> None:
        pass


class FakeTaint:
    """Stands for the taint flags; 12288 is what a module of ours gives."""

    flags = 12288

    def read(self) -> int:
        return self.flags

    def close(self) -> None:
        pass


class Inner:
    """Runs tests in a session of their own, and reads the events."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path / "events"
        pytester.makeconftest(CONFTEST)
        pytester.makeini("[pytest]\naddopts = --strict-markers\n")

    def run(self, source: str, *options: str, device: str = BDF) -> pytest.RunResult:
        self.pytester.makepyfile(test_it=HEAD + source)
        self.path.unlink(missing_ok=True)
        return self.pytester.runpytest_inprocess(
            "-p",
            "conformance.plugin",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:hypothesispytest",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",  # this file has imported the plugin
            f"--vfio-device={device}",
            f"--vfio-events={self.path}",
            *options,
        )

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text("utf-8").splitlines()]

    @property
    def results(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == "result"]


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


def test_the_events_of_a_good_run(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_state(migration):
    expect_equal(migration.state, 1, did="open")
""",
        "--vfio-seed=7",
        f"--vfio-peer={PEER}",
    )
    assert result.ret == 0
    session, start, outcome, finish = inner.events
    assert session["collected"] == 1
    assert session["tests"] == [{"id": start["id"], "rules": ["state.default"]}]
    assert session["device"] == {"bdf": BDF, "driver": "fake"}
    assert session["peer"]["bdf"] == PEER
    assert session["seed"] == 7
    assert start == {"event": "start", "id": "test_it.py::test_state", "rules": ["state.default"]}
    assert outcome.pop("duration") >= 0
    assert outcome == {
        "event": "result",
        "id": "test_it.py::test_state",
        "rules": ["state.default"],
        "outcome": "passed",
        "observed": {},
        "failure": None,
        "skip": None,
        "calls": [],
        "klog": [],
    }
    assert finish["status"] == 0


def test_the_report_takes_every_event(inner: Inner) -> None:
    inner.run(
        """
@rule("state.default")
def test_passes(migration): pass

@rule("state.default")
def test_fails(migration): fail(did="x", expected="y", actual="z")

@rule("state.default")
def test_breaks(migration): raise KeyError

@rule("state.default")
def test_skips(peer): pass

@rule("state.arc-free.0-2")
def test_observes(observe): observe("state.arc-free.0-2", "taken")
"""
    )
    parsed = [parse(event, number) for number, event in enumerate(inner.events)]
    outcomes = [event.outcome for event in parsed if isinstance(event, Result)]
    assert outcomes == ["passed", "failed", "failed", "skipped", "passed"]


def test_a_broken_rule(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_state(migration):
    migration.set_state(2)
    with expect_errno(16, did="write 3 (_RUNNING|_SAVING)"):
        migration.set_state(3)
"""
    )
    assert result.ret == 1
    (outcome,) = inner.results
    assert outcome["outcome"] == "failed"
    assert outcome["failure"]["rule"] == "state.default"
    assert outcome["failure"]["did"] == "write 3 (_RUNNING|_SAVING)"
    assert outcome["failure"]["expected"] == "EBUSY"
    assert outcome["failure"]["actual"] == "EINVAL"
    assert outcome["failure"]["where"].endswith("test_it.py:9")
    assert outcome["calls"] == [
        "device_state <- 2 (_SAVING) = ok",
        "device_state <- 3 (_RUNNING|_SAVING) = EINVAL",
    ]
    result.stdout.fnmatch_lines(["*VFIO calls*", "device_state <- 2 (_SAVING) = ok"])


def test_a_mistake_in_a_test_is_told_as_it_is(inner: Inner) -> None:
    inner.run("@rule('state.default')\ndef test_it(device):\n    raise KeyError('x')\n")
    (outcome,) = inner.results
    assert outcome["outcome"] == "failed"
    assert outcome["failure"]["rule"] is None
    assert outcome["failure"]["message"] == "KeyError: 'x'"


def test_after_a_failure_the_device_is_opened_anew(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_one(device, migration):
    assert device.opens == 1
    migration.set_state(2)

@rule("state.default")
def test_given_up(device, migration):
    assert device.resets == 0
    assert migration.state == 1
    migration.set_state(4)

@rule("state.default")
def test_two(device, migration):
    assert device.opens == 1
    assert device.resets == 1
    assert migration.state == 1
    raise ValueError

@rule("state.default")
def test_three(device):
    assert device.opens == 2
"""
    )
    assert result.parseoutcomes() == {"passed": 3, "failed": 1}


def test_what_a_test_leaves_behind_is_taken_away(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "_FILES", ("fake-device",))
    monkeypatch.setattr(maps, "_MARK", "fake-device")
    result = inner.run(
        """
import os
from conformance.vfio.children.children import fork_child
from conformance.vfio.maps import vmas

@rule("state.default")
def test_leaves_a_mapping(device):
    device.region(0).map()

@rule("state.default")
def test_leaves_a_child(device):
    assert (device.opens, vmas()) == (2, [])
    fork_child()

@rule("state.default")
def test_leaves_a_descriptor(device):
    assert device.opens == 3
    os.dup(device.fd)
    raise ValueError

@rule("state.default")
def test_finds_nothing(device):
    assert device.opens == 4
    names = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert sum("fake-device" in name for name in names) == 1
"""
    )
    assert result.parseoutcomes() == {"passed": 3, "failed": 1}


def test_a_device_that_cannot_be_brought_back(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_one(device):
    device.defects |= {"stuck", "opens resuming"}
    device.state = 4

@rule("state.default")
def test_two(device):
    pass

@rule("state.default")
def test_three(device):
    pass
"""
    )
    assert result.ret == 1
    one, two, three = inner.results
    assert one["outcome"] == "passed"
    assert two["outcome"] == "failed"
    assert two["failure"]["rule"] == "state.default"
    assert two["failure"]["actual"] == "4 (_RESUMING)"
    assert "VFIO" not in two["failure"]["message"]
    assert three["outcome"] == "skipped"
    assert three["skip"] == "the device cannot be brought to _RUNNING: 4 (_RESUMING)"


def test_a_state_that_cannot_be_read_is_for_the_tests_to_tell(inner: Inner) -> None:
    inner.run(
        """
@rule("state.default")
def test_one(device):
    device.defects.add("state unreadable")

@rule("state.default")
def test_two(device):
    pass
"""
    )
    assert [outcome["outcome"] for outcome in inner.results] == ["passed", "passed"]


def test_without_a_region(inner: Inner) -> None:
    inner.run(
        """
@rule("state.default")
def test_one(device):
    device.defects.add("no region")
    raise ValueError

@rule("state.default")
def test_two(migration):
    pass
"""
    )
    # The region was found before; a driver without one never gets that far.
    assert inner.results[1]["outcome"] == "passed"
    inner.pytester.makeconftest(NO_REGION)
    inner.run("@rule('state.default')\ndef test_two(migration):\n    pass\n")
    (outcome,) = inner.results
    assert outcome["outcome"] == "failed"
    assert outcome["failure"]["rule"] == "region.type"


def test_a_kernel_report_fails_the_test(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_one(device):
    test_plugin.FakeLog.coming += ["chatter", "WARNING: CPU: 0 PID: 1 at x.c:1", "Call Trace:"]

@rule("state.default")
def test_two(device):
    test_plugin.FakeLog.coming += ["chatter"]
"""
    )
    assert result.ret == 1
    one, two = inner.results
    assert one["outcome"] == "failed"
    assert one["failure"]["expected"] == "a silent kernel"
    assert one["failure"]["actual"] == "WARNING: CPU: 0 PID: 1 at x.c:1"
    assert one["klog"] == ["chatter", "WARNING: CPU: 0 PID: 1 at x.c:1", "Call Trace:"]
    assert two["outcome"] == "passed"
    assert two["klog"] == ["chatter"]


def test_a_report_while_a_fixture_ends_fails_the_test(inner: Inner) -> None:
    result = inner.run(
        """
@pytest.fixture
def late():
    yield
    test_plugin.FakeLog.coming.append("BUG: KASAN: slab-use-after-free")

@rule("state.default")
def test_one(late):
    pass
"""
    )
    assert result.ret == 1
    (outcome,) = inner.results
    assert outcome["outcome"] == "failed"
    assert outcome["failure"]["actual"] == "BUG: KASAN: slab-use-after-free"


def test_new_taint_fails_the_test_old_taint_does_not(inner: Inner) -> None:
    inner.run(
        """
@rule("state.default")
def test_one():
    test_plugin.FakeTaint.flags |= 1 << 9

@rule("state.default")
def test_two():
    pass
"""
    )
    one, two = inner.results
    assert one["failure"]["actual"] == "new taint: W, a warning"
    assert two["outcome"] == "passed"


def test_a_skip_has_its_reason(inner: Inner) -> None:
    source = "@rule('state.default')\ndef test_it(peer):\n    pass\n"
    result = inner.run(source)
    assert result.ret == 0
    (outcome,) = inner.results
    assert outcome["outcome"] == "skipped"
    assert outcome["skip"] == "this needs a second function of the same kind: give --vfio-peer BDF"


def test_no_skips(inner: Inner) -> None:
    source = "@rule('state.default')\ndef test_it(peer):\n    pass\n"
    result = inner.run(source, "--vfio-no-skips")
    assert result.ret == 1
    (outcome,) = inner.results
    assert outcome["outcome"] == "failed"
    assert outcome["failure"]["actual"].startswith("skipped: this needs a second function")


def test_outcomes_of_free_rules(inner: Inner) -> None:
    inner.run(
        """
@rule("state.arc-free.0-2")
def test_free(observe):
    observe("state.arc-free.0-2", "refused")

@rule("state.arc-free.0-2")
def test_unlisted(observe):
    observe("state.arc-free.0-2", "ignored")

@rule("state.default")
def test_not_free(observe):
    observe("state.default", "taken")
"""
    )
    free, unlisted, not_free = inner.results
    assert free["observed"] == {"state.arc-free.0-2": "refused"}
    assert unlisted["failure"]["expected"] == "taken or refused"
    assert not_free["failure"]["expected"] == "no outcome: the rule is not FREE"


def test_rules_must_be_known_and_named(inner: Inner) -> None:
    result = inner.run(
        """
def test_without():
    pass

@rule("state.typo")
def test_unknown():
    pass
"""
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*test_it.py::test_without names no rule: give it @pytest.mark.rule(ID)",
            "*test_it.py::test_unknown names 'state.typo', which is not in the catalogue",
        ]
    )
    assert [event["event"] for event in inner.events] == ["finish"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--vfio-device=01:10.0"], "'01:10.0' is neither a PCI address"),
        (["--vfio-peer=non,sense"], "--vfio-peer: 'non,sense' is neither"),
        (["--vfio-scratch=0:0x800"], "is not BAR:OFFSET:MASK"),
        (["--vfio-scratch=7:0:1"], "from 0 to 5"),
        (["--vfio-scratch=0:2:1"], "multiple of 4"),
        (["--vfio-scratch=0:4:0"], "32 bits"),
        (["--vfio-doorbell=0:0x1000"], "is not BAR:OFFSET:ADDRESS"),
        (["--vfio-doorbell=0:0x1000:2"], "multiple of 4"),
        (["--vfio-volatile=0"], "--vfio-volatile: '0' is not BAR:OFFSET"),
        ([f"--vfio-peer={BDF}"], "the same function as --vfio-device"),
    ],
)
def test_bad_options(inner: Inner, options: list[str], words: str) -> None:
    result = inner.run("@rule('state.default')\ndef test_it(): pass\n", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{words.replace('[', '[[]')}*"])


def test_a_device_is_needed(inner: Inner) -> None:
    result = inner.run("@rule('state.default')\ndef test_it(): pass\n", device="")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--vfio-device BDF is needed*"])


def test_collecting_needs_no_device(inner: Inner) -> None:
    source = "@rule('state.default')\ndef test_it(): pass\n"
    result = inner.run(source, "--collect-only", "-q", device="")
    assert result.ret == 0


def test_a_device_as_it_is_that_offers_nothing(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysfs, "driver", lambda _bdf: "vfio-pci")
    inner.pytester.makeconftest(NO_REGION)
    source = "@rule('state.default')\ndef test_it(migration): pass\n"
    result = inner.run(source, "--vfio-as-is")
    assert result.ret == 0
    assert result.parseoutcomes() == {"skipped": 1}
    reason = f"{BDF}, bound to vfio-pci: it offers no migration at all: no migration region"
    assert inner.events[0]["lacking"] == reason
    (outcome,) = inner.results
    assert outcome["skip"] == f"not applicable: {reason}"


def test_the_later_protocol_is_named(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysfs, "driver", lambda _bdf: "mlx5-vfio-pci")
    monkeypatch.setattr(Device, "migration_feature", lambda _device: 0b1101)
    inner.pytester.makeconftest(NO_REGION)
    inner.run("@rule('state.default')\ndef test_it(migration): pass\n", "--vfio-as-is")
    assert (
        "VFIO_DEVICE_FEATURE_MIGRATION (STOP_COPY | PRE_COPY | 0x8)" in inner.events[0]["lacking"]
    )


def test_a_device_as_it_is_that_offers_the_region(inner: Inner) -> None:
    result = inner.run("@rule('state.default')\ndef test_it(migration): pass\n", "--vfio-as-is")
    assert result.parseoutcomes() == {"passed": 1}
    assert inner.events[0]["lacking"] == ""


def test_a_device_as_it_is_that_cannot_be_opened(inner: Inner) -> None:
    inner.pytester.makeconftest(
        CONFTEST.replace(
            "FakeDevice.open\n",
            "refuse\n\ndef refuse(*_, **__):\n    raise PermissionError(1, 'no')\n",
        )
    )
    result = inner.run("@rule('state.default')\ndef test_it(device): pass\n", "--vfio-as-is")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{BDF} cannot be opened*interrupt remapping*"])


def test_volatile_is_read_and_told(inner: Inner) -> None:
    assert options.read_volatile("0:0x800") == Place(0, 0x800, 0xFFFFFFFF)
    assert options.read_volatile("3:4:0xff") == Place(3, 4, 0xFF)
    source = "@rule('state.default')\ndef test_it(volatile): assert len(volatile) == 2\n"
    result = inner.run(source, "--vfio-volatile=0:0x800", "--vfio-volatile=3:4:0xff")
    assert result.parseoutcomes() == {"passed": 1}
    assert inner.events[0]["volatile"] == ["0:0x800:0xffffffff", "3:0x4:0xff"]


def test_doorbell_is_read() -> None:
    assert options.read_doorbell("0:0x1000:0x2000") == DoorbellPlace(0, 0x1000, 0x2000)


def test_scratch_is_read() -> None:
    assert options.read_scratch("0:0x800:0xff") == Place(0, 0x800, 0xFF)


def test_scratch_registers_get_their_values_back(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_one(scratch, device):
    device.region(0).write_int(8, 0x11)
    (place,) = scratch
    place.write(0xff22)
    assert place.read() == 0x22
    assert device.region(0).read_int(8) == 0x22

@rule("state.default")
def test_two(scratch, device):
    assert device.region(0).read_int(8) == 0
""",
        "--vfio-scratch=0:8:0xff",
    )
    assert result.parseoutcomes() == {"passed": 2}


def test_the_other_fixtures(inner: Inner) -> None:
    result = inner.run(
        """
import random

@rule("state.default")
def test_regions(mappable_regions, saving_regions, conflicting_regions, container):
    assert [r.index for r in mappable_regions] == [0]
    assert [r.index for r in saving_regions] == [0]
    assert [r.index for r in conflicting_regions] == [0]

@rule("state.default")
def test_sides(source, destination):
    destination.vmm().load(source.vmm().save())
    assert destination.migration.state == 1
    assert source.client().migration.state == 0

@rule("state.default")
def test_helpers(enter, vmm, client, rng, seed):
    assert enter(2).state == 2
    assert seed == 7
    assert rng.random() == random.Random("7 test_helpers").random()

@rule("state.default")
def test_child(child):
    assert child().call(abs, -1) == 1
""",
        f"--vfio-peer={PEER}",
        "--vfio-seed=7",
    )
    assert result.parseoutcomes() == {"passed": 4}


def test_events_go_to_nowhere_without_a_path(inner: Inner) -> None:
    inner.pytester.makepyfile(test_it=HEAD + "@rule('state.default')\ndef test_it(): pass\n")
    result = inner.pytester.runpytest_inprocess("-p", "conformance.plugin", f"--vfio-device={BDF}")
    assert result.ret == 0
    assert not Path(inner.path).exists()
