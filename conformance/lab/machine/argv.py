# SPDX-License-Identifier: GPL-2.0-only
"""Makes QEMU's command line from a machine's description. Pure: starts and reads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from conformance.lab.image.definitions import MachineDefinition

EVENTS_PORT = "lab.events"
"""Name of the virtio-serial port for events, in host and guest."""

PAYLOAD_SIZE = 256 << 20
"""Bytes of the payload disk: a snapshot holds its size, so every payload has the same."""


_EMULATED = (
    # An emulated processor speculates on nothing, and what guards each indirect call of the
    # kernel takes a good part of the time of an emulated guest.
    "mitigations=off",
    # All emulated processors have the host's time stamp counter. A kernel that is not told so
    # takes each time from the HPET, by a system call and an emulated access.
    "tsc=reliable",
)
"""Kernel parameters of an emulated guest."""


@dataclass(frozen=True)
class RunFiles:
    """The files of one run of QEMU.

    Attributes:
        folder: Sockets and the payload. Its path must be short: a socket's may have 107 bytes.
        logs: What stays after the run.
    """

    folder: Path
    logs: Path

    @property
    def monitor(self) -> Path:
        """Socket of the monitor (QMP)."""
        return self.folder / "qmp"

    @property
    def events(self) -> Path:
        """Socket behind the guest's port for events."""
        return self.folder / "events"

    @property
    def console(self) -> Path:
        """Socket behind the guest's serial console."""
        return self.folder / "console"

    @property
    def console_log(self) -> Path:
        """What the guest wrote to its console."""
        return self.logs / "console.log"

    @property
    def qemu_log(self) -> Path:
        """What QEMU itself said."""
        return self.logs / "qemu.log"

    @property
    def payload(self) -> Path:
        """The payload disk."""
        return self.folder / "payload"

    @property
    def server_log(self) -> Path:
        """What the server of plugged functions said."""
        return self.logs / "vfio-user.log"

    def function(self, bus: str) -> Path:
        """Socket of the function that is plugged into a bus."""
        return self.folder / f"function-{bus}"


@dataclass(frozen=True)
class Boot:
    """What is booted.

    Attributes:
        kernel: The kernel's file.
        initramfs: The initial RAM disk.
        disk: The guest's root, an erofs.
        cmdline: Kernel parameters besides those of the machine.
    """

    kernel: Path
    initramfs: Path
    disk: Path
    cmdline: tuple[str, ...] = ()


def qemu_argv(
    machine: MachineDefinition,
    boot: Boot,
    files: RunFiles,
    accelerator: str,
    *,
    incoming: bool = False,
) -> list[str]:
    """Return the command line of QEMU.

    Args:
        machine: The machine.
        boot: What it boots.
        files: The files of the run.
        accelerator: ``kvm`` or ``tcg``.
        incoming: Whether to wait for a snapshot instead of booting; all else is the same.
    """
    parts = [
        ["qemu-system-x86_64"],
        *_host(files, accelerator),
        *_system(machine, accelerator),
        *_kernel(machine, boot, accelerator),
        *(["-device", device] for device in machine.devices),
        # Read-only, and so without locks: runs may share them.
        *_disk("root", boot.disk),
        *_disk("payload", files.payload),
        *_ports(files),
        # "defer": the monitor says where from, after it has set the capabilities.
        *([["-incoming", "defer"]] if incoming else []),
    ]
    return [word for part in parts for word in part]


def _host(files: RunFiles, accelerator: str) -> Iterator[list[str]]:
    """Yield what QEMU is to its host."""
    yield ["-name", "vfio-migration-kit"]
    yield ["-no-user-config"]  # the user's files must not change the machine
    yield ["-nodefaults"]  # no device that is not listed here
    yield ["-display", "none"]
    yield ["-no-reboot"]  # a guest that panics reboots (panic=-1): that ends QEMU
    # With a thread for each processor QEMU now and then ends with a failed assertion,
    # iotlb_to_section, where one resets a function while another one accesses registers.
    yield ["-accel", "tcg,thread=single" if accelerator == "tcg" else accelerator]
    yield ["-chardev", f"socket,id=qmp,path={files.monitor},server=on,wait=off"]
    yield ["-mon", "chardev=qmp,mode=control"]


def _system(machine: MachineDefinition, accelerator: str) -> Iterator[list[str]]:
    """Yield CPUs and memory."""
    for backend in machine.objects:  # before the machine, which may refer to them
        yield ["-object", backend]
    yield ["-machine", machine.machine]
    # All that the accelerator has. TCG boots quicker with it than with an older model, but walks
    # page tables in software, and without LA57 they have a level less.
    yield ["-cpu", "host" if accelerator == "kvm" else "max,la57=off"]
    yield ["-smp", str(machine.cpus)]
    yield ["-m", f"{machine.memory}M"]


def _kernel(machine: MachineDefinition, boot: Boot, accelerator: str) -> Iterator[list[str]]:
    """Yield the kernel and its command line."""
    words = [
        "console=ttyS0",  # the console is kept, and read when the kernel dies
        "oops=panic",  # a kernel that oopsed proves nothing any more
        "panic=-1",  # at once; with -no-reboot it ends QEMU
        "unknown_nmi_panic=1",  # an NMI from the monitor shows where a hung kernel is,
        "panic_print=0x40",  # on every processor: the first to get it may be an idle one
        *(_EMULATED if accelerator == "tcg" else []),
        *machine.cmdline,
        *boot.cmdline,
    ]
    yield ["-kernel", str(boot.kernel)]
    yield ["-initrd", str(boot.initramfs)]
    yield ["-append", " ".join(words)]


def _disk(name: str, path: Path) -> Iterable[list[str]]:
    yield [
        "-blockdev",
        f"driver=raw,node-name={name},read-only=on,file.driver=file"
        f",file.filename={path},file.locking=off",
    ]
    yield ["-device", f"virtio-blk-pci,drive={name}"]


def _ports(files: RunFiles) -> Iterator[list[str]]:
    """Yield the console and the port for events."""
    # A socket for a shell, and a file of all that was said, whether somebody listened or not.
    yield [
        "-chardev",
        f"socket,id=console,path={files.console},server=on,wait=off,logfile={files.console_log}",
    ]
    yield ["-serial", "chardev:console"]
    yield ["-chardev", f"socket,id=events,path={files.events},server=on,wait=off"]
    yield ["-device", "virtio-serial-pci,max_ports=2"]
    yield ["-device", f"virtserialport,chardev=events,name={EVENTS_PORT}"]
