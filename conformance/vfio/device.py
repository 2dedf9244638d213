# SPDX-License-Identifier: GPL-2.0-only
"""An open device: what it says of itself, its regions, its reset."""

import ctypes
import errno
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from conformance.closing import Closing
from conformance.uapi import constants as c
from conformance.uapi import ioctls
from conformance.uapi.ioctls import ioctl
from conformance.uapi.structs import (
    vfio_device_feature,
    vfio_device_feature_migration,
    vfio_device_info,
    vfio_irq_info,
    vfio_region_info,
)
from conformance.vfio import trace
from conformance.vfio.capabilities import Capability, parse_chain
from conformance.vfio.data_file import DataFile
from conformance.vfio.errors import InfoError
from conformance.vfio.iommu.container import Container
from conformance.vfio.iommu.group import Group
from conformance.vfio.memory import libc
from conformance.vfio.region import Region, RegionInfo
from conformance.vfio.system import sysfs

#: Size of ``struct vfio_region_info``, the least argsz the kernel takes.
REGION_INFO_SIZE: Final = ctypes.sizeof(vfio_region_info)

_METHODS: Final = {
    c.VFIO_DEVICE_FEATURE_GET: "GET",
    c.VFIO_DEVICE_FEATURE_SET: "SET",
    c.VFIO_DEVICE_FEATURE_PROBE: "PROBE",
}
_FEATURES: Final = {
    c.VFIO_DEVICE_FEATURE_MIGRATION: "MIGRATION",
    c.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: "MIG_DEVICE_STATE",
    c.VFIO_DEVICE_FEATURE_DMA_LOGGING_START: "DMA_LOGGING_START",
    c.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP: "DMA_LOGGING_STOP",
    c.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: "DMA_LOGGING_REPORT",
    c.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: "MIG_DATA_SIZE",
    c.VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2: "MIG_PRECOPY_INFOv2",
}


@dataclass(frozen=True)
class IrqInfo:
    """The answer to VFIO_DEVICE_GET_IRQ_INFO: ``count`` vectors of one kind."""

    index: int
    flags: int
    count: int


class Device(Closing):
    """A function opened through its group.

    ``prefix`` comes before region names in the trace, to tell two devices apart. ``refused`` is set
    when a change of the state in version 2 is refused or fails. Raises :class:`OSError` with the
    kernel's errno.
    """

    refused = False

    def __init__(self, group: Group, bdf: str, *, prefix: str = "") -> None:
        self.group = group
        self.bdf = bdf
        self.prefix = prefix
        self.fd = group.device_fd(bdf)

    @classmethod
    def open(cls, bdf: str, container: Container, *, prefix: str = "") -> "Device":
        """Open a function by its PCI address, its group first.

        Raises :class:`~conformance.vfio.errors.SysfsError` if there is no such function or group.
        """
        group = Group(sysfs.iommu_group(bdf), container)
        try:
            return cls(group, bdf, prefix=prefix)
        except BaseException:
            group.close()
            raise

    def close(self) -> None:
        """Close the descriptor, not the group. Does nothing the second time.

        The kernel closes the device when no descriptor and no mapping holds it any more.
        """
        if self.fd >= 0:
            with trace.call(f"{self.prefix}close"):
                os.close(self.fd)
            self.fd = -1

    def reopen(self) -> None:
        """Close and open again: the function is reset, the state is _RUNNING again.

        Regions made before stay valid. The device is truly closed only if no other descriptor,
        mapping or process holds it.
        """
        self.close()
        self.fd = self.group.device_fd(self.bdf)
        self._forget()

    def open_again(self) -> "Device":
        """Open a second descriptor of the same device, which shares its state."""
        return Device(self.group, self.bdf, prefix=f"{self.prefix}second descriptor: ")

    def reset(self) -> None:
        """VFIO_DEVICE_RESET."""
        with trace.call(f"{self.prefix}VFIO_DEVICE_RESET"):
            ioctl(self.fd, ioctls.VFIO_DEVICE_RESET, 0)

    def pread(self, size: int, offset: int) -> bytes:
        """Read at an offset of the device file; may be short."""
        return os.pread(self.fd, size, offset)

    def pwrite(self, data: bytes, offset: int) -> int:
        """Write at an offset of the device file and return how many bytes were taken."""
        return os.pwrite(self.fd, data, offset)

    @cached_property
    def info(self) -> vfio_device_info:
        """Flags and the number of regions and interrupt indexes."""
        arg = vfio_device_info(argsz=ctypes.sizeof(vfio_device_info))
        ioctl(self.fd, ioctls.VFIO_DEVICE_GET_INFO, arg)
        return arg

    @property
    def num_regions(self) -> int:
        """Highest region index plus one."""
        return int(self.info.num_regions)

    def region_info_raw(self, index: int, argsz: int, *, room: int | None = None) -> bytes:
        """Call GET_REGION_INFO with this ``argsz`` and return the buffer as the kernel left it.

        The buffer has ``room`` bytes (``argsz`` by default, never less than the struct), of
        which those past the struct are 0xa5 before the call: what is still 0xa5 was not written.
        """
        size = max(argsz if room is None else room, REGION_INFO_SIZE)
        buffer = ctypes.create_string_buffer(b"\xa5" * size, size)
        head = vfio_region_info(argsz=argsz, index=index)
        ctypes.memmove(buffer, ctypes.byref(head), REGION_INFO_SIZE)
        with trace.call(f"{self.prefix}GET_REGION_INFO index {index} argsz {argsz}") as done:
            ioctl(self.fd, ioctls.VFIO_DEVICE_GET_REGION_INFO, buffer)
            answer = vfio_region_info.from_buffer_copy(buffer.raw)
            done.result = f"argsz {answer.argsz} flags {answer.flags:#x}"
        return buffer.raw

    def region_info(self, index: int) -> RegionInfo:
        """Return a region's description with all its capabilities.

        Raises :class:`~conformance.vfio.errors.InfoError` if the answer contradicts itself.
        """
        argsz = REGION_INFO_SIZE
        for _ in range(3):
            with trace.quiet():
                buffer = self.region_info_raw(index, argsz)
            head = vfio_region_info.from_buffer_copy(buffer)
            if head.argsz <= argsz:
                return decode_region_info(buffer, argsz)
            argsz = head.argsz
        raise InfoError(f"GET_REGION_INFO of index {index} asks for a larger buffer each time")

    def region(self, index: int) -> Region:
        """Return the region with this index, asked anew."""
        return Region(self, self.region_info(index))

    def known(self, index: int) -> Region:
        """Return the region with this index, asked once per open."""
        if index not in self._known:
            self._known[index] = self.region(index)
        return self._known[index]

    @cached_property
    def _known(self) -> dict[int, Region]:
        return {}

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """All regions that exist, asked once per open.

        An index below ``num_regions`` that the driver answers with EINVAL is skipped.
        """
        found = []
        for index in range(self.num_regions):
            try:
                with trace.quiet():
                    region = self.known(index)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                continue  # VGA on a function without it
            if region.size:
                found.append(region)
        return tuple(found)

    def feature(self, flags: int, data: bytearray, *, argsz: int | None = None) -> int:
        """VFIO_DEVICE_FEATURE with these flags and the data of the feature; return its result.

        ``data`` is what the kernel left in its place, after an error as well. ``argsz`` is that
        of head and data unless given; the memory is never smaller.
        """
        head = ctypes.sizeof(vfio_device_feature)
        size = head + len(data)
        asked = vfio_device_feature(argsz=size if argsz is None else argsz, flags=flags)
        buffer = ctypes.create_string_buffer(bytes(asked) + data, max(size, argsz or 0))
        with trace.call(f"{self.prefix}VFIO_DEVICE_FEATURE {feature_words(flags)}"):
            try:
                return ioctl(self.fd, ioctls.VFIO_DEVICE_FEATURE, buffer)
            finally:
                data[:] = buffer.raw[head:size]

    def feature_at(self, address: int) -> None:
        """VFIO_DEVICE_FEATURE with an argument at an address: unmapped, or read-only memory."""
        with trace.call(f"{self.prefix}VFIO_DEVICE_FEATURE at {address:#x}"):
            libc.ioctl_at(self.fd, ioctls.VFIO_DEVICE_FEATURE, address)

    def data_file(self, fd: int) -> DataFile:
        """Return the handle on a data_fd that this device has given."""
        return DataFile(fd, prefix=self.prefix)

    def migration_feature(self) -> int | None:
        """Return the flags of VFIO_DEVICE_FEATURE_MIGRATION, None if it is not offered.

        That is version 2 of the protocol: a state machine with file descriptors, Linux 5.18.
        """
        data = bytearray(ctypes.sizeof(vfio_device_feature_migration))
        try:
            self.feature(c.VFIO_DEVICE_FEATURE_GET | c.VFIO_DEVICE_FEATURE_MIGRATION, data)
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL):  # no such feature; no features at all
                return None
            raise
        return int(vfio_device_feature_migration.from_buffer(data).flags)

    def irq_info(self, index: int) -> IrqInfo:
        """Return the description of an interrupt index."""
        arg = vfio_irq_info(argsz=ctypes.sizeof(vfio_irq_info), index=index)
        ioctl(self.fd, ioctls.VFIO_DEVICE_GET_IRQ_INFO, arg)
        return IrqInfo(index, arg.flags, arg.count)

    def find_regions(self, kind: int, subtype: int) -> tuple[Region, ...]:
        """Return the regions whose type capability is (``kind``, ``subtype``)."""
        wanted = (kind, subtype)
        return tuple(r for r in self.regions if r.type and (r.type.type, r.type.subtype) == wanted)

    def _forget(self) -> None:
        for name in ("info", "regions", "_known"):
            self.__dict__.pop(name, None)


def feature_words(flags: int) -> str:
    """Return how messages call the flags of VFIO_DEVICE_FEATURE.

    >>> feature_words(1 << 16 | 2)
    'GET MIG_DEVICE_STATE'
    >>> feature_words(1 << 31 | 77)
    '0x80000000 feature 77'
    """
    number = flags & c.VFIO_DEVICE_FEATURE_MASK
    rest = flags & ~c.VFIO_DEVICE_FEATURE_MASK & ~sum(_METHODS)
    words = [word for flag, word in _METHODS.items() if flags & flag]
    words += [f"{rest:#x}"] if rest else []
    return " ".join([*words, _FEATURES.get(number, f"feature {number}")])


def decode_region_info(buffer: bytes, given: int) -> RegionInfo:
    """Decode the answer of GET_REGION_INFO for a buffer of ``given`` bytes.

    Raises :class:`~conformance.vfio.errors.ChainError` for a broken chain of capabilities.
    """
    head = vfio_region_info.from_buffer_copy(buffer)
    caps: tuple[Capability, ...] = ()
    if head.flags & c.VFIO_REGION_INFO_FLAG_CAPS and head.argsz <= given and head.cap_offset:
        caps = parse_chain(buffer[: head.argsz], head.cap_offset, REGION_INFO_SIZE)
    return RegionInfo(
        given, head.argsz, head.flags, head.index, head.cap_offset, head.size, head.offset, caps
    )
