# SPDX-License-Identifier: GPL-2.0-only
"""What makes a device receive."""

from abc import ABC, abstractmethod
from typing import Self

from conformance.vfio.device import Device


class Traffic(ABC):
    """What fills the buffers that are posted to one device, as fast as it is told."""

    @abstractmethod
    def there(self, device: Device) -> Self:
        """Return what makes another function of the same kind receive."""

    @abstractmethod
    def set_rate(self, rate: int) -> None:
        """Have the device fill so many posted buffers a second; none with 0."""

    @abstractmethod
    def effort(self) -> str:
        """Return what was done so that the device receives, for messages."""

    @abstractmethod
    def count(self) -> int:
        """Return how many buffers the device has filled since it was made, as it says itself."""
