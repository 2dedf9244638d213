# SPDX-License-Identifier: GPL-2.0-only
"""A build tree is found, and what it was built as is read."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from kpatch.errors import KernelTreeError
from kpatch.kernel import tree as kernel
from kpatch.kernel.tree import KernelTree, Symbol, find
from kpatch.tests.kernel.fake_tree import CONFIG, RELEASE, SYMBOLS, VERMAGIC, make_root, make_tree
from kpatch.tools import programs
from kpatch.tools.sandbox import Sandbox


def test_what_a_tree_was_built_as(tmp_path: Path) -> None:
    tree = KernelTree(make_tree(tmp_path / "tree"))
    assert tree.release == RELEASE
    assert tree.config["VFIO_PCI_CORE"] == "m"
    assert tree.config["LOCALVERSION"] == "-test"
    assert "IOMMUFD" not in tree.config
    core = "drivers/vfio/pci/vfio-pci-core"
    assert tree.symbols["vfio_pci_core_ioctl_feature"] == Symbol(0x33333333, core, True, "")
    assert tree.symbols["spaced"].namespace == "SPACE"
    assert f"{tree.vermagic} " == VERMAGIC
    tree.check()


@pytest.mark.parametrize(
    ("config", "magic"),
    [
        ("CONFIG_SMP=y\nCONFIG_PREEMPT_RT=y\nCONFIG_PREEMPT=y\n", "SMP preempt_rt"),
        ("CONFIG_PREEMPT_BUILD=y\nCONFIG_ARM64=y\n", "preempt aarch64"),
        ("", ""),
    ],
)
def test_vermagic_follows_the_configuration(tmp_path: Path, config: str, magic: str) -> None:
    tree = KernelTree(make_tree(tmp_path / "tree", config=config))
    assert tree.vermagic == f"{RELEASE} {magic}".strip()


def test_not_a_build_tree(tmp_path: Path) -> None:
    with pytest.raises(KernelTreeError, match="is not a kernel build tree in which modules"):
        _ = KernelTree(tmp_path).release
    tree = make_tree(tmp_path / "tree")
    (tree / "Module.symvers").unlink()
    with pytest.raises(KernelTreeError, match=r"Module\.symvers: No such file"):
        KernelTree(tree).check()


def test_kernel_without_vfio(tmp_path: Path) -> None:
    config = CONFIG.replace("CONFIG_VFIO_PCI_CORE=m\n", "")
    tree = KernelTree(make_tree(tmp_path / "tree", config=config))
    with pytest.raises(KernelTreeError, match="was configured without CONFIG_VFIO_PCI_CORE"):
        tree.check()


def test_kernel_that_is_too_old(tmp_path: Path) -> None:
    symbols = SYMBOLS.replace("_register_dev_region", "_other")
    tree = KernelTree(make_tree(tmp_path / "tree", symbols=symbols))
    with pytest.raises(KernelTreeError, match=r"needs Linux 6\.1 or later"):
        tree.check()


def test_newest_kernel_of_an_image(tmp_path: Path) -> None:
    releases = ("6.9.1-amd64", "6.12.117+deb13-amd64", "6.12.9+deb13-amd64", "6.1.0-40-amd64")
    root = make_root(tmp_path / "root", *releases)
    (root / "usr/lib/modules/7.3.0-no-headers").mkdir()
    tree = find(root)
    assert tree.release == "6.12.117+deb13-amd64"
    assert tree.path == Path("/lib/modules/6.12.117+deb13-amd64/build")
    assert tree.host_path == root / "usr/src/headers-6.12.117+deb13-amd64"


def test_release_candidate_is_older() -> None:
    assert max(["6.12.0-rc1", "6.12.0", "6.11.9"], key=kernel._version) == "6.12.0"


def test_image_without_headers(tmp_path: Path) -> None:
    with pytest.raises(KernelTreeError, match="Add the kernel's headers package to the image"):
        find(make_root(tmp_path / "root"))
    with pytest.raises(KernelTreeError, match="There is no image root"):
        find(tmp_path / "nowhere")


def test_host_without_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "release", lambda: "9.9.9-none")
    with pytest.raises(KernelTreeError, match=r"package linux-headers-9\.9\.9-none"):
        find(None)


def test_named_tree(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", "6.12.9-a")
    mine = make_tree(tmp_path / "mine", release="6.19.0-mine")
    assert find(None, mine).release == "6.19.0-mine"
    inside = find(root, Path("/usr/src/headers-6.12.9-a"))
    assert inside.release == "6.12.9-a"
    assert find(root, mine).release == "6.19.0-mine", "one of the host's, shown inside"


def test_identity_changes_with_what_modules_depend_on(tmp_path: Path) -> None:
    trees = [
        KernelTree(make_tree(tmp_path / "a")),
        KernelTree(make_tree(tmp_path / "b", symbols=SYMBOLS.replace("0x1111", "0x1112"))),
        KernelTree(make_tree(tmp_path / "c", config=CONFIG.replace("SMP=y", "SMP=n"))),
    ]
    assert len({tree.identity for tree in trees}) == 3
    again = KernelTree(tmp_path / "a")
    assert again.identity == trees[0].identity


def test_make_runs_in_the_sandbox(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", "6.12.9-a")
    lines: list[str] = []
    with programs.dry_run(lines.append):
        find(root).make(tmp_path / "src", ["modules"], options=["W=1"])
        KernelTree(make_tree(tmp_path / "mine"), Sandbox(root)).make(tmp_path / "src", ["clean"])
    assert lines[0].startswith("bwrap ")
    assert f"make -C /lib/modules/6.12.9-a/build M={tmp_path}/src -j" in lines[0]
    assert lines[0].endswith(" W=1 modules")
    assert f"--ro-bind {tmp_path}/mine {tmp_path}/mine" in lines[1]


def test_clang_built_kernel_is_built_for_with_clang(tmp_path: Path) -> None:
    tree = KernelTree(make_tree(tmp_path / "t", config=f"{CONFIG}CONFIG_CC_IS_CLANG=y\n"))
    lines: list[str] = []
    with programs.dry_run(lines.append):
        tree.make(tmp_path / "src", ["modules"])
    assert " LLVM=1 " in lines[0]
