# SPDX-License-Identifier: GPL-2.0-only
"""The feature ioctl itself: probing, methods, sizes, flags, bad arguments."""

from errno import EFAULT, EINVAL, ENOTTY

import pytest

from conformance.migration.stream import Stream
from conformance.migration.v2.client import Client
from conformance.model.v2 import fsm
from conformance.model.v2.fsm import State
from conformance.plugin.checks import (
    errno_words,
    expect_equal,
    expect_errno,
    expect_success,
    expect_true,
)
from conformance.plugin.protocols import not_applicable
from conformance.suite.support.cases import named
from conformance.suite.support.memory import read_only
from conformance.suite.v2.cases import WORKING, by_state
from conformance.suite.v2.conftest import Reach
from conformance.suite.v2.steps import (
    expect_goes_on,
    expect_refused,
    expect_whole,
    need_states,
    state_of,
)
from conformance.uapi import constants as c
from conformance.uapi import ioctls, structs
from conformance.vfio import features
from conformance.vfio.data_file import PRECOPY_INFO_SIZE
from conformance.vfio.device import Device
from conformance.vfio.memory.libc import NOWHERE
from conformance.vfio.system import compat32

GET, SET, PROBE = (
    c.VFIO_DEVICE_FEATURE_GET,
    c.VFIO_DEVICE_FEATURE_SET,
    c.VFIO_DEVICE_FEATURE_PROBE,
)
#: Features of migration and logging: number, methods, bytes of data.
FEATURES = {
    "migration": (c.VFIO_DEVICE_FEATURE_MIGRATION, GET, 8),
    "mig-device-state": (c.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, GET | SET, 8),
    "mig-data-size": (c.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, GET, 8),
    "dma-logging-start": (c.VFIO_DEVICE_FEATURE_DMA_LOGGING_START, SET, 24),
    "dma-logging-stop": (c.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, SET, 0),
    "dma-logging-report": (c.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, GET, 32),
    "mig-precopy-info-v2": (c.VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, SET, 0),
}
UNKNOWN = (0x1234, 0xFFFF)


def need_feature(device: Device, number: int) -> None:
    """Leave the test if neither the kernel nor the device has a feature."""
    try:
        features.probe(device, number)
    except OSError as error:
        not_applicable(f"feature {number} is not there: {errno_words(error.errno)}")


def answer(device: Device, flags: int, data: bytearray, argsz: int | None = None) -> int | None:
    """Call the ioctl; return its errno, None if it succeeds."""
    try:
        device.feature(flags, data, argsz=argsz)
    except OSError as error:
        return error.errno
    return None


@pytest.mark.rule("mig2.feature.probe")
@pytest.mark.parametrize(("number", "methods", "size"), named(FEATURES))
def test_probe(client: Client, number: int, methods: int, size: int) -> None:
    """Probe a feature alone and with its methods: 0, without data, and nothing changes."""
    need_feature(client.device, number)
    before = state_of(client)
    for asked in {0, methods, methods & GET, methods & SET}:
        with expect_success(did=f"PROBE feature {number} with methods {asked:#x}, no data"):
            client.device.feature(PROBE | asked | number, bytearray())
    expect_equal(state_of(client), before, did=f"PROBE feature {number}, then GET the state")
    assert size >= 0


@pytest.mark.rule("mig2.feature.methods")
@pytest.mark.parametrize(("number", "methods", "size"), named(FEATURES))
def test_methods(client: Client, number: int, methods: int, size: int) -> None:
    """Probe and use a feature with a method that it has not: EINVAL, and nothing changes."""
    need_feature(client.device, number)
    before = state_of(client)
    for method in (GET, SET):
        if methods & method:
            continue
        for flags in (PROBE | method, method):
            with expect_errno(EINVAL, did=f"feature {number} with flags {flags:#x}"):
                client.device.feature(flags | number, bytearray(max(size, 8)))
    expect_equal(state_of(client), before, did="GET the state after that")


@pytest.mark.rule("mig2.feature.methods")
@pytest.mark.parametrize("number", [1, 2])
def test_both_features_are_there(client: Client, number: int) -> None:
    """Probe MIGRATION and MIG_DEVICE_STATE with GET: both are there."""
    with expect_success(did=f"PROBE feature {number} with GET"):
        features.probe(client.device, number, GET)


@pytest.mark.rule("mig2.feature.argsz")
@pytest.mark.parametrize("argsz", [0, 7, 8, 12, 15])
def test_short_argsz(client: Client, argsz: int) -> None:
    """GET and SET the state with an argsz too small: EINVAL, and nothing changes."""
    before = state_of(client)
    for method in (GET, SET):
        data = bytearray(bytes(structs.vfio_device_feature_mig_state(State.STOP, -1)))
        with expect_errno(EINVAL, did=f"MIG_DEVICE_STATE with argsz {argsz}"):
            client.device.feature(
                method | c.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, data, argsz=argsz
            )
    expect_equal(state_of(client), before, did=f"argsz {argsz}, then GET the state")


@pytest.mark.rule("mig2.feature.argsz")
@pytest.mark.parametrize("argsz", [17, 64, 4096, 1 << 20])
def test_long_argsz(client: Client, argsz: int) -> None:
    """GET and SET the state with an argsz larger than the data: both succeed."""
    number = c.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
    for method in (SET, GET):
        data = bytearray(bytes(structs.vfio_device_feature_mig_state(State.STOP, -1)))
        with expect_success(did=f"MIG_DEVICE_STATE with argsz {argsz}"):
            client.device.feature(method | number, data, argsz=argsz)
    expect_equal(state_of(client), State.STOP, did="SET STOP with a large argsz, then GET")


@pytest.mark.rule("mig2.same-size")
@pytest.mark.parametrize(("number", "methods", "size"), named(FEATURES))
def test_exact_size(client: Client, number: int, methods: int, size: int) -> None:
    """GET a feature with exactly the bytes of its struct: it is taken; with one less: EINVAL."""
    need_feature(client.device, number)
    if not methods & GET or number == c.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
        not_applicable("this feature has no GET that can be called without a log")
    with expect_success(did=f"GET feature {number} with {size} bytes of data"):
        client.device.feature(GET | number, bytearray(size))
    with expect_errno(EINVAL, did=f"GET feature {number} with {size - 1} bytes of data"):
        client.device.feature(GET | number, bytearray(size - 1))


@pytest.mark.rule("mig2.same-size")
@pytest.mark.parametrize(("number", "size"), named({"flags": (1, 8), "state": (2, 8)}))
def test_32_bit_program(client: Client, number: int, size: int) -> None:
    """GET a feature as a 32-bit program does: the same answer as for one of 64 bits."""
    need_32_bit()
    wanted = bytearray(size)
    client.device.feature(GET | number, wanted)
    head = bytes(structs.vfio_device_feature(argsz=8 + size, flags=GET | number))
    with expect_success(did=f"GET feature {number} as a 32-bit program"):
        got = compat32.ioctl(client.device.fd, ioctls.VFIO_DEVICE_FEATURE, head + bytes(size))
    expect_equal(got[8:], bytes(wanted), did=f"GET feature {number} as a 32-bit program")


@pytest.mark.rule("mig2.same-size")
def test_precopy_info_of_a_32_bit_program(client: Client) -> None:
    """Ask for PRECOPY_INFO as a 32-bit program does: the same answer as for one of 64 bits."""
    need_32_bit()
    need_states(client, State.PRE_COPY)
    client.set(State.PRE_COPY)
    wanted = client.session.precopy_info()
    asked = bytes(structs.vfio_precopy_info(argsz=PRECOPY_INFO_SIZE))
    with expect_success(did="PRECOPY_INFO as a 32-bit program"):
        got = compat32.ioctl(client.session.fd, ioctls.VFIO_MIG_GET_PRECOPY_INFO, asked)
    found = structs.vfio_precopy_info.from_buffer_copy(got)
    sizes = (found.initial_bytes, found.dirty_bytes)
    did = "PRECOPY_INFO as a 32-bit program"
    expect_equal(sizes, (wanted.initial_bytes, wanted.dirty_bytes), did=did)


def need_32_bit() -> None:
    """Leave the test where no call of a 32-bit program can be made."""
    if lacking := compat32.missing():
        not_applicable(lacking)


@pytest.mark.rule("mig2.feature.flags")
@pytest.mark.parametrize("bit", range(19, 32))
def test_unknown_flag(client: Client, bit: int) -> None:
    """GET the state with each unknown flag: EINVAL."""
    number = c.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
    with expect_errno(EINVAL, did=f"GET MIG_DEVICE_STATE with bit {bit}"):
        client.device.feature(GET | number | 1 << bit, bytearray(8))


@pytest.mark.rule("mig2.feature.flags")
@pytest.mark.parametrize("flags", named({"none": 0, "get-and-set": GET | SET}))
def test_method_flags(client: Client, flags: int) -> None:
    """Use the state without a method, or with both: EINVAL, and nothing changes."""
    number = c.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
    data = bytearray(bytes(structs.vfio_device_feature_mig_state(State.STOP, -1)))
    with expect_errno(EINVAL, did=f"MIG_DEVICE_STATE with flags {flags:#x}"):
        client.device.feature(flags | number, data)
    expect_equal(state_of(client), State.RUNNING, did="GET the state after that")


@pytest.mark.rule("mig2.feature.fault")
def test_unreadable_argument(client: Client) -> None:
    """Call the ioctl with an argument that is not mapped: EFAULT, and nothing changes."""
    for address in (0, NOWHERE):
        with expect_errno(EFAULT, did=f"VFIO_DEVICE_FEATURE at {address:#x}"):
            client.device.feature_at(address)
    expect_equal(state_of(client), State.RUNNING, did="GET the state after that")


@pytest.mark.rule("mig2.feature.fault")
def test_answer_that_cannot_be_written(client: Client) -> None:
    """GET flags and state into read-only memory: EFAULT."""
    for number in (1, 2):
        head = structs.vfio_device_feature(argsz=16, flags=GET | number)
        did = f"GET feature {number} into read-only memory"
        with read_only(bytes(head) + bytes(8)) as address, expect_errno(EFAULT, did=did):
            client.device.feature_at(address)
    expect_equal(state_of(client), State.RUNNING, did="GET the state after that")


@pytest.mark.rule("mig2.feature.absent")
def test_never_half_an_interface(client: Client) -> None:
    """Probe all features of migration, and all of logging: each set is whole or absent."""
    for numbers in ((1, 2), (6, 7, 8)):
        answers = {number: answer(client.device, PROBE | number, bytearray()) for number in numbers}
        good = set(answers.values()) in ({None}, {ENOTTY})
        did = f"PROBE features {numbers}"
        expect_true(good, did=did, expected="all, or ENOTTY for all", actual=str(answers))


@pytest.mark.rule("mig2.feature.unknown")
@pytest.mark.parametrize("number", UNKNOWN)
def test_unknown_feature(client: Client, number: int) -> None:
    """Probe, get and set a feature that nobody has: ENOTTY."""
    for flags in (PROBE, GET, SET, PROBE | GET):
        with expect_errno(ENOTTY, did=f"feature {number:#x} with flags {flags:#x}"):
            client.device.feature(flags | number, bytearray(64))


@pytest.mark.rule("mig2.flags.base")
def test_flags(reach: Reach, client: Client) -> None:
    """GET the flags in every state: STOP_COPY, no unknown bit, always the same value."""
    flags = features.migration_flags(client.device)
    known = flags & ~fsm.FLAGS == 0 and flags & fsm.STOP_COPY_FLAG
    expect_true(known, did="GET MIGRATION", expected="STOP_COPY and known bits", actual=hex(flags))
    for state in fsm.states(flags):
        reach(state)
        now = features.migration_flags(client.device)
        expect_equal(now, flags, did=f"GET MIGRATION in {state.name}")
        client.go(State.RUNNING)


@pytest.mark.rule("mig2.flags.states")
@pytest.mark.parametrize("state", by_state())
def test_states_of_the_flags(client: Client, state: State) -> None:
    """Set each state from RUNNING: exactly those that the flags give can be set."""
    if state in fsm.states(client.flags):
        with expect_success(did=f"SET {state.name}, flags {client.flags:#x}"):
            client.set(state)
    else:
        expect_refused(client, state, EINVAL)
        expect_goes_on(client)


@pytest.mark.rule("mig2.get")
@pytest.mark.parametrize("state", by_state((State.ERROR, *WORKING)))
def test_get(reach: Reach, state: State) -> None:
    """GET the state repeatedly in each state: the answer is right, with data_fd -1."""
    client = reach(state)
    for _ in range(3):
        got = features.get_state_raw(client.device)
        seen = (got.device_state, got.data_fd)
        expect_equal(seen, (state, -1), did=f"GET MIG_DEVICE_STATE in {state.name}")


@pytest.mark.rule("mig2.get")
@pytest.mark.parametrize("state", by_state(state for state in WORKING if state.saving))
def test_get_in_the_middle_of_a_save(reach: Reach, client: Client, state: State) -> None:
    """GET the state in the middle of a stream: its data_fd gives the rest, and that loads."""
    file = reach(state).session
    did = f"GET in {state.name} in the middle of the stream"
    stream = []
    for _ in range(2):
        with expect_success(did=f"{did}, read on"):
            stream.append(file.read(8))
        expect_equal(state_of(client), state, did=did)
    client.set(State.STOP_COPY)
    with expect_success(did=f"{did}, read on in STOP_COPY"):
        stream += client.read_all()
    client.set(State.RUNNING)
    expect_whole(client, stream, did=did)


@pytest.mark.rule("mig2.get")
def test_get_in_the_middle_of_a_load(client: Client, stream: Stream) -> None:
    """GET the state between all writes of a load: each is taken, and the device runs from it."""
    client.set(State.RESUMING)
    for chunk in stream:
        for piece in (chunk[:1], chunk[1:]):
            expect_equal(state_of(client), State.RESUMING, did="GET in the middle of a load")
            with expect_success(did="GET in the middle of a load, write on"):
                client.write_all([piece])
    expect_equal(state_of(client), State.RESUMING, did="GET at the end of a load")
    with expect_success(did="load with GETs in between, SET RUNNING"):
        client.set(State.RUNNING)
