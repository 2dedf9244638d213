# SPDX-License-Identifier: GPL-2.0-only
"""From a description of a machine to QEMU's command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.errors import DefinitionError, UnknownImage, UnknownMachine
from conformance.lab.image import definitions
from conformance.lab.machine.argv import PAYLOAD_SIZE, Boot, RunFiles, qemu_argv

BOOT = Boot(Path("/i/vmlinuz"), Path("/c/initramfs"), Path("/i/root.erofs"), ("nokaslr",))
FILES = RunFiles(Path("/t"), Path("/r"))


@pytest.fixture
def igb() -> definitions.MachineDefinition:
    return next(machine for machine in definitions.machines() if machine.name == "igb")


def value(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


def test_restore_differs_from_boot_only_by_waiting(igb: definitions.MachineDefinition) -> None:
    boot = qemu_argv(igb, BOOT, FILES, "tcg")
    assert qemu_argv(igb, BOOT, FILES, "tcg", incoming=True) == [*boot, "-incoming", "defer"]


def test_devices_come_in_the_order_of_the_description(igb: definitions.MachineDefinition) -> None:
    argv = qemu_argv(igb, BOOT, FILES, "tcg")
    given = [argv[i + 1] for i, word in enumerate(argv) if word == "-device"]
    assert given[: len(igb.devices)] == list(igb.devices)


def test_kernel_dies_loudly_and_ends_qemu(igb: definitions.MachineDefinition) -> None:
    argv = qemu_argv(igb, BOOT, FILES, "tcg")
    words = value(argv, "-append").split()
    assert {"console=ttyS0", "oops=panic", "panic=-1"} <= set(words)
    assert "-no-reboot" in argv


def test_words_of_machine_and_image_reach_the_kernel(igb: definitions.MachineDefinition) -> None:
    words = value(qemu_argv(igb, BOOT, FILES, "tcg"), "-append").split()
    assert "intel_iommu=on" in words
    assert words[-1] == "nokaslr"


def test_kvm_uses_the_host_processor(igb: definitions.MachineDefinition) -> None:
    argv = qemu_argv(igb, BOOT, FILES, "kvm")
    assert value(argv, "-accel") == "kvm"
    assert value(argv, "-cpu") == "host"


def test_only_an_emulated_kernel_trusts_its_clock(
    igb: definitions.MachineDefinition,
) -> None:
    words = {name: value(qemu_argv(igb, BOOT, FILES, name), "-append") for name in ("tcg", "kvm")}
    assert {"tsc=reliable", "mitigations=off"} <= set(words["tcg"].split())
    assert not {"tsc=reliable", "mitigations=off"} & set(words["kvm"].split())


def test_tcg_has_one_thread(igb: definitions.MachineDefinition) -> None:
    assert value(qemu_argv(igb, BOOT, FILES, "tcg"), "-accel") == "tcg,thread=single"


def test_every_file_of_a_run_is_in_its_own_folders(igb: definitions.MachineDefinition) -> None:
    other = RunFiles(Path("/t2"), Path("/r2"))
    first, second = (" ".join(qemu_argv(igb, BOOT, files, "tcg")) for files in (FILES, other))
    assert first.replace("/t/", "/t2/").replace("/r/", "/r2/") == second


def test_payload_is_a_whole_number_of_sectors() -> None:
    assert PAYLOAD_SIZE % 512 == 0


def test_all_definitions_of_the_kit_load() -> None:
    assert {machine.name for machine in definitions.machines()} >= {"igb"}
    for name in definitions.images():
        assert definitions.image(name).name == name


def test_unknown_image_is_reported_with_the_known_ones() -> None:
    with pytest.raises(UnknownImage, match=r"no image 'buster'.*trixie") as caught:
        definitions.image("buster")
    assert caught.value.exit_code == 2


def test_all_mistakes_of_a_definition_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('schema = 2\nsuite = "Trixie!"\ncolour = "red"\n')
    with pytest.raises(DefinitionError) as caught:
        definitions.image("bad", tmp_path)
    text = str(caught.value)
    for key in ("schema", "suite", "colour", "summary is missing", "packages"):
        assert key in text
    assert caught.value.exit_code == 2


def test_broken_toml_is_reported_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("schema = \n")
    with pytest.raises(DefinitionError, match=r"bad\.toml has 1 mistake"):
        definitions.image("bad", tmp_path)


def test_machine_is_found_by_what_the_driver_drives(igb: definitions.MachineDefinition) -> None:
    assert definitions.machine_for(["8086:10ca"], "igb-vf", [igb]) is igb


def test_device_without_machine_is_reported_what_to_do(igb: definitions.MachineDefinition) -> None:
    with pytest.raises(UnknownMachine, match=r"15b3:101e.*igb has 8086:10ca") as caught:
        definitions.machine_for(["15b3:101e"], "mlx5-vf", [igb])
    assert "--vfio-device" in str(caught.value)
    assert caught.value.exit_code == 2
