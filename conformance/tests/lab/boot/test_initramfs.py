# SPDX-License-Identifier: GPL-2.0-only
"""Module trees, archives, and the initramfs made of both."""

from __future__ import annotations

import io
import lzma
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.errors import KernelError
from conformance.lab.boot import initramfs
from conformance.lab.boot.cpio import Cpio
from conformance.lab.boot.modtree import ModuleTree, Step, module_name


def entries(archive: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Read an archive as the kernel does."""
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        at += 110 + length
        at += -at % 4
        if name == "TRAILER!!!":
            return
        yield name, mode, archive[at : at + size]
        at += size
        at += -at % 4


@pytest.fixture
def tree(tmp_path: Path) -> ModuleTree:
    folder = tmp_path / "6.12"
    dependencies = {
        "kernel/fs/erofs/erofs.ko.xz": "kernel/lib/libcrc32c.ko.xz",
        "kernel/lib/libcrc32c.ko.xz": "",
        "kernel/crypto/crc32c_generic.ko.xz": "",
        "kernel/drivers/vfio/vfio.ko.xz": "",
        "kernel/drivers/vfio/pci/vfio-pci-core.ko.xz": (
            "kernel/drivers/vfio/vfio.ko.xz kernel/virt/irqbypass.ko.xz"
        ),
        "kernel/virt/irqbypass.ko.xz": "",
        "kernel/a.ko.xz": "",
        "kernel/b.ko.xz": "",
        "kernel/overlay.ko.xz": "",
    }
    for path in dependencies:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(lzma.compress(path.encode()))
    lines = [f"{path}: {needs}" for path, needs in dependencies.items()]
    (folder / "modules.dep").write_text("\n".join(lines))
    builtin = ("drivers/virtio/virtio_pci", "drivers/block/virtio_blk", "char/virtio_console")
    (folder / "modules.builtin").write_text("".join(f"kernel/{one}.ko\n" for one in builtin))
    soft = "# comment\nsoftdep libcrc32c pre: crc32c\nsoftdep a pre: b post: erofs\n"
    (folder / "modules.softdep").write_text(f"{soft}softdep b pre: a\n")
    (folder / "modules.alias").write_text(
        "alias crc32c crc32c_generic\nalias crc32c crc32c_intel\nalias pci:v0*d* erofs\n"
    )
    return ModuleTree(folder)


def test_dependencies_come_first(tree: ModuleTree) -> None:
    order = [module_name(step.path) for step in tree.load_order(["vfio_pci_core"])]
    assert order == ["irqbypass", "vfio", "vfio_pci_core"]


def test_soft_dependency_comes_first_and_may_fail(tree: ModuleTree) -> None:
    assert tree.load_order(["erofs"]) == [
        Step("kernel/crypto/crc32c_generic.ko.xz", needed=False),
        Step("kernel/lib/libcrc32c.ko.xz", needed=True),
        Step("kernel/fs/erofs/erofs.ko.xz", needed=True),
    ]


def test_soft_dependencies_in_a_circle_end(tree: ModuleTree) -> None:
    assert [module_name(step.path) for step in tree.load_order(["a"])] == ["b", "a"]


def test_module_that_is_asked_for_is_needed_although_another_may_do_without(
    tree: ModuleTree,
) -> None:
    assert all(step.needed for step in tree.load_order(["a", "b"]))


def test_module_comes_once(tree: ModuleTree) -> None:
    names = [step.path for step in tree.load_order(["vfio", "vfio-pci-core", "vfio_pci_core"])]
    assert len(names) == len(set(names)) == 3


def test_builtin_module_is_not_loaded(tree: ModuleTree) -> None:
    assert tree.load_order(["virtio_pci"]) == []


def test_missing_module_is_reported_by_name(tree: ModuleTree) -> None:
    with pytest.raises(KernelError, match=r"lack igb, which the lab needs") as caught:
        tree.load_order(["igb"])
    assert caught.value.exit_code == 4


def test_tree_without_depmod_data_is_reported(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"modules\.dep cannot be read.*depmod"):
        ModuleTree(tmp_path)


def test_damaged_module_is_reported(tree: ModuleTree) -> None:
    (tree.folder / "kernel/a.ko.xz").write_bytes(b"not xz")
    with pytest.raises(KernelError, match=r"a\.ko\.xz cannot be read"):
        tree.read("kernel/a.ko.xz")


def test_archive_holds_what_was_added() -> None:
    out = io.BytesIO()
    archive = Cpio(out)
    archive.directory("bin")
    archive.file("bin/tool", b"odd", 0o755)
    archive.symlink("bin/sh", "tool")
    archive.character_device("console", 5, 1)
    archive.close()
    found = {name: (mode, data) for name, mode, data in entries(out.getvalue())}
    assert stat.S_ISDIR(found["bin"][0])
    assert found["bin/tool"] == (stat.S_IFREG | 0o755, b"odd")
    assert found["bin/sh"] == (stat.S_IFLNK | 0o777, b"tool")
    assert stat.S_ISCHR(found["console"][0])


def test_initramfs_has_the_modules_in_order_and_the_guest(tree: ModuleTree, tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(b"\x7fELF")
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent/__main__.py").write_text("pass\n")
    (tmp_path / "init").write_text("#!/bin/sh\n")
    out = io.BytesIO()
    initramfs.build(
        out,
        busybox=tmp_path / "busybox",
        guest=tmp_path,
        modules=tree,
        names=["vfio_pci_core"],
        settings={"COUNT": "2"},
    )
    found = {name: data for name, _, data in entries(out.getvalue())}
    assert found["lab/modules.root"].decode().splitlines() == [
        "optional /lab/modules/crc32c_generic.ko",
        "needed /lab/modules/libcrc32c.ko",
        "needed /lab/modules/erofs.ko",
        "needed /lab/modules/overlay.ko",
    ]
    assert found["lab/modules.rest"].decode().split()[1::2][-1] == "/lab/modules/vfio_pci_core.ko"
    assert found["lab/modules/vfio.ko"] == b"kernel/drivers/vfio/vfio.ko.xz"
    assert found["lab/settings"] == b"COUNT=2\n"
    assert found["lab/agent/__main__.py"] == b"pass\n"
    assert found["init"].startswith(b"#!/bin/sh")
