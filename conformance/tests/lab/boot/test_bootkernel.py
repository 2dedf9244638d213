# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree of one's own: what it lacks is said in words, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.errors import KernelError
from conformance.lab.boot import bootkernel
from conformance.lab.image import definitions
from conformance.lab.image.image import Image
from kpatch.errors import KernelTreeError
from kpatch.tests.kernel.fake_tree import make_tree


@pytest.fixture
def trixie(tmp_path: Path) -> Image:
    (tmp_path / "image/root").mkdir(parents=True)
    return Image(definitions.image("trixie"), tmp_path / "image")


def shown(tree: Path, trixie: Image, error: type[Exception]) -> str:
    with pytest.raises(error) as caught:
        bootkernel.of_tree(tree, trixie)
    return str(caught.value)


def test_no_tree_at_all(trixie: Image, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = shown(tmp_path / "empty", trixie, KernelTreeError)
    assert said.startswith(f"{tmp_path / 'empty'} is not a kernel build tree")


def test_headers_only(trixie: Image, tmp_path: Path) -> None:
    said = shown(make_tree(tmp_path / "headers"), trixie, KernelError)
    assert "name the tree in which the kernel was built" in said


def test_nothing_built(trixie: Image, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "linux")
    (tree / "init").mkdir()
    (tree / "init/main.c").touch()
    assert "with `make bzImage modules`" in shown(tree, trixie, KernelError)


def test_no_modules(trixie: Image, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "linux")
    (tree / "arch/x86/boot").mkdir(parents=True)
    (tree / "arch/x86/boot/bzImage").touch()
    assert "build it with `make modules`" in shown(tree, trixie, KernelError)
    (tree / "modules.order").write_text("drivers/vfio/vfio.o\n")
    assert "has not built drivers/vfio/vfio.ko: run `make modules`" in shown(
        tree, trixie, KernelError
    )
