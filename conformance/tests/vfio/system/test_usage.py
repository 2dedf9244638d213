# SPDX-License-Identifier: GPL-2.0-only
"""What is known of a function and of who uses it, read from a machine made of files."""

from pathlib import Path

import pytest

from conformance.tests.host.fake_host import FakeHost
from conformance.vfio.errors import SysfsError
from conformance.vfio.system import sysfs, usage
from conformance.vfio.system.usage import Disk, Holder, Interface

VF = "0000:01:10.0"
PF = "0000:01:00.0"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def test_group(host: FakeHost) -> None:
    host.function(VF)
    host.function(PF)
    host.function("0000:02:00.0", group=None)
    assert sysfs.group_members(VF, sysfs=host.sysfs) == (PF, VF)
    with pytest.raises(SysfsError, match="no IOMMU group"):
        sysfs.group_members("0000:02:00.0", sysfs=host.sysfs)


def test_physical_and_virtual_functions(host: FakeHost) -> None:
    physical = host.function(PF)
    for number in range(11):
        virtual = host.function(f"0000:01:1{number:x}.0")
        (virtual / "physfn").symlink_to(physical)
        (physical / f"virtfn{number}").symlink_to(virtual)
    assert sysfs.physical_function(VF, sysfs=host.sysfs) == PF
    assert sysfs.physical_function(PF, sysfs=host.sysfs) is None
    found = sysfs.virtual_functions(PF, sysfs=host.sysfs)
    assert found[:2] == (VF, "0000:01:11.0")
    assert found[-1] == "0000:01:1a.0"  # not sorted as text


def test_what_a_function_is(host: FakeHost) -> None:
    host.function(VF, "vfio-pci", override="vfio-pci")
    host.function(PF, "igb")
    host.function("0000:00:01.0", "pcieport", kind=0x060400)
    assert sysfs.driver_override(VF, sysfs=host.sysfs) == "vfio-pci"
    assert sysfs.driver_override(PF, sysfs=host.sysfs) == ""
    assert sysfs.modalias(VF, sysfs=host.sysfs).startswith("pci:v00008086d000010CA")
    assert sysfs.offers_vfio(VF, sysfs=host.sysfs)
    assert not sysfs.offers_vfio(PF, sysfs=host.sysfs)
    assert sysfs.is_bridge("0000:00:01.0", sysfs=host.sysfs)
    assert not sysfs.is_bridge(PF, sysfs=host.sysfs)


def test_interfaces(host: FakeHost) -> None:
    host.function(PF, "igb")
    host.interface(PF, "eth0", routed=True)
    host.interface(PF, "eth1", up=False)
    found = usage.interfaces(PF, sysfs=host.sysfs, proc=host.proc)
    assert found == (Interface("eth0", True, True), Interface("eth1", False, False))


def test_default_route_through_a_bridge_above(host: FakeHost) -> None:
    host.function(PF, "igb")
    host.function(VF, "virtio-pci")
    host.interface(PF, "eth0")
    host.interface(VF, "br0", routed=True)
    (host.sysfs / "class/net/eth0/upper_br0").symlink_to(host.sysfs / "class/net/br0")
    (found,) = usage.interfaces(PF, sysfs=host.sysfs, proc=host.proc)
    assert found.default_route


def test_default_route_of_ipv6(host: FakeHost) -> None:
    host.function(PF, "igb")
    host.interface(PF, "eth0")
    zero = "0" * 32
    unreachable = f"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
    line = f"{zero} 00 {zero} 00 fe80{'0' * 28} 00000400 00000001 00000000 00000003 eth0\n"
    (host.proc / "net/ipv6_route").write_text(unreachable + line)
    (found,) = usage.interfaces(PF, sysfs=host.sysfs, proc=host.proc)
    assert found.default_route


def test_disks(host: FakeHost) -> None:
    host.function(PF, "ahci")
    host.function(VF, "nvme")
    host.disk(PF, "sda", mounted="/")
    host.disk(PF, "sdb", number="8:16")
    host.disk(PF, "sdc", number="8:32")
    host.disk(PF, "sdd", number="8:48")
    host.disk(PF, "sde", number="8:64")
    host.disk(VF, "nvme0n1", number="259:0")
    (host.sysfs / "class/block/sdb/holders/dm-0").mkdir(parents=True)
    (host.proc / "swaps").write_text(
        "Filename Type Size Used Priority\n/dev/sdc partition 1 0 -2\n"
    )
    found = usage.disks(PF, sysfs=host.sysfs, proc=host.proc, claimed=lambda name: name == "sdd")
    assert found == (
        Disk("sda", "mounted on /"),
        Disk("sdb", "part of dm-0"),
        Disk("sdc", "swap space"),
        Disk("sdd", "in use by the kernel"),
        Disk("sde", ""),
    )


def test_holders(host: FakeHost) -> None:
    host.function(VF, "vfio-pci")
    host.process(41, "bash", "/dev/tty")
    host.process(42, "qemu", "/dev/vfio/vfio", "/dev/vfio/12", "/dev/vfio/12")
    host.process(7, "other", "/dev/vfio/devices/vfio0")
    host.process(8, "guest", "/dev/vfio/13")
    assert usage.holders(VF, sysfs=host.sysfs, proc=host.proc) == (
        Holder(7, "other", "/dev/vfio/devices/vfio0"),
        Holder(42, "qemu", "/dev/vfio/12"),
    )


def test_processes_of_which_nothing_may_be_seen(host: FakeHost) -> None:
    host.function(VF, "vfio-pci")
    (host.proc / "9").mkdir()
    assert usage.holders(VF, sysfs=host.sysfs, proc=host.proc) == ()
