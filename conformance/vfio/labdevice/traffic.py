# SPDX-License-Identifier: GPL-2.0-only
"""What makes the lab's i40e functions receive, and reports what they wrote to memory.

No hardware has it. It is a vendor-specific capability in config space, as that of
`conformance.vfio.labdevice.counters`: a rate is written there, and the number of a write selects
one of those that the device remembers.
"""

from dataclasses import dataclass
from typing import Final, Self

from conformance.vfio import trace
from conformance.vfio.device import Device
from conformance.vfio.labdevice.counters import capability
from conformance.vfio.receiving.traffic import Traffic
from conformance.vfio.region import Region

SIGNATURE: Final = b"\x01VKTR"  # version of the layout and whose it is
PAGE: Final = 4096
_RATE: Final = 8
_SELECT: Final = 12
_LATCHED: Final = 16


@dataclass(frozen=True)
class Write:
    """A buffer that the device has filled.

    Attributes:
        page: Its address in pages of 4096 bytes.
        size: Bytes.
        when: Milliseconds since the device was made.
    """

    page: int
    size: int
    when: int


class LabTraffic(Traffic):
    """The capability of one device."""

    def __init__(self, config: Region, at: int) -> None:
        self._config = config
        self._at = at

    @classmethod
    def of(cls, device: Device) -> Self | None:
        """Find the capability; None if the device receives nothing on demand."""
        found = capability(device, SIGNATURE)
        return cls(*found) if found else None

    def there(self, device: Device) -> Self:
        """Return the capability of another function."""
        found = self.of(device)
        assert found, f"{device.bdf} is of another kind"
        return found

    def set_rate(self, rate: int) -> None:
        """Have the device fill so many posted buffers a second; none with 0."""
        with trace.quiet():
            self._config.write_int(self._at + _RATE, rate)
        trace.note(f"the device is to fill {rate} buffers a second")

    def effort(self) -> str:
        """Return at which rate the device is to fill buffers."""
        with trace.quiet():
            return f"it is to fill {self._config.read_int(self._at + _RATE)} a second"

    def count(self) -> int:
        """Return how many buffers the device has filled since it was made."""
        return self._select(0)[0]

    def write_of(self, number: int) -> Write:
        """Return what the device wrote as its `number`-th, from 0; it remembers the last 4096."""
        return Write(*self._select(number)[2:])

    def _select(self, number: int) -> list[int]:
        with trace.quiet():
            self._config.write_int(self._at + _SELECT, number)
            return [self._config.read_int(self._at + _LATCHED + 4 * n) for n in range(5)]
