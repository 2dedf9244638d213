# SPDX-License-Identifier: GPL-2.0-only
"""Commands run inside an image's root, the same for root and for everybody else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from kpatch.errors import ProgramMissing
from kpatch.tools import programs
from kpatch.tools.sandbox import Sandbox

needs_bwrap = pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")

NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root whose programs are those of this host, with a /home as in an image."""
    root = tmp_path / "root"
    for name in ("usr", "etc", "home", "opt/tool", "proc", "dev", "tmp", "sys"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        host = Path("/") / name
        if host.is_symlink():
            (root / name).symlink_to(host.readlink())
    (root / "etc" / "image").write_text("mine\n")
    (root / "opt" / "tool" / "file").write_text("kept\n")
    return root


def shell(root: Path, script: str, **options: object) -> str:
    """Output of a script inside the root; its /usr is the host's."""
    argv = Sandbox(root).argv(["sh", "-c", script], **options)  # type: ignore[arg-type]
    usr = argv.index(str(root / "usr"))
    argv[usr] = "/usr"
    return programs.run(argv, timeout=20).stdout


@needs_bwrap
def test_command_sees_the_root_read_only(root: Path) -> None:
    assert shell(root, "cat /etc/image; touch /etc/x /x 2>/dev/null || echo refused") == (
        "mine\nrefused\n"
    )


@needs_bwrap
def test_command_is_user_0_with_new_proc_dev_and_tmp(root: Path) -> None:
    script = "id -u; id -g; test $$ -lt 10; echo $?; echo >/dev/null; touch /tmp/a; ls /tmp; pwd"
    assert shell(root, script) == "0\n0\n0\na\n/\n"


@needs_bwrap
def test_binds_where_the_root_has_no_such_directory(root: Path, tmp_path: Path) -> None:
    """In a missing top directory, in an empty one, and below one that has other contents."""
    out = tmp_path / "out"
    out.mkdir()
    assert shell(root, f"echo x >{out}/file; cat {out}/file", bind=[out], cwd=out) == "x\n"
    assert (out / "file").read_text() == "x\n"


@needs_bwrap
def test_a_folder_at_another_place(root: Path, tmp_path: Path) -> None:
    place = Path("/run/kit/here")
    script = f"echo x >{place}/file; ls /run; touch /run/y; pwd"
    assert shell(root, script, at={place: tmp_path}, cwd=place) == f"kit\n{place}\n"
    assert (tmp_path / "file").read_text() == "x\n"


@pytest.mark.parametrize("where", ["work/a/b", "home/user/kit", "opt/other", "opt/tool/deep/er"])
def test_mount_point_below_a_read_only_entry_is_built_anew(root: Path, where: str) -> None:
    target = Path("/") / where
    argv = Sandbox(root).argv(["true"], ro_bind=[target])
    at = argv.index(str(target))
    assert argv[at - 1 : at + 2] == ["--ro-bind", str(target), str(target)]
    mounted = {
        Path(argv[i + 2]) for i, option in enumerate(argv) if option == "--ro-bind" and i != at - 1
    }
    assert not mounted & set(target.parents)
    if where.startswith("opt/tool"):
        assert Path("/opt/tool/file") in mounted


def test_a_bind_inside_a_bind_comes_after_it(root: Path) -> None:
    inner, outer = Path("/work/a/b"), Path("/work/a")
    argv = Sandbox(root).argv(["true"], bind=[inner], ro_bind=[outer])
    assert argv.index(str(outer)) < argv.index(str(inner))


@needs_bwrap
def test_read_only_bind(root: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    assert shell(root, f"touch {data}/x 2>/dev/null || echo no", ro_bind=[data]) == "no\n"


@needs_bwrap
def test_environment_is_ours_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "1")
    assert shell(root, "echo $LEAK$HOME$LC_ALL$MORE", env={"MORE": "!"}) == "/rootC.UTF-8!\n"


@needs_bwrap
def test_root_keeps_no_power_beyond_files(root: Path) -> None:
    effective = shell(root, "grep CapEff /proc/self/status").split()[1]
    dac_override, fowner, chown = 1 << 1, 1 << 3, 1 << 0
    assert int(effective, 16) & ~(dac_override | fowner | chown) == 0


@needs_bwrap
def test_background_processes_end_with_the_command(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shell(root, f"(sleep 1; echo late >{out}/late) >/dev/null 2>&1 & true", bind=[out])
    programs.run(["sleep", "1.3"])
    assert not (out / "late").exists()


@needs_bwrap
def test_missing_program_inside(root: Path) -> None:
    argv = Sandbox(root).argv(["depmod-of-nowhere"])
    argv[argv.index(str(root / "usr"))] = "/usr"
    with pytest.raises(ProgramMissing, match="depmod-of-nowhere was not found"):
        programs.run(argv)


@needs_bwrap
@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to become an ordinary user")
def test_ordinary_user(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What root makes for an ordinary user runs for one."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory == Path("/tmp"):
            break
        directory.chmod(0o755)
    out = tmp_path / "out"
    out.mkdir()
    os.chown(out, NOBODY, NOBODY)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    argv = Sandbox(root).argv(["sh", "-c", f"id -u; echo x >{out}/f"], bind=[out])
    argv[argv.index(str(root / "usr"))] = "/usr"
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    assert programs.run([*drop, *argv]).stdout == "0\n"
    assert (out / "f").stat().st_uid == NOBODY


def test_paths_inside_follow_the_roots_own_links(root: Path) -> None:
    (root / "usr/src/tree").mkdir(parents=True)
    (root / "build").symlink_to("/usr/src/tree")
    (root / "etc/up").symlink_to("../../../usr/src")
    sandbox = Sandbox(root)
    assert sandbox.inside(Path("/build/x")) == root / "usr/src/tree/x"
    assert sandbox.inside(Path("/etc/up/tree")) == root / "usr/src/tree"
    assert sandbox.inside(Path("/../..")) == root
    (root / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="too many levels"):
        sandbox.inside(Path("/loop"))
