# SPDX-License-Identifier: GPL-2.0-only
"""Descriptions of rings: what fits together, and what could change unseen."""

from __future__ import annotations

import pytest

from kpatch.device import load as device
from kpatch.kernel.features import Features
from kpatch.render.context import variables
from kpatch.render.form import Form, follows
from kpatch.tests.device.good import complaints
from kpatch.tests.render.pinned import LINUX_6_12

IGB = (device.FOLDER / "igb-vf.toml").read_text()
RINGS = IGB[IGB.index("[[migration.ring]]") :]
REST = IGB[: IGB.index("[[migration.ring]]")]


def _described(old: str, new: str) -> str:
    assert old in RINGS
    return REST + RINGS.replace(old, new, 1)


def test_rings_of_igb() -> None:
    receive, transmit = device.parse(IGB, "igb-vf.toml").migration.ring
    assert receive.buffer
    assert receive.buffer.largest == 127 * 1024
    assert transmit.buffer is None
    assert receive.registers["buffer.register"] == "SRRCTL"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('base = "RDBAL"', "", "migration.ring[0].length = there: is of no use without a base"),
        ('head = "RDH"', "", "migration.ring[0].head: missing; a ring with a base needs it"),
        ('tail = "RDT"', 'tail = "NONE"', '.tail = "NONE": is not a state register; those are: '),
        ('tail = "RDT"', 'tail = "VTEIMS"', "differs from VTEIMS in BAR, count or stride"),
        ('format = [{ register = "SRRCTL"', 'format = [{ register = "VTEITR"', "differs from RDT"),
        ("values = [0x02000000]", "values = [1]", "bits that the mask, 0xe000000, does not"),
        ("length_mask = 0x000ffff0", "length_mask = 0xfffff0", "the state's mask, 0xffff0, has"),
        ("enable_mask = 0x02000000", "enable_mask = 0x04000000", "the state's mask, 0x21f1f1f"),
        ("descriptor_size = 16", "descriptor_size = 24", "must be a power of two, 8 to 128"),
        ("descriptor_size = 16", "descriptor_size = 8", "outside the descriptor, which is 8 bytes"),
        ("address = [0, 4]", "address = [0, 6]", "must be a multiple of 4"),
        ("mask = 0x7f\n", "mask = 0x1ff\n", "can say 0x7fc00 bytes; at most 0x20000"),
        ("unit = 1024", "", "must have register, mask and unit, or none of them"),
        ("done = 8", "done = 16", "lies outside the descriptor, which is 16 bytes"),
        ('length_in = "bytes"', 'length_in = "pages"', 'must be "bytes" or "descriptors"'),
    ],
)
def test_mistakes(old: str, new: str, complaint: str) -> None:
    assert complaint in "\n".join(complaints(_described(old, new)))


def test_register_that_can_be_mapped_is_a_mistake() -> None:
    trap = '  { offset = 0x3800, size = 0x200, why = "where the transmit rings are" },\n'
    assert trap in IGB
    found = "\n".join(complaints(IGB.replace(trap, "")))
    assert "can be mapped while saving, so the ring could change unseen" in found
    assert "page at 0x3000 to trapped_while_saving" in found


def test_software_device_has_none() -> None:
    text = (device.FOLDER / "emulated.toml").read_text()
    ring = '\n[[migration.ring]]\nname = "x"\ntail = "COUNTER"\n'
    assert "is not for a software device" in "\n".join(complaints(text + ring))


@pytest.mark.parametrize(
    ("name", "protocols", "precopy", "followed"),
    [
        ("igb-vf", ("v1",), False, True),
        ("igb-vf", ("v2",), True, True),
        ("igb-vf", ("v2",), False, False),
        ("igb-vf", ("v1", "v2"), True, False),
        ("emulated", ("v1",), True, False),
    ],
)
def test_rings_are_followed_while_the_device_runs(
    name: str, protocols: tuple[str, ...], precopy: bool, followed: bool
) -> None:
    features = Features(**{**LINUX_6_12.__dict__, "precopy": precopy})
    form = Form(protocols=protocols)  # type: ignore[arg-type]
    described = device.load(name)
    assert follows(described, features, form) == followed
    assert bool(variables(described, features, form)["rings"]) == followed


def test_lengths_are_counted_in_descriptors() -> None:
    found = variables(device.load("igb-vf"), LINUX_6_12)["known_rings"]
    assert [ring["length_unit"] for ring in found] == [16, 16]
    data, receive, send = variables(device.load("i40e-vf"), LINUX_6_12)["rings"]
    assert not data["known"]
    assert [ring["length_unit"] for ring in (receive, send)] == [1, 1]
