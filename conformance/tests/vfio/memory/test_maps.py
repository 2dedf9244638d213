# SPDX-License-Identifier: GPL-2.0-only
"""What /proc/PID/maps says of VFIO devices, from lines seen on real kernels."""

import os
from pathlib import Path

import pytest

from conformance.tests.vfio.fake_device import BAR0_SIZE, PAGE, FakeDevice
from conformance.vfio.memory import maps
from conformance.vfio.memory.areas import Area

# 6.12: the file offset; 6.1: the bus address of the BAR; 6.8 on with a device cdev.
LINES = """\
7f1ac62cb000-7f1ac62cf000 rw-s 00000000 00:0f 1039       anon_inode:[vfio-device]
7f1ac62d0000-7f1ac62d2000 rw-s fe802000 00:0f 1039       anon_inode:[vfio-device]
7f1ac62d8000-7f1ac62d9000 r--s 90000001000 00:05 77      /dev/vfio/devices/vfio0
7f1ac62e0000-7f1ac62e1000 rw-p 00000000 00:00 0
7f1ac62e2000-7f1ac62e3000 rw-p 00000000 08:01 12         /usr/lib/vfio-tools/x.so
"""


def test_parse() -> None:
    found = maps.parse(LINES)
    assert [vma.offset for vma in found] == [0, 0xFE802000, 0x90000001000]
    assert [vma.size for vma in found] == [4 * PAGE, 2 * PAGE, PAGE]
    assert found[2].perms == "r--s"


def test_both_forms_of_the_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "vmas", lambda _pid: maps.parse(LINES))
    with FakeDevice() as device:
        bar, migration = device.regions
        assert maps.mapped_areas(bar) == [Area(0, BAR0_SIZE)]
        assert maps.mapped_areas(bar, bus_address=0xFE800000) == [
            Area(0, BAR0_SIZE),
            Area(2 * PAGE, 2 * PAGE),
        ]
        assert maps.mapped_areas(migration) == [Area(PAGE, PAGE)]


def test_a_process_that_is_gone() -> None:
    assert maps.vmas(1 << 30) == []


def test_leaks_are_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "_FILES", ("fake-device",))
    monkeypatch.setattr(maps, "_MARK", "fake-device")
    with FakeDevice() as device:
        device.region(0).map(0, PAGE)
        assert len(maps.vmas()) == 1
        assert maps.unmap_leaked() == 1
        assert maps.vmas() == []
        known = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
        leaked = os.dup(device.fd)
        assert maps.close_leaked(known - {leaked}) == 1
        with pytest.raises(OSError, match="descriptor"):
            os.close(leaked)
