# SPDX-License-Identifier: GPL-2.0-only
"""Everything before the guest runs: what is asked for, the lab for it, the payload."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from conformance import __version__
from conformance.errors import UsageError
from conformance.lab.boot import bootkernel
from conformance.lab.boot.bootkernel import BootKernel
from conformance.lab.check import driver
from conformance.lab.guest.payload import Job
from conformance.lab.guest.run import Contents
from conformance.lab.image import definitions, image
from conformance.lab.image.definitions import ImageDefinition, MachineDefinition
from conformance.lab.machine import accel
from conformance.lab.machine.lab import Lab, assemble
from conformance.lab.strangers import build as strangers_build
from conformance.lab.strangers import definition as strangers
from conformance.lab.strangers.definition import Stranger
from conformance.running import selection
from conformance.running.limits import QUIET
from conformance.running.steps import Steps
from kpatch.device import load as devices
from kpatch.device.description import Device
from kpatch.device.protocols import Protocol
from kpatch.module import info as modules
from kpatch.module.info import ModuleInfo
from kpatch.tools import programs


@dataclass(frozen=True)
class Options:
    """What the user asks for.

    Attributes:
        device: Name or path of a description.
        image: Name of an image.
        kernel_tree: A built kernel tree to use instead of the image's kernel.
        module: A module to judge instead of the rendered driver.
        stranger: Name of a driver of the kernel to judge instead of a device's.
        modules_dir: A folder with modules that replace the kernel's own.
        bare: Whether no driver is loaded at all.
        cold: Whether to boot although there is a snapshot.
        accelerator: ``kvm`` or ``tcg``; without it the lab finds out.
        quiet: Seconds without an event after which the guest counts as hung; `look_up` multiplies
            them by the image's patience.
        protocol: Version of the migration protocol that is judged, ``v1`` or ``v2``, and that a
            rendered driver speaks unless it speaks both. None for what the driver offers; a
            rendered one is what its description says, which mostly is v1.
        both: Whether the rendered driver speaks both versions.
        trapped: Whether the suite gets the registers that the driver must see while saving.
        tests: Node ids of the tests to run; empty for the whole suite.
        pytest_args: Arguments for pytest in the guest.
        guests: How many guests share the tests; 0 for as many as pay off.
    """

    device: str = "igb-vf"
    image: str = "trixie"
    kernel_tree: Path | None = None
    module: Path | None = None
    stranger: str = ""
    modules_dir: Path | None = None
    bare: bool = False
    cold: bool = False
    accelerator: str = ""
    quiet: float = QUIET
    protocol: Protocol | None = None
    both: bool = False
    trapped: bool = True
    tests: Sequence[str] = ()
    pytest_args: Sequence[str] = ()
    guests: int = 1


@dataclass(frozen=True)
class LabRequest:
    """What the user asks for, looked up: all that can be wrong with it has been found.

    Attributes:
        options: As given.
        device: The device's description; None for a stranger.
        stranger: The driver of the kernel that is judged instead.
        definition: The image's definition.
        emulator: The definition of the image whose QEMU runs; mostly the same.
        machine: The machine that has the device.
    """

    options: Options
    device: Device | None
    definition: ImageDefinition
    emulator: ImageDefinition
    machine: MachineDefinition
    stranger: Stranger | None = None

    @property
    def name(self) -> str:
        """What is judged, as names of folders have it."""
        if self.stranger:
            return self.stranger.name
        return self.device.name if self.device else self.machine.name

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """The versions of the protocol that the rendered driver speaks; none of another one."""
        if self.device is None or self.options.module or self.options.bare:
            return ()
        return devices.spoken(self.device, self.options.protocol, both=self.options.both)

    @property
    def judged(self) -> tuple[Protocol | None, ...]:
        """The versions that are judged, one after another; None for what the driver offers."""
        if self.options.protocol or len(self.protocols) < 2:
            return (self.options.protocol,)
        return self.protocols

    def by(self, protocol: Protocol | None) -> LabRequest:
        """Return the request to judge the same driver by one version."""
        both = len(self.protocols) > 1
        return replace(self, options=replace(self.options, protocol=protocol, both=both))

    @property
    def mediated(self) -> tuple[str, str]:
        """Where the module makes mediated devices and of which type; empty if it makes none."""
        return (self.stranger.parent, self.stranger.type) if self.stranger else ("", "")

    @property
    def hints(self) -> list[str]:
        """Options that state what the suite may do with the registers, and what they are."""
        if self.device is None:  # of a stranger's registers nothing is known
            fatal = self.stranger.fatal if self.stranger else ()
            return [word for name in fatal for word in ("--vfio-fatal", name)]
        trapped = [
            word
            for bar in self.device.bars
            if self.options.trapped
            for trap in bar.trapped_while_saving
            for word in ("--vfio-trapped", f"{bar.index}:{trap.offset:#x}")
        ]
        return [*self.machine.hints, *trapped]


@dataclass(frozen=True)
class Prepared:
    """What can be run.

    Attributes:
        lab: The lab.
        module: The module under test; None for a bare lab, or in a dry run.
        versions: What the run is made of, for its report.
        companions: Modules that it needs and the kernel does not have.
    """

    lab: Lab
    module: ModuleInfo | None
    versions: dict[str, str]
    companions: tuple[ModuleInfo, ...] = ()

    @property
    def sources(self) -> dict[str, str]:
        """Name and text of each source of the module; none of one that was not built here."""
        if self.module is None:
            return {}
        place = self.module.path.parent
        return {path.name: path.read_text("utf-8", "replace") for path in place.glob("*.[ch]")}


def look_up(options: Options) -> LabRequest:
    """Look up what the user asks for.

    Raises:
        UsageError: It does not exist, or does not go together.
        KpatchError: The description has mistakes, or the module is none.
    """
    definition = definitions.image(options.image)
    options = replace(options, quiet=options.quiet * definition.patience)
    if options.stranger:
        return _look_up_stranger(options, definition)
    device = devices.load(options.device)
    if options.module:
        modules.read(options.module)  # a wrong file is reported before a long build
    if options.modules_dir and not (options.module and options.modules_dir.is_dir()):
        raise UsageError(
            "--modules-dir names a folder with modules that go with that of --module; "
            f"{options.modules_dir} is not one, or --module is missing."
        )
    if options.kernel_tree and not options.kernel_tree.is_dir():
        raise UsageError(f"There is no kernel tree {options.kernel_tree}. Name its folder.")
    machine = definitions.machine_for(pci_ids(device), device.name, definitions.machines())
    devices.spoken(device, None if options.module else options.protocol, both=options.both)
    return LabRequest(options, device, definition, _emulator(machine, definition), machine)


def _emulator(machine: MachineDefinition, definition: ImageDefinition) -> ImageDefinition:
    # The machine knows better than the image: not every QEMU has its devices.
    other = machine.qemu or definition.qemu
    return definitions.image(other) if other else definition


def _look_up_stranger(options: Options, definition: ImageDefinition) -> LabRequest:
    for option, given in (("--module", options.module), ("--modules-dir", options.modules_dir)):
        if given:
            raise UsageError(f"{option} does not go with --stranger, which builds the module.")
    stranger = strangers.load(options.stranger)
    machine = next(one for one in definitions.machines() if one.name == stranger.machine)
    # The number of devices is an option of what makes them, not of the module.
    machine = machine.model_copy(update={"parameters": ()})
    emulator = _emulator(machine, definition)
    return LabRequest(options, None, definition, emulator, machine, stranger)


def too_old(request: LabRequest, version: str) -> str:
    """Say why a QEMU cannot be the machine that is asked for; empty if it can.

    Args:
        request: What is asked for.
        version: That of QEMU's package.
    """
    needed, found = request.machine.qemu_since, re.match(r"(?:\d+:)?(\d+)\.(\d+)", version)
    if not needed or not found or tuple(map(int, found.groups())) >= _numbers(needed):
        return ""
    return (
        f"The machine {request.machine.name} needs QEMU {needed} or later, and the image "
        f"{request.emulator.name} has {found[1]}.{found[2]}. Name an image with a newer one as "
        "`qemu` in the machine's or the image's definition."
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def pci_ids(device: Device) -> list[str]:
    """Return ``vendor:device`` of all functions that a device's driver is for.

    None if it is a software device: its driver brings it along.
    """
    if device.emulated:
        return []
    return [f"{one.vendor:04x}:{one.device:04x}" for one in device.ids]


def prepare(request: LabRequest, logs: Path, steps: Steps) -> Prepared | None:
    """Make everything that the run needs; what is there already is used again.

    Args:
        request: What is asked for.
        logs: The folder for logs.
        steps: Reports progress to the user.

    Returns:
        What can be run; None in a dry run that ends at something that is not there.

    Raises:
        ConformanceError: The lab failed, or its QEMU is too old for the machine.
        KpatchError: The driver does not build.
    """
    options = request.options
    made = image.provide(request.definition, steps)
    emulator = made
    if request.emulator != request.definition:
        emulator = image.provide(request.emulator, steps)
    if not (made.exists() and emulator.exists()):
        return None
    if reason := too_old(request, str(emulator.manifest["qemu"])):
        raise UsageError(reason)
    with steps.step("kernel"):
        kernel = (
            bootkernel.of_tree(options.kernel_tree, made)
            if options.kernel_tree
            else bootkernel.of_image(made)
        )
        if options.modules_dir and kernel.modules.is_dir():
            kernel = bootkernel.with_modules(kernel, options.modules_dir, made.sandbox)
    if not kernel.modules.is_dir():
        return None
    with steps.step("lab"):
        lab = assemble(made, emulator, kernel, request.machine)
    with _accelerator(options, lab) as accelerator:
        module, companions = _modules(request, kernel, made, logs, steps)
        with steps.step("accelerator"):
            name, why = accelerator()
    lab = replace(lab, accelerator=name)
    if why:
        steps.say(f"QEMU runs with {name.upper()}: {why}.")
    return Prepared(lab, module, versions(lab, module), companions)


def _accelerator(
    options: Options, lab: Lab
) -> contextlib.AbstractContextManager[Callable[[], tuple[str, str]]]:
    """Return what finds out, while a driver is built, how QEMU runs; and why, unless asked for."""
    if options.accelerator:
        return contextlib.nullcontext(lambda: (options.accelerator, ""))
    return accel.probing(lab.emulator.sandbox, lab.boot)


def contents(request: LabRequest, prepared: Prepared, *, also: Sequence[str] = ()) -> Contents:
    """Return what the guest gets.

    Args:
        request: What is asked for.
        prepared: What is run.
        also: Modules of the kernel that the guest loads besides those that the driver needs.
    """
    module = prepared.module
    job = Job(
        module=module.name if module else "",
        parameters=request.machine.parameters if module else (),
        hints=request.hints,
        tests=list(request.options.tests) or [selection.SUITE],
        pytest_args=[*_protocol(request.options), *request.options.pytest_args],
        quiet=request.options.quiet / 2,
        mediated=request.mediated,
    )
    return Contents(job, (module, *prepared.companions) if module else (), also)


def versions(lab: Lab, module: ModuleInfo | None) -> dict[str, str]:
    """Return what a run is made of, for its report."""
    made, kernel = lab.image, lab.kernel
    found = {
        "kit": __version__,
        "image": made.folder.name,
        "kernel": kernel.release,
        "kernel-package": str(made.manifest["kernel-package"]),
        "qemu": str(lab.emulator.manifest["qemu"]),
        "python": str(made.manifest["python"]),
        "pytest": str(made.manifest["pytest"]),
    }
    if kernel.key != made.key:
        found["kernel-package"] = str(kernel.tree.path)
    if module:
        found["module"] = module.name
        found["module-file"] = str(module.path)
        found["module-srcversion"] = "".join(module.info.get("srcversion", ()))
    return {key: value for key, value in found.items() if value}


def _protocol(options: Options) -> list[str]:
    """Return the option of the suite for the version that is asked for."""
    return [f"--vfio-protocol={options.protocol[1:]}"] if options.protocol else []


def _modules(
    request: LabRequest, kernel: BootKernel, made: image.Image, logs: Path, steps: Steps
) -> tuple[ModuleInfo | None, tuple[ModuleInfo, ...]]:
    """Return the module under test, and those that it needs besides the kernel's."""
    if request.stranger is None:
        return _module(request, kernel, logs, steps), ()
    if request.options.bare:
        return None, ()
    built = strangers_build.build(request.stranger, kernel, made, logs, steps)
    if built is None or (programs.dry() and not built.module.exists()):
        return None, ()
    # Its symbols are those of the modules it comes with, of which the kernel knows nothing.
    return modules.read(built.module), tuple(modules.read(path) for path in built.companions)


def _module(request: LabRequest, kernel: BootKernel, logs: Path, steps: Steps) -> ModuleInfo | None:
    if request.options.bare or request.device is None:
        return None
    path = request.options.module or driver.build(
        request.device, kernel, logs, steps, request.protocols
    )
    if path is None or (programs.dry() and not path.exists()):
        return None
    if request.options.modules_dir:
        # Its symbols are those of the modules it comes with, of which the tree knows nothing.
        return modules.read(path)
    return driver.inspect(path, kernel, steps, foreign=bool(request.options.module))
