# SPDX-License-Identifier: GPL-2.0-only
"""The options of the plugin, and a device judged as it is bound."""

import pytest

from conformance.plugin import options
from conformance.plugin.declared import DoorbellPlace, KickPlace, Place, TriggerPlace, Write
from conformance.tests.plugin.inner import BDF, CONFTEST, NO_REGION, Inner
from conformance.vfio.device import Device
from conformance.vfio.system import sysfs

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--vfio-device=01:10.0"], "'01:10.0' is neither a PCI address"),
        (["--vfio-peer=non,sense"], "--vfio-peer: 'non,sense' is neither"),
        (["--vfio-scratch=0:0x800"], "is not BAR:OFFSET:MASK"),
        (["--vfio-scratch=7:0:1"], "from 0 to 5"),
        (["--vfio-scratch=0:2:1"], "multiple of 4"),
        (["--vfio-scratch=0:4:0"], "0x1 to 0xffffffff"),
        (["--vfio-doorbell=0:0x1000"], "is not BAR:OFFSET:ADDRESS"),
        (["--vfio-doorbell=0:0x1000:2"], "multiple of 4"),
        (["--vfio-enable=0:0x800"], "is not BAR:OFFSET:MASK"),
        (["--vfio-kick=0:0x1000"], "is not BAR:OFFSET:MOVES"),
        (["--vfio-kick=0:0x1000:3"], "multiple of 4"),
        (["--vfio-trigger=0:0x3800:0x5"], "is not VECTOR,BAR:OFFSET:VALUE"),
        (["--vfio-trigger=1"], "is not VECTOR,BAR:OFFSET:VALUE"),
        (["--vfio-trigger=1,0:0x3800"], "is not BAR:OFFSET:VALUE"),
        (["--vfio-trigger=1,0:0:0x100000000"], "32 bits"),
        (["--vfio-busy=0:0x6400"], "is not BAR:OFFSET:VALUE"),
        (["--vfio-busy=0:2:1"], "multiple of 4"),
        (["--vfio-volatile=0"], "--vfio-volatile: '0' is not BAR:OFFSET"),
        ([f"--vfio-peer={BDF}"], "the same function as --vfio-device"),
        (["--vfio-walks=0"], "--vfio-walks: not a number from 1 on"),
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
    reason = (
        f"{BDF}, bound to vfio-pci: it offers no migration: no migration region, no "
        "VFIO_DEVICE_FEATURE_MIGRATION"
    )
    assert inner.events[0]["lacking"] == reason
    (outcome,) = inner.results
    assert outcome["skip"] == f"not applicable: {reason}"


def test_the_later_protocol_is_named(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysfs, "driver", lambda _bdf: "mlx5-vfio-pci")
    monkeypatch.setattr(Device, "migration_feature", lambda _device: 0b1101)
    inner.pytester.makeconftest(NO_REGION)
    source = "@rule('state.default')\ndef test_it(migration): pass\n"
    inner.run(source, "--vfio-as-is", "--vfio-protocol=1")
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


def test_what_is_fatal_is_reported(inner: Inner) -> None:
    source = "@rule('state.default')\ndef test_it(): pass\n"
    assert inner.run(source, "--vfio-fatal=stale-write").ret == 0
    assert inner.events[0]["fatal"] == ["stale-write"]


def test_volatile_is_read_and_reported(inner: Inner) -> None:
    assert options.read_volatile("0:0x800") == Place(0, 0x800, 0xFFFFFFFF)
    assert options.read_volatile("3:4:0xff") == Place(3, 4, 0xFF)
    source = "@rule('state.default')\ndef test_it(volatile): assert len(volatile) == 2\n"
    result = inner.run(source, "--vfio-volatile=0:0x800", "--vfio-volatile=3:4:0xff")
    assert result.parseoutcomes() == {"passed": 1}
    assert inner.events[0]["volatile"] == ["0:0x800:0xffffffff", "3:0x4:0xff"]


def test_doorbell_is_read() -> None:
    assert options.read_doorbell("0:0x1000:0x2000") == DoorbellPlace(0, 0x1000, 0x2000)


def test_kick_and_trigger_are_read() -> None:
    assert options.read_kick("0:0x8400:0x6400") == KickPlace(0, 0x8400, 0x6400)
    writes = (Write(0, 0x1524, 1), Write(0, 0x1520, 1))
    assert options.read_trigger("2,0:0x1524:1,0:0x1520:1") == TriggerPlace(2, writes)


def test_scratch_is_read() -> None:
    assert options.read_scratch("0:0x800:0xff") == Place(0, 0x800, 0xFF)
