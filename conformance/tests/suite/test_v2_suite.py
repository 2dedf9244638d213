# SPDX-License-Identifier: GPL-2.0-only
"""The tests of version 2 on a device in user space: a good one passes, faulty ones are caught."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SUITE = ROOT / "conformance" / "suite" / "v2"
PLUGIN = """
import pytest

from conformance import plugin
from conformance.plugin.devices import DEVICES
from conformance.tests.vfio import fake_cdev
from conformance.tests.vfio.fake_v2 import FakeV2

from conformance.vfio import cdev
from conformance.vfio.iommu import iommufd
from conformance.vfio.system import compat32

compat32.missing = lambda: "the device is not the kernel's"
cdev.lacking = lambda bdf: {lacking!r}
cdev.path = lambda bdf: None
cdev.Cdev, iommufd.Iommufd = fake_cdev.FakeCdev, fake_cdev.FakeIommufd
fake_cdev.DEFECTS |= {defects!r}
plugin._identity = lambda bdf: {{"bdf": bdf, "driver": "fake"}} if bdf else None


def open_it(bdf, container, *, prefix=""):
    device = FakeV2.open(bdf, container, prefix=prefix)
    device.defects |= {defects!r}
    return device


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    devices = config.stash[DEVICES]
    devices.open_container = fake_cdev.FakeMaps
    devices.open_device = open_it
"""
#: What a pipe in the place of a data_fd, a file in that of regions, or a device without a group,
#: cannot do.
CANNOT = (
    "not poll and not descriptors and not stays and not close_ends and not racing "
    "and not have_an_end"
)


def outcomes(
    tmp_path: Path, *files: str, defects: tuple[str, ...] = (), lacking: str = ""
) -> Mapping[str, str]:
    """Run test files on the device; return the outcome of each test.

    ``lacking`` is what keeps the device from being opened by a file of its own.
    """
    (tmp_path / "on_fake.py").write_text(PLUGIN.format(defects=set(defects), lacking=lacking))
    events = tmp_path / "events"
    arguments = ["-q", "-p", "conformance.plugin", "-p", "on_fake", "-p", "no:cacheprovider"]
    arguments += ["--vfio-device=0000:01:10.0", f"--vfio-events={events}", "-k", CANNOT]
    arguments += ["--vfio-scratch=0:8:0xff", "--vfio-scratch=0:16:0xffffffff"]
    arguments += ["--vfio-seed=1", "--vfio-walks=60"]  # what is found must not depend on chance
    paths = [str(SUITE / name) for name in files]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, *paths],
        cwd=ROOT,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    return {line["id"]: line["outcome"] for line in lines if line["event"] == "result"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "test_feature.py",
        "states/test_fsm.py",
        "stream/test_data.py",
        "states/test_errors.py",
        "dma/test_iommu.py",
        "stream/test_load.py",
        "walks/test_walk2.py",
    ],
)
def test_a_good_device_passes(tmp_path: Path, name: str) -> None:
    shown = outcomes(tmp_path, name)
    assert [test for test, outcome in shown.items() if outcome in ("failed", "error")] == []
    assert list(shown.values()).count("passed") >= (1 if "walk" in name else 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("defect", "name"),
    [
        ("a dead session gives data", "stream/test_data.py"),
        ("reset keeps the session", "states/test_life.py"),
        ("no checksum", "stream/test_load.py"),
        ("shows its steps", "states/test_fsm.py"),
        ("forgets to refuse", "states/test_fsm.py"),
        ("new session for the same state", "states/test_fsm.py"),
        ("half a load runs", "stream/test_load.py"),
        ("unknown flags pass", "test_feature.py"),
        ("half a load runs", "walks/test_walk2.py"),
        ("forgets to refuse", "walks/test_walk2.py"),
        ("works unbound", "dma/test_iommu.py"),
        ("no P2P under an iommufd", "dma/test_iommu.py"),
        ("no size under an iommufd", "dma/test_iommu.py"),
        ("attach starts the device", "dma/test_iommu.py"),
        ("reset unmaps", "dma/test_iommu.py"),
        ("starts stopped", "dma/test_iommu.py"),
    ],
)
def test_a_faulty_device_is_caught(tmp_path: Path, defect: str, name: str) -> None:
    shown = outcomes(tmp_path, name, defects=(defect,))
    assert "failed" in shown.values()


@pytest.mark.slow
def test_without_iommufd_its_tests_are_not_applicable(tmp_path: Path) -> None:
    shown = outcomes(tmp_path, "dma/test_iommu.py", lacking="this kernel has no IOMMUFD")
    by_iommu = {outcome for test, outcome in shown.items() if "container" not in test}
    assert by_iommu == {"not-applicable"}
    assert [test for test, outcome in shown.items() if outcome == "passed"]
