# SPDX-License-Identifier: GPL-2.0-only
"""Mappings made in the device and recorded in the oracle that says whether it may save."""

from collections.abc import Callable
from dataclasses import dataclass
from errno import EBUSY
from typing import Any

from conformance.closing import Closing
from conformance.migration.saver import Saver, Stage
from conformance.model.layout import PAGE
from conformance.model.ledger import Ledger
from conformance.plugin.checks import expect_equal, expect_errno, expect_success
from conformance.suite.support.windows import Window, layout_of
from conformance.uapi import mman
from conformance.vfio import trace
from conformance.vfio.children.children import Child, RemoteMapping
from conformance.vfio.memory import libc
from conformance.vfio.memory.mapping import Mapping, reserve
from conformance.vfio.region import Region

_HERE = "the test"


@dataclass(frozen=True)
class Held:
    """A mapping in some process, at an address there."""

    who: str
    address: int
    size: int
    mapping: Mapping | RemoteMapping

    @property
    def local(self) -> Mapping:
        """The mapping of this process."""
        assert isinstance(self.mapping, Mapping)
        return self.mapping


class Mappings(Closing):
    """Performs each operation on the device and in the oracle; :meth:`judge` compares the two.

    Offsets and sizes are in bytes from the start of the mapping.
    """

    def __init__(self, saver: Saver, regions: list[Region], child: Callable[[], Child]) -> None:
        self.saver = saver
        self.ledger = Ledger({region.index: layout_of(region) for region in regions})
        self._child = child
        self._local: list[Mapping] = []

    def close(self) -> None:
        """Unmap what is left in this process."""
        for mapping in self._local:
            mapping.close()

    def judge(self, step: str) -> None:
        """Demand that the device may begin to save exactly if the oracle says so.

        ``step`` describes the last operation. The device runs before and after.
        """
        __tracebackhide__ = True
        conflicts = self.ledger.conflicts()
        first = self.saver.first
        asked = self.saver.words(first)
        if conflicts:
            who, page = conflicts[0]
            held = f"{step} ({who} holds page {page.offset:#x} of region {page.region})"
            with expect_errno(EBUSY, did=f"{held}, then {asked}"):
                self.saver.enter(first)
            expect_equal(self.saver.stage, Stage.RUNNING, did=f"{held}, {asked}, read the state")
        else:
            with expect_success(did=f"{step} (no conflict is left), then {asked}"):
                self.saver.enter(first)
            self.saver.enter(Stage.RUNNING)

    def map(self, window: Window, child: Child | None = None, **how: Any) -> Held:
        """Map a range here or in a child, through its ``fd`` if one is given."""
        region, offset, size = window.region, window.offset, window.size
        if child is None:
            mapping = window.map(**how)
            if how.get("address"):  # the kernel itself chooses no address where something is
                self._forget(mapping.address, size)
            self._local.append(mapping)
            held = Held(_HERE, mapping.address, size, mapping)
        else:
            remote = child.map(region, offset, size, **how)
            held = Held(_name(child), remote.address, size, remote)
        self.ledger.mmap(held.who, held.address, region.index, offset, size)
        return held

    def munmap(self, held: Held, offset: int = 0, size: int | None = None) -> None:
        """Unmap pages of a mapping, where it is held; what is left of it without arguments."""
        if size is None and isinstance(held.mapping, Mapping):
            # Not the holes: something else may have come there.
            held.mapping.close()
            self.ledger.munmap(held.who, held.address, held.size)
            return
        size = held.size - offset if size is None else size
        held.mapping.munmap(offset, size)
        self.ledger.munmap(held.who, held.address + offset, size)

    def munmap_range(self, address: int, size: int) -> None:
        """Unmap addresses of this process, whatever mappings they belong to."""
        with trace.call(f"munmap {size:#x} bytes at {address:#x}"):
            libc.munmap(address, size)
        self.ledger.munmap(_HERE, address, size)
        self._forget(address, size)

    def reserve(self, size: int) -> int:
        """Reserve address space for MAP_FIXED and MREMAP_FIXED and return where it begins."""
        self._local.append(reserve(size))
        return self._local[-1].address

    def _forget(self, address: int, size: int) -> None:
        """Note that what was mapped at these addresses is gone: not to be unmapped again."""
        for mapping in self._local:
            first = max(address, mapping.address)
            last = min(address + size, mapping.address + mapping.size)
            if first < last:
                mapping.forget(first - mapping.address, last - first)

    def mremap(self, held: Held, offset: int, size: int, new_size: int, **how: Any) -> Held:
        """Move or shrink pages of a mapping of this process; returns them as their own."""
        mapping = held.local.mremap(offset, size, new_size, **how)
        self._forget(mapping.address, new_size)
        self._local.append(mapping)
        self.ledger.mremap(held.who, held.address + offset, size, mapping.address, new_size)
        return Held(_HERE, mapping.address, new_size, mapping)

    def mremap_dontunmap(self, held: Held, flags: int, *, from_size: int | None = None) -> Held:
        """Map a whole mapping again elsewhere, by flags or from 0 bytes; the old one stays."""
        from_size = held.size if from_size is None else from_size
        mapping = held.local.mremap(0, from_size, held.size, flags)
        self._local.append(mapping)
        self.ledger.mremap_dontunmap(held.who, held.address, held.size, mapping.address)
        return Held(_HERE, mapping.address, held.size, mapping)

    def replace(self, held: Held, offset: int, size: int) -> None:
        """Put anonymous memory over pages of a mapping of this process."""
        self._local.append(held.local.replace(offset, size))
        self.ledger.munmap(held.who, held.address + offset, size)

    def map_over(self, held: Held, offset: int, window: Window) -> Held:
        """Map a range over pages of a mapping of this process, with MAP_FIXED."""
        flags = mman.MAP_SHARED | mman.MAP_FIXED
        return self.map(window, flags=flags, address=held.address + offset)

    def remap_file_pages(self, held: Held, window: Window) -> None:
        """Let a mapping of this process show another range of the device."""
        page = (window.region.offset + window.offset) // PAGE
        with trace.call(f"remap_file_pages of {held.mapping} to page {page:#x}"):
            libc.remap_file_pages(held.address, window.size, page)
        self.ledger.mmap(_HERE, held.address, window.region.index, window.offset, window.size)

    def fork(self, parent: Child | None = None) -> Child:
        """Fork this process, or a child, with all that it has mapped."""
        child = self._child() if parent is None else parent.fork()
        self.ledger.fork(_HERE if parent is None else _name(parent), _name(child))
        return child

    def inherited(self, held: Held, child: Child) -> Held:
        """Return the child's copy of a mapping that it inherited over a fork."""
        mapping = held.local
        return Held(_name(child), held.address, held.size, child.adopt(mapping))

    def dropped(self, held: Held, child: Child) -> None:
        """Note that a child did not inherit a mapping, because of MADV_DONTFORK."""
        self.ledger.munmap(_name(child), held.address, held.size)

    def ended(self, child: Child) -> None:
        """Note that a child has exited, was killed or executed a program."""
        self.ledger.end(_name(child))


def _name(child: Child) -> str:
    return f"process {child.pid}"
