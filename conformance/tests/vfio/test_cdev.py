# SPDX-License-Identifier: GPL-2.0-only
"""A device's own file and an iommufd, with a kernel whose ioctls are a few lines of Python."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.tests.plugin.raising import raises_errno
from conformance.uapi import ioctls
from conformance.uapi import iommufd as u
from conformance.vfio import cdev as cdev_module
from conformance.vfio import device as device_module
from conformance.vfio import trace
from conformance.vfio.cdev import Cdev
from conformance.vfio.errors import SysfsError
from conformance.vfio.iommu import iommufd as iommufd_module
from conformance.vfio.iommu.iommufd import Iommufd

BDF = "0000:01:10.0"


class FakeKernel:
    """Answers ioctls, and keeps what it was asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sys = root / "sys"
        self.own = self.sys / "bus/pci/devices" / BDF / "vfio-dev/vfio3"
        self.own.mkdir(parents=True)
        (self.own / "dev").touch()
        for name in ("iommu", "vfio3"):
            (root / name).touch()
        self.asked: list[tuple[int, Any]] = []
        self.refuse: dict[int, int] = {}

    def ioctl(self, fd: int, request: int, arg: Any) -> int:
        os.fstat(fd)  # a closed descriptor is EBADF
        if request in self.refuse:
            raise OSError(self.refuse[request], "refused")
        self.asked.append((request, arg))
        if request == u.IOMMU_IOAS_ALLOC:
            arg.out_ioas_id = 7
        elif request == u.IOMMU_IOAS_UNMAP:
            arg.length //= 2
        elif request == ioctls.VFIO_DEVICE_BIND_IOMMUFD:
            arg.out_devid = 5
        return 0

    def requests(self) -> list[int]:
        return [request for request, _ in self.asked]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    kernel = FakeKernel(tmp_path)
    for module in (cdev_module, iommufd_module, device_module):
        monkeypatch.setattr(module, "ioctl", kernel.ioctl)
    trace.start()
    return kernel


@pytest.fixture
def iommufd(kernel: FakeKernel) -> Iterator[Iommufd]:
    with Iommufd(kernel.root / "iommu") as iommufd:
        yield iommufd


@pytest.fixture
def device(kernel: FakeKernel) -> Iterator[Cdev]:
    with Cdev(BDF, kernel.root / "vfio3") as device:
        yield device


def test_an_address_space(kernel: FakeKernel, iommufd: Iommufd) -> None:
    with iommufd.allocate() as space:
        assert space.number == 7
        space.map_dma(0x7000, 0x1000, 0x2000)
        space.map_dma(0x7000, 0x9000, 0x2000, write=False)
        assert space.unmap_dma(0x1000, 0x2000) == 0x1000
    space.close()
    assert kernel.requests() == [
        u.IOMMU_IOAS_ALLOC,
        u.IOMMU_IOAS_MAP,
        u.IOMMU_IOAS_MAP,
        u.IOMMU_IOAS_UNMAP,
        u.IOMMU_DESTROY,
    ]
    _, both, read, unmapped, destroyed = (arg for _, arg in kernel.asked)
    fixed = u.IOMMU_IOAS_MAP_FIXED_IOVA | u.IOMMU_IOAS_MAP_READABLE
    assert both.flags == fixed | u.IOMMU_IOAS_MAP_WRITEABLE
    assert read.flags == fixed
    assert (both.size, both.ioas_id, both.user_va, both.length, both.iova) == (
        40,
        7,
        0x7000,
        0x2000,
        0x1000,
    )
    assert (unmapped.size, unmapped.ioas_id, unmapped.iova) == (24, 7, 0x1000)
    assert (destroyed.size, destroyed.id) == (8, 7)


def test_bind_and_attach(kernel: FakeKernel, iommufd: Iommufd, device: Cdev) -> None:
    assert not os.get_inheritable(device.fd)
    assert device.bind(iommufd) == 5
    device.attach(iommufd.allocate())
    device.detach()
    bound, _, attached, detached = (arg for _, arg in kernel.asked)
    assert (bound.argsz, bound.flags, bound.iommufd) == (24, 0, iommufd.fd)
    assert (attached.argsz, attached.flags, attached.pt_id) == (16, 0, 7)
    assert (detached.argsz, detached.flags) == (12, 0)
    assert trace.lines()[0] == f"open {kernel.root / 'vfio3'} = ok"
    assert trace.lines()[1] == "VFIO_DEVICE_BIND_IOMMUFD = id 5"


def test_reopen_binds_what_was_attached(kernel: FakeKernel, iommufd: Iommufd, device: Cdev) -> None:
    device.reopen()
    assert kernel.requests() == []
    device.bind(iommufd)
    device.attach(iommufd.allocate())
    kernel.asked.clear()
    device.reopen()
    bind, attach = ioctls.VFIO_DEVICE_BIND_IOMMUFD, ioctls.VFIO_DEVICE_ATTACH_IOMMUFD_PT
    assert kernel.requests() == [bind, attach]


def test_a_second_descriptor_is_not_bound(kernel: FakeKernel, device: Cdev) -> None:
    with device.open_again() as second:
        assert second.fd != device.fd
    assert kernel.requests() == []


def test_a_refusal(kernel: FakeKernel, iommufd: Iommufd, device: Cdev) -> None:
    kernel.refuse[ioctls.VFIO_DEVICE_BIND_IOMMUFD] = errno.EBUSY
    with raises_errno(errno.EBUSY):
        device.bind(iommufd)
    assert trace.lines()[-1] == "VFIO_DEVICE_BIND_IOMMUFD = EBUSY"


def test_what_is_lacking(kernel: FakeKernel) -> None:
    iommu = kernel.root / "iommu"

    def lacking() -> str:
        return cdev_module.lacking(BDF, sys=kernel.sys, iommu=iommu)

    assert lacking() == ""
    (kernel.own / "dev").unlink()
    assert "VFIO_DEVICE_CDEV" in lacking()
    iommu.unlink()
    assert "no IOMMUFD" in lacking()


def test_no_such_device(kernel: FakeKernel) -> None:
    with pytest.raises(SysfsError, match="no PCI function"):
        cdev_module.lacking("0000:09:00.0", sys=kernel.sys, iommu=kernel.root / "iommu")


def test_the_file(kernel: FakeKernel) -> None:
    found = cdev_module.path(BDF, sys=kernel.sys, directory=kernel.root)
    assert found == kernel.root / "vfio3"
