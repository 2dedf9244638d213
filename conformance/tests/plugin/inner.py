# SPDX-License-Identifier: GPL-2.0-only
"""Runs tests in an inner session of the plugin, on a device without a kernel."""

import json
from typing import Any

import pytest

from conformance.kernel.log import Record
from conformance.requirements import Requirement

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
from conformance.tests.plugin import inner as fakes
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
            "-p",
            "no:unraisableexception",  # it collects garbage five times at the end of each session
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
