# SPDX-License-Identifier: GPL-2.0-only
"""What stays of a whole tree from run to run: its objects, and the warnings of their sources."""

import argparse
from pathlib import Path

import pytest

from conformance.errors import UsageError
from conformance.gate import command, whole
from conformance.gate import tree as gate_tree
from conformance.running.steps import Steps
from conformance.tests.gate.kit import Kit
from kpatch.tests.series import fake_source
from kpatch.tests.series.fake_source import make_git, make_source
from kpatch.tools.git import Identity
from kpatch.tools.sandbox import Sandbox

WHO = Identity("Gate", "gate@example.org")


def test_a_warning_is_known_until_its_file_is_compiled_again(tmp_path: Path) -> None:
    first = "  CC      a.o\na.c:1:5: warning: x\n  CC [M]  b/c.o\nb/c.c:2:1: warning: y\n"
    assert whole.remember(tmp_path, first)[0] == {"a.c: x": 1, "b/c.c: y": 1}
    assert whole.remember(tmp_path, "  CC      d.o\n")[0] == {"a.c: x": 1, "b/c.c: y": 1}
    counts, lines = whole.remember(tmp_path, "  CC      a.o\n")
    assert (counts, lines) == ({"b/c.c: y": 1}, {"b/c.c: y": "b/c.c:2:1: warning: y"})


@pytest.mark.parametrize(
    ("touched", "folders"),
    [
        (["mm/vma.c"], ["."]),
        (["include/linux/vfio.h", "MAINTAINERS"], ["."]),
        (["Documentation/driver-api/vfio.rst", "MAINTAINERS"], []),
        (["tools/testing/selftests/vfio/a.c"], []),
    ],
)
def test_what_is_built(tmp_path: Path, touched: list[str], folders: list[str]) -> None:
    builder = whole.builder(tmp_path, Sandbox(tmp_path), "key", Steps(print), sparse=False)
    assert builder.folders(touched) == folders


def test_a_plain_tree_is_followed(tmp_path: Path) -> None:
    tree, folder = make_source(tmp_path / "linux"), tmp_path / "place"
    repository = gate_tree.whole(tree, "", folder, WHO)
    (folder / "MAINTAINERS").write_text("patched")
    repository.commit("a patch", 0)
    (folder / "drivers/vfio/core.o").write_text("an object")
    (tree / "drivers/vfio/core.c").write_text("new\n")
    (tree / "added.txt").write_text("x\n")
    (tree / "scripts/headers_install.sh").unlink()
    before = (folder / "include/linux/vfio.h").stat().st_mtime_ns
    gate_tree.whole(tree, "", folder, WHO)
    files = {path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts}
    names = {str(path.relative_to(folder)) for path in files}
    names.remove("drivers/vfio/core.o")
    assert names == {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    assert all((folder / name).read_bytes() == (tree / name).read_bytes() for name in names)
    assert (folder / "include/linux/vfio.h").stat().st_mtime_ns == before, "not compiled again"


def test_a_git_tree_is_followed(tmp_path: Path) -> None:
    tree, folder = make_git(make_source(tmp_path / "linux")), tmp_path / "place"
    gate_tree.whole(tree, fake_source.git(tree, "rev-parse", "HEAD").strip(), folder, WHO)
    (folder / "core.o").write_text("an object")
    (tree / "MAINTAINERS").write_text("later\n")
    fake_source.git(tree, "commit", "-qam", "later")
    gate_tree.whole(tree, fake_source.git(tree, "rev-parse", "HEAD").strip(), folder, WHO)
    assert (folder / "MAINTAINERS").read_text() == "later\n"
    assert (folder / "core.o").exists()


def test_build_and_something_that_was_built(kit: Kit) -> None:
    arguments = argparse.Namespace(build=True, root=None, kernel_tree=kit.folder)
    with pytest.raises(UsageError, match="--build builds the kernel of --tree"):
        command.request(arguments, lambda _line: None)
