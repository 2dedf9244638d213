# SPDX-License-Identifier: GPL-2.0-only
"""Modules through a python-kmod that is a few lines of Python."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from conformance.klog import Record
from conformance.vfio import modules
from conformance.vfio.errors import ModuleLoadError


class FakeLog:
    """Stands for the kernel log."""

    def __enter__(self) -> "FakeLog":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self) -> list[Record]:
        return [Record(3, 1.0, "example: Unknown symbol vfio_pci_core_enable (err -2)")]


class FakeKmod:
    """Stands for the package; the modules are directories."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.refuse = False
        self.ignore = False

    def modprobe(self, name: str) -> None:
        if self.refuse:
            raise RuntimeError("Failed to load module")
        if not self.ignore:
            (self.directory / name.replace("-", "_")).mkdir()

    def rmmod(self, name: str) -> None:
        if self.refuse:
            raise RuntimeError("Failed to remove module")
        (self.directory / name.replace("-", "_")).rmdir()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKmod:
    fake = FakeKmod(tmp_path)
    package: Any = ModuleType("kmod")
    package.Kmod = lambda: fake
    monkeypatch.setitem(sys.modules, "kmod", package)
    monkeypatch.setattr(modules, "KernelLog", FakeLog)
    monkeypatch.setattr(modules, "LOADED", tmp_path)
    return fake


def test_load_and_unload(fake: FakeKmod) -> None:
    modules.load("igb-vf-vfio-pci")
    assert modules.is_loaded("igb_vf_vfio_pci")
    modules.load("igb-vf-vfio-pci")  # already there
    modules.unload("igb-vf-vfio-pci")
    assert not modules.is_loaded("igb_vf_vfio_pci")
    modules.unload("igb-vf-vfio-pci")
    assert fake.directory.exists()


def test_a_refusal_carries_the_kernels_words(fake: FakeKmod) -> None:
    fake.refuse = True
    with pytest.raises(ModuleLoadError, match="Unknown symbol") as caught:
        modules.load("example")
    assert "example did not load" in str(caught.value)


def test_a_refusal_nobody_tells_of(fake: FakeKmod) -> None:
    fake.ignore = True
    with pytest.raises(ModuleLoadError, match="did not say why"):
        modules.load("example")


def test_unloading_what_is_in_use(fake: FakeKmod) -> None:
    modules.load("example")
    fake.refuse = True
    with pytest.raises(ModuleLoadError, match="example did not unload"):
        modules.unload("example")


def test_without_the_package(fake: FakeKmod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kmod", None)
    with pytest.raises(ModuleLoadError, match="cannot be imported"):
        modules.load("example")
    assert not fake.refuse


def test_with_a_package_that_lost_its_extension(
    fake: FakeKmod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kmod", ModuleType("kmod"))
    with pytest.raises(ModuleLoadError, match="built badly"):
        modules.load("example")
    assert not fake.refuse
