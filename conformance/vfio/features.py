# SPDX-License-Identifier: GPL-2.0-only
"""VFIO_DEVICE_FEATURE of an open device: version 2 of the migration protocol, and DMA logging.

Every function raises :class:`OSError` with the kernel's errno, and records its call.
"""

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from conformance.uapi import constants as c
from conformance.uapi.structs import (
    vfio_device_feature_dma_buf,
    vfio_device_feature_dma_logging_control,
    vfio_device_feature_dma_logging_range,
    vfio_device_feature_dma_logging_report,
    vfio_device_feature_mig_data_size,
    vfio_device_feature_mig_state,
    vfio_device_feature_migration,
    vfio_region_dma_range,
)
from conformance.vfio import trace
from conformance.vfio.data_file import DataFile
from conformance.vfio.device import Device

#: Names of the migration states, as the header has them.
STATES: Final = {
    c.VFIO_DEVICE_STATE_ERROR: "ERROR",
    c.VFIO_DEVICE_STATE_STOP: "STOP",
    c.VFIO_DEVICE_STATE_RUNNING: "RUNNING",
    c.VFIO_DEVICE_STATE_STOP_COPY: "STOP_COPY",
    c.VFIO_DEVICE_STATE_RESUMING: "RESUMING",
    c.VFIO_DEVICE_STATE_RUNNING_P2P: "RUNNING_P2P",
    c.VFIO_DEVICE_STATE_PRE_COPY: "PRE_COPY",
    c.VFIO_DEVICE_STATE_PRE_COPY_P2P: "PRE_COPY_P2P",
}

_GET: Final = c.VFIO_DEVICE_FEATURE_GET
_SET: Final = c.VFIO_DEVICE_FEATURE_SET
_Struct = TypeVar("_Struct", bound=ctypes.Structure)


@dataclass(frozen=True)
class Range:
    """A range of IOVA in which DMA is logged; bytes."""

    iova: int
    length: int


def state_name(state: int) -> str:
    """Return the header's name of a state; of one it has not, the number."""
    return STATES.get(state, f"state {state:#x}")


def probe(device: Device, feature: int, methods: int = 0) -> None:
    """Ask whether a feature is there, with the given of GET and SET; changes nothing."""
    device.feature(c.VFIO_DEVICE_FEATURE_PROBE | methods | feature, bytearray())


def migration_flags(device: Device) -> int:
    """Return the flags of VFIO_DEVICE_FEATURE_MIGRATION."""
    answer = _get(device, c.VFIO_DEVICE_FEATURE_MIGRATION, vfio_device_feature_migration())
    return int(answer.flags)


def get_state(device: Device) -> int:
    """Return the migration state."""
    return int(get_state_raw(device).device_state)


def get_state_raw(device: Device) -> vfio_device_feature_mig_state:
    """Return the whole answer for the state; both fields are odd before the call."""
    asked = vfio_device_feature_mig_state(device_state=0xA5A5A5A5, data_fd=-0x5A5B)
    return _get(device, c.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, asked)


def set_state(device: Device, state: int) -> DataFile | None:
    """Go to a state, and return the data_fd if there is a new one."""
    argument = vfio_device_feature_mig_state(device_state=state)
    set_state_raw(device, argument)
    return device.data_file(argument.data_fd) if argument.data_fd >= 0 else None


def set_state_raw(device: Device, argument: vfio_device_feature_mig_state) -> None:
    """Go to a state; the argument is what the kernel left, after an error as well."""
    number, name = c.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, state_name(argument.device_state)
    data = bytearray(bytes(argument))
    with trace.call(f"{device.prefix}SET {name}") as done:
        try:
            with trace.quiet():
                device.feature(_SET | number, data)
        except OSError:
            device.refused = True
            raise
        finally:
            ctypes.memmove(ctypes.byref(argument), bytes(data), len(data))
        done.result = f"ok, data_fd {argument.data_fd}"


def data_size(device: Device) -> int:
    """Return how many bytes a save is expected to give."""
    asked = vfio_device_feature_mig_data_size()
    return int(_get(device, c.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, asked).stop_copy_length)


def enable_precopy_info_v2(device: Device) -> None:
    """Have the flags of PRECOPY_INFO mean something, until the device is closed."""
    device.feature(_SET | c.VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, bytearray())


def dma_buf(device: Device, region: int, offset: int, length: int) -> int:
    """Return the descriptor of a dma-buf of a part of a region; the caller closes it."""
    asked = vfio_device_feature_dma_buf(region_index=region, open_flags=os.O_RDWR, nr_ranges=1)
    data = bytearray(bytes(asked) + bytes(vfio_region_dma_range(offset=offset, length=length)))
    return device.feature(_GET | c.VFIO_DEVICE_FEATURE_DMA_BUF, data)


def start_log(device: Device, ranges: Sequence[Range], page_size: int = 4096) -> int:
    """Begin to log DMA writes to the ranges, and return the size of page that was chosen."""
    table = (vfio_device_feature_dma_logging_range * max(len(ranges), 1))()
    for entry, one in zip(table, ranges, strict=False):
        entry.iova, entry.length = one.iova, one.length
    return start_log_at(device, ctypes.addressof(table), len(ranges), page_size)


def start_log_at(device: Device, address: int, count: int, page_size: int = 4096) -> int:
    """Do the same with ``count`` ranges that are at an address."""
    asked = vfio_device_feature_dma_logging_control(
        page_size=page_size, num_ranges=count, ranges=address
    )
    data = bytearray(bytes(asked))
    device.feature(_SET | c.VFIO_DEVICE_FEATURE_DMA_LOGGING_START, data)
    return int(vfio_device_feature_dma_logging_control.from_buffer(data).page_size)


def stop_log(device: Device) -> None:
    """End the log."""
    device.feature(_SET | c.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, bytearray())


def report_log(device: Device, asked: Range, page_size: int = 4096) -> set[int]:
    """Return the numbers of the pages of a range that were written; the log forgets them."""
    count = -(-asked.length // page_size)
    bits = bytearray(-(-count // 64) * 8)  # whole words
    view = (ctypes.c_char * len(bits)).from_buffer(bits)
    report_log_to(device, asked, page_size, ctypes.addressof(view))
    found = int.from_bytes(bits, "little")
    return {number for number in range(count) if found >> number & 1}


def report_log_to(device: Device, asked: Range, page_size: int, bitmap: int) -> None:
    """Have the bits set in a bitmap at an address."""
    argument = vfio_device_feature_dma_logging_report(
        iova=asked.iova, length=asked.length, page_size=page_size, bitmap=bitmap
    )
    number = c.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT
    device.feature(_GET | number, bytearray(bytes(argument)))


def _get(device: Device, number: int, asked: _Struct) -> _Struct:
    data = bytearray(bytes(asked))
    device.feature(_GET | number, data)
    return type(asked).from_buffer_copy(bytes(data))
