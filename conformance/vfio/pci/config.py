# SPDX-License-Identifier: GPL-2.0-only
"""A function's configuration space: command register, power state, capabilities.

Offsets and bits are those of the PCI and PCI Express base specifications.
"""

from typing import Final

from conformance.uapi.constants import VFIO_PCI_CONFIG_REGION_INDEX
from conformance.vfio import trace
from conformance.vfio.device import Device
from conformance.vfio.region import Region

SIZE: Final = 256
"""Bytes of the space that every function has."""

COMMAND: Final = 0x04
STATUS: Final = 0x06
MEMORY: Final = 0x0002
"""Memory decoding, a bit of COMMAND."""
MASTER: Final = 0x0004
"""Bus master, a bit of COMMAND: without it the function writes no memory and sends no MSI."""

POWER_MANAGEMENT: Final = 0x01
EXPRESS: Final = 0x10
MSIX: Final = 0x11

D0: Final = 0
D3HOT: Final = 3

_HAS_CAPABILITIES: Final = 0x10
_CAPABILITIES: Final = 0x34
_DEVCAP: Final = 0x04
_DEVCAP_FLR: Final = 1 << 28
_DEVCTL: Final = 0x08
_DEVCTL_FLR: Final = 1 << 15
_MSIX_CONTROL: Final = 0x02
_MSIX_ENABLE: Final = 0x8000
_PMCSR: Final = 0x04
_POWER_STATE: Final = 0x3


class Config:
    """The configuration space of an open device, as VFIO shows it. Raises :class:`OSError`."""

    def __init__(self, device: Device) -> None:
        with trace.quiet():
            self.region: Region = device.known(VFIO_PCI_CONFIG_REGION_INDEX)

    def read(self) -> bytes:
        """Return the first 256 bytes."""
        return self.region.read(0, SIZE)

    @property
    def command(self) -> int:
        """The command register."""
        return self.region.read_int(COMMAND, 2)

    def set_command(self, *, on: int = 0, off: int = 0) -> None:
        """Set and clear bits of the command register."""
        self.region.write_int(COMMAND, (self.command & ~off) | on, 2)

    def capability(self, number: int) -> int | None:
        """Return where a capability is, None if the function has none of that number."""
        with trace.quiet():
            if not self.region.read_int(STATUS, 2) & _HAS_CAPABILITIES:
                return None
            at = self.region.read_int(_CAPABILITIES, 1) & ~3
            for _ in range(SIZE // 4):  # a list that never ends is not followed for ever
                if not at:
                    break
                if self.region.read_int(at, 1) == number:
                    return at
                at = self.region.read_int(at + 1, 1) & ~3
        return None

    @property
    def power_state(self) -> int | None:
        """The D-state as a number, None if the function has no power management."""
        at = self.capability(POWER_MANAGEMENT)
        return None if at is None else self.region.read_int(at + _PMCSR, 2) & _POWER_STATE

    def set_power_state(self, state: int) -> None:
        """Write the D-state, of a function with power management."""
        at = self.capability(POWER_MANAGEMENT)
        assert at is not None
        kept = self.region.read_int(at + _PMCSR, 2) & ~_POWER_STATE
        self.region.write_int(at + _PMCSR, kept | state, 2)

    @property
    def msix_is_on(self) -> bool | None:
        """Whether MSI-X is on, None if the function has none."""
        at = self.capability(MSIX)
        if at is None:
            return None
        return bool(self.region.read_int(at + _MSIX_CONTROL, 2) & _MSIX_ENABLE)

    @property
    def can_reset(self) -> bool:
        """Whether the function offers a function-level reset in its PCI Express capability."""
        at = self.capability(EXPRESS)
        return at is not None and bool(self.region.read_int(at + _DEVCAP) & _DEVCAP_FLR)

    def reset_function(self) -> None:
        """Write the bit that starts a function-level reset, as a guest's driver does."""
        at = self.capability(EXPRESS)
        assert at is not None
        control = self.region.read_int(at + _DEVCTL, 2)
        self.region.write_int(at + _DEVCTL, control | _DEVCTL_FLR, 2)
