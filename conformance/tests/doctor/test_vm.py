# SPDX-License-Identifier: GPL-2.0-only
"""The doctor in machines that really are broken: it names the cause, and it is the cause.

Where the kernel can be made to refuse, it is: the words of the doctor are about the same refusal.
Run by `tox -e doctor`: four boots, about two minutes without KVM.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.lab.boot import bootkernel
from conformance.lab.check import driver
from conformance.lab.image import definitions, image
from conformance.lab.image.definitions import MachineDefinition
from conformance.lab.image.image import Image
from conformance.running import paths
from conformance.running.steps import Steps
from conformance.tests.host.guest_shell import Shell, guest_shell
from kpatch.device import load as device

TRIXIE, BOOKWORM = definitions.image("trixie"), definitions.image("bookworm")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("VFIO_KIT_BOOT"), reason="VFIO_KIT_BOOT=1 boots machines for it"
    ),
]

PF, VF = "0000:01:00.0", "0000:01:10.0"
SHARED = ("0000:03:01.0", "0000:03:02.0")
IGB = ("pcie-root-port,id=rp0,chassis=1", "igb,bus=rp0,rombar=0")
CONVENTIONAL = (
    "pcie-root-port,id=rp1,chassis=2",
    "pcie-pci-bridge,id=pci,bus=rp1",
    "e1000,bus=pci,addr=1,romfile=",
    "e1000,bus=pci,addr=2,romfile=",
)
HELPERS = f"""
bind() {{
    echo $2 >$devices/$1/driver_override
    [ ! -e $devices/$1/driver ] || echo $1 >$devices/$1/driver/unbind
    echo $1 >/sys/bus/pci/drivers_probe
    [ "$(basename $(readlink $devices/$1/driver))" = $2 ]
}}
unbind() {{
    [ ! -e $devices/$1/driver ] || echo $1 >$devices/$1/driver/unbind
    echo >$devices/$1/driver_override
}}
make() {{
    echo 0 >$devices/{PF}/sriov_drivers_autoprobe
    [ $(cat $devices/{PF}/sriov_numvfs) = 2 ] || echo 2 >$devices/{PF}/sriov_numvfs
}}
group() {{ basename $(readlink $devices/$1/iommu_group); }}
[ -e /run/kit/kit/conformance/doctor ] || tar -xf /run/kit/trials/doctor.ko -C /run/kit/kit
doctor() {{ (cd /run/kit/kit && python3 -B -m conformance.doctor "$@" --json); }}
"""


def machine(name: str, *devices: str, cmdline: tuple[str, ...] = ()) -> MachineDefinition:
    """Return a machine whose functions a test makes by itself."""
    igb = next(one for one in definitions.machines() if one.name == "igb")
    changed: dict[str, Any] = {
        "physical_function": None,
        "network": None,
        "software": True,
        "virtual_function": None,
    }
    changed |= {"name": name, "devices": devices, "cmdline": cmdline}
    return MachineDefinition.model_validate({**igb.model_dump(by_alias=True), **changed})


def made(definition: definitions.ImageDefinition) -> Image:
    found = Image(definition, image.place(definition))
    if not found.exists():
        name = definition.name
        pytest.skip(f"the image {name} is not in the cache (python -m conformance image {name})")
    return found


def shell(folder: Path, one: MachineDefinition, **files: Path) -> Any:
    """Return a shell in a machine, with the doctor, which the payload of a run does not have."""
    also = ("igbvf", "vfio_pci", "vfio_iommu_type1", "e1000")
    archive = folder / "doctor.tar"
    with tarfile.open(archive, "w") as tar:
        for name in ("conformance/doctor", "conformance/errors.py"):
            tar.add(paths.KIT / name, name)
    return guest_shell(made(TRIXIE), one, folder, also=also, files={**files, "doctor": archive})


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A machine on which all is well, except two functions that share a group."""
    folder = tmp_path_factory.mktemp("healthy")
    kernel = bootkernel.of_image(made(BOOKWORM))
    old = driver.build(device.load("igb-vf"), kernel, folder, Steps(print))
    assert old
    one = machine(
        "doctor", "intel-iommu,intremap=on", *IGB, *CONVENTIONAL, cmdline=("intel_iommu=on",)
    )
    with shell(folder, one, old=old) as found:
        found.do(HELPERS)
        found.do("mkdir -p /sys/kernel/security; mount -t securityfs none /sys/kernel/security")
        yield found


@pytest.fixture
def bound(healthy: Shell) -> Shell:
    """The same, with a function bound to its driver."""
    healthy.do(f"make && modprobe igb_vf_vfio_pci && bind {VF} igb_vf_vfio_pci")
    return healthy


def doctor(guest: Shell, *words: str, prefix: str = "") -> dict[str, Any]:
    status, said = guest.run(f"{prefix}doctor {' '.join(words)}")
    assert status in (0, 1), said
    document: dict[str, Any] = json.loads(said)
    assert document["blocks"] == (status == 1)
    return document


def blocks(document: dict[str, Any]) -> list[str]:
    return [one["check"] for one in document["findings"] if one["level"] == "blocks"]


def first(document: dict[str, Any]) -> str:
    """Return the words of the first finding."""
    one = document["findings"][0]
    assert one["level"] == "blocks"
    assert one["why"]
    assert one["do"]
    return f"{one['what']} {one['do']}"


def test_nothing_blocks_where_all_is_well(bound: Shell) -> None:
    assert blocks(doctor(bound, VF)) == []
    opened = doctor(bound, VF, "--open")
    assert blocks(opened) == []
    assert any("offers a migration region (version 1)" in one["what"] for one in opened["findings"])
    assert blocks(doctor(bound, "--for", "function")) == []


def test_it_changes_nothing(bound: Shell) -> None:
    calls = (
        "openat,open,creat,ioctl,mkdir,unlink,rename,mount,init_module,finit_module,delete_module"
    )
    trace = f"strace -f -qq -e trace={calls} -o /run/trace"
    bound.do(f"cd /run/kit/kit; {trace} python3 -B -m conformance.doctor {VF} -v; cd - >/dev/null")
    lines = bound.do("cat /run/trace").splitlines()
    assert any("/proc/cmdline" in line for line in lines)
    writing = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC")
    opened = [line for line in lines if "open" in line and any(word in line for word in writing)]
    assert opened == []
    others = [line for line in lines if "open" not in line and "= -1 ENOTTY" not in line]
    # Python itself asks whether what it writes to is a terminal.
    assert [line for line in others if "TCGETS" not in line and "exited" not in line] == []


def test_bound_to_a_driver_of_the_host(bound: Shell) -> None:
    bound.do(f"modprobe igbvf && bind {VF} igbvf")
    document = doctor(bound, VF)
    assert blocks(document) == ["driver.bound"]
    assert "is bound to igbvf, a driver of the host" in first(document)
    assert "Modules with an alias for it: igb_vf_vfio_pci" in first(document)


def test_bound_to_nothing(bound: Shell) -> None:
    bound.do(f"unbind {VF}")
    document = doctor(bound, VF)
    assert blocks(document) == ["driver.bound"]
    assert "has no driver" in first(document)


def test_bound_to_vfio_pci_itself(bound: Shell) -> None:
    bound.do(f"modprobe vfio-pci && bind {VF} vfio-pci")
    document = doctor(bound, VF)
    assert blocks(document) == ["driver.bound"]
    assert "bound to vfio-pci itself" in first(document)


def test_in_use_by_another_process(bound: Shell) -> None:
    program = "from conformance.vfio.iommu.container import Container; "
    program += "from conformance.vfio.device import Device; import time; "
    program += f"device = Device.open('{VF}', Container()); print('open', flush=True); "
    program += "time.sleep(600)"
    bound.do(
        f'cd /run/kit/kit; python3 -B -c "{program}" >/run/holder & holder=$!; cd - >/dev/null; '
        "until grep -q open /run/holder; do sleep 0.1; done"
    )
    document = doctor(bound, VF, "--open")
    assert blocks(document) == ["device.in-use"]
    assert "(python3) has /dev/vfio/" in first(document)
    bound.do("kill $holder; wait $holder; true")
    assert blocks(doctor(bound, VF)) == []


def test_group_shared_behind_a_conventional_bridge(bound: Shell) -> None:
    one, other = SHARED
    assert bound.do(f"group {one}") == bound.do(f"group {other}")
    bound.do(f"modprobe -a vfio-pci e1000; bind {other} e1000 && bind {one} vfio-pci")
    document = doctor(bound, one)
    assert blocks(document)[0] == "group.viable"
    assert f"{other} (e1000)" in first(document)
    # Together with nobody else it is user space's: what is left is that vfio-pci has it.
    bound.do(f"unbind {other}")
    assert blocks(doctor(bound, one)) == ["driver.bound"]


def as_user(limit: str) -> str:
    user = "setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all"
    call = f"cd /run/kit/kit && python3 -B -m conformance.doctor {VF} --json"
    return f"(ulimit -l {limit}; {user} sh -c '{call}') || true"


def test_files_which_a_user_may_not_open(bound: Shell) -> None:
    document = json.loads(bound.do(as_user("unlimited")))
    assert blocks(document) == ["user.files"]
    assert "(1000) may not open /dev/vfio/" in first(document)


def test_too_little_memory_may_be_pinned(bound: Shell) -> None:
    bound.do(f"chown 1000 /dev/vfio/$(group {VF})")
    document = json.loads(bound.do(as_user("8192")))
    assert blocks(document) == ["user.memlock"]
    assert "may pin 8192 KiB of memory" in first(document)
    assert blocks(json.loads(bound.do(as_user("unlimited")))) == []
    bound.do(f"chown 0 /dev/vfio/$(group {VF})")


def test_module_built_for_another_kernel(bound: Shell) -> None:
    bound.do(f"unbind {VF}; rmmod igb_vf_vfio_pci")
    place = "$tree/updates/igb_vf_vfio_pci.ko"
    bound.do(f"cp {place} /run/right.ko; cp /run/kit/trials/old.ko {place}")
    status, _ = bound.run("insmod $tree/updates/igb_vf_vfio_pci.ko")
    assert status != 0, "the kernel takes it"
    document = doctor(bound, VF)
    assert blocks(document)[0] == "module.fit"
    assert "igb_vf_vfio_pci.ko was built for Linux 6.1." in first(document)
    bound.do(f"cp /run/right.ko {place}; insmod {place}; bind {VF} igb_vf_vfio_pci")
    assert blocks(doctor(bound, VF)) == []


def test_module_installed_for_another_kernel(bound: Shell) -> None:
    bound.do(f"unbind {VF}; rmmod igb_vf_vfio_pci")
    other = "/lib/modules/6.12.0-other"
    bound.do(f"mkdir -p {other}; grep 000010CA $tree/modules.alias >{other}/modules.alias")
    bound.do("cp $tree/modules.alias /run/alias; sed -i /000010CA/d $tree/modules.alias")
    document = doctor(bound, VF)
    assert blocks(document) == ["module.elsewhere"]
    assert "is installed for the kernel 6.12.0-other and not for" in first(document)
    bound.do(f"cp /run/alias $tree/modules.alias; rm -r {other}")


def test_virtual_functions_not_made(bound: Shell) -> None:
    bound.do(f"unbind {VF}; echo 0 >$devices/{PF}/sriov_numvfs")
    document = doctor(bound, PF)
    assert blocks(document) == ["function.sriov"]
    assert "can have 7 virtual ones and has none." in first(document)
    status, said = bound.run(f"doctor {VF}")
    assert status == 2
    assert f"{PF} can make virtual functions and has none: ask about it" in said


def test_virtual_functions_cannot_be_made_without_a_driver(bound: Shell) -> None:
    bound.do(f"unbind {VF}; echo 0 >$devices/{PF}/sriov_numvfs; unbind {PF}")
    status, said = bound.run(f"echo 2 >$devices/{PF}/sriov_numvfs")
    assert status != 0
    assert "No such file or directory" in said
    document = doctor(bound, PF)
    assert blocks(document) == ["function.sriov"]
    assert "without a driver makes none (ENOENT)" in first(document)
    bound.do(f"bind {PF} igb")


def test_no_reset(bound: Shell) -> None:
    bound.do(f"echo >$devices/{VF}/reset_method")
    document = doctor(bound, VF)
    assert blocks(document) == []
    assert "device.reset" in [one["check"] for one in document["findings"]]
    bound.do(f"echo default >$devices/{VF}/reset_method")


def test_modules_of_vfio_missing(bound: Shell) -> None:
    bound.do(f"for f in {VF} {' '.join(SHARED)}; do unbind $f; done")
    bound.do("rmmod igb_vf_vfio_pci; rmmod vfio_pci; rmmod vfio_pci_core vfio_iommu_type1 vfio")
    bound.do("mv $tree/kernel/drivers/vfio /run/hidden; depmod")
    document = doctor(bound, VF)
    assert blocks(document)[0] == "kernel.modules"
    assert "lacks the module vfio, vfio_pci_core, vfio_iommu_type1" in first(document)
    bound.do("mv /run/hidden $tree/kernel/drivers/vfio; depmod; modprobe vfio_iommu_type1")


def test_kernel_upgraded_and_not_booted(bound: Shell) -> None:
    bound.do(f"unbind {VF}; rmmod igb_vf_vfio_pci; rmmod vfio_pci; rmmod vfio_pci_core; true")
    bound.do("mv /lib/modules/$release /lib/modules/6.12.999-next")
    document = doctor(bound, VF)
    assert blocks(document)[0] == "kernel.modules"
    assert "there are those of 6.12.999-next" in first(document)
    assert "Then reboot" in first(document)
    bound.do("mv /lib/modules/6.12.999-next /lib/modules/$release")


# What follows cannot be undone in a running kernel, so it comes last.


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        ("echo integrity >/sys/kernel/security/lockdown", "it is locked down (integrity)"),
        ("echo 1 >/sys/module/module/parameters/sig_enforce", "module.sig_enforce"),
    ],
)
def test_kernel_that_insists_on_signatures(healthy: Shell, break_it: str, expected: str) -> None:
    healthy.do(f"unbind {VF}; rmmod igb_vf_vfio_pci 2>/dev/null; {break_it}")
    status, _ = healthy.run("insmod $tree/updates/igb_vf_vfio_pci.ko")
    assert status != 0, "the kernel takes it"
    document = doctor(healthy, VF)
    assert blocks(document)[0] == "kernel.signatures"
    assert expected in first(document)


def test_no_iommu(tmp_path: Path) -> None:
    with shell(tmp_path, machine("doctor-bare", *IGB)) as guest:
        guest.do(HELPERS)
        guest.do("make; modprobe igb_vf_vfio_pci")
        assert guest.run(f"bind {VF} igb_vf_vfio_pci")[0] != 0
        document = doctor(guest, VF)
        assert blocks(document)[0] == "iommu.absent"
        assert "neither a DMAR nor an IVRS table" in first(document)


def test_iommu_off(tmp_path: Path) -> None:
    one = machine("doctor-off", "intel-iommu,intremap=on", *IGB, cmdline=("intel_iommu=off",))
    with shell(tmp_path, one) as guest:
        guest.do(HELPERS)
        guest.do("make; modprobe igb_vf_vfio_pci")
        assert guest.run(f"bind {VF} igb_vf_vfio_pci")[0] != 0
        document = doctor(guest, VF)
        assert blocks(document)[0] == "iommu.off"
        assert "the kernel was started with intel_iommu=off" in first(document)


def test_no_remapping_of_interrupts(tmp_path: Path) -> None:
    one = machine("doctor-ir", "intel-iommu,intremap=off", *IGB, cmdline=("intel_iommu=on",))
    with shell(tmp_path, one) as guest:
        guest.do(HELPERS)
        guest.do(f"make; modprobe igb_vf_vfio_pci; bind {VF} igb_vf_vfio_pci")
        assert blocks(doctor(guest, VF)) == ["iommu.remapping"]
        document = doctor(guest, VF, "--open")
        assert blocks(document) == ["iommu.remapping", "device.migration"]
        assert "Interrupts are not remapped" in first(document)
        assert "Operation not permitted" in document["findings"][1]["what"]
        guest.do("echo Y >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
        assert blocks(doctor(guest, VF, "--open")) == []
