# SPDX-License-Identifier: GPL-2.0-only
"""The series for QEMU, against a small tree with the places that it changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kpatch.__main__ import main
from kpatch.errors import OutputError, SourceTreeError
from kpatch.series import qemu
from kpatch.series.mail import FIRST
from kpatch.series.make import make_qemu
from kpatch.tests.series import fake_source

FILES = {
    "VERSION": "10.0.13\n",
    "linux-headers/linux/vfio.h": """\
#define VFIO_REGION_INFO_CAP_SPARSE_MMAP	1

struct vfio_region_info_cap_sparse_mmap {
	struct vfio_info_cap_header header;
	struct vfio_region_sparse_mmap_area areas[];
};
""",
    "include/hw/vfio/vfio-common.h": """\
typedef struct VFIORegion {
    uint8_t nr; /* cache the region number for debug */
} VFIORegion;

struct VFIODeviceOps {
    int (*vfio_load_config)(VFIODevice *vdev, QEMUFile *f);
};

void vfio_region_unmap(VFIORegion *region);
""",
    "hw/vfio/helpers.c": """\
#include "hw/hw.h"

int vfio_region_setup(VFIORegion *region)
{
    region->nr = index;
}

void vfio_region_unmap(VFIORegion *region)
{
    int i;

    if (!region->mem) {
        return;
    }
}

void vfio_region_exit(VFIORegion *region)
{
}
""",
    "hw/vfio/migration.c": """\
static void vfio_migration_set_device_state(VFIODevice *vbasedev)
{
    migration->device_state = state;
    vfio_migration_send_event(vbasedev);
}

int vfio_migration_set_state(VFIODevice *vbasedev)
{
    if (new_state == migration->device_state) {
        return 0;
    }

    feature->argsz = sizeof(buf);
}
""",
    "hw/vfio/pci.c": """\
static VFIODeviceOps vfio_pci_ops = {
    .vfio_load_config = vfio_pci_load_config,
};
""",
}


@pytest.fixture(autouse=True)
def _user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(fake_source.config(tmp_path)))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "qemu"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_order(tree: Path, tmp_path: Path) -> None:
    patches = make_qemu(tree, tmp_path / "out", FIRST, signoff=False)
    texts = [re.sub(r"\n (?=\S)", " ", path.read_text()) for path in patches]
    assert [re.findall(r"^Subject: (.*)$", text, re.M) for text in texts] == [
        ["[RFC PATCH 1/2] linux-headers: Add the saving layout of a region"],
        ["[RFC PATCH 2/2] vfio/migration: Drop mappings that keep a device from being saved"],
    ]
    assert "Signed-off-by" not in "".join(texts)
    changed = {name for text in texts for name in re.findall(r"^\+\+\+ b/(.*)$", text, re.M)}
    assert changed == set(qemu.FILES)


def test_the_tree_is_only_read(tree: Path, tmp_path: Path) -> None:
    make_qemu(tree, tmp_path / "out", FIRST, signoff=True)
    assert all((tree / name).read_text() == text for name, text in FILES.items())
    assert sorted(path.name for path in tree.iterdir()) == sorted(
        {name.partition("/")[0] for name in FILES}
    )


def test_mappings_go_before_the_state_changes_and_come_back_after(
    tree: Path, tmp_path: Path
) -> None:
    text = make_qemu(tree, tmp_path / "out", FIRST, signoff=False)[1].read_text()
    migration = text.partition("b/hw/vfio/migration.c\n")[2].partition("\ndiff ")[0]
    before = migration.index("+        vfio_migration_set_saving(vbasedev, true);")
    assert before < migration.index("     feature->argsz = sizeof(buf);")
    after = migration.index("+    vfio_migration_set_saving(vbasedev, vfio_migration_is_saving")
    assert migration.index("     migration->device_state = state;") < after


@pytest.mark.parametrize("name", [name for name in FILES if name != "VERSION"])
def test_a_place_that_is_not_there(tree: Path, tmp_path: Path, name: str) -> None:
    (tree / name).write_text("/* nothing */\n")
    with pytest.raises(SourceTreeError, match=r"\(QEMU 10\.0\.13\) is not as the series expects"):
        make_qemu(tree, tmp_path / "out", FIRST, signoff=False)
    assert not (tmp_path / "out").exists()


def test_a_header_that_has_the_capability(tree: Path, tmp_path: Path) -> None:
    header = tree / "linux-headers/linux/vfio.h"
    header.write_text(header.read_text() + "#define VFIO_REGION_INFO_CAP_OTHER 6\n")
    with pytest.raises(SourceTreeError, match="already has a region capability with the id 6"):
        make_qemu(tree, tmp_path / "out", FIRST, signoff=False)


def test_what_is_no_qemu(tree: Path, tmp_path: Path) -> None:
    (tree / "hw/vfio/helpers.c").unlink()
    with pytest.raises(SourceTreeError, match=r"has no hw/vfio/helpers\.c"):
        make_qemu(tree, tmp_path / "out", FIRST, signoff=False)
    with pytest.raises(SourceTreeError, match="not a source tree of QEMU"):
        make_qemu(tmp_path, tmp_path / "out", FIRST, signoff=False)


def test_a_folder_with_other_files_is_left_alone(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").touch()
    with pytest.raises(OutputError, match="thesis"):
        make_qemu(tree, tmp_path / "out", FIRST, signoff=False)


def test_the_command(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["series", "--for", "qemu", "--tree", str(tree), "-o", str(tmp_path / "out")]
    assert main(words) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main([*words, "--tested", "gate.json"]) == 2
    assert main(["series", "--tree", str(tree), "-o", str(tmp_path / "out")]) == 2
    assert "name its DEVICE" in capsys.readouterr().err
