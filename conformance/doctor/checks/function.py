# SPDX-License-Identifier: GPL-2.0-only
"""Whether a function, and the group it is in, can be user space's."""

import re
from collections.abc import Iterator

from conformance.doctor.checks.finding import Finding, blocks, fine, warns
from conformance.doctor.facts.facts import Facts
from conformance.doctor.facts.function import Function

_SRIOV_LOG = {
    r"not enough MMIO resources for SR-IOV": "no address space for their BARs (ENOMEM): boot "
    "with pci=realloc, or give the slot more in the firmware setup",
    r"out of range of \[bus": "the bus numbers behind the port do not suffice (ENOMEM): boot with "
    "pci=assign-busses, or put the card elsewhere",
    r"no driver bound to device; cannot configure": "a physical function without a driver makes "
    "none (ENOENT): bind its driver first",
    r"driver does not support SR-IOV configuration": "its driver makes none (ENOENT)",
    r"VFs already enabled": "their number was changed without 0 between (EBUSY): write 0 first",
    r"VFs requested; only \d+ available": "more were asked for than there can be (ERANGE)",
}
"""What pci_sriov of the kernel says when it refuses, and what that means."""


def bridge(facts: Facts) -> Iterator[Finding]:
    """Whether it is a function that VFIO can hand out at all."""
    function = facts.function
    if function and function.bridge:
        yield blocks(
            f"{function.bdf} is a bridge.",
            "VFIO offers endpoints only.",
            "Ask about a function behind it.",
        )


def dead(facts: Facts) -> Iterator[Finding]:
    """Whether it answers at all."""
    function = facts.function
    if not function or not function.dead:
        return
    gave_up = next((line for line in reversed(function.log) if "giving up" in line), "")
    said = f" (the kernel said: {gave_up})" if gave_up else ""
    state = f", power state {function.power}" if function.power else ""
    yield blocks(
        f"{function.bdf} does not answer: its configuration space reads as ones{state}{said}.",
        "No driver can use it; what it was before cannot be known.",
        "Switch the machine off and on again: after a reset that failed mostly nothing less helps. "
        f"Before that, try echo 1 > /sys/bus/pci/devices/{function.bdf}/remove and "
        "echo 1 > /sys/bus/pci/rescan.",
    )


def token(facts: Facts) -> Iterator[Finding]:
    """Whether opening it takes a token: vfio_pci_validate_vf_token() of vfio_pci_core.c."""
    function = facts.function
    if function and function.physical and function.physical_vfio:
        yield blocks(
            f"The physical function of {function.bdf}, {function.physical}, belongs to VFIO.",
            "Opening the virtual one then takes a VF token, else it is refused (EACCES); the suite "
            "gives none.",
            f"Bind {function.physical} to its own driver and make the virtual functions anew.",
        )


def reserved(facts: Facts) -> Iterator[Finding]:
    """Whether firmware keeps memory for a device of its group."""
    function = facts.function
    if function and function.group is not None and function.direct:
        yield blocks(
            f"The firmware wants memory mapped 1:1 for the IOMMU group {function.group}: "
            f"{', '.join(function.direct)} (reserved_regions, direct; with VT-d an RMRR).",
            "The kernel gives no such device to user space (EINVAL).",
            "Switch off in the firmware's setup what uses it (shared memory features of the "
            "vendor), or put the card into another slot.",
        )


def sriov(facts: Facts) -> Iterator[Finding]:
    """Whether it is a physical function, of which the virtual ones are meant."""
    function = facts.function
    if not function or not function.total or function.vfio:
        return
    if function.virtual:
        yield blocks(
            f"{function.bdf} is a physical function, and {function.driver or 'no driver'} has it.",
            "What migrates are its virtual functions.",
            f"Ask about one of them: {', '.join(function.virtual[:8])}.",
        )
        return
    yield blocks(
        f"{function.bdf} is a physical function that can have {function.total} virtual ones and "
        f"has none{_trouble(function)}.",
        "What migrates are its virtual functions.",
        _make(function),
    )


def _trouble(function: Function) -> str:
    # Of the driver that has it now: what another one said is of the past. So are these two.
    past = ["VFs already enabled", *(["no driver bound"] if function.driver else [])]
    by = function.driver or "pci"
    for line in reversed(function.log):
        if line.split(" ", 1)[0] not in {by, "pci", f"{function.bdf}:"}:
            continue
        for pattern, words in _SRIOV_LOG.items():
            if re.search(pattern, line) and not any(one in line for one in past):
                return f"; the last attempt in the kernel log failed: {words}"
    return "" if function.driver else "; a physical function without a driver makes none (ENOENT)"


def _make(function: Function) -> str:
    folder = f"/sys/bus/pci/devices/{function.bdf}"
    first = "" if function.driver else "Bind its own driver. "
    return (
        f"{first}Make some, without the host's drivers taking them: "
        f"echo 0 > {folder}/sriov_drivers_autoprobe; echo 2 > {folder}/sriov_numvfs."
    )


def grouped(facts: Facts) -> Iterator[Finding]:
    """Whether it is in an IOMMU group."""
    function = facts.function
    if function and facts.iommu.on and function.group is None:
        yield blocks(
            f"{function.bdf} is in no IOMMU group, although the IOMMU is on.",
            "VFIO offers functions by IOMMU group, and this one has none.",
            "Does intel_iommu=igfx_off on the kernel command line exclude it, or is it behind an "
            "IOMMU that the firmware does not describe? Search the kernel log for its address.",
        )


def viable(facts: Facts) -> Iterator[Finding]:
    """Whether the others of its group are out of the way."""
    function = facts.function
    if not function or function.group is None:
        return
    bad = [member for member in function.members if not member.harmless]
    if bad:
        listed = ", ".join(f"{member.name} ({member.driver})" for member in bad)
        yield blocks(
            f"Other functions of IOMMU group {function.group} are bound to host drivers: {listed}.",
            "The IOMMU cannot tell them apart: user space gets the whole group or none of it.",
            "Unbind them or bind them to vfio-pci, if this machine can do without them; or put "
            "the card "
            "into a slot whose port has ACS.",
        )
    elif function.members:
        listed = ", ".join(member.name for member in function.members)
        yield fine(
            f"The IOMMU group {function.group} has other functions, which do no harm: {listed}."
        )
    else:
        yield fine(f"The IOMMU group {function.group} is its own.")


def in_use(facts: Facts) -> Iterator[Finding]:
    """Whether somebody has it."""
    function = facts.function
    if not function:
        return
    if function.holders:
        listed = ", ".join(
            f"process {holder.pid} ({holder.command}) has {holder.path} open"
            for holder in function.holders
        )
        yield blocks(
            f"{function.bdf} is in use: {listed}.",
            "A group has one user at a time; others get EBUSY.",
            "End that process, or wait for it.",
        )
    elif function.vfio and facts.user.uid:
        yield fine("No process of this user has it open; only root sees those of others.")
    elif function.vfio:
        yield fine("Nobody has it open.")


def reset(facts: Facts) -> Iterator[Finding]:
    """Whether it can be reset."""
    function = facts.function
    if not function or function.bridge or function.resets is None:
        return
    if function.resets:
        yield fine(f"It can be reset ({', '.join(function.resets)}).")
    else:
        yield warns(
            f"{function.bdf} cannot be reset by itself (no reset_method).",
            "State leaks from one user to the next, and tests that reset it fail.",
            "Has its file reset_method been emptied? Writing `default` restores it.",
        )


def candidates(facts: Facts) -> Iterator[Finding]:
    """Which functions one could ask about."""
    if facts.function:
        return
    if facts.candidates:
        shown = ", ".join(facts.candidates[:12])
        more = f" and {len(facts.candidates) - 12} more" if len(facts.candidates) > 12 else ""
        yield fine(f"Functions to ask about, as `doctor BDF`: {shown}{more}.")
    else:
        yield warns(
            "No function of this machine has SR-IOV, and none is bound to VFIO.",
            "What migrates are mostly virtual functions.",
            "Name any function by its address (lspci -D). The lab judges drivers in a virtual "
            "machine, without hardware.",
        )
