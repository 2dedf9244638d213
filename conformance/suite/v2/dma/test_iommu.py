# SPDX-License-Identifier: GPL-2.0-only
"""What the IOMMU has to do with migration: nothing, under a container and under an iommufd."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pytest

from conformance.migration.v2.client import Client
from conformance.model.v2.fsm import State
from conformance.plugin.checks import errno_words, expect_equal, expect_errno, expect_success
from conformance.plugin.devices import Devices
from conformance.plugin.protocols import not_applicable
from conformance.suite.support.doorbells import expect_written, ring_all
from conformance.suite.v2.cases import by_state
from conformance.suite.v2.steps import expect_taken, expect_whole, reach, state_of
from conformance.uapi import constants as c
from conformance.vfio import cdev, features
from conformance.vfio.cdev import Cdev
from conformance.vfio.device import Device
from conformance.vfio.iommu.container import Container
from conformance.vfio.iommu.guest_memory import SIZE, GuestMemory, Maps
from conformance.vfio.iommu.iommufd import AddressSpace, Iommufd

#: Numbers of features: all that there are, the next ones, and the last.
NUMBERS = (*range(16), c.VFIO_DEVICE_FEATURE_MASK)
METHODS = {
    "PROBE": c.VFIO_DEVICE_FEATURE_PROBE,
    "PROBE GET": c.VFIO_DEVICE_FEATURE_PROBE | c.VFIO_DEVICE_FEATURE_GET,
    "PROBE SET": c.VFIO_DEVICE_FEATURE_PROBE | c.VFIO_DEVICE_FEATURE_SET,
    "GET": c.VFIO_DEVICE_FEATURE_GET,
    "SET": c.VFIO_DEVICE_FEATURE_SET,
}


@dataclass(frozen=True)
class User:
    """Who uses a device: under a container, or under an iommufd."""

    client: Client
    maps: Maps


@dataclass(frozen=True)
class Attached(User):
    """A user under an iommufd, with a second address space, and the state it found."""

    device: Cdev
    other: AddressSpace
    found: State


class OwnFile:
    """The file of the device under test, for when the session does not have it open."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    def open(self) -> Cdev:
        """Open it, bound to nothing."""
        self._devices.close()
        name = self._devices.settings.device
        return Cdev(name, cdev.path(name))

    @contextmanager
    def used(self) -> Iterator[Attached]:
        """Open it, bound to an iommufd and attached to an address space, and in RUNNING."""
        with (
            Iommufd() as iommufd,
            iommufd.allocate() as space,
            iommufd.allocate() as other,
            self.open() as device,
        ):
            device.bind(iommufd)
            device.attach(space)
            with Client(device) as client:
                found = state_of(client)
                if found is not State.RUNNING:  # judged elsewhere, and a driver may die of it
                    device.reset()
                yield Attached(client, space, device, other, found)


@pytest.fixture
def own_file(devices: Devices) -> OwnFile:
    """Provide the device's own file; not applicable to a kernel without."""
    if reason := cdev.lacking(devices.settings.device):
        not_applicable(reason)
    if devices.unusable:
        pytest.skip(devices.unusable)
    return OwnFile(devices)


@pytest.fixture(params=["container", "iommufd"])
def user(request: pytest.FixtureRequest) -> Iterator[User]:
    """Have the device in use under a container, and under an iommufd."""
    if request.param == "iommufd":
        own_file: OwnFile = request.getfixturevalue("own_file")
        with own_file.used() as found:
            yield found
        return
    container: Container = request.getfixturevalue("container")
    yield User(request.getfixturevalue("client"), container)


@contextmanager
def mapped(maps: Maps, *, did: str) -> Iterator[GuestMemory]:
    """Map memory for a block."""
    __tracebackhide__ = True
    with expect_success(did=did):
        memory = GuestMemory(maps)
    with closing(memory):
        yield memory


def expect_dma(devices: Devices, client: Client, memory: GuestMemory, *, did: str) -> None:
    """Demand that the device reaches the memory, if it is known what makes it write."""
    __tracebackhide__ = True
    doorbells = devices.doorbells_of(client.device)
    memory.clear()
    expect_written(memory, ring_all(doorbells), did=f"{did}, ring doorbells, look at the memory")


@pytest.mark.rule("iommu.independent")
@pytest.mark.parametrize("state", by_state())
def test_dma_can_be_mapped_in_every_state(devices: Devices, user: User, state: State) -> None:
    """Map memory in a state, run, reset, unmap: the mapping stays, and the IOMMU does not care."""
    client = reach(user.client, state)
    with mapped(user.maps, did=f"map DMA in {state.name}") as memory:
        expect_equal(state_of(client), state, did="map DMA, then GET")
        expect_taken(client, State.RUNNING)
        expect_dma(devices, client, memory, did=f"map DMA in {state.name}, SET RUNNING")
        client.device.reset()
        expect_dma(devices, client, memory, did=f"map DMA in {state.name}, reset")
        expect_equal(memory.unmap(), SIZE, did="unmap: how many bytes were mapped?")
    expect_taken(client, State.STOP)


@pytest.mark.rule("iommu.independent")
@pytest.mark.parametrize("state", by_state())
def test_dma_can_be_unmapped_in_every_state(user: User, state: State) -> None:
    """Map memory in RUNNING, unmap it in a state: all of it was mapped, the state stays."""
    with mapped(user.maps, did="map DMA in RUNNING") as memory:
        reach(user.client, state)
        expect_equal(memory.unmap(), SIZE, did=f"unmap in {state.name}: how many bytes were?")
    expect_equal(state_of(user.client), state, did="unmap DMA, then GET")
    expect_taken(user.client, State.RUNNING)


def answer(client: Client, old: State, new: State) -> str:
    """Bring a running device to a state, SET another, GET; return what it says to that."""
    reach(client, old)
    try:
        said = "a data_fd" if client.set(new) else "data_fd -1"
    except OSError as error:
        said = errno_words(error.errno)
    said += f" {state_of(client).name}"
    if client.attempt(State.RUNNING) is not None:
        client.device.reset()
    client.close()
    return said


def feature_answer(device: Device, flags: int) -> str:
    """Return what the device says to a feature."""
    try:
        device.feature(flags, bytearray(64))
    except OSError as error:
        return errno_words(error.errno)
    return "0"


def same(own_file: OwnFile, client: Client, look: Callable[[Client], object], did: str) -> None:
    """Demand that a look at the device shows the same under an iommufd as under the container."""
    __tracebackhide__ = True
    wanted = look(client)
    client.close()
    with own_file.used() as user:
        expect_equal(look(user.client), wanted, did=f"{did}, under an iommufd and a container")


@pytest.mark.rule("iommu.independent")
@pytest.mark.parametrize("state", by_state(State))
def test_arcs_are_the_same(own_file: OwnFile, client: Client, state: State) -> None:
    """SET each state in a state: the same arcs, refusals and data_fds under an iommufd."""

    def look(client: Client) -> dict[str, str]:
        return {new.name: answer(client, state, new) for new in State}

    same(own_file, client, look, f"SET every state in {state.name}")


@pytest.mark.rule("iommu.independent")
def test_features_are_the_same(own_file: OwnFile, client: Client) -> None:
    """Probe every feature, get the flags: the same answers under an iommufd."""

    def look(client: Client) -> list[str]:
        probes = [flags for name, flags in METHODS.items() if name.startswith("PROBE")]
        found = [feature_answer(client.device, flags | n) for flags in probes for n in NUMBERS]
        return [*found, hex(features.migration_flags(client.device)), state_of(client).name]

    same(own_file, client, look, "probe every feature")


@pytest.mark.rule("iommu.independent")
def test_state_is_the_same(own_file: OwnFile, client: Client) -> None:
    """Leave the device running under a container, open it under an iommufd: it runs."""
    expect_equal(state_of(client), State.RUNNING, did="GET under a container")
    with own_file.used() as user:
        expect_equal(user.found, State.RUNNING, did="close, open it under an iommufd, GET")


@pytest.mark.rule("iommu.independent")
def test_streams_are_the_same(
    own_file: OwnFile, client: Client, stream: list[bytes], devices: Devices
) -> None:
    """Load under an iommufd what was saved under a container, and the reverse: both are taken."""
    client.close()
    with own_file.used() as user:
        expect_whole(user.client, stream, did="save under a container, go under an iommufd")
        again = user.client.save()
    with Client(devices.ready("device")) as back:
        expect_whole(back, again, did="save under an iommufd, go under a container")


@pytest.mark.rule("iommu.independent")
@pytest.mark.parametrize("state", by_state())
def test_attached_anew_in_every_state(devices: Devices, own_file: OwnFile, state: State) -> None:
    """Detach the device in a state, attach it to another address space: the state stays."""
    with own_file.used() as user:
        reach(user.client, state)
        with expect_success(did=f"detach in {state.name}"):
            user.device.detach()
        expect_equal(state_of(user.client), state, did="detach from the address space, then GET")
        with expect_success(did=f"attach in {state.name}"):
            user.device.attach(user.other)
        expect_equal(state_of(user.client), state, did="attach to another one, then GET")
        expect_taken(user.client, State.RUNNING)
        with mapped(user.other, did="map DMA there") as memory:
            expect_dma(devices, user.client, memory, did="attach to another address space")


def expect_unbound(device: Device, *, did: str) -> None:
    """Demand that every feature fails."""
    __tracebackhide__ = True
    for number in NUMBERS:
        for name, flags in METHODS.items():
            with expect_errno(did=f"{did}, {name} feature {number}"):
                device.feature(flags | number, bytearray(64))


@pytest.mark.rule("iommu.unbound")
def test_features_before_it_is_bound(own_file: OwnFile) -> None:
    """Open the device's own file: every feature fails, then it is bound, and they work."""
    with Iommufd() as iommufd, own_file.open() as device:
        expect_unbound(device, did="open the device's own file")
        device.bind(iommufd)
        with expect_success(did="bind it to an iommufd, GET flags and state"):
            features.migration_flags(device)
            features.get_state(device)


@pytest.mark.rule("iommu.unbound")
def test_features_after_its_user_has_gone(own_file: OwnFile) -> None:
    """Bind, close and open again: every feature fails again."""
    with Iommufd() as iommufd:
        with own_file.open() as device:
            device.bind(iommufd)
            features.set_state(device, State.STOP)
        with own_file.open() as device:
            expect_unbound(device, did="close what was bound, open again")


@pytest.mark.rule("iommu.unbound")
@pytest.mark.parametrize("state", by_state())
def test_a_second_descriptor_is_unbound(own_file: OwnFile, state: State) -> None:
    """Open the file a second time while the first is in a state: it fails, the state stays."""
    with own_file.used() as user:
        reach(user.client, state)
        with user.device.open_again() as second:
            expect_unbound(second, did="open the file of a device in use")
        expect_equal(state_of(user.client), state, did="GET by the first descriptor")
        expect_taken(user.client, State.RUNNING)
