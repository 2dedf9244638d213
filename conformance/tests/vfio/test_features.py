# SPDX-License-Identifier: GPL-2.0-only
"""The feature ioctl, with a kernel of a few lines; and the data_fd, with files of the real one."""

import ctypes
import errno
import os
import select
import socket
from collections.abc import Callable, Iterator

import pytest

from conformance.tests.plugin.raising import raises_errno
from conformance.tests.vfio.fake_device import FakeDevice
from conformance.uapi import constants as c
from conformance.uapi import ioctls
from conformance.uapi.structs import (
    vfio_device_feature,
    vfio_device_feature_dma_logging_control,
    vfio_device_feature_dma_logging_range,
    vfio_device_feature_dma_logging_report,
    vfio_device_feature_mig_state,
)
from conformance.vfio import data_file as data_file_module
from conformance.vfio import device as device_module
from conformance.vfio import features, trace
from conformance.vfio.data_file import DataFile, PrecopyInfo
from conformance.vfio.features import Range

Answer = Callable[[int, bytearray], None]
Kernel = Callable[[Answer], FakeDevice]
HEAD = ctypes.sizeof(vfio_device_feature)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    """``kernel(answer)``: a device whose features are a function of flags and data."""
    made: list[FakeDevice] = []

    def make(answer: Answer) -> FakeDevice:
        def ioctl(_fd: int, request: int, buffer: "ctypes.Array[ctypes.c_char]") -> int:
            assert request == ioctls.VFIO_DEVICE_FEATURE
            head = vfio_device_feature.from_buffer(buffer)
            data = bytearray(buffer.raw[HEAD : head.argsz])
            try:
                answer(head.flags, data)
            finally:
                ctypes.memmove(ctypes.addressof(buffer) + HEAD, bytes(data), len(data))
            return 0

        monkeypatch.setattr(device_module, "ioctl", ioctl)
        made.append(FakeDevice())
        return made[-1]

    trace.start()
    yield make
    for device in made:
        device.close()


def test_a_set_returns_the_data_fd(kernel: Kernel) -> None:
    read, write = os.pipe()

    def answer(flags: int, data: bytearray) -> None:
        assert flags == c.VFIO_DEVICE_FEATURE_SET | c.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
        state = vfio_device_feature_mig_state.from_buffer(data)
        assert state.device_state == c.VFIO_DEVICE_STATE_PRE_COPY
        state.data_fd = read

    file = features.set_state(kernel(answer), c.VFIO_DEVICE_STATE_PRE_COPY)
    os.close(write)
    assert file is not None
    with file:
        assert file.read(4) == b""
    assert trace.lines()[0] == f"SET PRE_COPY = ok, data_fd {read}"


def test_what_a_failed_set_left_is_reported(kernel: Kernel) -> None:
    def answer(_flags: int, data: bytearray) -> None:
        vfio_device_feature_mig_state.from_buffer(data).data_fd = -1
        raise OSError(errno.EBUSY, "mapped")

    argument = vfio_device_feature_mig_state(device_state=3, data_fd=7)
    with raises_errno(errno.EBUSY):
        features.set_state_raw(kernel(answer), argument)
    assert argument.data_fd == -1
    assert trace.lines()[-1] == "SET STOP_COPY = EBUSY"


def test_the_state_and_the_size(kernel: Kernel) -> None:
    def answer(flags: int, data: bytearray) -> None:
        value = {
            c.VFIO_DEVICE_FEATURE_MIGRATION: b"\5",
            c.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: b"\2\0\0\0\xff\xff\xff\xff",
            c.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: b"\0\1",
        }[flags & c.VFIO_DEVICE_FEATURE_MASK]
        assert flags & ~c.VFIO_DEVICE_FEATURE_MASK == c.VFIO_DEVICE_FEATURE_GET
        data[: len(value)] = value

    device = kernel(answer)
    assert features.migration_flags(device) == device.migration_feature() == 5
    raw = features.get_state_raw(device)
    assert (raw.device_state, raw.data_fd) == (c.VFIO_DEVICE_STATE_RUNNING, -1)
    assert features.get_state(device) == c.VFIO_DEVICE_STATE_RUNNING
    assert features.data_size(device) == 256


@pytest.mark.parametrize("number", [errno.ENOTTY, errno.EINVAL])
def test_no_migration(kernel: Kernel, number: int) -> None:
    def answer(_flags: int, _data: bytearray) -> None:
        raise OSError(number, "")

    assert kernel(answer).migration_feature() is None


def test_a_larger_argsz_has_memory_behind_it(kernel: Kernel) -> None:
    seen: list[int] = []

    def answer(_flags: int, data: bytearray) -> None:
        seen.append(len(data))

    kernel(answer).feature(c.VFIO_DEVICE_FEATURE_GET | 1, bytearray(8), argsz=4096)
    assert seen == [4096 - HEAD]


def test_probe_has_no_data(kernel: Kernel) -> None:
    seen: list[tuple[int, int]] = []

    def answer(flags: int, data: bytearray) -> None:
        seen.append((flags, len(data)))

    features.probe(kernel(answer), 6, c.VFIO_DEVICE_FEATURE_SET)
    assert seen == [(c.VFIO_DEVICE_FEATURE_PROBE | c.VFIO_DEVICE_FEATURE_SET | 6, 0)]
    assert trace.lines() == ["VFIO_DEVICE_FEATURE SET PROBE DMA_LOGGING_START = ok"]


def test_a_log_has_its_ranges_and_the_size_of_page(kernel: Kernel) -> None:
    found: list[tuple[int, int]] = []

    def answer(_flags: int, data: bytearray) -> None:
        control = vfio_device_feature_dma_logging_control.from_buffer(data)
        kind = vfio_device_feature_dma_logging_range * control.num_ranges
        found.extend((one.iova, one.length) for one in kind.from_address(control.ranges))
        control.page_size = 8192

    ranges = [Range(0x1000, 0x2000), Range(0x8000, 0x1000)]
    assert features.start_log(kernel(answer), ranges) == 8192
    assert found == [(0x1000, 0x2000), (0x8000, 0x1000)]


def test_a_report_names_the_pages(kernel: Kernel) -> None:
    def answer(_flags: int, data: bytearray) -> None:
        report = vfio_device_feature_dma_logging_report.from_buffer(data)
        (ctypes.c_ubyte * 9).from_address(report.bitmap)[8] = 2

    found = features.report_log(kernel(answer), Range(0, 66 * 4096))
    assert found == {65}


@pytest.fixture
def file() -> Iterator[DataFile]:
    """A data_fd that is one end of a stream."""
    ours, theirs = socket.socketpair()
    theirs.sendall(b"0123456789")
    trace.start()
    with theirs, DataFile(ours.detach()) as handle:
        yield handle


def test_a_stream_is_read_in_every_way(file: DataFile) -> None:
    room = ctypes.create_string_buffer(2)
    read, write = os.pipe()
    assert file.read(2) == b"01"
    assert file.readv([1, 2]) == b"234"
    assert file.read_to(ctypes.addressof(room), 2) == 2
    assert room.raw == b"56"
    assert file.splice_to(write, 1) == 1
    assert os.read(read, 9) == b"7"
    with file.duplicate() as other:
        assert other.read(9) == b"89"
    os.write(write, b"x")
    assert file.splice_from(read, 1) == 1
    assert file.write(b"abc") == 3
    assert file.writev([b"d", b"ef"]) == 3
    assert file.write_from(ctypes.addressof(room), 2) == 2
    os.close(read)
    os.close(write)
    assert trace.lines()[0] == f"data_fd {file.fd}: read 2 = 2 bytes"


def test_what_a_stream_refuses(file: DataFile) -> None:
    with raises_errno(errno.ESPIPE):
        file.seek(0)
    with raises_errno(errno.ESPIPE):
        file.pread(1, 0)
    with raises_errno(errno.ESPIPE):
        file.pwrite(b"1", 0)
    with raises_errno(errno.ENODEV):
        file.mmap(4096)
    with raises_errno(errno.EFAULT):
        file.read_to(0, 1)
    with raises_errno(errno.ENOTTY):
        file.precopy_info()
    with raises_errno(errno.ENOTTY):
        file.precopy_info_at(0)
    with raises_errno(errno.ENOTTY):
        file.ioctl(ioctls.VFIO_DEVICE_RESET)


def test_poll_and_nonblock(file: DataFile) -> None:
    assert file.closes_on_exec
    assert file.poll(select.POLLIN) == select.POLLIN
    file.read(10)
    assert file.poll(select.POLLIN, 0.01) == 0
    file.set_blocking(False)
    with raises_errno(errno.EAGAIN):
        file.read(1)


def test_precopy_info(file: DataFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def ioctl(_fd: int, request: int, buffer: "ctypes.Array[ctypes.c_char]") -> int:
        assert request == ioctls.VFIO_MIG_GET_PRECOPY_INFO
        words = (ctypes.c_uint32 * 6).from_buffer(buffer)
        assert list(words[:2]) == [64, 9]
        words[1:] = [1, 2, 0, 3, 0]
        return 0

    monkeypatch.setattr(data_file_module, "ioctl", ioctl)
    assert file.precopy_info(64, flags=9) == PrecopyInfo(1, 2, 3)
