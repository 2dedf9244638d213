# SPDX-License-Identifier: GPL-2.0-only
"""Config space and changes of the state: what the user has set stays, and is what can be read."""

import pytest

from conformance.migration.stream import Stream
from conformance.migration.v2.client import Client
from conformance.model.v2.fsm import State
from conformance.plugin.checks import expect_equal
from conformance.suite.v2.cases import AWAY, STANDING
from conformance.suite.v2.conftest import Reach
from conformance.vfio.device import Device
from conformance.vfio.pci import config
from conformance.vfio.pci.config import COMMAND, MASTER, MEMORY, MSIX, Config
from conformance.vfio.pci.interrupts import Vectors

#: Ways to read the lower byte of the command register: where, how many bytes.
READS = ((4, 1), (4, 2), (4, 4), (3, 2), (2, 4), (0, 8), (0, config.SIZE))
#: Ways to write it.
WRITES = ((4, 1), (4, 2))


def masters(space: Config) -> dict[tuple[int, int], bool]:
    """Read bus master in every way; return what each says."""
    return {
        (at, size): bool(space.region.read(at, size)[COMMAND - at] & MASTER) for at, size in READS
    }


@pytest.mark.rule("config2.kept")
@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("state", AWAY)
def test_config_is_kept(reach: Reach, space: Config, state: State, *, on: bool) -> None:
    """Set or clear bus master, go to a state and back: it reads the same there, all after it."""
    space.set_command(on=MEMORY | MASTER * on, off=MASTER * (not on))
    before = space.read()
    client = reach(state)
    wrong = [way for way, seen in masters(space).items() if seen is not on]
    expect_equal(wrong, [], did=f"read bus master in {state.name}, (offset, size) that are wrong")
    client.set(State.RUNNING)
    expect_equal(space.read(), before, did=f"SET {state.name}, SET RUNNING, read config space")


@pytest.mark.rule("config2.kept")
def test_config_is_kept_by_a_load(client: Client, space: Config, stream: Stream) -> None:
    """Set bus master, load a stream: config space is as it was."""
    space.set_command(on=MEMORY | MASTER)
    before = space.read()
    client.load(stream)
    expect_equal(space.read(), before, did="load, read config space")


@pytest.mark.rule("config2.kept")
@pytest.mark.parametrize("state", AWAY)
def test_msix_is_kept(reach: Reach, device: Device, space: Config, state: State) -> None:
    """Enable MSI-X, go to a state and back: config space is as it was."""
    if space.capability(MSIX) is None:
        pytest.skip("the function has no MSI-X")
    with Vectors(device, 1):
        before = space.read()
        reach(state).set(State.RUNNING)
        did = f"enable MSI-X, SET {state.name}, SET RUNNING, read config space"
        expect_equal(space.read(), before, did=did)


@pytest.mark.rule("config2.kept")
@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("state", STANDING)
def test_config_written_while_it_stands(
    reach: Reach, space: Config, state: State, *, on: bool
) -> None:
    """Write bus master while the device stands: it reads as written, there and afterwards."""
    for at, size in WRITES:
        space.set_command(on=MEMORY | MASTER * (not on), off=MASTER * on)
        client = reach(state)
        value = space.command & ~MASTER | MASTER * on
        space.region.write(at, value.to_bytes(2, "little")[:size])
        did = f"SET {state.name}, write {size} bytes of the command register"
        wrong = [way for way, seen in masters(space).items() if seen is not on]
        expect_equal(wrong, [], did=f"{did}, read bus master, (offset, size) that are wrong")
        client.set(State.RUNNING)
        now = bool(space.command & MASTER)
        expect_equal(now, on, did=f"{did}, SET RUNNING, read bus master")


@pytest.mark.rule("config2.kept")
@pytest.mark.parametrize("state", AWAY)
def test_msix_stays_off(reach: Reach, space: Config, state: State) -> None:
    """Set up no vector, go to a state and back: nobody has enabled MSI-X.

    It is not compared with what it was before, as that can be what an earlier change has left.
    """
    reach(state).set(State.RUNNING)
    on = space.msix_is_on
    if on is None:
        pytest.skip("the function has no MSI-X")
    expect_equal(on, False, did=f"SET {state.name}, SET RUNNING, is MSI-X on?")
