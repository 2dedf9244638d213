# SPDX-License-Identifier: GPL-2.0-only
"""Which driver has a function, which should, and what it offers."""

import errno
from collections.abc import Iterator

from conformance.doctor.checks.finding import Finding, blocks, fine, warns
from conformance.doctor.facts import offer
from conformance.doctor.facts.facts import Facts
from conformance.doctor.facts.function import Function

_V1_LAST = 7
"""QEMU 7.2 is the last version that migrates with the migration region."""


def bound(facts: Facts) -> Iterator[Finding]:
    """Whether a VFIO driver that can know of migration has it."""
    function = facts.function
    if not function or function.bridge:
        return
    if function.vfio and not function.plain:
        yield fine(f"{function.bdf} ({function.ids}) is bound to {function.driver}.")
    elif function.plain:
        yield blocks(
            f"{function.bdf} ({function.ids}) is bound to vfio-pci itself.",
            "vfio-pci itself does not support migration: it has no migration region.",
            _how(function, facts),
        )
    elif function.total:
        return  # its own driver makes the virtual functions
    elif function.driver:
        up = (
            f", and its interface {', '.join(function.interfaces)} is up"
            if function.interfaces
            else ""
        )
        yield blocks(
            f"{function.bdf} ({function.ids}) is bound to {function.driver}, a driver of the host"
            f"{up}.",
            "User space gets a function from a VFIO driver only.",
            _how(function, facts),
        )
    elif not (function.elsewhere and not function.variants):
        yield blocks(
            f"{function.bdf} ({function.ids}) has no driver.",
            "User space gets a function from a VFIO driver only.",
            _how(function, facts),
        )


def _how(function: Function, facts: Facts) -> str:
    folder = f"/sys/bus/pci/devices/{function.bdf}"
    steps = [f"echo DRIVER > {folder}/driver_override"]
    steps += [f"echo {function.bdf} > {folder}/driver/unbind"] if function.driver else []
    steps += [f"echo {function.bdf} > /sys/bus/pci/drivers_probe"]
    bind = f"bind it: {'; '.join(steps)}."
    if function.variants:
        names = ", ".join(variant.module for variant in function.variants)
        return f"Modules with an alias for it: {names}. Load one with modprobe, and {bind}"
    catch_all = [match.module for match in function.matches if match.override_only]
    others = f" (only {', '.join(catch_all)}, which is for any function)" if catch_all else ""
    known = f"No module of {facts.kernel.release} has an alias vfio_pci:... for it{others}. "
    return (
        f"{known}Build a driver (python -m kpatch devices lists the descriptions), load it, and "
        f"{bind} `make check BDF={function.bdf}` does all of it for the time of a run."
    )


def override(facts: Facts) -> Iterator[Finding]:
    """Whether it is reserved for a driver that does not have it."""
    function = facts.function
    if function and function.override and function.override != function.driver:
        yield warns(
            f"{function.bdf} is reserved for the driver {function.override} (driver_override), "
            f"and {function.driver or 'no driver'} has it.",
            "No other driver is given it.",
            f"Load {function.override}, or write an empty line to driver_override.",
        )


def migration(facts: Facts) -> Iterator[Finding]:
    """Whether its driver offers migration, and which protocol."""
    function, opened = facts.function, facts.opened
    if not function or not function.vfio or function.plain:
        return
    if opened is None:
        because = offer.refused(function)
        if not because:
            yield warns(
                f"It is unknown what migration support {function.driver} offers.",
                "Only opening the device shows it, and that resets the function.",
                f"If a reset is acceptable: doctor {function.bdf} --open.",
            )
        return
    if opened.offer is None:
        yield _not_opened(function, opened.error, opened.errno)
        return
    found = opened.offer
    if found.migration_regions:
        saving = f", with the saving layout on {found.saving_layouts} regions" * bool(
            found.saving_layouts
        )
        yield fine(f"{function.driver} offers a migration region (version 1){saving}.")
        if not found.saving_layouts:
            yield warns(
                f"{function.driver} offers no VFIO_REGION_INFO_CAP_SPARSE_MMAP_SAVING.",
                "Then everything that can be mapped may stay mapped while it is saved.",
                "If that is right: nothing.",
            )
    if found.later is not None:
        yield fine(f"{function.driver} offers version 2 with {found.version_2}.")
    if not found.migration_regions and found.later is None:
        yield blocks(
            f"{function.driver} offers neither a migration region nor "
            "VFIO_DEVICE_FEATURE_MIGRATION.",
            "No monitor can migrate it.",
            "Bind a driver that does; does it need firmware, or a parameter, to offer it?",
        )


def _not_opened(function: Function, said: str, number: int) -> Finding:
    do = {
        errno.EPERM: "Are interrupts remapped? See the kernel log.",
        errno.EBUSY: "Another process has it: see who has its group file open.",
        errno.EACCES: "Run it as a user who may open the files in /dev/vfio.",
        errno.ENODEV: "Is the module vfio_iommu_type1 loaded, and the group viable?",
        errno.ENOMEM: "Raise the limit of locked memory (ulimit -l).",
    }.get(number, "The kernel log may say why.")
    return blocks(
        f"The device of {function.bdf} cannot be opened: {said}.",
        "Every other user is refused, too.",
        do,
    )


def monitor(facts: Facts) -> Iterator[Finding]:
    """Whether the QEMU of this machine speaks the protocol that the driver offers."""
    opened, version = facts.opened, facts.lab.qemu
    if not version or not opened or not opened.offer:
        return
    offers, new = opened.offer, int(version.partition(".")[0]) > _V1_LAST
    if offers.later is not None and (new or not offers.migration_regions):
        yield _later(version, new=new)
    elif not offers.migration_regions:
        return
    elif new:
        yield warns(
            f"The QEMU of this machine is {version}, and the driver offers version 1.",
            "QEMU from 8.0 on migrates with VFIO_DEVICE_FEATURE_MIGRATION only.",
            "To migrate a guest with it, use QEMU 5.2 to 7.2; the suite needs none.",
        )
    else:
        yield fine(f"QEMU {version} migrates with a migration region.")


def _later(version: str, *, new: bool) -> Finding:
    """Say whether a QEMU speaks version 2."""
    if new:
        return fine(f"QEMU {version} migrates with version 2.")
    return warns(
        f"The QEMU of this machine is {version}, and the driver offers version 2.",
        "QEMU speaks it from 8.0 on.",
        "To migrate a guest with it, use QEMU 8.0 or later; the suite needs none.",
    )
