# SPDX-License-Identifier: GPL-2.0-only
"""What a device says of itself: its sizes and bounds, and whether it is true."""

import ctypes
import mmap
import os
import select
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import EFAULT, EINVAL, ENOTTY
from pathlib import Path

import pytest

from conformance.plugin.checks import expect_equal, expect_errno, expect_success, expect_true
from conformance.plugin.declared import Doorbell, Scratch
from conformance.plugin.devices import Devices
from conformance.plugin.protocols import not_applicable
from conformance.suite.support.cases import named
from conformance.suite.support.memory import read_only
from conformance.suite.support.steps import set_apart
from conformance.suite.support.underway import expect_ended, write_under_way
from conformance.uapi import constants as c
from conformance.uapi import ioctls
from conformance.uapi.ioctls import ioctl
from conformance.uapi.structs import vfio_device_info, vfio_irq_info, vfio_region_info
from conformance.vfio.device import Device
from conformance.vfio.iommu.container import Container
from conformance.vfio.memory import libc
from conformance.vfio.pci import interrupts
from conformance.vfio.region import Region
from conformance.vfio.system import sysfs

ROOM = 4096
LAST = (1 << 32) - 1
#: Numbers of ioctls that VFIO does not use.
UNKNOWN = 0x3B00 + 98
#: Seconds in which the kernel asks for a device, and has it once it is closed.
PATIENCE = 10.0
KINDS = (c.VFIO_PCI_INTX_IRQ_INDEX, c.VFIO_PCI_MSI_IRQ_INDEX, c.VFIO_PCI_MSIX_IRQ_INDEX)


#: Fields that every answer has, whatever its flags.
ANSWERED = ("flags", "num_regions", "num_irqs", "size", "offset", "count")


@dataclass(frozen=True)
class Question:
    """An ioctl, its number, and the structure of its argument, as it was when VFIO was new."""

    name: str
    number: int
    struct: type[ctypes.Structure]
    least: int

    def ask(self, device: Device, argsz: int, index: int = 0, fill: int = 0) -> dict[str, int]:
        """Ask with room for any answer; return it and the result. Raises :class:`OSError`.

        Args:
            device: What is asked.
            argsz: Bytes, as the device is told.
            index: Of the region or the kind of interrupt.
            fill: What each byte of the argument's other fields is before the call.
        """
        arg = ctypes.create_string_buffer(bytes([fill]) * ROOM, ROOM)
        head = self.struct.from_buffer(arg)
        head.argsz = argsz
        if hasattr(head, "index"):
            head.index = index
        answer = {"result": ioctl(device.fd, self.number, arg)}
        fields = [name for name, *_ in self.struct._fields_ if name in ANSWERED]
        return answer | {name: int(getattr(head, name)) for name in fields}


REGION = Question("GET_REGION_INFO", ioctls.VFIO_DEVICE_GET_REGION_INFO, vfio_region_info, 32)
IRQ = Question("GET_IRQ_INFO", ioctls.VFIO_DEVICE_GET_IRQ_INFO, vfio_irq_info, 16)
INFO = Question("GET_INFO", ioctls.VFIO_DEVICE_GET_INFO, vfio_device_info, 16)
QUESTIONS = named({one.name: one for one in (INFO, REGION, IRQ)})


@pytest.mark.rule("info.argsz")
@pytest.mark.parametrize("question", QUESTIONS)
def test_argsz(device: Device, question: Question) -> None:
    """Ask with too little room, with just enough, and with more: EINVAL, then 0."""
    for argsz in (0, 4, question.least - 1):
        with expect_errno(EINVAL, did=f"{question.name}, argsz {argsz}"):
            question.ask(device, argsz)
    for argsz in (question.least, ROOM):
        with expect_success(did=f"{question.name}, argsz {argsz}"):
            answer = question.ask(device, argsz)
        expect_equal(answer["result"], 0, did=f"{question.name}, argsz {argsz}, what it returns")


@pytest.mark.rule("info.argsz")
@pytest.mark.parametrize("question", QUESTIONS)
def test_bad_pointer(device: Device, question: Question) -> None:
    """Ask with an argument that is not there: EFAULT."""
    with expect_errno(EFAULT, did=f"{question.name}, no argument"):
        ioctl(device.fd, question.number, libc.NOWHERE)


@pytest.mark.rule("info.argsz")
@pytest.mark.parametrize("question", QUESTIONS)
def test_argument_that_cannot_be_written(device: Device, question: Question) -> None:
    """Ask with an argument that can only be read: EFAULT."""
    for index in range(device.num_regions if question is REGION else 1):
        with suppress(OSError):
            question.ask(device, ROOM, index)  # an index that is not there is EINVAL in any case
            argument = question.struct(argsz=question.least)
            if index:
                argument.index = index
            did = f"{question.name} of index {index}, an argument that can only be read"
            with read_only(bytes(argument)) as address, expect_errno(EFAULT, did=did):
                libc.ioctl_at(device.fd, question.number, address)


@pytest.mark.rule("info.bounds")
@pytest.mark.parametrize("past", [0, 1, 1 << 16, 1 << 31, LAST])
def test_bounds(device: Device, past: int) -> None:
    """Ask for regions and interrupts at and past their numbers: EINVAL."""
    for question, number in ((REGION, device.num_regions), (IRQ, device.info.num_irqs)):
        index = min(number + past, LAST)
        with expect_errno(EINVAL, did=f"{question.name} of index {index}, there are {number}"):
            question.ask(device, ROOM, index)


def _eventfds(device: Device, index: int) -> int:
    """Return how many vectors of a kind take an eventfd; none if the kind is refused."""
    try:
        info = device.irq_info(index)
    except OSError:
        return 0
    return info.count if info.flags & c.VFIO_IRQ_INFO_EVENTFD else 0


@pytest.mark.rule("info.vectors")
def test_vectors(device: Device) -> None:
    """Set up an eventfd for each vector of INTx, MSI and MSI-X that is counted: it is taken."""
    for index in KINDS:
        count = _eventfds(device, index)
        if count:
            with expect_success(did=f"SET_IRQS of index {index}, {count} eventfds"):
                interrupts.set_up(device, index, count)


@pytest.mark.rule("info.answer")
@pytest.mark.parametrize("question", QUESTIONS)
def test_answer(device: Device, question: Question) -> None:
    """Ask with an argument of zeros and one of ones, of each index: the answers are the same."""
    numbers = {REGION: device.num_regions, IRQ: device.info.num_irqs}
    for index in range(numbers.get(question, 1)):
        try:
            clear = question.ask(device, ROOM, index)
        except OSError:
            continue
        full = question.ask(device, ROOM, index, fill=0xFF)
        expect_equal(full, clear, did=f"{question.name} of index {index}, ones and zeros before")


@pytest.mark.rule("info.flags")
def test_flag_of_reset(device: Device) -> None:
    """Reset the device: GET_INFO has the flag RESET if that succeeds, and only then."""
    try:
        device.reset()
        works = True
    except OSError:
        works = False
    said = bool(device.info.flags & c.VFIO_DEVICE_FLAGS_RESET)
    expect_equal(said, works, did="VFIO_DEVICE_RESET, GET_INFO, look at the flag RESET")


@pytest.mark.rule("info.flags")
def test_flag_of_pci(device: Device) -> None:
    """Look for a PCI function: GET_INFO has the flag PCI, and config space is in its place."""
    said = bool(device.info.flags & c.VFIO_DEVICE_FLAGS_PCI)
    if not said and not sysfs.is_pci(device.bdf):
        not_applicable("this is not a PCI function")
    expect_true(said, did="GET_INFO of a PCI function", expected="the flag PCI", actual="none")
    config = device.known(c.VFIO_PCI_CONFIG_REGION_INDEX)
    flags = (config.readable, config.writable, config.mappable)
    expect_equal(flags, (True, True, False), did="ask for config space: read, write, mmap")


def _answered(device: Device) -> Iterator[Region]:
    """Yield each region of which the driver says something, also those without a size."""
    for index in range(device.num_regions):
        with suppress(OSError):
            yield device.known(index)


@pytest.mark.rule("info.access")
def test_unmappable(device: Device) -> None:
    """Map the first, second and last page of each region that has no flag MMAP: an error."""
    for region in _answered(device):
        last = region.size // mmap.PAGESIZE * mmap.PAGESIZE - mmap.PAGESIZE
        for at in {0, mmap.PAGESIZE, max(last, 0)} if not region.mappable else set():
            with expect_errno(did=f"mmap the page at {at:#x} of {region.name}") as call:
                call.result = region.map(at, mmap.PAGESIZE)


@pytest.mark.rule("info.access")
def test_mappable(device: Device) -> None:
    """Map a page of each region that has the flag MMAP: it is taken."""
    for region in _answered(device):
        if region.mappable:
            at = next((area.offset for area in region.runtime_areas), 0)
            with expect_success(did=f"mmap a page of {region.name}, of {region.size:#x} bytes"):
                region.map(at, mmap.PAGESIZE).close()


@pytest.mark.rule("info.access")
def test_reachable(device: Device) -> None:
    """Look at each region with a size: it has a flag; where it is READ, a register is read."""
    for region in device.regions:
        ways = region.readable or region.writable or region.mappable
        did = f"look at the flags of {region.name}, of {region.size:#x} bytes"
        expect_true(ways, did=did, expected="READ, WRITE or MMAP", actual="none")
        if region.readable and region.size >= 4:
            with expect_success(did=f"read the first register of {region.name}"):
                region.read_int(0)


@pytest.mark.rule("info.access")
def test_unreadable(device: Device) -> None:
    """Read each region that has no flag READ: an error."""
    for region in _answered(device):
        if not region.readable:
            with expect_errno(did=f"read {region.name}") as call:
                call.result = region.read(0, 4)


@pytest.mark.rule("info.reset")
def test_reset_is_like_a_new_open(device: Device, scratch: list[Scratch]) -> None:
    """Write registers and reset, write them and open anew: they read the same, and it returns 0."""
    set_apart(scratch, 0x2F4B6D81)
    expect_equal(ioctl(device.fd, ioctls.VFIO_DEVICE_RESET, 0), 0, did="VFIO_DEVICE_RESET, result")
    after_reset = [place.read() for place in scratch]
    set_apart(scratch, 0x2F4B6D81)
    device.reopen()
    after_open = [place.read() for place in scratch]
    did = "write registers, reset, and write them, open anew: read them"
    expect_equal(after_reset, after_open, did=did)


@pytest.mark.rule("info.reset")
def test_reset_ends_what_is_under_way(
    device: Device, container: Container, doorbells: list[Doorbell]
) -> None:
    """Reset the device while it writes to memory that is late: when that returns, it has."""
    with write_under_way(device, container, doorbells[0]) as late:
        device.reset()
        expect_ended(late, did="VFIO_DEVICE_RESET")


@pytest.mark.rule("info.position")
def test_position(device: Device) -> None:
    """Read without an offset twice, and once with one: the position is behind the former two."""
    with device.open_again() as second:
        for size in (4, 2):
            os.read(second.fd, size)
        second.pread(4, 0)
        info = Path(f"/proc/self/fdinfo/{second.fd}").read_text("ascii")
    position = info.partition("pos:")[2].split()[0]
    expect_equal(position, "6", did="read 4 and 2 bytes, 4 at an offset, look for the position")


@pytest.mark.rule("info.unknown")
@pytest.mark.parametrize("number", [UNKNOWN, UNKNOWN + 1])
def test_unknown_ioctl(device: Device, number: int) -> None:
    """Call the device with an ioctl that VFIO does not have: ENOTTY."""
    with expect_errno(ENOTTY, did=f"ioctl {number:#x}"):
        ioctl(device.fd, number, 0)


@pytest.mark.alone
@pytest.mark.rule("info.request")
def test_request(device: Device, devices: Devices) -> None:
    """Take a function that is open from its driver: its user is asked, closes it, it is free."""
    bdf, driver = device.bdf, sysfs.driver(device.bdf)
    if devices.settings.as_is or not driver or not sysfs.is_pci(bdf):
        pytest.skip("only a PCI function that may be bound anew is taken from its driver")
    if _eventfds(device, c.VFIO_PCI_REQ_IRQ_INDEX) != 1:
        not_applicable("the device has no interrupt by which it is asked for")
    with interrupts.only_eventfd(device, c.VFIO_PCI_REQ_IRQ_INDEX) as asked:
        taker = threading.Thread(target=sysfs.unbind, args=(bdf,), daemon=True)
        taker.start()
        came = bool(select.select([asked], [], [], PATIENCE)[0])
        devices.close()
        taker.join(2 * PATIENCE)
    sysfs.bind(bdf, driver)
    expect_true(came, did="unbind the function", expected="the interrupt", actual="none")
