# SPDX-License-Identifier: GPL-2.0-only
"""The doctor on machines made of files: kernels and modules."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.doctor.checks.finding import Level
from conformance.doctor.facts import facts
from conformance.doctor.facts.host import Host
from conformance.doctor.facts.modules import Module
from conformance.doctor.facts.offer import Opened
from conformance.doctor.facts.user import User
from conformance.tests.doctor.machine import (
    CONFIG,
    MODULES,
    PF,
    RELEASE,
    VF,
    Machine,
    blocked,
    cause,
    found,
    run,
)
from conformance.vfio.offers import Offer


def test_nothing_blocks_on_a_healthy_machine(machine: Machine) -> None:
    assert found(machine.facts()) == []
    assert [name for name, _ in found(machine.facts(), Level.WARNS)] == ["device.migration"]
    opened = machine.facts(opened=Opened(Offer(1, None, 1)))
    assert found(opened, Level.WARNS) == []


def test_the_machine_itself(machine: Machine) -> None:
    known = machine.facts("")
    assert found(known) == []
    assert known.candidates == (PF, VF)


def test_a_machine_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    """As in a container: what is not known is said, and nothing breaks."""
    known = facts.gather(Host(tmp_path))
    names = dict(found(known))
    assert "iommu.off" in names
    assert "kernel.options" in dict(found(known, Level.WARNS))


def test_kernel_without_modules(machine: Machine) -> None:
    machine.write(f"boot/config-{RELEASE}", CONFIG.replace("CONFIG_MODULES=y\n", ""))
    assert blocked(machine.facts()) == ["kernel.modules-off"]


@pytest.mark.parametrize("place", ["proc/config.gz", f"lib/modules/{RELEASE}/config"])
def test_kernel_without_vfio(machine: Machine, place: str) -> None:
    machine.unload(*MODULES)
    machine.install()
    machine.at(f"boot/config-{RELEASE}").unlink()
    text = "CONFIG_MODULES=y\nCONFIG_VFIO=m\n# CONFIG_VFIO_PCI_CORE is not set\n"
    machine.write(place, "")
    data = text.encode()
    machine.at(place).write_bytes(gzip.compress(data) if place.endswith(".gz") else data)
    (_, first), *_ = found(machine.facts())
    assert "CONFIG_VFIO_PCI_CORE, CONFIG_VFIO_IOMMU_TYPE1" in first.what
    assert place in first.what


def test_kernel_without_group_files(machine: Machine) -> None:
    machine.write(f"boot/config-{RELEASE}", CONFIG + "# CONFIG_VFIO_GROUP is not set\n")
    assert "CONFIG_VFIO_GROUP" in cause(machine.facts())


def test_kernel_that_was_upgraded_and_not_booted(machine: Machine) -> None:
    machine.unload(*MODULES)
    machine.at(f"lib/modules/{RELEASE}").rename(machine.at("lib/modules/6.12.2-test"))
    machine.bind(VF, None)
    name, first = found(machine.facts())[0]
    assert name == "kernel.modules"
    assert "there are those of 6.12.2-test" in first.what
    assert "reboot" in first.do


@pytest.mark.parametrize(
    ("package", "headers", "modules"),
    [
        pytest.param(
            f"linux-image-{RELEASE}", f"install the package linux-headers-{RELEASE}",
            f"install the package linux-image-{RELEASE}", id="debian",
        ),
        pytest.param(
            f"linux-image-unsigned-{RELEASE}", f"install the package linux-headers-{RELEASE}",
            f"install the package linux-image-{RELEASE}", id="ubuntu",
        ),
        pytest.param(
            "linux-image-6.1.0-9-amd64", "get its headers from where the kernel was built",
            "get its modules from where the kernel was built (make modules_install)", id="own",
        ),
        pytest.param(
            None, "install the package with its headers, of the same release",
            "install the package with its modules", id="another distribution",
        ),
    ],
)  # fmt: skip
def test_packages_that_exist_only(
    machine: Machine, package: str | None, headers: str, modules: str
) -> None:
    """No distribution has the headers of a kernel that somebody built."""
    if package:
        machine.write(f"var/lib/dpkg/info/{package}.list", "")
    machine.at(f"lib/modules/{RELEASE}/build/Makefile").unlink()
    assert headers in dict(found(machine.facts(), Level.WARNS))["kernel.headers"].do
    machine.unload(*MODULES)
    machine.at(f"lib/modules/{RELEASE}").rename(machine.at("lib/modules/6.12.2-test"))
    machine.bind(VF, None)
    assert modules in found(machine.facts())[0][1].do


def test_kernel_of_a_cloud(machine: Machine) -> None:
    machine.unload("vfio_iommu_type1", "vfio_pci")
    machine.install("vfio", "vfio_pci_core")
    assert "lacks the module vfio_iommu_type1" in cause(machine.facts())


def test_kernel_that_insists_on_signatures(machine: Machine) -> None:
    machine.bind(VF, None)
    machine.write("sys/module/module/parameters/sig_enforce", "Y")
    assert blocked(machine.facts()) == ["kernel.signatures", "driver.bound"]
    assert "sig_enforce" in found(machine.facts())[0][1].what


def test_kernel_that_is_locked_down_by_secure_boot(machine: Machine) -> None:
    machine.bind(VF, None)
    machine.write("sys/kernel/security/lockdown", "none [integrity] confidentiality")
    variable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    machine.write(variable, "\6\0\0\0\1")
    name, first = found(machine.facts())[0]
    assert name == "kernel.signatures"
    assert "locked down (integrity), and the firmware started it by secure boot" in first.what


def test_module_for_another_kernel(machine: Machine) -> None:
    machine.bind(VF, None)
    machine.install(*MODULES, "igb_vf_vfio_pci", alias="igb_vf_vfio_pci")
    path = f"lib/modules/{RELEASE}/kernel/igb_vf_vfio_pci.ko"
    machine.at(path).parent.mkdir()
    machine.at(path).write_bytes(b"\x7fELF\0vermagic=6.1.0-56-amd64 SMP mod_unload modversions \0")
    (name, first), *_ = found(machine.facts())
    assert name == "module.fit"
    assert "built for Linux 6.1.0-56-amd64, and 6.12.1-test is running" in first.what
    # Within a series it may load.
    machine.at(path).write_bytes(b"\0vermagic=6.12.0-test SMP mod_unload modversions \0")
    assert blocked(machine.facts()) == ["driver.bound"]
    assert "module.fit" in dict(found(machine.facts(), Level.WARNS))


def test_module_that_kpatch_has_looked_at(machine: Machine) -> None:
    bad = Module("x.ko", "6.12.1-test SMP", findings=(("warning", "Odd."), ("problem", "Wrong.")))
    said = cause(machine.facts(modules=(bad,)))
    assert "would refuse x.ko, or crash with it. Wrong." in said
    assert "python3 -m kpatch inspect x.ko" in said
    doubtful = replace(bad, findings=(("warning", "Odd."),))
    known = machine.facts(modules=(doubtful,))
    assert found(known) == []
    assert str(dict(found(known, Level.WARNS))["module.fit"]) == "x.ko: Odd."


def test_module_that_is_named(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "own.ko"
    path.write_bytes(b"\0vermagic=5.10.0 SMP mod_unload modversions \0")
    status, said = run(machine, module=path)
    assert status == 1
    assert f"{path} was built for Linux 5.10.0, and 6.12.1-test is running" in said


def test_module_of_another_kernel(machine: Machine) -> None:
    machine.bind(VF, None)
    machine.install("igb_vf_vfio_pci", release="6.12.0-old", alias="igb_vf_vfio_pci")
    assert blocked(machine.facts()) == ["module.elsewhere"]
    assert "installed for the kernel 6.12.0-old" in cause(machine.facts())


def test_files_of_vfio(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "usable", lambda _self, name: name != "/dev/vfio/12")
    assert "may not open /dev/vfio/12" in cause(machine.facts())
    machine.at("dev/vfio/12").unlink()
    assert "There is no /dev/vfio/12" in cause(machine.facts())


def test_memlock(machine: Machine) -> None:
    known = replace(machine.facts(), user=User(1000, 8 << 20, False))
    assert blocked(known) == ["user.memlock"]
    assert "may pin 8192 KiB" in cause(known)
    assert blocked(replace(known, user=User(1000, 1 << 30, False))) == []
    assert blocked(replace(known, user=User(1000, 8 << 20, True))) == []
