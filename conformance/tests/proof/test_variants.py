# SPDX-License-Identifier: GPL-2.0-only
"""Variants: each is a right description, and together they differ in what the rules leave free."""

from pathlib import Path

import pytest

from conformance.errors import UsageError
from conformance.proof.variants import variant as variants
from kpatch.device.protocols import PROTOCOLS
from kpatch.errors import DescriptionError
from kpatch.render import render
from kpatch.render.form import Form
from kpatch.tests.render.pinned import LINUX_6_12

EVERY = {name: variants.load(name) for name in variants.names()}


def by(protocol: str) -> list[variants.Variant]:
    """Return those that a version of the protocol judges."""
    return [one for one in EVERY.values() if protocol in one.protocols]


@pytest.mark.parametrize("name", EVERY)
def test_each_renders(name: str) -> None:
    device = EVERY[name].device
    assert device.name.endswith(f"-{name}")
    for protocol in EVERY[name].protocols:
        assert render.texts(device, LINUX_6_12, form=Form(protocols=(protocol,)))


def test_they_differ_in_what_is_free() -> None:
    migrations = [one.device.migration for one in by("v1")]
    regions = [migration.v1 for migration in migrations if migration.v1]
    assert {one.data_mmap for one in regions} == {True, False}
    assert {one.data_mmap_size < one.data_size for one in regions} == {True, False}
    assert {one.precopy for one in regions} == {True, False}
    assert {one.chunk_size < one.data_size for one in regions} == {True, False}
    assert {len(one.accept_free_arcs) for one in regions} == {0, 9}
    assert max(migration.padding for migration in migrations) >= 16 << 20


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_they_differ_in_their_layouts(protocol: str) -> None:
    layouts = [
        [len(bar.saving_areas) for bar in one.device.bars if bar.trapped_while_saving]
        for one in by(protocol)
    ]
    assert [] in layouts  # no capability at all
    assert [0] in layouts  # nothing may stay mapped
    assert [1] in layouts
    assert any(len(layout) > 1 for layout in layouts)


def test_they_differ_in_what_version_2_leaves_free() -> None:
    states = [one.device.migration.v2 for one in by("v2")]
    shapes = {(one.p2p, one.precopy) for one in states if one}
    assert shapes == {(False, False), (False, True), (True, False), (True, True)}


def test_unknown() -> None:
    with pytest.raises(UsageError, match="no variant 'nothing'"):
        variants.load("nothing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x =", "TOML"),
        ('base = "igb-vf"', "both must be there"),
        ('why = "w"\nbase = "igb-vf"\nprotocols = ["v3"]', "protocols"),
        ('why = "w"\nbase = "igb-vf"\nprotocols = []', "protocols"),
        ('why = "w"\nbase = "igb-vf"\n[migration]\ndata_size = 1', "data_size"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "one.toml").write_text(text)
    with pytest.raises(DescriptionError, match=said):
        variants.load("one", tmp_path)
