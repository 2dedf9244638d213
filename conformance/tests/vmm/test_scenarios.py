# SPDX-License-Identifier: GPL-2.0-only
"""The scenarios themselves, with functions that QEMU emulates: no VFIO, and no lab.

That of e1000 migrates with QEMU, so all must pass; that of edu does not, so a migration must be
found out. The scenarios that need what only vfio-pci has run in the lab alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.lab.image import definitions, image
from conformance.running.steps import Steps
from conformance.vmm import nested
from conformance.vmm.inside import bench as benches
from conformance.vmm.inside.bench import Bench, Register, Unexpected
from conformance.vmm.inside.machine import Function, Machine
from conformance.vmm.inside.scenarios import AWARE, PACKETS, RENDERED, SCENARIOS, WORKING

IMAGE = definitions.image("trixie")
NEED_VFIO = {
    *AWARE,
    *RENDERED,
    "layout.refused",
    "stream.cut",
    "stream.corrupt",
    "stream.foreign",
    *WORKING,
    *PACKETS,
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not image.place(IMAGE).exists(), reason="the image trixie was not made"),
]


def _bench(
    driver: str, ids: str, registers: list[Register], folder: Path, patch: pytest.MonkeyPatch
) -> Bench:
    class Emulated(Function):
        def properties(self) -> dict[str, object]:
            rom = {"romfile": ""} if driver == "e1000" else {}
            place = {key: super(Emulated, self).properties()[key] for key in ("id", "bus", "addr")}
            return {"driver": driver, **place, **rom}

        def option(self) -> str:
            named = [f"{key}={value}" for key, value in self.properties().items()]
            return ",".join(named).removeprefix("driver=")

    def at_once(_: Bench, machine: Machine) -> None:
        """There is no state of a function to wait for."""

    patch.setattr(benches, "states", lambda _: ["STOP_COPY"])
    patch.setattr(benches, "Function", Emulated)
    patch.setattr(Bench, "in_precopy", at_once)
    made = image.provide(IMAGE, Steps(print))
    state = nested.provide(made, Steps(print))
    argv = made.sandbox.argv(["qemu-system-x86_64"], ro_bind=[state.parent], bind=[folder])
    qemu = folder / "qemu"
    qemu.write_text(f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n')
    qemu.chmod(0o755)
    firmware = state.parent / "firmware"
    return Bench(
        [Path("/a"), Path("/b"), Path("/c"), Path("/d")],
        ids,
        registers,
        qemu,
        firmware,
        state,
        folder,
    )


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder whose path is short enough for sockets."""
    return tmp_path_factory.mktemp("v")


@pytest.fixture
def bench(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Provide machines with e1000."""
    registers = [Register(0, 0x2800, 0xFFFFFFF0), Register(0, 0x3804, 0xFFFFFFFF)]
    made = _bench("e1000", "8086:100e", registers, folder, monkeypatch)
    yield made
    made.clear()


@pytest.mark.parametrize("name", sorted(set(SCENARIOS) - NEED_VFIO))
def test_scenarios_pass_with_what_migrates(bench: Bench, name: str) -> None:
    SCENARIOS[name](bench)


def test_what_does_not_migrate_is_found_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registers = [Register(0, 0x4, 0xFFFFFFFF), Register(0, 0x4, 0xFFFF)]
    bench = _bench("edu", "1234:11e8", registers, folder, monkeypatch)
    try:
        with pytest.raises(Unexpected, match="registers and memory"):
            SCENARIOS["file.and-back"](bench)
    finally:
        bench.clear()
