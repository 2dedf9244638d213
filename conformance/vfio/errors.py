# SPDX-License-Identifier: GPL-2.0-only
"""Errors of the handles: an errno of the kernel stays an OSError.

::

    OSError                  the kernel refused a call; errno says why
    VfioError                everything else
    +-- ShortTransfer        read() or write() moved fewer bytes than an exact access needs
    +-- InfoError            an INFO ioctl answered with something that cannot be
    |   +-- ChainError       a broken chain of capabilities
    +-- SysfsError           no such function, driver or group, or a bind that did not take
    +-- ModuleLoadError      a kernel module could not be loaded or unloaded
    +-- ChildError           a child process misbehaved
        +-- ChildDied        it ended although it should have answered
        +-- ChildTimeout     it did not answer in time

All of them can be pickled: a child process sends them to the test.
"""

from functools import partial
from typing import Any


class VfioError(Exception):
    """Base of all errors of this package that are not an errno of the kernel."""


class ShortTransfer(VfioError):
    """An access that must move all its bytes moved fewer: ``moved`` of ``wanted``."""

    def __init__(self, what: str, *, wanted: int, moved: int) -> None:
        super().__init__(f"{what} moved {moved} of {wanted} bytes without an error")
        self.what = what
        self.wanted = wanted
        self.moved = moved

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), wanted=self.wanted, moved=self.moved), (self.what,)


class InfoError(VfioError):
    """An INFO ioctl succeeded with an answer that contradicts itself."""


class ChainError(InfoError):
    """A capability chain leaves its buffer, loops, or holds a capability too small for its id."""


class SysfsError(VfioError):
    """A PCI function, its driver or its IOMMU group is not what was asked for."""


class ModuleLoadError(VfioError):
    """A kernel module could not be loaded or unloaded; ``klog`` holds the kernel's own words."""

    def __init__(self, message: str, klog: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join((message, *klog)))
        self.message = message
        self.klog = klog

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.klog)


class ChildError(VfioError):
    """A helper process did not do what was asked."""


class ChildDied(ChildError):
    """The process ended although it should have answered."""


class ChildTimeout(ChildError):
    """The process did not answer in time; it has been killed."""
