# SPDX-License-Identifier: GPL-2.0-only
"""Every reason for which a function of a machine is not touched, on a machine made of files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.host import fitness, safety
from conformance.host.errors import Refused
from conformance.host.judge import HostRequest, consent
from conformance.host.paths import HostPaths
from conformance.host.safety import PHYSICAL, UNBIND, Look
from conformance.tests.host.fake_host import FakeHost
from conformance.vfio.errors import SysfsError
from conformance.vfio.system import sysfs
from kpatch.device import load as descriptions
from kpatch.kernel import elf
from kpatch.module.info import ModuleInfo

VF = "0000:01:10.0"
PEER = "0000:01:10.2"
PF = "0000:01:00.0"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


@pytest.fixture
def paths(host: FakeHost, tmp_path: Path) -> HostPaths:
    dev = tmp_path / "dev/vfio"
    dev.mkdir(parents=True)
    for name in ("vfio", "12", "13"):
        (dev / name).touch()
    return HostPaths(host.sysfs, host.proc, tmp_path / "state", tmp_path / "dev")


def to_bind(paths: HostPaths, *names: str, uid: int = 0) -> Look:
    return safety.to_bind(names or [VF], paths, uid=uid)


def refused(look: Look) -> str:
    """Return the only reason, which has words on what to do."""
    (reason,) = look.refused
    assert reason.what.endswith(".")
    assert reason.do.endswith(".")
    return str(reason)


def test_a_free_function(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF)
    host.function(PEER, "vfio-pci", group="13")
    assert to_bind(paths, VF, PEER) == Look()


def test_a_function_behind_a_domain_of_five_digits(host: FakeHost, paths: HostPaths) -> None:
    """Behind Intel's VMD domains begin at 10000."""
    name = "10000:e1:00.0"
    host.function(name, "nvme", ids=(0x144D, 0xA80A), kind=0x010802)
    look = to_bind(paths, name)
    assert not any("no PCI function" in reason.what for reason in look.refused)
    assert sysfs.function(name, sysfs=host.sysfs).vendor == 0x144D


def test_only_root(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF)
    assert "sudo" in refused(to_bind(paths, uid=1000))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("0000:01:10.4", "no PCI function 0000:01:10.4"),
        ("01:10.0", "0000:01:10.0"),
        ("eth0", "no device 'eth0'"),
        ("", "no device ''"),
        ("../../..", r"no device '../../..'"),
    ],
)
def test_a_name_of_nothing(host: FakeHost, paths: HostPaths, name: str, words: str) -> None:
    host.function(VF)
    assert words in refused(to_bind(paths, name))
    assert words in refused(safety.as_bound([name], paths))


def test_the_same_function_twice(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF)
    assert "are the same" in refused(to_bind(paths, VF, VF))


def test_a_bridge(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, "pcieport", kind=0x060400)
    assert "is a bridge" in refused(to_bind(paths))


def test_no_iommu(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, group=None)
    assert "intel_iommu=on" in refused(to_bind(paths))


def test_no_iommu_mode(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF)
    (host.sysfs / "kernel/iommu_groups/12/name").write_text("vfio-noiommu\n")
    assert "vfio-noiommu" in refused(to_bind(paths))


def test_a_software_device(host: FakeHost, paths: HostPaths) -> None:
    folder = host.function("emulated.0", "vfio-pci")
    bus = host.sysfs / "bus/platform/devices"
    bus.mkdir(parents=True)
    (bus / "emulated.0").symlink_to(folder)
    (host.devices / "emulated.0").unlink()
    (host.sysfs / "kernel/iommu_groups/12/name").write_text("vfio-noiommu\n")
    assert safety.as_bound(["emulated.0"], paths) == Look()
    assert "is not a PCI function" in refused(to_bind(paths, "emulated.0"))


def test_a_group_that_is_not_viable(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF)
    host.function("0000:01:10.1", "igbvf")
    host.function("0000:01:10.3", "vfio-pci")
    host.function("0000:01:10.5", "pci-stub")
    host.function("0000:00:01.0", "pcieport", kind=0x060400)
    text = refused(to_bind(paths))
    assert "0000:01:10.1 in it is bound to igbvf" in text
    assert "ACS" in text


def test_memory_that_firmware_wants_mapped(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, "vfio-pci")
    file = host.sysfs / "kernel/iommu_groups/12/reserved_regions"
    file.write_text("0xfee00000 0xfeefffff msi\n0x7c000000 0x7fffffff direct-relaxable\n")
    assert to_bind(paths) == safety.as_bound([VF], paths) == Look()
    file.write_text("0xfee00000 0xfeefffff msi\n0x7c000000 0x7fffffff direct\n")
    assert "0x7c000000-0x7fffffff" in refused(to_bind(paths))
    assert "mapped 1:1" in refused(safety.as_bound([VF], paths))


def test_a_function_that_does_not_answer(host: FakeHost, paths: HostPaths) -> None:
    folder = host.function(VF, "vfio-pci")
    (folder / "config").write_bytes(b"\xff" * 64)
    assert "does not answer" in refused(to_bind(paths))
    assert "does not answer" in refused(safety.as_bound([VF], paths))


def test_a_physical_function_that_belongs_to_vfio(host: FakeHost, paths: HostPaths) -> None:
    folder = host.function(VF, "vfio-pci")
    physical = host.function(PF, "igb", group="6")
    (folder / "physfn").symlink_to(physical)
    assert to_bind(paths) == safety.as_bound([VF], paths) == Look()
    (physical / "vfio-dev").mkdir()
    assert "takes a VF token" in refused(to_bind(paths))
    assert "takes a VF token" in refused(safety.as_bound([VF], paths))


def test_device_and_peer_in_a_group(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, "vfio-pci")
    host.function(PEER, "vfio-pci")
    assert "can be opened only once" in refused(to_bind(paths, VF, PEER))
    assert "can be opened only once" in refused(safety.as_bound([VF, PEER], paths))


def test_a_user_has_it(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, "vfio-pci")
    host.process(4711, "qemu-system-x86", "/dev/vfio/12")
    assert "qemu-system-x86 (process 4711) has /dev/vfio/12 open" in refused(to_bind(paths))
    assert "process 4711" in refused(safety.as_bound([VF], paths))


def test_the_default_route_is_never_cut(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, "igbvf")
    host.interface(VF, "eth1", routed=True)
    assert "default route" in refused(to_bind(paths))


def test_a_disk_in_use_is_never_taken(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, "nvme", kind=0x010802)
    host.disk(VF, "nvme0n1", mounted="/")
    assert "nvme0n1, which is mounted on /" in refused(to_bind(paths))


def test_a_bound_function_needs_consent(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, "igbvf")
    host.interface(VF, "eth1", up=False)
    look = to_bind(paths)
    assert look.refused == []
    (question,) = look.questions
    assert (question.option, "bound to igbvf" in question.what) == (UNBIND, True)


def test_an_interface_that_is_up_is_reported(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, "igbvf")
    host.interface(VF, "eth1")
    words = " ".join(question.what for question in to_bind(paths).questions)
    assert "eth1" in words
    assert "addresses and routes are lost" in words


def test_a_stub_needs_no_consent(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, "pci-stub")
    assert to_bind(paths) == Look()


def physical(host: FakeHost, virtual: int) -> None:
    folder = host.function(PF, "vfio-pci")
    (folder / "sriov_totalvfs").write_text("7\n")
    for number in range(virtual):
        one = host.function(f"0000:01:10.{number}", group=f"2{number}")
        (folder / f"virtfn{number}").symlink_to(one)


def test_a_physical_function_with_virtual_ones(host: FakeHost, paths: HostPaths) -> None:
    physical(host, 2)
    assert "0000:01:10.0 0000:01:10.1" in refused(to_bind(paths, PF))
    look = safety.as_bound([PF], paths)
    assert look.refused == []
    assert [question.option for question in look.questions] == [PHYSICAL]


def test_a_physical_function_without(host: FakeHost, paths: HostPaths) -> None:
    physical(host, 0)
    look = to_bind(paths, PF)
    assert (look.refused, [question.option for question in look.questions]) == ([], [PHYSICAL])
    assert safety.as_bound([PF], paths) == Look()


def test_all_reasons_are_reported_at_once(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, "igbvf", group=None)
    host.interface(VF, "eth1", routed=True)
    assert len(to_bind(paths, VF, "nothing", uid=1).refused) == 4


def test_judged_as_bound(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, "vfio-pci")
    assert safety.as_bound([VF], paths) == Look()
    host.function(PEER, "igbvf", group="13")
    assert "bound to igbvf, which does not offer it" in refused(safety.as_bound([PEER], paths))
    host.function("0000:01:10.4", group="14")
    assert "bound to no driver" in refused(safety.as_bound(["0000:01:10.4"], paths))


def test_no_access(
    host: FakeHost, paths: HostPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.function(VF, "vfio-pci")
    (tmp_path / "dev/vfio/vfio").unlink()
    assert "vfio_iommu_type1" in refused(safety.as_bound([VF], paths))
    (tmp_path / "dev/vfio/vfio").touch()
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path).name == "vfio")
    assert "sudo" in refused(safety.as_bound([VF], paths))


def request(*given: str) -> HostRequest:
    return HostRequest(VF, "", (), (), (), 60, Path(), frozenset(given))


def test_consent(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, "igbvf")
    look = to_bind(paths)
    consent(look, request(UNBIND), lambda _: False)
    consent(look, request(), lambda _: True)
    with pytest.raises(Refused, match=r"--unbind \(UNBIND=1") as caught:
        consent(look, request(PHYSICAL), lambda _: False)
    assert caught.value.exit_code == 2


def test_consent_does_not_help_against_a_refusal(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF, "igbvf")
    host.interface(VF, "eth1", routed=True)
    with pytest.raises(Refused, match="default route"):
        consent(to_bind(paths), request(UNBIND, PHYSICAL), lambda _: True)


def test_a_description_of_another_device(host: FakeHost, paths: HostPaths) -> None:
    host.function(VF)
    igb, i40e = (descriptions.load(name) for name in ("igb-vf", "i40e-vf"))
    assert fitness.of_description(igb, [VF], paths) == []
    (reason,) = fitness.of_description(i40e, [VF], paths)
    assert "is a 8086:10ca, and the driver of i40e-vf is for 8086:154c" in reason.what


def module(path: Path, *aliases: str, signed: bool = False) -> ModuleInfo:
    info = {
        "vermagic": ("6.12.0 SMP mod_unload",),
        "license": ("GPL",),
        "name": ("igb_vf_vfio_pci",),
        "alias": aliases,
    }
    return ModuleInfo(path, "EM_X86_64", info, (), {}, False, False, signed, {})


def problems(info: ModuleInfo, paths: HostPaths) -> list[str]:
    return [str(one) for one in fitness.of_module(info, None, [VF], "6.12.0", paths)[0]]


GOOD = "vfio_pci:v00008086d000010CAsv*sd*bc*sc*i*"


@pytest.mark.parametrize(
    ("aliases", "good"),
    [
        ((GOOD,), True),
        (("pci:v00008086d000010CAsv*sd*bc*sc*i*",), True),
        (("vfio_pci:v00008086d0000154Csv*sd*bc*sc*i*",), False),
        ((), False),
    ],
)
def test_a_module_for_other_devices(
    host: FakeHost, paths: HostPaths, tmp_path: Path, aliases: tuple[str, ...], good: bool
) -> None:
    host.function(VF)
    found = problems(module(tmp_path / "x.ko", *aliases), paths)
    assert bool([one for one in found if "is not for 0000:01:10.0" in one]) != good


def test_a_module_for_another_kernel(host: FakeHost, paths: HostPaths, tmp_path: Path) -> None:
    host.function(VF)
    info = module(tmp_path / "x.ko", GOOD)
    found = fitness.of_module(info, None, [VF], "6.1.0", paths)[0]
    assert any("6.12.0" in str(one) for one in found)


def lock_down(host: FakeHost) -> None:
    (host.sysfs / "kernel/security").mkdir(parents=True)
    (host.sysfs / "kernel/security/lockdown").write_text("none [integrity] confidentiality\n")


def enforce(host: FakeHost) -> None:
    (host.sysfs / "module/module/parameters").mkdir(parents=True)
    (host.sysfs / "module/module/parameters/sig_enforce").write_text("Y\n")


@pytest.mark.parametrize(
    ("how", "words"), [(lock_down, "locked down (integrity)"), (enforce, "sig_enforce")]
)
def test_a_module_that_is_not_signed(
    host: FakeHost, paths: HostPaths, tmp_path: Path, how: Callable[[FakeHost], None], words: str
) -> None:
    host.function(VF)
    before = problems(module(tmp_path / "x.ko", GOOD), paths)
    how(host)
    (new,) = set(problems(module(tmp_path / "x.ko", GOOD), paths)) - set(before)
    assert words in new
    assert problems(module(tmp_path / "x.ko", GOOD, signed=True), paths) == before


def test_no_lockdown_in_this_kernel(paths: HostPaths) -> None:
    assert fitness.lockdown(paths) == ""


def test_another_build_is_loaded(
    host: FakeHost, paths: HostPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.function(VF)
    info = module(tmp_path / "igb_vf_vfio_pci.ko", GOOD)
    before = problems(info, paths)
    host.module("igb_vf_vfio_pci")
    (new,) = set(problems(info, paths)) - set(before)
    assert "rmmod igb_vf_vfio_pci" in new
    notes = host.sysfs / "module/igb_vf_vfio_pci/notes"
    notes.mkdir()
    (notes / ".note.gnu.build-id").write_bytes(b"this one")
    monkeypatch.setattr(elf, "build_id", lambda _path: b"this one")
    assert problems(info, paths) == before
    assert fitness.is_loaded(info, paths)
    monkeypatch.setattr(elf, "build_id", lambda _path: b"")
    assert not fitness.is_loaded(info, paths)


def test_a_module_that_is_built_in(host: FakeHost, paths: HostPaths, tmp_path: Path) -> None:
    host.function(VF)
    (host.sysfs / "module/igb_vf_vfio_pci").mkdir()
    found = problems(module(tmp_path / "x.ko", GOOD), paths)
    assert any("built in" in one for one in found)


def test_names_do_not_leave_the_folder_of_devices(paths: HostPaths) -> None:
    with pytest.raises(SysfsError):
        sysfs.directory("..", sysfs=paths.sysfs)
