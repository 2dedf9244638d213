# SPDX-License-Identifier: GPL-2.0-only
"""Binding in a sysfs made of plain files, with a kernel that is a few lines of Python."""

from pathlib import Path

import pytest

from conformance.vfio.errors import SysfsError
from conformance.vfio.system import sysfs

BDF = "0000:01:10.0"


class FakeSysfs:
    """Answers writes at once, through a patched ``write_text``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.function = root / "bus/pci/devices" / BDF
        self.function.mkdir(parents=True)
        (self.function / "vendor").write_bytes(b"0x8086\n")
        (self.function / "device").write_bytes(b"0x10ca\n")
        self.drivers = {"igbvf", "vfio-pci"}
        self.override = ""
        self.bind("igbvf")

    def bind(self, name: str | None) -> None:
        link = self.function / "driver"
        link.unlink(missing_ok=True)
        if name:
            target = self.root / "bus/pci/drivers" / name
            target.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)

    def write(self, path: Path, text: str) -> int:
        if path.name == "unbind":
            self.bind(None)
        elif path.name == "driver_override":
            self.override = text.strip()
        elif path.name == "drivers_probe":
            wanted = self.override or "igbvf"
            self.bind(wanted if wanted in self.drivers else None)
        return len(text)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSysfs:
    fake = FakeSysfs(tmp_path)

    def write_text(path: Path, text: str) -> int:
        return fake.write(path, text)

    monkeypatch.setattr(Path, "write_text", write_text)
    return fake


def test_who_it_is(fake: FakeSysfs) -> None:
    assert sysfs.function(BDF, sysfs=fake.root) == sysfs.Function(BDF, 0x8086, 0x10CA, "igbvf")


def test_no_such_function_names_those_that_are(fake: FakeSysfs) -> None:
    with pytest.raises(SysfsError, match=f"there are: {BDF}"):
        sysfs.driver("0000:02:00.0", sysfs=fake.root)


def test_bind(fake: FakeSysfs) -> None:
    sysfs.bind(BDF, "vfio-pci", sysfs=fake.root)
    assert sysfs.driver(BDF, sysfs=fake.root) == "vfio-pci"


def test_a_driver_which_does_not_take_it(fake: FakeSysfs) -> None:
    with pytest.raises(SysfsError, match="is bound to no driver; is the driver's module loaded"):
        sysfs.bind(BDF, "missing", sysfs=fake.root)


def test_bound_gives_it_back(fake: FakeSysfs) -> None:
    during: list[str | None] = []

    def fail() -> None:
        during.append(sysfs.driver(BDF, sysfs=fake.root))
        raise RuntimeError

    with pytest.raises(RuntimeError), sysfs.bound(BDF, "vfio-pci", sysfs=fake.root):
        fail()
    assert during == ["vfio-pci"]
    assert sysfs.driver(BDF, sysfs=fake.root) == "igbvf"


def test_bound_leaves_it_without_a_driver_if_it_had_none(fake: FakeSysfs) -> None:
    sysfs.unbind(BDF, sysfs=fake.root)
    with sysfs.bound(BDF, "vfio-pci", sysfs=fake.root):
        pass
    assert sysfs.driver(BDF, sysfs=fake.root) is None
    assert not fake.override


def test_the_iommu_group(fake: FakeSysfs) -> None:
    with pytest.raises(SysfsError, match="intel_iommu=on"):
        sysfs.iommu_group(BDF, sysfs=fake.root)
    group = fake.root / "kernel/iommu_groups/12"
    group.mkdir(parents=True)
    (fake.function / "iommu_group").symlink_to(group)
    assert sysfs.iommu_group(BDF, sysfs=fake.root) == "12"
