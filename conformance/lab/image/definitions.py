# SPDX-License-Identifier: GPL-2.0-only
"""Images and machines as they are described in vm-images/*.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from conformance.errors import DefinitionError, UnknownImage, UnknownMachine
from conformance.running import paths


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


Word = Annotated[str, Field(pattern=r"^\S+$")]
Package = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")]
PciId = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$")]
Register = Annotated[str, Field(pattern=r"^[0-5]:0x[0-9a-f]+:0x[0-9a-f]{1,8}$")]
Range = Annotated[str, Field(pattern=r"^[0-5]:0x[0-9a-f]+:0x[0-9a-f]*[1-9a-f][0-9a-f]*$")]
TriggerText = Annotated[str, Field(pattern=r"^[0-9]{1,4}(,[0-5]:0x[0-9a-f]+:0x[0-9a-f]{1,8})+$")]
Version = Annotated[str, Field(pattern=r"^\d+\.\d+$")]
Pattern = Annotated[str, AfterValidator(_pattern)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageDefinition(_Model):
    """A Debian root: where modules are built, where QEMU lives, what the guest boots.

    Attributes:
        name: The name of its file.
        suite: The Debian suite.
        summary: One line for people.
        kernel: The package of the kernel; or else the kernel is built from `source`.
        headers: The package of the kernel's headers.
        source: The package of the source from which the kernel is built.
        config: Configuration fragment of that kernel, a file in the same folder.
        patches: Patches of that kernel, files in the same folder, in order.
        packages: All other packages.
        backports: Those of all packages that come from the suite's backports.
        qemu: The image in whose QEMU its guests run; without it in its own.
        cmdline: Words for the kernel command line.
        path_exclude: Patterns of what dpkg does not unpack.
        path_include: Exceptions from it.
        guest_exclude: Regular expressions on paths below the root that the guest's disk lacks.
        for_tests: Whether it is only for tests of the kit: no driver is judged in it.
        patience: How many times longer than usual its guest may be silent before it counts as hung.
    """

    name: str
    schema_: Literal[1] = Field(alias="schema")
    suite: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    summary: str
    kernel: Package | None = None
    headers: Package | None = None
    source: Package | None = None
    config: Annotated[str, Field(pattern=r"^[a-z0-9-]+\.config$")] | None = None
    patches: tuple[Annotated[str, Field(pattern=r"^[a-z0-9-]+\.patch$")], ...] = ()
    packages: tuple[Package, ...]
    backports: tuple[Package, ...] = ()
    qemu: str | None = None
    cmdline: tuple[Word, ...] = ()
    path_exclude: tuple[str, ...] = ()
    path_include: tuple[str, ...] = ()
    guest_exclude: tuple[Pattern, ...] = ()
    for_tests: bool = False
    patience: Annotated[float, Field(ge=1, le=100)] = 1

    @model_validator(mode="after")
    def _one_kernel(self) -> Self:
        given = [bool(one) for one in (self.kernel, self.headers, self.source, self.config)]
        if given not in ([True, True, False, False], [False, False, True, True]):
            raise ValueError(
                "the kernel is either a package, with `kernel` and `headers`, "
                "or built, with `source` and `config`"
            )
        if self.patches and not self.source:
            raise ValueError("`patches` are of a kernel that is built: name its `source`")
        return self

    @property
    def fragment(self) -> Path | None:
        """The file `config` means."""
        return paths.DATA / "images" / self.config if self.config else None

    @property
    def kernel_patches(self) -> tuple[Path, ...]:
        """The files `patches` means."""
        return tuple(paths.DATA / "images" / name for name in self.patches)

    @property
    def kernel_files(self) -> tuple[Path, ...]:
        """All files from which the kernel is made, besides its source."""
        return (*((self.fragment,) if self.fragment else ()), *self.kernel_patches)


class MachineDefinition(_Model):
    """A virtual machine and what its functions are.

    Attributes:
        name: The name of its file.
        summary: One line for people.
        machine: QEMU's machine type with its options.
        memory: MiB.
        cpus: Number of virtual CPUs.
        qemu: The image in whose QEMU it runs, if not every QEMU has its devices.
        qemu_since: The first version of QEMU that has its devices.
        objects: QEMU's ``-object`` arguments, in order.
        devices: QEMU's ``-device`` arguments, in order.
        cmdline: Words for the kernel command line.
        modules: Kernel modules that the guest loads before any test, by name.
        physical_function: Vendor and device of the function that makes the others by SR-IOV.
        plugged: Instead of that: the buses into which functions of the vfio-user server are
            plugged once the guest has come up.
        software: Instead of both: the devices come with the driver under test.
        virtual_function: Vendor and device of what the driver under test drives; not of software.
        virtual_functions: How many there are.
        network: The physical function's network interface, which the guest sets up: frames that
            are sent there reach the virtual functions.
        parameters: Those with which the module under test is loaded, ``name=value``.
        doorbells: Those that make the function write to memory: ``BAR:OFFSET:ADDRESS``.
        scratch: Registers of the function that a test may write: ``BAR:OFFSET:MASK``.
        enables: Bits that start a part of the function: ``BAR:OFFSET:MASK``.
        kicks: Registers that make others change when written: ``BAR:OFFSET:MOVES``.
        busies: Writes that keep the function from coming to rest: ``BAR:OFFSET:VALUE``.
        triggers: Writes, the last of which raises an interrupt: ``VECTOR,BAR:OFFSET:VALUE,...``.
        polled: Registers that the driver in the innermost guest of ``vmm`` takes for itself:
            ``BAR:OFFSET:SIZE``. There are none if it has no driver for the function.
    """

    name: str
    schema_: Literal[1] = Field(alias="schema")
    summary: str
    machine: Word
    memory: Annotated[int, Field(ge=256, le=1 << 20)]
    cpus: Annotated[int, Field(ge=1, le=64)]
    qemu: str | None = None
    qemu_since: Version | None = None
    objects: tuple[Word, ...] = ()
    devices: tuple[Word, ...]
    cmdline: tuple[Word, ...] = ()
    modules: tuple[Word, ...]
    physical_function: PciId | None = None
    plugged: tuple[Word, ...] = ()
    software: bool = False
    virtual_function: PciId | None = None
    virtual_functions: Annotated[int, Field(ge=1, le=8)]
    network: Word | None = None
    parameters: tuple[Word, ...] = ()
    doorbells: tuple[Register, ...] = ()
    scratch: tuple[Register, ...] = ()
    enables: tuple[Register, ...] = ()
    kicks: tuple[Register, ...] = ()
    triggers: tuple[TriggerText, ...] = ()
    busies: tuple[Register, ...] = ()
    polled: tuple[Range, ...] = ()

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if [bool(self.physical_function), bool(self.plugged), self.software].count(True) != 1:
            raise ValueError(
                "functions are made by SR-IOV, with `physical_function`, or `plugged`, or they "
                "are `software`: one of the three"
            )
        if self.software == bool(self.virtual_function):
            raise ValueError("`virtual_function` names the functions, unless they are `software`")
        if self.plugged and len(self.plugged) != self.virtual_functions:
            raise ValueError("`plugged` names a bus for each of the `virtual_functions`")
        if self.network and not self.physical_function:
            raise ValueError("`network` is the interface of a `physical_function`")
        return self

    @property
    def hints(self) -> list[str]:
        """Options that state what the suite may do with the registers."""
        return [
            *(word for place in self.scratch for word in ("--vfio-scratch", place)),
            *(word for place in self.doorbells for word in ("--vfio-doorbell", place)),
            *(word for place in self.enables for word in ("--vfio-enable", place)),
            *(word for place in self.kicks for word in ("--vfio-kick", place)),
            *(word for place in self.triggers for word in ("--vfio-trigger", place)),
            *(word for place in self.busies for word in ("--vfio-busy", place)),
            *(("--vfio-packets", self.network) if self.network else ()),
        ]

    def left_by_driver(self) -> list[str]:
        """Return the scratch registers that the driver in the innermost guest does not take."""

        def numbers(place: str) -> list[int]:
            return [int(part, 0) for part in place.split(":")]

        taken = [
            (bar, range(start, start + size)) for bar, start, size in map(numbers, self.polled)
        ]

        def free(place: str) -> bool:
            bar, offset, _ = numbers(place)
            return not any(bar == there and offset in registers for there, registers in taken)

        return [place for place in self.scratch if free(place)]


_Definition = TypeVar("_Definition", ImageDefinition, MachineDefinition)


def images(folder: Path | None = None) -> dict[str, Path]:
    """Return the files of all images, by name."""
    return _files(folder or paths.DATA / "images")


def image(name: str, folder: Path | None = None) -> ImageDefinition:
    """Load the image of that name.

    Raises:
        UnknownImage: There is none.
        DefinitionError: Its file has mistakes.
    """
    known = images(folder)
    if name not in known:
        raise UnknownImage(name, list(known))
    return _load(ImageDefinition, known[name])


def machines(folder: Path | None = None) -> list[MachineDefinition]:
    """Load all machines.

    Raises:
        DefinitionError: A file has mistakes.
    """
    files = _files(folder or paths.DATA / "machines")
    return [_load(MachineDefinition, path) for path in files.values()]


def machine_for(
    ids: Iterable[str], device: str, among: Iterable[MachineDefinition]
) -> MachineDefinition:
    """Return the machine that has a function that the driver could drive.

    Args:
        ids: ``vendor:device`` of what the driver is for; none for a software device.
        device: The name of the device, for the message.
        among: All machines.

    Raises:
        UnknownMachine: None has.
    """
    wanted, known = set(ids), list(among)
    for machine in known:
        if machine.virtual_function in wanted or (machine.software and not wanted):
            return machine
    offers = "; ".join(
        f"{machine.name} has {machine.virtual_function or 'what is software'}" for machine in known
    )
    raise UnknownMachine(
        f"No machine of the lab has the device {device} ({', '.join(sorted(wanted))}): {offers}. "
        "The driver can be rendered and built; to run the suite, use a machine with the real "
        "function: python3 -m pytest -p conformance.plugin conformance/suite --vfio-device BDF."
    )


def _files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.toml"), key=lambda path: path.stem)}


def _load(model: type[_Definition], path: Path) -> _Definition:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DefinitionError(str(path), [str(error)]) from error
    try:
        return model.model_validate({**raw, "name": path.stem})
    except ValidationError as error:
        raise DefinitionError(str(path), [_mistake(one) for one in error.errors()]) from error


def _mistake(error: Mapping[str, Any]) -> str:
    if not error["loc"]:  # it is about several keys
        return str(error["msg"])
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{key} is missing"
    return f"{key} = {error['input']!r}: {error['msg']}"
