# SPDX-License-Identifier: GPL-2.0-only
"""A monitor that copies the guest's memory: all of it once, then what the bitmap says."""

from conformance.vfio.iommu.guest_memory import PAGE, PAGES, LoggedMemory


class Copier:
    """A copy of the guest's memory at another place, made when the device is being saved.

    What the guest's processor writes a monitor knows from elsewhere; here the memory says it.
    """

    def __init__(self, memory: LoggedMemory) -> None:
        self._memory = memory
        memory.touched.clear()
        memory.dirty()
        self._copy = bytearray(memory.contents())

    def sync(self) -> None:
        """Copy what is dirty since the last time."""
        touched, self._memory.touched = self._memory.touched, set()
        for number in self._memory.dirty() | touched:
            self._copy[number * PAGE : (number + 1) * PAGE] = self._memory.page(number)

    def different(self) -> list[int]:
        """Return the pages whose copy is not what the memory has."""
        return [
            number
            for number in range(PAGES)
            if self._copy[number * PAGE : (number + 1) * PAGE] != self._memory.page(number)
        ]
