# SPDX-License-Identifier: GPL-2.0-only
"""Machines that nobody has seen: the doctor ends in words, and a planted fault blocks."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from conformance.doctor import command
from conformance.errors import UsageError
from conformance.tests.doctor.machine import (
    ALIAS,
    CONFIG,
    OTHER,
    PF,
    RELEASE,
    VF,
    Machine,
    blocked,
    run,
    without_iommu,
)
from kpatch.tests.fuzzing import drawn

_DEVICES = "sys/bus/pci/devices"
_GROUP = "sys/kernel/iommu_groups/12"
WORDS = st.sampled_from([
    "", "\n", "0", "1", "-1", "0x", "99999999999999999999999", "D3cold", "flr", "y", "Y\n", "none",
    f"4,1,2,-;vfio-pci {VF}: not ready 1ms after FLR; giving up\n", "4,1,2,-;DMAR-IR: x\n",
    f"alias {ALIAS} a", f"alias {ALIAS}", "alias", "kernel/a.ko: kernel/a.ko", ":", CONFIG,
    "0x0 0x1 direct\n", "0x0 0x1\n", "0x0 0x1 msi\n", "[none] integrity", "\0\xff\udc80",
]) | st.text(max_size=30)  # fmt: skip
FILES = st.sampled_from([
    *(f"{_DEVICES}/{bdf}/{name}" for bdf in (VF, PF)
      for name in ("config", "power_state", "reset_method", "class", "vendor", "device", "modalias",
                   "driver_override", "sriov_totalvfs", "sriov_numvfs", "net", "physfn", "virtfn0",
                   "iommu_group", "driver", "vfio-dev", "vfio-dev/vfio0")),
    f"{_GROUP}/reserved_regions", f"{_GROUP}/devices", f"{_GROUP}/type", f"{_GROUP}/name",
    "sys/kernel/security/lockdown", "sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
    "sys/module/module/parameters/sig_enforce", "sys/class/iommu", "sys/class/iommu/dmar0",
    "sys/firmware/acpi/tables", "sys/firmware/acpi/tables/IVRS", "proc/cmdline", "proc/interrupts",
    "proc/self/status", "proc/self/limits", "proc/1/comm", "proc/1/fd/3", "proc/config.gz",
    "proc/sys/kernel/osrelease", "proc/meminfo", "dev/kmsg", "dev/vfio", f"boot/config-{RELEASE}",
    *(f"lib/modules/{RELEASE}{one}" for one in ("", "/modules.dep", "/modules.alias", "/build",
                                               "/modules.builtin", "/modules.builtin.modinfo")),
])  # fmt: skip
EDITS = st.lists(st.tuples(FILES, st.sampled_from(["text", "folder", "link", "none"]), WORDS))


def edit(machine: Machine, name: str, how: str, words: str) -> None:
    """Put a file, a folder, a link that leads nowhere, or nothing in a place."""
    path = machine.at(name)
    if how in ("folder", "link", "none"):
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
    if not path.parent.is_dir() or path.is_dir():
        return
    if how == "text" and not path.is_symlink():
        path.write_bytes(words.encode("utf-8", "surrogateescape"))
    elif how == "folder":
        path.mkdir()
    elif how == "link":
        path.symlink_to("nowhere/at/all")


@drawn(20, 0.2)
@given(EDITS, st.sampled_from([VF, PF]), st.booleans())
def test_any_machine(edits: list[tuple[str, str, str]], bdf: str, json: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        for one in edits:
            edit(machine, *one)
        with contextlib.suppress(UsageError):
            status, said = run(machine, bdf, json=json, verbose=True)
            assert status in (0, 1)
            assert said


def _member(machine: Machine) -> None:
    machine.function(OTHER, "nvme", kind=0x010802)


def _dead(machine: Machine) -> None:
    (machine.devices / VF / "config").write_bytes(b"\xff" * 64)


FAULTS: dict[str, Callable[[Machine], None]] = {
    "iommu.off": without_iommu,
    "group.viable": _member,
    "group.reserved": lambda one: one.write(f"{_GROUP}/reserved_regions", "0x1000 0x1fff direct\n"),
    "function.dead": _dead,
    "driver.bound": lambda one: one.bind(VF, "igbvf"),
    "kernel.options": lambda one: one.write(f"boot/config-{RELEASE}", "CONFIG_MODULES=y\n"),
    "iommu.remapping": lambda one: one.write("proc/interrupts", " 0: 93 IO-APIC 2-edge timer\n"),
}
# What none of these faults is seen by.
ASIDE = st.sampled_from([
    f"{_DEVICES}/{PF}/reset_method", f"{_DEVICES}/{PF}/power_state", f"{_DEVICES}/{VF}/numa_node",
    "sys/kernel/security/lockdown", "proc/meminfo", "proc/self/limits",
    "proc/1/comm", f"lib/modules/{RELEASE}/modules.alias", "sys/firmware/efi/efivars/x",
])  # fmt: skip


@drawn(20, 0.2)
@given(st.lists(st.tuples(ASIDE, WORDS)), st.sampled_from(sorted(FAULTS)))
def test_planted_fault(files: list[tuple[str, str]], fault: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        if fault == "kernel.options":
            machine.unload("vfio", "vfio_pci_core", "vfio_iommu_type1")
            machine.install()
        FAULTS[fault](machine)
        for name, words in files:
            machine.at(name).parent.mkdir(parents=True, exist_ok=True)
            machine.at(name).write_bytes(words.encode("utf-8", "surrogateescape"))
        assert fault in blocked(machine.facts())


@drawn(50)
@given(st.text(max_size=20) | st.from_regex(r"[0-9a-fA-F]{0,9}:?[0-9a-f]{1,2}:[0-9a-f]{2}\.[0-9]"))
def test_any_address(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert command.address(text).count(":") == 2
