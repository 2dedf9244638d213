# SPDX-License-Identifier: GPL-2.0-only
"""Descriptions of software devices, and of how a device is stopped."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kpatch.device import load as device
from kpatch.device import rules
from kpatch.tests.device.good import GOOD, changed, complaints

_MODULE = re.compile(r"^obj-\$\(CONFIG_\w+\) *\+= *(\S+)[-_]vfio[-_]pci\.o", re.M)
SOFTWARE = (
    GOOD.replace('transport = "pci"', 'transport = "emulated"')
    + """
[[migration.state]]
name = "BELL"
bar = 0
offset = 0x2818
count = 2

[[migration.state]]
name = "PLACE"
bar = 0
offset = 0x300
count = 4

[emulated]
counter = "LEN"
doorbell = "BELL"
address = "PLACE"
"""
)


def test_a_software_device() -> None:
    found = device.parse(SOFTWARE, "test.toml")
    assert found.emulated
    assert found.module == "test_vf_vfio"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('counter = "LEN"', 'counter = "HALF"', "is not a state register; those of width 4"),
        ('counter = "LEN"', 'counter = "BELL"', "is 2 registers, must be one"),
        ('doorbell = "BELL"', 'doorbell = "NONE"', "are: LEN, BELL, PLACE"),
        ('address = "PLACE"', 'address = "BELL"', "must be two for each doorbell, 4"),
        ("size = 0x4000", "size = 0x8000000", "must not be larger than 0x4000000 in a software"),
        ('counter = "LEN"', "", "emulated.counter"),
    ],
)
def test_mistakes_of_a_software_device(old: str, new: str, complaint: str) -> None:
    assert SOFTWARE.count(old) == 1
    assert complaint in "\n".join(complaints(SOFTWARE.replace(old, new)))


DRAINED = """
[[migration.drained]]
register = "LEN"
mask = 0x80000000
value = 0
timeout_us = 1000
"""


ELSEWHERE = """
[[migration.elsewhere]]
what = "filters"
held_by = "physical function"
why = "set by messages"
"""


CLEAR = 'name = "LEN"\nclear = { offset = 0x108, value = 0xfff }'


def test_what_a_device_needs_beside_its_registers() -> None:
    text = changed('name = "LEN"', CLEAR)
    text = text.replace("width = 2\n", "width = 2\nafter_start = true\n")
    found = device.parse(text + DRAINED + ELSEWHERE, "test.toml").migration
    assert found.state[0].clear is not None
    assert (found.state[0].clear.offset, found.state[0].clear.value) == (0x108, 0xFFF)
    assert [register.after_start for register in found.state] == [False, True]
    assert [(one.register_name, one.timeout_us) for one in found.drained] == [("LEN", 1000)]
    assert [one.held_by for one in found.elsewhere] == ["physical function"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            GOOD.partition("[[migration.stop]]")[0],
            "migration.stop: nothing says how the device is stopped; name the bits",
        ),
        (
            changed("data_size", "bus_master_stops = true\ndata_size"),
            "migration.bus_master_stops = true: contradicts [[migration.stop]]",
        ),
        (
            changed('name = "LEN"', 'name = "LEN"\nafter_start = true'),
            "migration.state[0].after_start = true: is what starts the device",
        ),
        (
            changed('name = "LEN"', CLEAR.replace("0x108", "0x10a")),
            "migration.state[0].clear.offset = 0x10a: must be a multiple of the width, 4",
        ),
        (
            changed('name = "LEN"', CLEAR.replace("0x108", "0x4000")),
            "migration.state[0].clear.offset = 0x4000-0x4003: lies outside BAR 0",
        ),
        (
            changed('name = "LEN"', CLEAR.replace("0xfff", "0x100000000")),
            "clear.value = 0x100000000: must be 0xffffffff or less",
        ),
        (
            changed("count = 2", "count = 2\nclear = { offset = 0x210, value = 1 }"),
            "is for a single register; describe each by itself",
        ),
        (
            GOOD + DRAINED.replace("LEN", "HALF"),
            'migration.drained[0].register = "HALF": is not a 32-bit state register; those '
            "are: LEN",
        ),
        (
            GOOD + DRAINED.replace("value = 0", "value = 1"),
            "migration.drained[0].value = 0x1: has bits that the mask, 0x80000000, does not look",
        ),
        (
            GOOD + DRAINED.replace("1000", "1000001"),
            "migration.drained[0].timeout_us = 0xf4241: must be 0xf4240 or less",
        ),
        (
            GOOD + ELSEWHERE.replace("physical function", "nobody"),
            'held_by = "nobody": must be "physical function", "virtual machine monitor" or "lost"',
        ),
        (GOOD + ELSEWHERE.replace("set by", "*/"), "must be printable ASCII in one line"),
        (
            changed("test-vf", "mlx5"),
            'name = "mlx5": Linux has a module mlx5_vfio_pci, which would be loaded instead; add',
        ),
        *(
            (changed("test-vf", name), f"Linux has a module {name.replace('-', '_')}_vfio_pci")
            for name in ("hisi-acc", "ism", "nvgrace-gpu", "pds", "qat", "virtio", "xe")
        ),
        (changed("test-vf", "vfio-mine"), 'name = "vfio-mine": begins identifiers of the kernel'),
        (changed("test-vf", "net"), 'name = "net": begins identifiers of the kernel'),
    ],
)
def test_mistakes_in_how_a_device_is_stopped_and_named(text: str, complaint: str) -> None:
    assert complaint in "\n".join(complaints(text))


def test_a_function_that_only_loses_bus_master() -> None:
    text = GOOD.partition("[[migration.stop]]")[0].replace(
        "[migration]\n", "[migration]\nbus_master_stops = true\n"
    )
    assert device.parse(text, "test.toml").migration.stop == ()


@pytest.mark.slow
def test_names_of_all_drivers_of_linux_are_known() -> None:
    source = os.environ.get("VFIO_KIT_VFIO")
    if not source:
        pytest.skip("VFIO_KIT_VFIO does not name the VFIO drivers of a kernel's source")
    makefiles = Path(source, "drivers/vfio/pci").glob("*/Makefile")
    found = {name for path in makefiles for name in _MODULE.findall(path.read_text("utf-8"))}
    assert found
    assert found <= rules._IN_TREE
