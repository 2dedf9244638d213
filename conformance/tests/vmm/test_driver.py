# SPDX-License-Identifier: GPL-2.0-only
"""How another version of the driver takes its place, on a sysfs of plain files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conformance.vmm.inside.driver import Driver


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return what is run, each with what was unbound by then."""
    found = []

    def run(argv: list[object], *, check: bool) -> None:
        assert check
        unbound = sorted(path.read_text() for path in tmp_path.glob("bus/*/drivers/*/unbind"))
        found.append([*(str(word) for word in argv), *unbound])

    monkeypatch.setattr(subprocess, "run", run)
    return found


def functions(root: Path, bus: str, *names: str) -> list[Path]:
    """Make functions that a driver of the module `m` is bound to."""
    driver = root / "bus" / bus / "drivers/d"
    driver.mkdir(parents=True)
    (root / "module/m").mkdir(parents=True)
    (driver / "module").symlink_to(root / "module/m")
    found = [root / "devices" / name for name in names]
    for folder in found:
        folder.mkdir(parents=True)
        (folder / "driver").symlink_to(driver)
    return found


def test_functions_of_pci_are_bound_anew(tmp_path: Path, runs: list[list[str]]) -> None:
    found = functions(tmp_path, "pci", "0000:01:10.0")
    files = tmp_path / "d.ko", tmp_path / "o.ko"
    probe = tmp_path / "bus/pci/drivers_probe"
    with Driver(found, *files, ["x=1"], tmp_path / "bus/pci").replaced():
        assert runs == [
            ["rmmod", "m", "0000:01:10.0"],
            ["insmod", str(files[1]), "x=1", "0000:01:10.0"],
        ]
        assert probe.read_text() == "0000:01:10.0"
    assert [run[:2] for run in runs[2:]] == [["rmmod", "m"], ["insmod", str(files[0])]]


def test_what_the_driver_does_not_take_is_said(tmp_path: Path, runs: list[list[str]]) -> None:
    (folder,) = functions(tmp_path, "pci", "0000:01:10.0")
    driver = Driver([folder], tmp_path / "d.ko", tmp_path / "o.ko", (), tmp_path / "bus/pci")
    target = (folder / "driver").resolve()

    def lose(argv: list[object], *, check: bool) -> None:
        assert check
        runs.append([str(argv[0])])
        (folder / "driver").unlink(missing_ok=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", lose)
        with pytest.raises(OSError, match=r"o\.ko does not take 0000:01:10\.0"):
            driver._put(driver.other)
    assert (target / "unbind").read_text() == "0000:01:10.0"


def test_software_devices_come_with_their_driver(tmp_path: Path, runs: list[list[str]]) -> None:
    found = functions(tmp_path, "platform", "e.0", "e.1")
    driver = Driver(found, tmp_path / "d.ko", tmp_path / "o.ko", (), tmp_path / "bus/pci")
    with pytest.raises(KeyError), driver.replaced():
        raise KeyError  # the right one comes back all the same
    assert [run[0] for run in runs] == ["rmmod", "insmod"] * 2
    assert runs[-1] == ["insmod", str(tmp_path / "d.ko")]
