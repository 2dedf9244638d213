# SPDX-License-Identifier: GPL-2.0-only
"""Descriptions of devices: what is valid, and what each mistake is reported as."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.device import load as device
from kpatch.device.description import Area, Bar, Trap
from kpatch.errors import DescriptionError, UnknownDevice
from kpatch.tests.device.good import GOOD, changed, complaints
from kpatch.tests.fuzzing import drawn


def test_good_description() -> None:
    good = device.parse(GOOD, "test.toml")
    assert (good.prefix, good.module) == ("test_vf", "test_vf_vfio_pci")
    assert good.migration.v1
    assert good.migration.v1.chunk_size == 0x2000
    assert [register.mask for register in good.migration.state] == [0x80000FFF, 0xFFFF]
    assert list(good.migration.state[1].offsets) == [0x204, 0x206]


def test_descriptions_do_not_change() -> None:
    good = device.parse(GOOD, "test.toml")
    with pytest.raises(ValueError, match="frozen"):
        good.name = "other"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("schema = 1", "schema = 3", "schema = 3: must be 2, or 1 for the older format"),
        ("schema = 1", "schema = true", "schema = true: must be an integer"),
        (
            'name = "test-vf"',
            'name = "Test_VF"',
            'name = "Test_VF": must be lower-case letters and digits in words joined by '
            "hyphens, like igb-vf",
        ),
        ('summary = "Test', 'summary = "*/', "must be printable ASCII in one line"),
        (
            'transport = "pci"',
            'transport = "usb"',
            'transport = "usb": must be "pci" or "emulated"',
        ),
        (
            'transport = "pci"',
            'transport = "emulated"',
            "emulated = missing: belongs to transport emulated, and to no other",
        ),
        (
            "[migration]",
            '[emulated]\ncounter = "LEN"\ndoorbell = "LEN"\naddress = "LEN"\n\n[migration]',
            "emulated = there: belongs to transport emulated, and to no other",
        ),
        ("ids = [{ vendor = 0x8086, device = 0x10ca }]", "ids = []", "ids = an array: must not"),
        (
            "device = 0x10ca }",
            "device = 0x10ca }, { vendor = 0x8086, device = 0x10ca }",
            "ids[1] = 8086:10ca: is listed already as ids[0]",
        ),
        ("device = 0x10ca", "device = 0x110ca", "ids[0].device = 0x110ca: must be 0xffff or less"),
        ("vendor = 0x8086", "vendor = 0xffff", "must be a vendor id, 1 to 0xfffe"),
        ("index = 0", "index = 6", "bar[0].index = 6: must be 5 or less"),
        (
            "size = 0x4000",
            "size = 0x3000",
            "bar[0].size = 0x3000: must be a power of two, 4096 or more",
        ),
        ("size = 0x4000", "size = 0x800", "must be a power of two, 4096 or more"),
        ("size = 0x4000", 'size = "16K"', 'bar[0].size = "16K": must be an integer'),
        ("size = 0x4000\n", "size = 0x4000\nmmap = true\n", "bar[0].mmap = true: unknown key"),
        (
            "offset = 0x2818",
            "offset = 0x2816",
            "bar[0].trapped_while_saving[0].offset = 0x2816: must be a multiple of 4",
        ),
        ("size = 4,", "size = 3,", "size = 0x3: must be a positive multiple of 4"),
        (
            "offset = 0x2818",
            "offset = 0x4000",
            "bar[0].trapped_while_saving[0] = 0x4000-0x4003: lies outside BAR 0, which is "
            "0x4000 bytes",
        ),
        (
            'why = "tail" }',
            'why = "tail" }, { offset = 0x2818, size = 8, why = "again" }',
            "overlaps bar[0].trapped_while_saving[0] at 0x2818-0x281b",
        ),
        (
            "[migration]",
            "[[bar]]\nindex = 0\nsize = 0x4000\n[migration]",
            "bar[1].index = 0: BAR 0 is described already by bar[0]",
        ),
        (
            "data_size = 0x2000",
            "data_size = 0x1800",
            "migration.data_size = 0x1800: must be a multiple of 4096, up to 64 MiB",
        ),
        ("data_size = 0x2000", "data_mmap = true", "migration.data_size: missing"),
        (
            "data_size = 0x2000",
            "data_size = 0x2000\nchunk_size = 0x2001",
            "migration.chunk_size = 0x2001: must not be larger than data_size, which is 0x2000",
        ),
        (
            "data_size = 0x2000",
            "data_size = 0x2000\ndata_mmap_size = 0x3000",
            "migration.data_mmap_size = 0x3000: must not be larger than data_size, which is 0x2000",
        ),
        (
            "data_size = 0x2000",
            "data_size = 0x2000\npadding = 6",
            "migration.padding = 0x6: must be a multiple of 4",
        ),
        (
            "data_size = 0x2000",
            "data_size = 0x2000\nchunk_size = 63",
            "migration.chunk_size = 0x3f: must be 0x40 or more",
        ),
        (
            "data_size = 0x2000",
            'data_size = 0x2000\naccept_free_arcs = ["0->3", "0->2"]',
            'migration.accept_free_arcs[1] = "0->2": must be "0->3", "0->4"',
        ),
        (
            "data_size = 0x2000",
            'data_size = 0x2000\naccept_free_arcs = ["2->3", "2->3"]',
            'migration.accept_free_arcs[1] = "2->3": is listed already',
        ),
        ('name = "LEN"', 'name = "1LEN"', "must be letters, digits and _, a letter first"),
        (
            'name = "HALF"',
            'name = "LEN"',
            'migration.state[1].name = "LEN": is the name of migration.state[0] already',
        ),
        (
            "offset = 0x204",
            "offset = 0x205",
            "migration.state[1].offset = 0x205: must be a multiple of the width, 2",
        ),
        ("width = 2", "width = 8", "migration.state[1].width = 8: must be 1, 2 or 4"),
        ("width = 2", "width = 2\nstride = 3", "must be a multiple of the width, 2"),
        ("width = 2", "width = 2\nmask = 0x10000", "has bits beyond the width, 2 bytes"),
        ("width = 2", "width = 2\nmask = 0", "must be a mask with at least one bit"),
        (
            "count = 2",
            "count = 2\nstride = 0x3e00",
            "migration.state[1].offset = 0x204-0x4005: lies outside BAR 0",
        ),
        (
            "offset = 0x204",
            "offset = 0x102",
            "migration.state[1] = 0x102-0x103: overlaps migration.state[0] at 0x100-0x103",
        ),
        (
            "bar = 0\noffset = 0x204",
            "bar = 2\noffset = 0x204",
            "migration.state[1].bar = 2: there is no [[bar]] with that index; described are: 0",
        ),
        (
            '[[migration.stop]]\nname = "LEN"',
            '[[migration.stop]]\nname = "HALF"',
            "only a register of width 4 can stop the device",
        ),
        (
            '[[migration.stop]]\nname = "LEN"',
            '[[migration.stop]]\nname = "LAN"',
            'migration.stop[0].name = "LAN": is not a state register; those of width 4 are: LEN',
        ),
        (
            "offset = 0x100\nclear",
            "offset = 0x104\nclear",
            "migration.stop[0].offset = 0x104: contradicts the state, where LEN has 0x100",
        ),
        (
            "clear = 0x80000000",
            "clear = 0x40000000",
            "has bits that the state's mask, 0x80000fff, does not restore",
        ),
        ("count = 2", "counts = 2", "did you mean count? valid keys here: name, bar, offset"),
        ("[migration]", "[migrations]", "migrations = a table: unknown key; did you mean migra"),
    ],
)
def test_mistake_names_key_value_and_what_is_valid(old: str, new: str, complaint: str) -> None:
    found = complaints(changed(old, new))
    assert any(complaint in line for line in found), found


def test_all_mistakes_come_at_once() -> None:
    text = changed("schema = 1", "schema = 9").replace("offset = 0x2818", "offset = 0x9001")
    text = text.replace("offset = 0x204", "offset = 0x7000").replace("clear =", "cleer =")
    found = complaints(text)
    assert [line.split(" ")[0].rstrip(":") for line in found] == [
        "schema",
        "bar[0].trapped_while_saving[0].offset",
        "migration.stop[0].clear",
        "migration.stop[0].cleer",
    ]


def test_wrong_entry_does_not_hide_what_is_wrong_between_the_others() -> None:
    """A BAR of an impossible size is still a BAR that is described."""
    text = changed("schema = 1", "schema = 9").replace("offset = 0x204", "offset = 0x102")
    found = complaints(text)
    assert len(found) == 2
    assert "overlaps migration.state[0]" in found[1]
    assert complaints(changed("size = 0x4000", "size = 0x4001")) == [
        "bar[0].size = 0x4001: must be a power of two, 4096 or more"
    ]


def test_syntax_error_has_its_place() -> None:
    assert complaints(changed("index = 0", "index = ")) == [
        "TOML: Invalid value (at line 9, column 9)"
    ]


def test_unknown_device_lists_the_known_ones() -> None:
    with pytest.raises(
        UnknownDevice, match=r"no device description 'igb'.*i40e-vf, igb-vf"
    ) as caught:
        device.load("igb")
    assert caught.value.exit_code == 2
    with pytest.raises(UnknownDevice, match=r"nowhere\.toml"):
        device.load("nowhere.toml")


def test_description_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    assert device.load(path).name == "test-vf"
    assert device.load(str(path)).name == "test-vf"
    path.write_text(changed("schema = 1", "schema = 3"))
    with pytest.raises(DescriptionError, match=f"{path}: schema = 3"):
        device.load(str(path))


def test_description_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(DescriptionError, match="not UTF-8 text"):
        device.load(path)
    with pytest.raises(DescriptionError, match="cannot be read: Is a directory"):
        device.load(tmp_path)


def test_known_devices_are_right_and_named_as_their_files() -> None:
    assert device.names() == ("emulated", "i40e-vf", "igb-vf")
    ids = []
    for name in device.names():
        known = device.load(name)
        assert known.name == name
        ids += [(one.vendor, one.device) for one in known.ids]
    assert len(ids) == len(set(ids)), "two drivers for one function"


def test_i40e_stream_takes_several_chunks() -> None:
    migration = device.load("i40e-vf").migration
    values = sum(register.count for register in migration.state)
    assert migration.v1
    assert migration.v1.chunk_size < 4 * values
    assert not migration.v1.precopy


@pytest.mark.parametrize(
    ("traps", "areas"),
    [
        ([], [(0, 0x4000)]),
        ([(0x2818, 4)], [(0, 0x2000), (0x3000, 0x1000)]),
        ([(0, 4)], [(0x1000, 0x3000)]),
        ([(0x3FFC, 4)], [(0, 0x3000)]),
        ([(0xFFC, 8)], [(0x2000, 0x2000)]),
        ([(0x3000, 4), (0x1000, 4)], [(0, 0x1000), (0x2000, 0x1000)]),
        ([(0, 0x4000)], []),
    ],
)
def test_saving_areas_are_the_pages_without_a_trap(
    traps: list[tuple[int, int]], areas: list[tuple[int, int]]
) -> None:
    ranges = tuple(Trap(offset=offset, size=size, why="x") for offset, size in traps)
    bar = Bar(index=0, size=0x4000, trapped_while_saving=ranges)
    assert bar.saving_areas == tuple(Area(offset=offset, size=size) for offset, size in areas)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 1 << 40),
    st.text(max_size=5),
    st.floats(),
    st.lists(st.integers(), max_size=2),
    st.just({}),
    st.just([{}]),
    st.just([[1]]),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a description."""
    found = [path] if path else []
    items: Any = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


@drawn(100, 1.4)
@given(st.sampled_from(places(tomllib.loads(GOOD))), VALUES)
def test_no_value_anywhere_is_more_than_a_mistake(place: tuple[Any, ...], value: Any) -> None:
    """Whatever stands in a description, it is right or its mistakes are expected."""
    raw = tomllib.loads(GOOD)
    at: Any = raw
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    with contextlib.suppress(DescriptionError):
        device.check(raw, "test.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ufeffschema = 1", "begins with a byte order mark"),
        ("a = " + "[" * 20_000, "nested too deep"),
        ("a = " + "1" * 5000, "digits"),
        ("a." * 2000 + "a = 1", "unknown key"),
    ],
)
def test_crafted_toml_is_refused_in_words(text: str, expected: str) -> None:
    with pytest.raises(DescriptionError, match=expected):
        device.parse(text, "crafted.toml")
