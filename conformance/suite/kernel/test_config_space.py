# SPDX-License-Identifier: GPL-2.0-only
"""Config space of a device that says that it is a PCI function, as a monitor uses it."""

from collections.abc import Iterator

import pytest

from conformance.plugin.checks import expect_equal, expect_success, expect_true
from conformance.plugin.protocols import not_applicable
from conformance.uapi import constants as c
from conformance.vfio.device import Device
from conformance.vfio.pci.config import COMMAND, MASTER, MEMORY
from conformance.vfio.region import Region
from conformance.vfio.system import sysfs

pytestmark = pytest.mark.rule("info.config")

#: Of a header of type 0; bytes.
HEADER = 64
#: Of config space as a whole.
WHOLE = (256, 4096)
#: Sizes of accesses: of every width, and such that have to be taken apart.
SIZES = (1, 2, 3, 4, 7, 8, 16)
CACHE_LINE = 0x0C
HEADER_TYPE, BARS, INTERRUPT_LINE = 0x0E, 0x10, 0x3C
#: Ids, revision and class.
CONSTANT = ((0x00, 4), (0x08, 4))
#: Bits of a BAR: space of I/O ports, and a second half in the next BAR.
PORTS, WIDE = 1, 4


@pytest.fixture
def space(device: Device) -> Iterator[Region]:
    """Return config space; not applicable to what is no PCI function. Puts the header back."""
    if not device.info.flags & c.VFIO_DEVICE_FLAGS_PCI:
        not_applicable("this is not a PCI function")
    found = device.known(c.VFIO_PCI_CONFIG_REGION_INDEX)
    before = found.read_exact(0, HEADER)
    yield found
    for at in (*range(BARS, BARS + 24, 4), INTERRUPT_LINE, COMMAND):
        found.write(at, before[at : at + (1 if at == INTERRUPT_LINE else 4)])


def test_size(space: Region) -> None:
    """Ask for the size: that of a function of PCI, or of one of PCI Express."""
    did = "ask for the size of config space"
    expected = " or ".join(map(str, WHOLE))
    expect_true(space.size in WHOLE, did=did, expected=expected, actual=str(space.size))


def test_reads_agree(space: Region) -> None:
    """Read the header in accesses of any size at any place: the bytes of one read of it all."""
    whole = space.read_exact(0, HEADER)
    for size in SIZES:
        places = range(HEADER - size + 1)
        seen = [space.read(at, size) for at in places]
        wanted = [whole[at : at + size] for at in places]
        expect_equal(seen, wanted, did=f"read {size} bytes at each place of the header")


def test_ids(device: Device, space: Region) -> None:
    """Read ids, class and type of the header: it is a function, and that of sysfs."""
    head = space.read_exact(0, HEADER)
    vendor = int.from_bytes(head[:2], "little")
    there = vendor not in (0, 0xFFFF)
    expect_true(there, did="read the vendor", expected="a vendor", actual=f"{vendor:#x}")
    expect_equal(head[HEADER_TYPE] & 0x7F, 0, did="read the type of the header")
    expect_true(any(head[9:12]), did="read the class", expected="a class", actual="none")
    known = sysfs.function(device.bdf)
    if known.vendor is not None:
        ids = (vendor, int.from_bytes(head[2:4], "little"))
        wanted = (known.vendor, known.device)
        expect_equal(ids, wanted, did="read vendor and device, look in sysfs")


def test_constants(space: Region) -> None:
    """Write ones and zeros to ids, revision and class: they stay."""
    before = [space.read(at, size) for at, size in CONSTANT]
    for fill in (b"\xff", b"\0"):
        for at, size in CONSTANT:
            space.write(at, fill * size)
        now = [space.read(at, size) for at, size in CONSTANT]
        expect_equal(now, before, did="write ids, revision and class, read them")


def test_memory_can_be_switched(device: Device, space: Region) -> None:
    """Set and clear memory decoding of a device with a BAR of memory: it reads as written."""
    sized = (BARS + 4 * number for number in range(6) if device.known(number).size)
    if all(space.read_int(at) & PORTS for at in sized):
        not_applicable("the device has no BAR of memory")
    kept = space.read_int(COMMAND, 2) & ~MEMORY
    for bit in (MEMORY, 0, MEMORY):
        space.write_int(COMMAND, kept | bit, 2)
        now = space.read_int(COMMAND, 2) & MEMORY
        expect_equal(now, bit, did=f"write {bit} to memory decoding, read it")


@pytest.mark.parametrize("size", [1, 2])
def test_command(space: Region, size: int) -> None:
    """Set and clear memory and bus master: those that can be written read as written."""
    kept = int.from_bytes(space.read(COMMAND, size), "little") & ~(MEMORY | MASTER)
    seen = {}
    for bits in (MEMORY | MASTER, 0, MEMORY, MASTER):
        space.write(COMMAND, (kept | bits).to_bytes(size, "little"))
        seen[bits] = int.from_bytes(space.read(COMMAND, size), "little") & (MEMORY | MASTER)
    fixed = seen[0] | ~seen[MEMORY | MASTER] & (MEMORY | MASTER)
    wrong = {bits: now for bits, now in seen.items() if (now ^ bits) & ~fixed}
    expect_equal(wrong, {}, did=f"write bits of command in {size} bytes, read them")


def test_interrupt_line(space: Region) -> None:
    """Write the interrupt line, which only software reads: it reads as written."""
    for value in (0x5A, 0xA5, 0):
        space.write(INTERRUPT_LINE, bytes([value]))
        now = space.read(INTERRUPT_LINE, 1)[0]
        expect_equal(now, value, did=f"write {value:#x} to the interrupt line, read it")


def test_cache_line(space: Region) -> None:
    """Write the size of a cache line, which only software reads: as written, or it is fixed."""
    before, seen = space.read(CACHE_LINE, 1)[0], []
    values = [0x5A, 0xA5, 0xFF, 0]
    for value in values:
        space.write(CACHE_LINE, bytes([value]))
        seen.append(space.read(CACHE_LINE, 1)[0])
    space.write(CACHE_LINE, bytes([before]))
    if seen != [before] * len(values):
        expect_equal(seen, values, did="write sizes of a cache line, read them")


def _size_of_bar(space: Region, number: int) -> tuple[int, int]:
    """Return the size that a BAR says when ones are written to it, and how many BARs it takes."""
    at = BARS + 4 * number
    kind = space.read_int(at)
    wide = not kind & PORTS and bool(kind & WIDE)
    for half in range(1 + wide):
        space.write_int(at + 4 * half, 0xFFFFFFFF)
    value = space.read_int(at) & (~0x3 if kind & PORTS else ~0xF)
    value |= space.read_int(at + 4) << 32 if wide else 0
    return (-value) % (1 << (64 if wide else 32)), 1 + wide


def test_bars_are_sized(device: Device, space: Region) -> None:
    """Write ones to each BAR, read it: it says the size of its region."""
    sizes, number = {}, 0
    while number < 6:
        size, taken = _size_of_bar(space, number)
        sizes[number] = size
        number += taken
    wanted = {number: device.known(number).size for number in sizes}
    expect_equal(sizes, wanted, did="write ones to each BAR, read it")


def test_addresses_of_bars(device: Device, space: Region) -> None:
    """Write an address to each BAR: it reads as written, but for what is below its size."""
    for number in range(6):
        at, size = BARS + 4 * number, device.known(number).size
        if size:
            kind = space.read_int(at) & 0xF
            for address in (0x5A5A0000 & -size, 0xA5A50000 & -size):
                space.write_int(at, address | (size - 1) & 0xFF0)
                now = space.read_int(at)
                expect_equal(now, address | kind, did=f"write {address:#x} to BAR{number}, read it")


def test_new_open(device: Device, space: Region) -> None:
    """Write command, interrupt line and BARs, open anew: config space is that of a first open."""
    device.reopen()
    first = space.read_exact(0, HEADER)
    space.write(COMMAND, b"\x06\x00")
    space.write(INTERRUPT_LINE, b"\x5a")
    space.write_int(BARS, 0x5A5A0000)
    device.reopen()
    now = space.read_exact(0, HEADER)
    expect_equal(now, first, did="write config space, close, open, read the header")


def test_no_bytes(device: Device) -> None:
    """Read no bytes of each region that can be read: none come, and no error."""
    for region in device.regions:
        if region.readable:
            with expect_success(did=f"read no bytes of {region.name}"):
                expect_equal(region.read(0, 0), b"", did=f"read no bytes of {region.name}")
