# SPDX-License-Identifier: GPL-2.0-only
"""Memory of rings and buffers that is unmapped for the device in pre-copy, and mapped anew."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_equal
from conformance.suite.support.receiving import (
    UNNAMED,
    begin,
    expect_reported,
    fill,
    written_to,
)
from conformance.vfio.iommu.guest_memory import IOVA, PAGE, PAGES
from conformance.vfio.memory.mapping import Mapping, anonymous
from conformance.vfio.receiving.receiver import Receiver

pytestmark = [pytest.mark.rule("dirty.doubt"), pytest.mark.usefixtures("apart")]

#: The first page behind the guest's memory.
BEHIND = PAGES
PLACE = IOVA + BEHIND * PAGE
#: Bytes of a buffer that are in its first page; no message is that short.
FEW = 16

Map = Callable[[int], Mapping]


@pytest.fixture
def behind(receiver: Receiver) -> Iterator[Map]:
    """Provide what maps so many new pages behind the memory, in place of those from before."""
    container = receiver.memory.container
    with ExitStack() as stack:

        def map_(pages: int) -> Mapping:
            container.unmap_dma(PLACE, 4 * PAGE)
            memory = stack.enter_context(anonymous(pages * PAGE))
            container.map_dma(memory.address, PLACE, pages * PAGE)
            return memory

        yield map_
        container.unmap_dma(PLACE, 4 * PAGE)


@pytest.mark.parametrize(
    ("pages", "at"),
    [(1, BEHIND * PAGE - FEW), (3, (BEHIND + 1) * PAGE)],
    ids=["second-page", "in-the-middle"],
)
def test_part_is_another(
    saver: Saver, receiver: Receiver, behind: Map, pages: int, at: int
) -> None:
    """Map other pages in place of a part of a buffer, or of more than it, receive: not clean."""
    did = "map other pages in the place of a buffer in pre-copy, receive"
    behind(pages)
    begin(saver, receiver)
    receiver.post([at // PAGE], offset=at % PAGE)
    memory = behind(pages)
    fill(receiver, 1, did)
    written = {page for page in range(pages) if any(memory.read(page * PAGE, PAGE))}
    if saver.attempt(Stage.STOP_COPY) is None:
        reported = receiver.memory.container.dirty_pages(PLACE, pages * PAGE)
        expect_equal(sorted(written - reported), [], did=f"{did}, enter stop-and-copy")


def _write_ring(receiver: Receiver, memory: Mapping) -> None:
    ring = receiver.ring(BEHIND, sorted(UNNAMED))
    ctypes.memmove(memory.address, ring, len(ring))


def test_ring_is_another(saver: Saver, receiver: Receiver, behind: Map) -> None:
    """Map another page in the place of a ring in pre-copy, post, receive: it is not clean."""
    did = "map another page in the place of a ring in pre-copy, receive"
    _write_ring(receiver, behind(1))
    receiver.set_base(BEHIND)
    begin(saver, receiver)
    _write_ring(receiver, behind(1))
    receiver.write_tail(len(UNNAMED))
    fill(receiver, len(UNNAMED), did)
    if saver.attempt(Stage.STOP_COPY) is None:
        expect_reported(receiver, written_to(receiver), f"{did}, enter stop-and-copy")
