# SPDX-License-Identifier: GPL-2.0-only
"""Oracle of outstanding mappings: which of them conflict after a sequence of operations.

One entry per page and process, moved exactly as the system calls move pages: slow and
obviously right. What a driver does to know the same is its own affair.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from conformance.model.layout import PAGE, Layout


@dataclass(frozen=True, order=True)
class Page:
    """A page of a region: index of the region, byte offset of the page."""

    region: int
    offset: int


class Ledger:
    """The mappings of a device in all processes that hold one.

    ``layouts`` holds the layout of each region by index. A process is any name that the
    caller likes; one that was never seen maps nothing.
    """

    def __init__(self, layouts: Mapping[int, Layout]) -> None:
        self._layouts = dict(layouts)
        self._spaces: dict[str, dict[int, Page]] = {}

    def mmap(self, who: str, address: int, region: int, offset: int, size: int) -> None:
        """Map a range of a region; what was at these addresses is replaced, as MAP_FIXED does."""
        space = self._spaces.setdefault(who, {})
        for step in range(0, size, PAGE):
            space[address + step] = Page(region, offset + step)

    def munmap(self, who: str, address: int, size: int) -> None:
        """Unmap addresses, whether anything is mapped there or not."""
        space = self._spaces.setdefault(who, {})
        for step in range(0, size, PAGE):
            space.pop(address + step, None)

    def mremap(self, who: str, old: int, old_size: int, new: int, new_size: int) -> None:
        """Move the head of a range and unmap the rest of it; a device mapping cannot grow."""
        kept = self.pages(who, old, min(old_size, new_size))
        self.munmap(who, old, old_size)
        self._spaces[who].update({new - old + address: page for address, page in kept.items()})

    def mremap_dontunmap(self, who: str, old: int, size: int, new: int) -> None:
        """Map at ``new`` what is at ``old``, which stays mapped too, though without pages."""
        kept = self.pages(who, old, size)
        self._spaces[who].update({new - old + address: page for address, page in kept.items()})

    def fork(self, parent: str, child: str) -> None:
        """Give the child a copy of all that the parent has mapped."""
        self._spaces[child] = dict(self._spaces.get(parent, {}))

    def end(self, who: str) -> None:
        """Forget a process that has exited, been killed or executed a program."""
        self._spaces.pop(who, None)

    def pages(self, who: str, address: int, size: int) -> dict[int, Page]:
        """Return what a process has mapped in a range of addresses, by address."""
        space = self._spaces.get(who, {})
        return {at: page for at, page in space.items() if address <= at < address + size}

    def conflicts(self) -> tuple[tuple[str, Page], ...]:
        """Return who holds which conflicting page, in order, each once."""
        held = {
            (who, page)
            for who, space in self._spaces.items()
            for page in space.values()
            if self._layouts[page.region].conflicts((page.offset, PAGE))
        }
        return tuple(sorted(held))

    def may_save(self) -> bool:
        """Return whether a write that adds _SAVING must be accepted; it must be EBUSY if not."""
        return not self.conflicts()
