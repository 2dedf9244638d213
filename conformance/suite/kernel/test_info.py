# SPDX-License-Identifier: GPL-2.0-only
"""What a device says of itself: its sizes and bounds, and whether it is true."""

import ctypes
from dataclasses import dataclass
from errno import EFAULT, EINVAL

import pytest

from conformance.plugin.checks import expect_errno, expect_success
from conformance.suite.support.cases import named
from conformance.uapi import constants as c
from conformance.uapi import ioctls
from conformance.uapi.ioctls import ioctl
from conformance.uapi.structs import vfio_device_info, vfio_irq_info, vfio_region_info
from conformance.vfio.device import Device
from conformance.vfio.memory import libc
from conformance.vfio.pci import interrupts

ROOM = 4096
LAST = (1 << 32) - 1
KINDS = (c.VFIO_PCI_INTX_IRQ_INDEX, c.VFIO_PCI_MSI_IRQ_INDEX, c.VFIO_PCI_MSIX_IRQ_INDEX)


@dataclass(frozen=True)
class Question:
    """An ioctl, its number, and the structure of its argument, as it was when VFIO was new."""

    name: str
    number: int
    struct: type[ctypes.Structure]
    least: int

    def ask(self, device: Device, argsz: int, index: int = 0) -> None:
        """Ask with room for any answer. Raises :class:`OSError`."""
        arg = ctypes.create_string_buffer(ROOM)
        head = self.struct.from_buffer(arg)
        head.argsz = argsz
        if hasattr(head, "index"):
            head.index = index
        ioctl(device.fd, self.number, arg)


REGION = Question("GET_REGION_INFO", ioctls.VFIO_DEVICE_GET_REGION_INFO, vfio_region_info, 32)
IRQ = Question("GET_IRQ_INFO", ioctls.VFIO_DEVICE_GET_IRQ_INFO, vfio_irq_info, 16)
INFO = Question("GET_INFO", ioctls.VFIO_DEVICE_GET_INFO, vfio_device_info, 16)
QUESTIONS = named({one.name: one for one in (INFO, REGION, IRQ)})


@pytest.mark.rule("info.argsz")
@pytest.mark.parametrize("question", QUESTIONS)
def test_argsz(device: Device, question: Question) -> None:
    """Ask with too little room, with just enough, and with more: EINVAL, then success."""
    for argsz in (0, 4, question.least - 1):
        with expect_errno(EINVAL, did=f"{question.name}, argsz {argsz}"):
            question.ask(device, argsz)
    for argsz in (question.least, ROOM):
        with expect_success(did=f"{question.name}, argsz {argsz}"):
            question.ask(device, argsz)


@pytest.mark.rule("info.argsz")
@pytest.mark.parametrize("question", QUESTIONS)
def test_bad_pointer(device: Device, question: Question) -> None:
    """Ask with an argument that is not there: EFAULT."""
    with expect_errno(EFAULT, did=f"{question.name}, no argument"):
        ioctl(device.fd, question.number, libc.NOWHERE)


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
