# SPDX-License-Identifier: GPL-2.0-only
"""What form a driver takes, and which source files that form has."""

from __future__ import annotations

from dataclasses import dataclass

from kpatch.device.description import Device
from kpatch.device.protocols import Protocol
from kpatch.kernel.features import Features

_PARTS: dict[Protocol, tuple[str, ...]] = {"v1": ("region",), "v2": ("fsm", "session")}
"""The sources of a driver that are those of one version of the protocol."""


@dataclass(frozen=True)
class Form:
    """What is rendered: a module of its own, or a stage of the driver in a kernel tree.

    Attributes:
        intree: For one kernel tree and inside it: no layer between kernels, names of that tree.
        migration: With the migration region.
        saving: With the saving layout, and the refusal to enter _SAVING, if ranges are trapped.
        protocols: The versions of the migration protocol that it speaks: "v1", the migration
            region; "v2", VFIO_DEVICE_FEATURE_MIGRATION.
        rings: With what follows the rings of the description, if it has any.
    """

    intree: bool = False
    migration: bool = True
    saving: bool = True
    protocols: tuple[Protocol, ...] = ("v1",)
    rings: bool = True

    @property
    def name(self) -> str:
        """What names of folders call it: v1, v2 or both."""
        return self.protocols[0] if len(self.protocols) == 1 else "both"


MODULE = Form()
"""The whole driver as a module of its own."""


def keeps_log(device: Device, features: Features, form: Form) -> bool:
    """Return whether the driver logs DMA writes: it knows them, and the kernel can report them.

    A user that can start a log relies on it: QEMU gives a migration up if it cannot be reported.
    """
    known = bool(device.emulated) or follows(device, features, form)
    return known and "v2" in form.protocols and features.iova_bitmap


def follows(device: Device, features: Features, form: Form) -> bool:
    """Return whether a driver follows rings.

    One does that is saved while it runs, and speaks one version of the protocol: with both, VFIO
    reports every page, as for a device without rings.
    """
    states = device.migration.v2
    running = form.protocols == ("v1",) or (
        form.protocols == ("v2",) and bool(states and states.precopy) and features.precopy
    )
    wanted = form.rings and form.saving and form.migration
    return bool(device.migration.ring) and wanted and running


def restricts(device: Device, form: Form) -> bool:
    """Return whether the driver has a saving layout: if ranges are trapped, and the form asks."""
    return form.saving and any(bar.trapped_while_saving for bar in device.bars)


def sources(device: Device, features: Features, form: Form) -> dict[str, str]:
    """Return each C file of the driver, and the header of its rings, with its template.

    The order is that in which they are linked; main.c is first.
    """
    transport = f"transport/{device.transport}"
    found = {"main.c": f"{transport}/main.c.j2"}
    if not form.migration:
        return found
    own = ["config", "engine", "memory"] if device.emulated else ["bus"]
    found |= {f"{name}.c": f"{transport}/{name}.c.j2" for name in own}
    found |= {f"{name}.c": f"driver/{name}.c.j2" for name in ("registers", "stream")}
    for protocol in form.protocols:
        found |= {f"{name}.c": f"{protocol}/{name}.c.j2" for name in _PARTS[protocol]}
    region = device.migration.v1 if "v1" in form.protocols else None
    if restricts(device, form) or (region and region.data_mmap):
        found["mappings.c"] = "driver/mappings.c.j2"
    if follows(device, features, form):
        found |= {name: f"driver/{name}.j2" for name in ("rings.h", "rings.c", "pins.c")}
    if keeps_log(device, features, form):
        found["dma_log.c"] = "driver/dma_log.c.j2"
    return found
