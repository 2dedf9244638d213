# SPDX-License-Identifier: GPL-2.0-only
"""A device without a kernel: a memory file with a small driver of the protocol in front of it.

BAR0 and the data section are pages of the file, so they can be mapped for real; the registers
of the migration region are served in Python. Defects can be switched on by name.
"""

import ctypes
import errno
import os
import struct
from typing import Any, Final

from conformance.uapi import constants as c
from conformance.uapi.structs import (
    vfio_device_info,
    vfio_info_cap_header,
    vfio_region_info,
    vfio_region_info_cap_sparse_mmap,
    vfio_region_info_cap_type,
)
from conformance.vfio.device import REGION_INFO_SIZE, Device
from conformance.vfio.memory.areas import Area

PAGE: Final = 0x1000
BAR0_SIZE: Final = 4 * PAGE
SAVING: Final = (Area(0, 2 * PAGE), Area(3 * PAGE, PAGE))
DATA_SIZE: Final = 2 * PAGE
MIGRATION_INDEX: Final = 9
SHIFT: Final = 40

_FLAGS: Final = 0xF  # read, write, mmap, caps
_ARCS: Final = {0: {0, 1, 2}, 1: {0, 1, 2, 3, 4}, 2: {0, 1, 2}, 3: {1, 2, 3}, 4: {1, 4}}


def sparse(cap_id: int, areas: tuple[Area, ...]) -> bytes:
    """Return a layout capability whose next is 0."""
    head = vfio_region_info_cap_sparse_mmap(nr_areas=len(areas))
    head.header = vfio_info_cap_header(id=cap_id, version=1)
    return bytes(head) + b"".join(struct.pack("QQ", *area) for area in areas)


def kind(number: int, subtype: int) -> bytes:
    """Return a type capability whose next is 0."""
    head = vfio_region_info_cap_type(type=number, subtype=subtype)
    head.header = vfio_info_cap_header(id=c.VFIO_REGION_INFO_CAP_TYPE, version=1)
    return bytes(head)


def chained(caps: list[bytes]) -> bytes:
    """Link capabilities that stand right behind the region info."""
    out = b""
    for cap in caps:
        at = REGION_INFO_SIZE + len(out) + len(cap)
        more = at if cap is not caps[-1] else 0
        out += cap[:4] + struct.pack("I", more) + cap[8:]
    return out


class FakeGroup:
    """Stands for a group; the descriptors come from the device itself."""

    def close(self) -> None:
        """Do nothing."""


class FakeDevice(Device):
    """The device. ``defects`` are names that the methods below look for."""

    def __init__(self, bdf: str = "0000:01:10.0", *, prefix: str = "", **_: Any) -> None:
        self.bdf = bdf
        self.prefix = prefix
        self.group: Any = FakeGroup()
        self.defects: set[str] = set()
        self.resets = 0
        self.opens = 0
        self.log: list[str] = []
        self._power_up()

    @classmethod
    def open(cls, bdf: str, _container: object, *, prefix: str = "") -> "FakeDevice":
        """Open without a container."""
        return cls(bdf, prefix=prefix)

    def _power_up(self) -> None:
        self.opens += 1
        self.fd = os.memfd_create("fake-device")
        os.ftruncate(self.fd, (MIGRATION_INDEX << SHIFT) + PAGE + DATA_SIZE)
        self.state = 4 if "opens resuming" in self.defects else c.VFIO_DEVICE_STATE_V1_RUNNING
        self.todo: list[bytes] = []
        self.taken: list[bytes] = []
        self.iterating = False

    def reopen(self) -> None:
        """Begin anew with zeroed registers."""
        self.close()
        self._power_up()

    def reset(self) -> None:
        """Go to _RUNNING."""
        self.resets += 1
        if "stuck" not in self.defects:
            self.state = 1

    @property
    def info(self) -> vfio_device_info:
        """Ten regions."""
        return vfio_device_info(num_regions=MIGRATION_INDEX + 1)

    def region_info_raw(self, index: int, argsz: int, *, room: int | None = None) -> bytes:
        """Answer as the kernel does, into a buffer of the size that was asked for."""
        assert room is None
        if index == c.VFIO_PCI_VGA_REGION_INDEX or index > MIGRATION_INDEX:
            raise OSError(errno.EINVAL, "no such region")
        size, caps = 0, []
        if index == 0:
            size = BAR0_SIZE
            caps = [sparse(1, (Area(0, BAR0_SIZE),))]
            caps += [] if "no saving layout" in self.defects else [sparse(6, SAVING)]
        elif index == MIGRATION_INDEX and "no region" not in self.defects:
            size, caps = PAGE + DATA_SIZE, [kind(3, 1), sparse(1, (Area(PAGE, DATA_SIZE),))]
        chain = chained(caps)
        need = REGION_INFO_SIZE + len(chain)
        fits = chain and argsz >= need
        head = vfio_region_info(
            argsz=need if chain else argsz,
            flags=_FLAGS if size else 0,
            index=index,
            cap_offset=REGION_INFO_SIZE if fits else 0,
            size=size,
            offset=index << SHIFT,
        )
        return (bytes(head) + (chain if fits else b"")).ljust(argsz, b"\0")

    def pread(self, size: int, offset: int) -> bytes:
        """Serve registers, or the file."""
        at = offset - (MIGRATION_INDEX << SHIFT)
        if not 0 <= at < PAGE:
            if "short data" in self.defects and at >= PAGE:
                size -= 1
            return os.pread(self.fd, size, offset)
        register = {(0, 4): "state", (4, 4): "reserved", (8, 8): "pending"} | {
            (16, 8): "offset",
            (24, 8): "size",
        }
        name = register.get((at, size))
        if name is None:
            raise OSError(errno.EINVAL, "not a register")
        self.log.append(f"read {name}")
        value: int = getattr(self, f"_read_{name}")()
        return value.to_bytes(size, "little")

    def pwrite(self, data: bytes, offset: int) -> int:
        """Take registers, or write the file."""
        at = offset - (MIGRATION_INDEX << SHIFT)
        if not 0 <= at < PAGE:
            return os.pwrite(self.fd, data, offset)
        value = int.from_bytes(data, "little")
        if (at, len(data)) == (0, 4):
            self.log.append(f"state <- {value}")
            self._write_state(value)
        elif (at, len(data)) == (24, 8) and self.state == 4:
            self.log.append(f"size <- {value}")
            if value > DATA_SIZE:
                raise OSError(errno.EINVAL, "too much")
            self.taken.append(os.pread(self.fd, value, (MIGRATION_INDEX << SHIFT) + PAGE))
        else:
            raise OSError(errno.EINVAL, "not a register")
        return len(data)

    def _read_state(self) -> int:
        if "state unreadable" in self.defects:
            raise OSError(errno.EINVAL, "not readable")
        return self.state

    def _read_reserved(self) -> int:
        return 0

    def _read_pending(self) -> int:
        if self.iterating and self.todo:
            if "endless" not in self.defects:
                self.todo.pop(0)
            self.iterating = False
        return sum(map(len, self.todo))

    def _read_offset(self) -> int:
        if self.todo:
            self.iterating = True
            os.pwrite(self.fd, self.todo[0], (MIGRATION_INDEX << SHIFT) + PAGE)
        return 8 if "offset in struct" in self.defects else PAGE

    def _read_size(self) -> int:
        return len(self.todo[0]) if self.todo else 0

    def _write_state(self, value: int) -> None:
        if value not in _ARCS.get(self.state, set()):
            raise OSError(errno.EINVAL, "no such arc")
        if value & 2 and not self.state & 2 and "busy" in self.defects:
            raise OSError(errno.EBUSY, "mapped")
        if self.state == 4 and value == 1:
            self._load()
        if value == 3:
            self.todo = [b"hello"]
        elif value == 2 and self.state != 2:
            bar = os.pread(self.fd, BAR0_SIZE, 0)
            step = DATA_SIZE - 3
            self.todo = [bar[at : at + step] for at in range(0, BAR0_SIZE, step)]
        elif not value & 2:
            self.todo = []
        self.iterating = False
        self.state = value

    def _load(self) -> None:
        data = b"".join(part for part in self.taken if part != b"hello")
        self.taken = []
        if len(data) != BAR0_SIZE:
            raise OSError(errno.EINVAL, "not a whole stream")
        os.pwrite(self.fd, data, 0)


def from_bytes(raw: bytes) -> vfio_region_info:
    """Decode the head of an answer."""
    return vfio_region_info.from_buffer_copy(raw[: ctypes.sizeof(vfio_region_info)])
