# SPDX-License-Identifier: GPL-2.0-only
"""Whatever a description may combine, the driver of it builds without a warning.

All drivers are built by one make, each in a folder of its own.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kpatch.device import load as device
from kpatch.device.description import Device
from kpatch.device.protocols import PROTOCOLS, Protocol
from kpatch.kernel import kbuild
from kpatch.kernel import tree as kernel
from kpatch.kernel.features import probe
from kpatch.render.form import Form
from kpatch.render.render import render, texts
from kpatch.tests.render.pinned import LINUX_6_12

ROOT = os.environ.get("VFIO_KIT_ROOT", "")
DATA: dict[str, dict[str, Any]] = {
    "mapped": {},
    "partly": {"data_mmap_size": 0x1000},
    "unmapped": {"data_mmap": False},
}
EXTRAS: tuple[dict[str, Any], ...] = (
    {},
    {"padding": 0x1000, "chunk_size": 64},
    {"drained": [{"register": "CONTROL", "mask": 1, "value": 0, "timeout_us": 100}]},
    {"accept_free_arcs": ["0->3", "2->3", "4->2"], "elsewhere": [
        {"what": "filters", "held_by": "lost", "why": "nobody has them"},
    ]},
)  # fmt: skip


@dataclass(frozen=True)
class Combination:
    """A description that differs from the others, and the protocol of its driver."""

    device: Device
    protocol: Protocol


def registers(transport: str, late: bool) -> list[dict[str, Any]]:
    """Four registers; with `late`, one that is cleared and one that follows the start."""
    clear = {"clear": {"offset": 0x104, "value": 1}} if late and transport == "pci" else {}
    return [
        {"name": "CONTROL", "bar": 0, "offset": 0x100, **clear},
        {"name": "HALF", "bar": 0, "offset": 0x200, "width": 2, "count": 2, "mask": 0xFF},
        {"name": "BELL", "bar": 0, "offset": 0x1000, "after_start": late},
        {"name": "PLACE", "bar": 0, "offset": 0x1100, "count": 2},
    ]


def combinations() -> list[Combination]:
    """Every way to combine transport, layout, data section, pre-copy, stop and protocol."""
    ways = itertools.product(
        ("pci", "emulated"), (False, True), DATA.values(), (False, True), (False, True), PROTOCOLS
    )
    found = []
    for number, (transport, layout, data, precopy, stops, protocol) in enumerate(ways):
        if protocol == "v2" and data:
            continue  # which has no data section
        traps = [{"offset": 0x1000, "size": 4, "why": "doorbell"}] if layout else []
        stop = [{"name": "CONTROL", "bar": 0, "offset": 0x100, "clear": 1}]
        alone = {"bus_master_stops": True} if transport == "pci" and not stops else {}
        raw: dict[str, Any] = {
            "schema": 1,
            "name": f"mix{number}",
            "summary": "Mixture",
            "transport": transport,
            "ids": [{"vendor": 0x1234, "device": number}],
            "bar": [{"index": 0, "size": 0x4000, "trapped_while_saving": traps}],
            "migration": {
                "data_size": 0x2000,
                "precopy": precopy,
                "stop": stop if stops else [],
                "state": registers(transport, late=bool(number // 3 % 2)),
                **data,
                **alone,
                **EXTRAS[number // 5 % len(EXTRAS)],
            },
        }
        if transport == "emulated":
            raw["emulated"] = {"counter": "CONTROL", "doorbell": "BELL", "address": "PLACE"}
        found.append(Combination(device.check(raw, f"mix{number}.toml"), protocol))
    return found


def test_combinations_render() -> None:
    for combination in combinations()[::7]:
        files = texts(combination.device, LINUX_6_12, form=Form(protocols=(combination.protocol,)))
        assert all(text.endswith("\n") and "\n\n\n" not in text for text in files.values())


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="VFIO_KIT_ROOT does not name the root of an image")
def test_every_combination_builds(tmp_path: Path) -> None:
    tree = kernel.find(Path(ROOT))
    features = probe(tree, tmp_path / "features")
    folder = tmp_path / "all"
    every = combinations()
    for one in every:
        render(one.device, features, folder / one.device.name, form=Form(protocols=(one.protocol,)))
    lines = "".join(f"obj-m += {one.device.name}/\n" for one in every)
    (folder / "Kbuild").write_text(lines, "utf-8")
    done = tree.make(folder, ["modules"], options=["W=1"], log=tmp_path / "log")
    assert kbuild.warnings_in(done.stdout + done.stderr) == []
    built = {path.name for path in folder.glob("*/*.ko")}
    assert built == {f"{one.device.module}.ko" for one in every}
