# SPDX-License-Identifier: GPL-2.0-only
"""What every PCI function has: config space, BARs, MSI-X, and a reset that covers them all."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping

from conformance.lab.machine.vfio_user import config
from conformance.lab.machine.vfio_user.config import ConfigSpace
from conformance.lab.machine.vfio_user.errors import RefusedError
from conformance.lab.machine.vfio_user.interrupts import Interrupts
from conformance.lab.machine.vfio_user.memory import DmaMemory
from conformance.lab.machine.vfio_user.registers import RegisterFile
from conformance.uapi.constants import VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_NUM_REGIONS

logger = logging.getLogger(__name__)


class PciFunction:
    """A function, as its server sees it.

    Attributes:
        config: Its config space.
        bars: Its BARs by index.
        interrupts: Its MSI-X vectors.
        memory: What it can access by DMA.
        resets: How often it was reset since the server's start.
    """

    def __init__(
        self, space: ConfigSpace, bars: Mapping[int, RegisterFile], interrupts: Interrupts
    ) -> None:
        self.config = space
        self.bars = dict(bars)
        self.interrupts = interrupts
        self.memory = DmaMemory()
        self.resets = 0
        for index, bar in self.bars.items():
            space.add_bar(index, bar.size)

    def size(self, region: int) -> int:
        """Return the size of a region of VFIO's PCI bus driver, in bytes; 0 if it is not there.

        Raises:
            RefusedError: EINVAL, for an index that no PCI function has.
        """
        if region == VFIO_PCI_CONFIG_REGION_INDEX:
            return config.SIZE
        if region in self.bars:
            return self.bars[region].size
        if 0 <= region < VFIO_PCI_NUM_REGIONS:
            return 0
        raise RefusedError(errno.EINVAL, f"there is no region {region}")

    def read(self, region: int, offset: int, count: int) -> bytes:
        """Return bytes of a region; of a BAR in D3hot ones, as nobody answers.

        Raises:
            RefusedError: EINVAL, outside a region.
        """
        place = self._at(region, offset, count)
        return b"\xff" * count if self._deaf(place) else place.read(offset, count)

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Write bytes into a region; in D3hot a BAR takes none.

        Raises:
            RefusedError: EINVAL, outside a region.
        """
        place = self._at(region, offset, len(data))
        if not self._deaf(place):
            place.write(offset, data)

    def reset(self) -> None:
        """Give everything its reset value; the client's eventfds stay, as they are the client's."""
        logger.info("The function is reset.")
        self.resets += 1
        self.config.reset()
        for bar in self.bars.values():
            bar.reset()
        self.interrupts.clear_pending()

    def pause(self) -> float | None:
        """Return the seconds until the function does something by itself; None if it does not."""
        return None

    def run(self) -> None:
        """Do what the function does by itself, if it is due."""

    def _deaf(self, place: RegisterFile | ConfigSpace) -> bool:
        return place is not self.config and not self.config.awake

    def _at(self, region: int, offset: int, count: int) -> RegisterFile | ConfigSpace:
        if offset + count > self.size(region):
            raise RefusedError(
                errno.EINVAL, f"region {region} ends before {offset:#x} plus {count} bytes"
            )
        return self.bars.get(region, self.config)
