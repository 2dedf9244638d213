# SPDX-License-Identifier: GPL-2.0-only
"""The device of version 2 without a kernel, opened by its own file and bound to an iommufd.

Defects can be switched on by name, for all such devices of a process.
"""

import errno
from pathlib import Path
from typing import Any, Final

from conformance.closing import Closing
from conformance.tests.vfio.fake_v2 import FakeV2

#: What such devices do wrong.
DEFECTS: Final[set[str]] = set()


class FakeMaps(Closing):
    """Stands for a container or an address space: keeps what is mapped."""

    def __init__(self) -> None:
        self.mapped: dict[int, int] = {}

    def close(self) -> None:
        """Forget all of it."""
        self.mapped.clear()

    def map_dma(self, _vaddr: int, iova: int, size: int, *, write: bool = True) -> None:
        """Map; a second mapping at the same place is refused."""
        if iova in self.mapped or not write:
            raise OSError(errno.EEXIST, "mapped")
        self.mapped[iova] = size

    def unmap_dma(self, iova: int, _size: int) -> int:
        """Unmap, and return how much was mapped."""
        return self.mapped.pop(iova, 0)


class FakeIommufd(Closing):
    """Makes address spaces."""

    def close(self) -> None:
        """Do nothing."""

    def allocate(self) -> FakeMaps:
        """Make one."""
        return FakeMaps()


class FakeCdev(FakeV2):
    """The device; of no use until it is bound."""

    def __init__(self, bdf: str, file: Path, *, prefix: str = "", **_: Any) -> None:
        self.file = file
        self.bound = False
        self.space: FakeMaps | None = None
        super().__init__(bdf, prefix=prefix)

    def bind(self, _to: FakeIommufd) -> int:
        """Become the device's user."""
        self.bound = True
        if "starts stopped" in DEFECTS:
            self.mig = 1
        return 1

    def attach(self, space: FakeMaps) -> None:
        """Attach it to an address space."""
        if "attach starts the device" in DEFECTS and self.space is None:
            self._end()
            self.mig = 2
        self.space = space

    def detach(self) -> None:
        """Take it from its address space."""
        self.space = None

    def close(self) -> None:
        """Close it, which unbinds it."""
        super().close()
        self.bound = False

    def reset(self) -> None:
        """Go to RUNNING."""
        super().reset()
        if "reset unmaps" in DEFECTS and self.space:
            self.space.close()

    def open_again(self) -> "FakeCdev":
        """Open a second descriptor, which is not bound."""
        return FakeCdev(self.bdf, self.file)

    def feature(self, flags: int, data: bytearray, *, argsz: int | None = None) -> int:
        """Refuse until it is bound, as the kernel does for every driver."""
        if not self.bound and "works unbound" not in DEFECTS:
            raise OSError(errno.EINVAL, "not bound")
        if "no size under an iommufd" in DEFECTS and flags & 0xFFFF == 9:
            raise OSError(errno.ENOTTY, "no such feature")
        return super().feature(flags, data, argsz=argsz)

    def _go(self, wanted: int) -> int:
        if "no P2P under an iommufd" in DEFECTS and wanted == 5:
            raise OSError(errno.EINVAL, "no such state")
        return super()._go(wanted)
