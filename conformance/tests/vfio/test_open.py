# SPDX-License-Identifier: GPL-2.0-only
"""Container, group and device, with a kernel whose ioctls are a few lines of Python."""

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.tests.plugin.raising import raises_errno
from conformance.tests.vfio.fake_device import kind
from conformance.uapi import constants as c
from conformance.uapi import ioctls
from conformance.uapi.structs import vfio_region_info
from conformance.vfio import device as device_module
from conformance.vfio import trace
from conformance.vfio.device import REGION_INFO_SIZE, Device, IrqInfo
from conformance.vfio.errors import ChainError, SysfsError
from conformance.vfio.iommu import container as container_module
from conformance.vfio.iommu import group as group_module
from conformance.vfio.iommu.container import Container
from conformance.vfio.iommu.group import Group
from conformance.vfio.system import sysfs

BDF = "0000:01:10.0"


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class FakeKernel:
    """Answers ioctls, and keeps what it was asked."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("vfio", "12"):
            (directory / name).touch()
        self.asked: list[tuple[int, Any]] = []
        self.viable = True
        self.refuse: dict[int, int] = {}
        self.chain = kind(3, 1)

    def ioctl(self, fd: int, request: int, arg: Any) -> int:
        os.fstat(fd)  # a closed descriptor is EBADF
        if request in self.refuse:
            raise OSError(self.refuse[request], "refused")
        self.asked.append((request, arg))
        answer = {
            ioctls.VFIO_GET_API_VERSION: self._version,
            ioctls.VFIO_CHECK_EXTENSION: self._extension,
            ioctls.VFIO_GROUP_GET_STATUS: self._status,
            ioctls.VFIO_GROUP_GET_DEVICE_FD: self._open,
            ioctls.VFIO_DEVICE_GET_INFO: self._info,
            ioctls.VFIO_DEVICE_GET_REGION_INFO: self._region,
            ioctls.VFIO_DEVICE_GET_IRQ_INFO: self._irq,
            ioctls.VFIO_IOMMU_GET_INFO: self._iommu,
            ioctls.VFIO_IOMMU_UNMAP_DMA: self._unmap,
        }.get(request)
        return answer(arg) if answer else 0

    def requests(self) -> list[int]:
        return [request for request, _ in self.asked]

    def _version(self, arg: int) -> int:
        return arg

    def _extension(self, arg: int) -> int:
        return int(arg == c.VFIO_TYPE1v2_IOMMU)

    def _status(self, arg: Any) -> int:
        arg.flags = c.VFIO_GROUP_FLAGS_VIABLE if self.viable else 0
        return 0

    def _open(self, arg: Any) -> int:
        assert arg.value == BDF.encode()
        return os.memfd_create("device")

    def _info(self, arg: Any) -> int:
        assert arg.argsz == 24
        arg.num_regions, arg.flags = 10, c.VFIO_DEVICE_FLAGS_PCI
        return 0

    def _irq(self, arg: Any) -> int:
        arg.flags, arg.count = c.VFIO_IRQ_INFO_EVENTFD, arg.index + 1
        return 0

    def _iommu(self, arg: Any) -> int:
        arg.iova_pgsizes = 0x1000
        return 0

    def _unmap(self, arg: Any) -> int:
        arg.size //= 2
        return 0

    def _region(self, arg: Any) -> int:
        head = vfio_region_info.from_buffer(arg)
        if head.argsz < REGION_INFO_SIZE:
            raise OSError(errno.EINVAL, "too small")
        need = REGION_INFO_SIZE + len(self.chain)
        fits = head.argsz >= need
        head.flags, head.size = c.VFIO_REGION_INFO_FLAG_CAPS, 0x1000
        head.argsz, head.cap_offset = need, REGION_INFO_SIZE if fits else 0
        if fits:
            ctypes.memmove(ctypes.addressof(arg) + REGION_INFO_SIZE, self.chain, len(self.chain))
        return 0


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    kernel = FakeKernel(tmp_path)
    for module in (container_module, group_module, device_module):
        monkeypatch.setattr(module, "ioctl", kernel.ioctl)
    trace.start()
    return kernel


@pytest.fixture
def container(kernel: FakeKernel) -> Iterator[Container]:
    with Container(str(kernel.directory / "vfio")) as container:
        yield container


@pytest.fixture
def group(kernel: FakeKernel, container: Container) -> Iterator[Group]:
    with Group("12", container, directory=str(kernel.directory)) as group:
        yield group


@pytest.fixture
def device(group: Group) -> Iterator[Device]:
    with Device(group, BDF) as device:
        yield device


def test_what_a_container_can(container: Container) -> None:
    assert container.api_version == 0
    assert container.has_extension(c.VFIO_TYPE1v2_IOMMU)
    assert not container.has_extension(c.VFIO_UNMAP_ALL)
    assert container.iommu_info().iova_pgsizes == 0x1000


def test_dma(kernel: FakeKernel, container: Container) -> None:
    container.map_dma(0x7000, 0x1000, 0x2000)
    container.map_dma(0x7000, 0x9000, 0x2000, write=False)
    (_, both), (_, read) = kernel.asked
    assert (both.argsz, both.flags, both.vaddr, both.iova, both.size) == (
        32,
        c.VFIO_DMA_MAP_FLAG_READ | c.VFIO_DMA_MAP_FLAG_WRITE,
        0x7000,
        0x1000,
        0x2000,
    )
    assert read.flags == c.VFIO_DMA_MAP_FLAG_READ
    assert container.unmap_dma(0x1000, 0x2000) == 0x1000


def test_the_iommu_is_set_once(kernel: FakeKernel, container: Container, group: Group) -> None:
    assert group.number == "12"
    container.ensure_iommu()
    assert kernel.requests() == [
        ioctls.VFIO_GROUP_GET_STATUS,
        ioctls.VFIO_GROUP_SET_CONTAINER,
        ioctls.VFIO_SET_IOMMU,
    ]
    assert kernel.asked[-1][1] == c.VFIO_TYPE1v2_IOMMU
    argument = kernel.asked[1][1].raw
    assert int.from_bytes(argument[:4], "little") == container.fd


def test_a_group_that_is_not_viable(kernel: FakeKernel, container: Container) -> None:
    kernel.viable = False
    with pytest.raises(SysfsError, match="group 12 is not viable"):
        Group("12", container, directory=str(kernel.directory))


def test_a_refused_iommu_closes_the_group(kernel: FakeKernel, container: Container) -> None:
    kernel.refuse[ioctls.VFIO_SET_IOMMU] = errno.EPERM
    before = _open_files()
    with raises_errno(errno.EPERM):
        Group("12", container, directory=str(kernel.directory))
    assert _open_files() == before
    assert trace.lines()[-1] == "VFIO_SET_IOMMU 3 = EPERM"


def test_open_by_address(
    kernel: FakeKernel, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysfs, "iommu_group", lambda _bdf: "12")
    monkeypatch.setattr(
        device_module,
        "Group",
        lambda number, container: Group(number, container, directory=str(kernel.directory)),
    )
    with Device.open(BDF, container) as device:
        assert device.num_regions == 10
        device.group.close()
    kernel.refuse[ioctls.VFIO_GROUP_GET_DEVICE_FD] = errno.EBUSY
    before = _open_files()
    with raises_errno(errno.EBUSY):
        Device.open(BDF, container)
    assert _open_files() == before


def test_a_device(kernel: FakeKernel, device: Device) -> None:
    assert not os.get_inheritable(device.fd)
    device.reset()
    assert kernel.requests()[-1] == ioctls.VFIO_DEVICE_RESET
    assert device.irq_info(2) == IrqInfo(2, c.VFIO_IRQ_INFO_EVENTFD, 3)
    second = device.open_again()
    assert second.fd != device.fd
    second.close()
    second.close()


def test_reopen_asks_anew(kernel: FakeKernel, device: Device) -> None:
    assert len(device.regions) == 10
    asked = len(kernel.asked)
    assert len(device.regions) == 10
    assert len(kernel.asked) == asked
    device.reopen()
    assert len(device.regions) == 10
    assert len(kernel.asked) > asked


def test_a_known_region_is_asked_once_per_open(kernel: FakeKernel, device: Device) -> None:
    known = device.known(9)
    asked = len(kernel.asked)
    assert device.known(9) is known
    assert len(kernel.asked) == asked
    assert device.region(9) is not known
    assert len(kernel.asked) > asked
    device.reopen()
    assert device.known(9) is not known


@pytest.mark.parametrize("argsz", [REGION_INFO_SIZE, REGION_INFO_SIZE + 8])
def test_what_the_kernel_did_not_write_is_seen(device: Device, argsz: int) -> None:
    answer = device.region_info_raw(9, argsz, room=REGION_INFO_SIZE + 32)
    assert len(answer) == REGION_INFO_SIZE + 32
    assert answer[REGION_INFO_SIZE:] == b"\xa5" * 32
    info = vfio_region_info.from_buffer_copy(answer)
    assert (info.index, info.cap_offset, info.argsz) == (9, 0, REGION_INFO_SIZE + 16)


def test_the_least_argsz(device: Device) -> None:
    with raises_errno(errno.EINVAL):
        device.region_info_raw(0, REGION_INFO_SIZE - 1)
    assert trace.lines()[-1] == "GET_REGION_INFO index 0 argsz 31 = EINVAL"


def test_the_whole_answer(device: Device) -> None:
    region = device.region(9)
    assert region.type is not None
    assert (region.type.type, region.type.subtype) == (3, 1)
    assert region.info.given == REGION_INFO_SIZE + 16


def test_a_broken_chain_is_not_swallowed(kernel: FakeKernel, device: Device) -> None:
    kernel.chain = kind(3, 1)[:4] + (4).to_bytes(4, "little") + kind(3, 1)[8:]
    with pytest.raises(ChainError):
        device.regions  # noqa: B018 - the property is what is tested
