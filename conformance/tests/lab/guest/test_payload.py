# SPDX-License-Identifier: GPL-2.0-only
"""What goes onto the payload disk, and where runs leave their results."""

from __future__ import annotations

import json
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conformance.errors import PayloadError, UsageError
from conformance.lab.guest import payload
from conformance.lab.guest.payload import Job
from conformance.lab.machine.argv import PAYLOAD_SIZE
from conformance.running import paths, selection
from conformance.running.steps import Steps

JOB = Job("igb_vf_vfio_pci", [], ["--vfio-scratch", "0:4:1"], ["suite"], ["-k", "state"], 30)


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    folder = tmp_path / "kit/conformance"
    folder.mkdir(parents=True)
    (folder / "plugin.py").write_text("pass\n")
    os.utime(folder / "plugin.py", (1_700_000_000.7, 1_700_000_000.7))
    return tmp_path / "kit"


def test_disk_is_an_archive_of_fixed_size(kit: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    payload.write(disk, JOB, kit, None)
    assert disk.stat().st_size == PAYLOAD_SIZE
    assert disk.stat().st_blocks * 512 < 1 << 20
    with tarfile.open(disk, "r|") as tar:
        names = [entry.name for entry in tar]
    assert names == ["job.json", "kit", "kit/conformance", "kit/conformance/plugin.py"]


def test_job_comes_first_and_is_whole(kit: Path, tmp_path: Path) -> None:
    payload.write(tmp_path / "disk", JOB, kit, None)
    with tarfile.open(tmp_path / "disk") as tar:
        file = tar.extractfile("job.json")
        assert file
        job = json.loads(file.read())
    assert job["module"] == "igb_vf_vfio_pci"
    assert job["pytest_args"] == ["-k", "state"]
    assert job["quiet"] == 30


def test_files_belong_to_root_and_keep_their_time(kit: Path, tmp_path: Path) -> None:
    payload.write(tmp_path / "disk", JOB, kit, None)
    with tarfile.open(tmp_path / "disk") as tar:
        entry = tar.getmember("kit/conformance/plugin.py")
    assert (entry.uid, entry.gid, entry.uname) == (0, 0, "")
    assert entry.mtime == 1_700_000_000  # what Python compares its compiled files with


def test_payload_that_does_not_fit_is_reported(
    kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload, "PAYLOAD_SIZE", 1024)
    with pytest.raises(PayloadError, match="strip --strip-debug"):
        payload.write(tmp_path / "disk", JOB, kit, None)


def test_guest_gets_the_suite_and_not_the_lab() -> None:
    found = {str(path) for path in payload.kit_files(paths.KIT)}
    assert {
        "conformance/plugin/__init__.py",
        "conformance/requirements/v1.toml",
        "pyproject.toml",
    } <= found
    assert any(path.startswith("conformance/suite/v1/test_") for path in found)
    assert any(path.startswith("conformance/uapi/") for path in found)
    assert "conformance/bench/measure/__main__.py" in found
    assert "conformance/__main__.py" not in found
    assert not any(path.startswith(("conformance/lab", "conformance/tests")) for path in found)
    assert not any(path.endswith(".pyc") for path in found)


def test_results_are_named_for_time_device_and_image(tmp_path: Path) -> None:
    now = datetime(2026, 11, 23, 9, 5, 7, tzinfo=UTC)
    first = paths.new_results(tmp_path / "results", "igb-vf", "trixie", now)
    second = paths.new_results(tmp_path / "results", "igb-vf", "trixie", now)
    assert first.name == "20261123T090507Z-igb-vf-trixie"
    assert second.name == f"{first.name}-2"
    assert (tmp_path / "results/latest").resolve() == second


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_folder_that_cannot_take_results(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    for make in (paths.results, lambda folder: paths.new_results(folder, "igb-vf", "trixie")):
        with pytest.raises(UsageError, match=r"cannot take results: .* Name another one with -o"):
            make(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VFIO_KIT_CACHE", "/a")
    assert paths.cache() == Path("/a")
    monkeypatch.delenv("VFIO_KIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert paths.cache() == Path("/b/vfio-migration-kit")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert paths.cache() == Path("/c/.cache/vfio-migration-kit")


def test_times_of_a_step_add_up_and_survive_its_failure() -> None:
    ticks = iter([0.0, 1.0, 5.0, 7.0])
    steps = Steps(lambda _: None, clock=lambda: next(ticks))
    with steps.step("build"):
        pass
    with pytest.raises(ValueError, match="x"), steps.step("build"):
        raise ValueError("x")
    assert steps.times == {"build": 3.0}


def test_rules_select_tests() -> None:
    tests = selection.of_rules(["region.type"])
    assert tests
    assert all(test.startswith("conformance/suite/") for test in tests)
    assert set(tests) < set(selection.of_rules(["region"]))


def test_unknown_rule_is_reported() -> None:
    with pytest.raises(UsageError, match=r"There is no rule 'regoin'"):
        selection.of_rules(["regoin"])
