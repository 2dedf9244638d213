# SPDX-License-Identifier: GPL-2.0-only
"""What a description says of each version of the migration protocol."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from kpatch.device.values import PAGE, AsTuple, Pages, Table

Protocol = Literal["v1", "v2"]
PROTOCOLS: tuple[Protocol, ...] = ("v1", "v2")

FreeArc = Literal["0->3", "0->4", "2->3", "2->4", "3->0", "3->4", "4->0", "4->2", "4->3"]
"""A transition that version 1 of the protocol neither demands nor forbids."""


class Region(Table):
    """Version 1, the migration region.

    Attributes:
        data_size: Size of its data section; a multiple of a page.
        data_mmap: Whether user space may map the data section.
        data_mmap_size: How much of it, from its beginning; all of it unless said.
        chunk_size: Most bytes of the stream that are offered at a time, 64 to `data_size`;
            `data_size` unless said.
        precopy: Whether a frame with the device's identity is sent before the device stops.
        accept_free_arcs: Transitions to accept, of those the protocol leaves open.
    """

    data_size: Pages
    data_mmap: bool = True
    data_mmap_size: Pages
    chunk_size: Annotated[int, Field(ge=64)]
    precopy: bool = False
    accept_free_arcs: Annotated[tuple[FreeArc, ...], AsTuple] = ()

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        """Fill in what follows from the size of the data section."""
        if not isinstance(data, dict):
            return data
        size = data.get("data_size")
        # A mistake in data_size is not to be reported a second time for what follows from it.
        whole = size if isinstance(size, int) and size >= PAGE and size % PAGE == 0 else PAGE
        return {"chunk_size": whole, "data_mmap_size": whole, **data}


class States(Table):
    """Version 2, the states of VFIO_DEVICE_FEATURE_MIGRATION.

    Attributes:
        p2p: Whether it has the peer-to-peer states, in which the device does no DMA.
        precopy: Whether it has PRE_COPY, in which a frame with the device's identity is sent,
            where the kernel has it.
    """

    p2p: bool = True
    precopy: bool = False
