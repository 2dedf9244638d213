# SPDX-License-Identifier: GPL-2.0-only
"""What a stream brings to a device that does not know it already."""

from collections.abc import Callable, Iterator

import pytest

from conformance.migration.stream import Stream
from conformance.migration.v2.client import Client
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal
from conformance.plugin.declared import Scratch
from conformance.suite.support.cases import named
from conformance.suite.support.steps import set_apart
from conformance.suite.v2.steps import expect_whole
from conformance.vfio.device import Device

pytestmark = pytest.mark.rule("resume2.round-trip")

Save = Callable[[Client], Stream]
StreamOf = Callable[[int], tuple[list[int], Stream]]
SAVES = pytest.mark.parametrize(
    "save", named({"stop-copy": Client.save, "pre-copy": Client.save_live})
)


@pytest.fixture
def there(peer: Device) -> Iterator[Client]:
    """Provide a client of the second function."""
    with Client(peer) as client:
        yield client


@pytest.fixture
def stream_of(client: Client, scratch: list[Scratch], save: Save) -> StreamOf:
    """``stream_of(salt)``: write registers; return what they read as, and a stream of that."""

    def made(salt: int) -> tuple[list[int], Stream]:
        return set_apart(scratch, salt), save(client)

    return made


@SAVES
@pytest.mark.parametrize("salt", [0x1B2D3C4F, 0xE4D2C3B0])
def test_registers_agree(
    stream_of: StreamOf, there: Client, scratch_there: list[Scratch], salt: int
) -> None:
    """Write registers of the source, others at the destination, migrate: they agree."""
    written, stream = stream_of(salt)
    set_apart(scratch_there, ~salt & 0xFFFFFFFF)
    expect_whole(there, stream, did="save, load into the second function")
    now = [place.read() for place in scratch_there]
    expect_equal(now, written, did="migrate, read the registers at the destination")


@SAVES
def test_older_save(client: Client, scratch: list[Scratch], stream_of: StreamOf) -> None:
    """Save, change registers, save again, load the first stream: the registers are its own."""
    written, stream = stream_of(0x2A3B4C5D)
    client.set(State.RUNNING)
    set_apart(scratch, ~0x2A3B4C5D & 0xFFFFFFFF)
    client.save()
    expect_whole(client, stream, did="save, change registers, save again")
    expect_equal([place.read() for place in scratch], written, did="load the first, read registers")
