# SPDX-License-Identifier: GPL-2.0-only
"""The model of the i40e virtual function covers what the description of the device says."""

from __future__ import annotations

import re
from collections.abc import Iterator

from conformance.lab.machine.vfio_user.i40e import (
    ATQH1,
    ATQLEN1,
    ATQT1,
    DEVICE,
    REGISTERS,
    VENDOR,
    I40eVirtualFunction,
)
from conformance.lab.machine.vfio_user.registers import WIDTH
from conformance.uapi.constants import VFIO_PCI_CONFIG_REGION_INDEX
from kpatch.device.load import load


def described() -> Iterator[tuple[str, int, int]]:
    for state in load("i40e-vf").migration.state:
        stride = state.stride or state.width
        for number in range(state.count):
            yield f"{state.name}-{number}", state.offset + number * stride, state.mask


def test_registers_do_not_overlap() -> None:
    words = [register.offset + 4 * n for register in REGISTERS for n in range(register.count)]
    assert len(words) == len(set(words))
    assert max(words) < 0x10000


def test_is_the_described_device() -> None:
    device = load("i40e-vf")
    function = I40eVirtualFunction()
    assert (VENDOR, DEVICE) in [(one.vendor, one.device) for one in device.ids]
    assert {bar.index: bar.size for bar in device.bars}.items() <= {
        index: bar.size for index, bar in function.bars.items()
    }.items()


def test_described_state_can_be_set_and_read_back() -> None:
    """What the driver saves of a register is what it restores into another function."""
    saved, restored = {}, {}
    for name, offset, mask in described():
        source, destination = I40eVirtualFunction(), I40eVirtualFunction()
        source.write(0, offset, (mask & 0x5A5A_5A5A).to_bytes(4, "little"))
        saved[name] = int.from_bytes(source.read(0, offset, 4), "little") & mask
        destination.write(0, offset, saved[name].to_bytes(4, "little"))
        restored[name] = int.from_bytes(destination.read(0, offset, 4), "little") & mask
    assert restored == saved
    assert all(saved.values()), "no described bit of a register is stored"


def test_registers_are_out_of_reach_in_d3hot() -> None:
    """PMCSR, in the capability at 0x40, puts the function to sleep; it wakes with what it held."""
    function = I40eVirtualFunction()
    function.write(0, 0xCC00, b"\x01\x02\x03\x04")
    function.write(VFIO_PCI_CONFIG_REGION_INDEX, 0x44, b"\x03\x00")
    function.write(0, 0xCC00, b"\xaa\xaa\xaa\xaa")
    assert function.read(0, 0xCC00, 4) == b"\xff" * 4
    function.write(VFIO_PCI_CONFIG_REGION_INDEX, 0x44, b"\x00\x00")
    assert function.read(0, 0xCC00, 4) == b"\x01\x02\x03\x04"


def test_what_can_be_written_is_state_or_said_to_be_elsewhere() -> None:
    migration = load("i40e-vf").migration
    state = {offset for _, offset, _ in described()}
    words = " ".join(one.what for one in migration.elsewhere)
    elsewhere = set(re.findall(r"[A-Z][A-Z0-9_]+", words))
    lost = {
        register.name
        for register in REGISTERS
        if register.writable
        and not {register.offset + WIDTH * n for n in range(register.count)} <= state
    }
    assert lost <= elsewhere


def test_a_queue_with_descriptors_left_stays_enabled() -> None:
    function = I40eVirtualFunction()

    def put(offset: int, value: int) -> None:
        function.write(0, offset, value.to_bytes(4, "little"))

    def get(offset: int) -> int:
        return int.from_bytes(function.read(0, offset, 4), "little")

    enable = 1 << 31
    put(ATQH1, 5)
    put(ATQLEN1, 0)
    assert get(ATQLEN1) == 0, "one that is off has nothing to do"
    put(ATQLEN1, enable)
    assert get(ATQH1) == get(ATQT1), "what is left is consumed"
    put(ATQH1, 5)
    put(ATQLEN1, 3)
    assert get(ATQLEN1) == enable | 3
    put(ATQT1, 7)
    put(ATQLEN1, 0)
    assert (get(ATQH1), get(ATQLEN1)) == (7, 0)
    put(ATQLEN1, enable)
    function.reset()
    put(ATQH1, 5)
    put(ATQLEN1, 0)
    assert get(ATQLEN1) == 0
