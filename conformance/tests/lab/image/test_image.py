# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of an image that cannot be made, with a program that plays mmdebstrap."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from conformance.errors import ImageError
from conformance.lab.image import definitions, image
from conformance.lab.image.definitions import ImageDefinition
from conformance.running import locked, paths
from conformance.running.steps import Steps
from kpatch.tools import programs

NO_NETWORK = (
    "I: running apt-get update...\n"
    "W: Failed to fetch dists/trixie/InRelease  Temporary failure resolving\n"
    "E: apt-get update failed"
)
NO_SPACE = (
    "tar: ./usr/lib/libpython3.13.so: Wrote only 4096 of 10240 bytes: No space left on device"
)


@pytest.fixture
def trixie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageDefinition:
    """Return the definition; the cache is empty and the network is never used."""
    monkeypatch.setenv("VFIO_KIT_CACHE", str(tmp_path / "cache"))
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for program in ("sh", "tar", "sleep", "cat"):
        (bin_ / program).symlink_to(shutil.which(program) or program)
    monkeypatch.setenv("PATH", str(bin_))
    return definitions.image("trixie")


def play(tmp_path: Path, script: str) -> None:
    """Put a program in PATH that plays mmdebstrap."""
    program = tmp_path / "bin/mmdebstrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def failure(definition: ImageDefinition) -> ImageError:
    with pytest.raises(ImageError) as caught:
        image.provide(definition, Steps(lambda _: None))
    assert caught.value.exit_code == 4
    left = [path.name for path in (paths.cache() / "images").iterdir()]
    assert [name for name in left if not name.endswith(".lock")] == []
    return caught.value


def test_no_network_is_reported_with_the_log_and_a_hint(
    trixie: ImageDefinition, tmp_path: Path
) -> None:
    play(tmp_path, f"cat <<'X' >&2\n{NO_NETWORK}\nX\nexit 25")
    said = str(failure(trixie))
    assert "apt-get update failed" in said
    assert "It needs network access" in said
    assert str(paths.logs() / "image-trixie.log") in said


def test_user_without_subordinate_ids_is_reported_what_to_do(
    trixie: ImageDefinition, tmp_path: Path
) -> None:
    play(tmp_path, "echo 'E: unable to pick chroot mode automatically' >&2; exit 25")
    assert "uidmap" in str(failure(trixie))


def test_full_disk_while_it_is_made_is_reported(trixie: ImageDefinition, tmp_path: Path) -> None:
    play(tmp_path, f"echo '{NO_SPACE}' >&2; exit 1")
    assert "No space left on device" in str(failure(trixie))


def test_full_disk_is_reported_before_it_is_made(
    trixie: ImageDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(tmp_path, "echo must not run; exit 99")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 100 << 20))
    said = str(failure(trixie))
    assert "100 MiB are free" in said
    assert "VFIO_KIT_CACHE" in said


def test_cache_that_cannot_be_written_is_reported(
    trixie: ImageDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VFIO_KIT_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(ImageError, match="Not a directory"):
        image.provide(trixie, Steps(lambda _: None))


def test_missing_mmdebstrap_is_reported_with_its_package(trixie: ImageDefinition) -> None:
    assert "Install the Debian package mmdebstrap" in str(failure(trixie))


def test_archive_that_is_none_is_reported(trixie: ImageDefinition, tmp_path: Path) -> None:
    play(tmp_path, 'for last; do :; done; echo garbage >"$last"')
    assert "tar" in str(failure(trixie))


def test_progress_is_shown(trixie: ImageDefinition, tmp_path: Path) -> None:
    play(tmp_path, "echo 'I: extracting archives...' >&2; echo 'other' >&2; exit 1")
    said: list[str] = []
    with pytest.raises(ImageError):
        image.provide(trixie, Steps(said.append))
    assert "  extracting archives..." in said
    assert not any("other" in line for line in said)


def test_interrupted_build_is_cleaned_and_nothing_runs_on(
    trixie: ImageDefinition, tmp_path: Path
) -> None:
    play(tmp_path, 'for last; do :; done; echo part >"$last"; echo $$ >"$0.pid"; sleep 60')
    command = [sys.executable, "-m", "conformance", "image", trixie.name]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=paths.KIT) as process:
        pid = tmp_path / "bin/mmdebstrap.pid"
        deadline = time.monotonic() + 20
        while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 130
    assert b"nothing is left running" in said
    assert not Path("/proc", pid.read_text().strip()).exists()
    assert not [path for path in (paths.cache() / "images").iterdir() if path.is_dir()]


def test_what_a_killed_build_left_goes_with_the_next(
    trixie: ImageDefinition, tmp_path: Path
) -> None:
    old = paths.cache() / "images" / f".part-1-{image.place(trixie).name}"
    (old / "root").mkdir(parents=True)
    play(tmp_path, "exit 1")
    failure(trixie)
    assert not old.exists()


def test_image_that_is_there_is_used_again(trixie: ImageDefinition) -> None:
    folder = image.place(trixie)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"kernel": "6.12"}')
    assert image.provide(trixie, Steps(lambda _: None)).release == "6.12"


def test_image_without_manifest_is_not_used(trixie: ImageDefinition, tmp_path: Path) -> None:
    image.place(trixie).mkdir(parents=True)
    play(tmp_path, "exit 1")
    with pytest.raises(ImageError):
        image.provide(trixie, Steps(lambda _: None))


def test_hash_follows_what_goes_in(trixie: ImageDefinition) -> None:
    other = trixie.model_copy(update={"packages": (*trixie.packages, "nano")})
    assert image.key(other) != image.key(trixie)


def test_hash_does_not_follow_what_does_not_go_in(trixie: ImageDefinition) -> None:
    other = trixie.model_copy(update={"summary": "Other words", "cmdline": ("nokaslr",)})
    assert image.key(other) == image.key(trixie)


def test_hash_follows_the_changes_to_python_kmod(
    trixie: ImageDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = image.key(trixie)
    shutil.copytree(paths.DATA / "kmod", tmp_path / "kmod")
    with (tmp_path / "kmod/build.sh").open("a") as file:
        file.write("# changed\n")
    monkeypatch.setattr(paths, "DATA", tmp_path)
    assert image.key(trixie) != before


def test_mirrors_are_left_to_the_host(trixie: ImageDefinition) -> None:
    argv = image.mmdebstrap_argv(trixie, Path("/t/root.tar"))
    assert argv[-2:] == ["trixie", "/t/root.tar"]
    assert not any("://" in word for word in argv)


def test_backports_come_after_the_rest(trixie: ImageDefinition) -> None:
    update = {"backports": (trixie.kernel, trixie.headers)}
    argv = image.mmdebstrap_argv(trixie.model_copy(update=update), Path("/t/root.tar"))
    include = next(word for word in argv if word.startswith("--include="))
    assert str(trixie.kernel) not in include
    hooks = [word for word in argv if word.startswith("--customize-hook=")]
    assert "trixie-backports" in hooks[0]
    assert hooks[-1].endswith(f"trixie-backports {trixie.headers} {trixie.kernel}")


def test_dry_run_prints_commands_and_makes_nothing(trixie: ImageDefinition) -> None:
    said: list[str] = []
    with programs.dry_run(said.append):
        image.provide(trixie, Steps(said.append))
    assert any(" mmdebstrap " in line for line in said)
    assert any("mkfs.erofs" in line for line in said)
    assert not paths.cache().exists()


def test_prune_keeps_what_is_current(trixie: ImageDefinition) -> None:
    keep, old = image.place(trixie), image.place(trixie).with_name("trixie-000000000000")
    for folder in (keep, old):
        (folder / "root").mkdir(parents=True)
    assert list(image.prune([trixie])) == [old]
    assert keep.exists()
    assert not old.exists()


def test_two_builders_wait_for_each_other(tmp_path: Path) -> None:
    waited: list[str] = []
    with locked.lock(tmp_path / "lock"):
        script = (
            "import sys; from pathlib import Path; from conformance.running import locked\n"
            "with locked.lock(Path(sys.argv[1]), lambda: print('waiting', flush=True)):\n"
            "    print('mine', flush=True)\n"
        )
        command = [sys.executable, "-c", script, str(tmp_path / "lock")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=paths.KIT)
        assert process.stdout
        waited.append(process.stdout.readline())
    waited.append(process.stdout.readline())
    process.wait(10)
    process.stdout.close()
    assert waited == ["waiting\n", "mine\n"]


def test_folder_that_fails_does_not_appear(tmp_path: Path) -> None:
    def fail() -> None:
        with locked.whole_folder(tmp_path / "folder") as part:
            (part / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove everything")
def test_folder_that_its_owner_cannot_write_is_removed(tmp_path: Path) -> None:
    (tmp_path / "root/shut").mkdir(parents=True)
    (tmp_path / "root/shut/file").write_text("")
    (tmp_path / "root/shut").chmod(0)
    locked.remove(tmp_path / "root")
    assert not (tmp_path / "root").exists()
