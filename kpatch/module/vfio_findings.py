# SPDX-License-Identifier: GPL-2.0-only
"""What to look at in a module that is a VFIO driver: of PCI functions, or of software devices."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from kpatch.module.finding import Finding

if TYPE_CHECKING:
    from kpatch.kernel.tree import KernelTree
    from kpatch.module.info import ModuleInfo

_ALIAS = re.compile(r"(?P<bus>vfio_pci|pci):v(?P<vendor>\w{8}|\*)d(?P<device>\w{8}|\*)s")
# These compile without, and break when the device is used.
_PCI_CALLBACKS = {
    "match_token_uuid": "Opening the device dereferences it: the kernel oopses.",
}
_CALLBACKS = {
    "get_region_info_caps": "Every VFIO_DEVICE_GET_REGION_INFO is Invalid argument.",
}
_IOMMUFD = ("bind_iommufd", "unbind_iommufd", "attach_ioas", "detach_ioas")


def check(info: ModuleInfo, tree: KernelTree | None) -> Iterator[Finding]:
    """Yield the findings; none if it is no VFIO driver."""
    names = {import_.name for import_ in info.imports}
    if any(name.startswith("vfio_pci_core_") for name in names):
        yield from _aliases(info)
        yield from _ops(info, tree, {**_PCI_CALLBACKS, **_CALLBACKS})
    elif "vfio_register_emulated_iommu_dev" in names:
        yield from _ops(info, tree, _CALLBACKS)


def _aliases(info: ModuleInfo) -> Iterator[Finding]:
    matches = [match for match in map(_ALIAS.match, info.aliases) if match]
    variant = [_id(match) for match in matches if match["bus"] == "vfio_pci"]
    plain = [_id(match) for match in matches if match["bus"] == "pci"]
    if variant:
        yield Finding("ok", "devices", f"It is a VFIO driver for {', '.join(variant)}.")
    else:
        what = "It names no device in the way of VFIO drivers (alias vfio_pci:...)."
        why = "Tools that look for the best VFIO driver of a device do not find it."
        do = "Write its id table with PCI_DRIVER_OVERRIDE_DEVICE_VFIO()."
        yield Finding("warning", "devices", what, why, do)
    if plain:
        what = f"It claims {', '.join(plain)} as an ordinary driver (alias pci:...)."
        why = "It takes every such device from the host's own driver as soon as it is loaded."
        do = "Write its id table with PCI_DRIVER_OVERRIDE_DEVICE_VFIO()."
        yield Finding("warning", "devices", what, why, do)


def _ops(
    info: ModuleInfo, tree: KernelTree | None, callbacks: Mapping[str, str]
) -> Iterator[Finding]:
    needed = dict(callbacks)
    if tree and "IOMMUFD" in tree.config:
        refused = "With CONFIG_IOMMUFD the device is not registered: Invalid argument."
        needed |= dict.fromkeys(_IOMMUFD, refused)
    for variable, members in sorted(info.vfio_ops.items()):
        if not any(members.values()):
            continue
        missing = [name for name in needed if members.get(name) is False]
        for name in missing:
            what = f"{variable} does not set {name}, which this kernel's vfio_device_ops has."
            do = f"Set it, most likely to the kernel's own function for {name}."
            yield Finding("problem", "callbacks", what, needed[name], do)
        if not missing:
            what = f"{variable} sets every callback that this kernel calls unasked."
            yield Finding("ok", "callbacks", what)


def _id(match: re.Match[str]) -> str:
    if match["vendor"] == match["device"] == "*":
        return "any device"
    vendor, device = (part.lower()[-4:] for part in match.group("vendor", "device"))
    return f"{vendor}:{device}"
