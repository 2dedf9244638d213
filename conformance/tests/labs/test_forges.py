# SPDX-License-Identifier: GPL-2.0-only
"""The examples for CI in docs/gate.md, executed by local runners; `tox -e labs` brings them.

With a kit that only notes how it is called; `test_forges_whole.py` has the real one.
"""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from conformance.tests.labs.forges import TOOLS, Forge, repository

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TOOLS.exists(), reason="`tox -e labs` brings the runners"),
]
SOURCE = "/usr/src/linux-source-6.12.tar.xz"
PYTHON = """#!/bin/sh
echo "$@" > {folder}/called
{{ pwd; echo "$VFIO_KIT_CACHE"; readlink -f "$VFIO_KIT_CACHE"; }} >> {folder}/called
git -C ../linux rev-list --count HEAD >> {folder}/called
for last; do [ "$before" = -o ] && out=$last; before=$last; done
mkdir -p "$out" && echo '# a table' > "$out/gate.md" && echo '<testsuites/>' > "$out/junit.xml"
exit {status}
"""
MAKEFILE = (
    "setup:\n\tmkdir -p .venv/bin && cp python .venv/bin/python && chmod +x .venv/bin/python\n"
)


def forge(folder: Path, status: int) -> Forge:
    """Return a forge with a kit whose gate ends with this status, on a machine with a source."""
    kit, linux, programs = folder / "kit", folder / "linux-source-6.12", folder / "bin"
    for one in (kit, linux, programs, folder / "cache"):
        one.mkdir()
    (kit / "python").write_text(PYTHON.format(folder=folder, status=status))
    (kit / "Makefile").write_text(MAKEFILE)
    repository(kit)
    (programs / "apt-get").write_text(f'#!/bin/sh\necho "$@" >> {folder}/installed\n')
    (programs / "apt-get").chmod(0o755)
    (linux / "Makefile").write_text("VERSION = 6\n")
    with tarfile.open(folder / "source", "w:xz") as file:
        file.add(linux, linux.name)
    inside = ["bwrap", "--dev-bind", "/", "/", "--tmpfs", "/usr/src"]
    inside += ["--ro-bind", str(folder / "source"), SOURCE]
    env = {"PATH": f"{programs}:{os.environ['PATH']}"}
    return Forge(folder, kit, folder / "cache", lambda argv: [*inside, *argv], env)


@pytest.mark.parametrize("status", [0, 1])
def test_github(tmp_path: Path, status: int) -> None:
    runner = forge(tmp_path, status)
    fork = tmp_path / "fork"
    fork.mkdir()
    base = repository(fork)
    (fork / "new.c").write_text("int x;\n")
    head = repository(fork)
    done = runner.github(fork, base, head)
    assert done.returncode == status, done.stdout
    words, where, cache, saved, count = (tmp_path / "called").read_text().splitlines()
    expected = "-m conformance gate --tree ../linux --build --boot -o ../gate"
    assert words == f"{expected} {base}..{head}"
    assert (Path(cache), saved) == (Path(where).parent / "kit-cache", str(tmp_path / "cache"))
    assert count == "2"
    assert (tmp_path / "artifacts/gate/gate.md").read_text() == "# a table\n"
    assert "install -y git make python3-venv" in (tmp_path / "installed").read_text()


@pytest.mark.parametrize("status", [0, 1])
def test_gitlab(tmp_path: Path, status: int) -> None:
    runner = forge(tmp_path, status)
    done = runner.gitlab({"0001-a.patch": "a patch\n"})
    assert done.returncode == status, done.stdout
    words, where, cache, *_ = (tmp_path / "called").read_text().splitlines()
    assert words == "-m conformance gate ../series --tree ../linux --boot -o ../gate"
    assert Path(cache) == Path(where).parent / ".kit-cache"
    found = list((tmp_path / "work/.gitlab-ci-local/artifacts/gate/gate").iterdir())
    assert {path.name for path in found} >= {"gate.md", "junit.xml"}
    assert "linux-source-6.12" in (tmp_path / "installed").read_text()


def test_the_runner_notices_a_mistake(tmp_path: Path) -> None:
    """A forge that lacks what the example uses: the job fails."""
    runner = forge(tmp_path, 0)
    subprocess.run(["git", "-C", runner.kit, "rm", "-q", "Makefile"], check=True)
    repository(runner.kit)
    assert runner.gitlab({"0001-a.patch": "a patch\n"}).returncode != 0
