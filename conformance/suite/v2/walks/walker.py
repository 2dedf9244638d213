# SPDX-License-Identifier: GPL-2.0-only
"""Takes the steps of a walk in version 2, for real and in the oracle, and compares the two."""

import errno
from collections.abc import Sequence

from conformance.migration.v2.client import Client
from conformance.model.ledger import Ledger
from conformance.model.v2.fsm import State
from conformance.model.v2.walk import Outcome, Walk
from conformance.plugin.checks import (
    expect_equal,
    expect_success,
    expect_true,
    fail,
)
from conformance.plugin.declared import Scratch
from conformance.suite.support.walks import walker
from conformance.vfio.region import Region


class Walker(walker.Walker):
    """Walks one device by its state machine.

    Args:
        client: Sets and gets the state.
        regions: The regions of which pages are mapped.
        scratch: Registers that may be written.
    """

    late_mmap_rule = "saving2.late-mmap"
    round_trip_rule = "resume2.round-trip"
    running = State.RUNNING
    stop_copy = State.STOP_COPY
    error = State.ERROR
    resuming = State.RESUMING

    oracle: Walk

    def __init__(
        self, client: Client, regions: Sequence[Region], scratch: Sequence[Scratch]
    ) -> None:
        self.client = client
        super().__init__(client.device, regions, scratch)

    def back_to_running(self) -> None:
        """Set the running state and close every data_fd; reset the device if it must be."""
        if self.client.state != State.RUNNING and self.client.attempt(State.RUNNING):
            self.device.reset()
        self.client.close()

    def begin_anew(self) -> bool:
        """Begin a walk; a data_fd of the last one would keep the device open."""
        if self.spoilt:
            self.client.close()
        return super().begin_anew()

    def new_oracle(self, ledger: Ledger) -> Walk:
        """Return the oracle of a device that runs."""
        return Walk(ledger, self.client.flags)

    def enter(self, value: int) -> None:
        """Set the state."""
        self.set_state(value)

    def set_state(self, value: int) -> None:
        """Set a state, look whether a data_fd came, and get the state."""
        oracle = self.oracle
        expected = oracle.expect(value)
        did = f"SET {value} in {oracle.state.name}"
        did += f" ({expected.why})" if expected.why else ""
        file, taken = None, expected.outcome is not Outcome.REFUSED
        try:
            file = self.client.set(value)
        except OSError as error:
            taken = False
            if expected.outcome is Outcome.TAKEN:
                fail(expected.rule, did=did, expected="success", actual=str(error))
            if expected.errno and error.errno != expected.errno:
                wanted = errno.errorcode[expected.errno]
                fail(expected.rule, did=did, expected=wanted, actual=str(error))
        else:
            if expected.outcome is Outcome.REFUSED:
                fail(expected.rule, did=did, expected="an error", actual="success")
            came = file is not None
            expect_equal(came, expected.gives_fd, did=f"{did}: a data_fd?", rule="data.new")
        oracle.moved(self._get(did, oracle.allowed_after(value, taken=taken)))

    def _get(self, did: str, allowed: Sequence[State]) -> State:
        now = self.client.state
        shown = " or ".join(state.name for state in allowed)
        if now not in tuple(allowed):
            fail("mig2.get", did=f"{did}, GET", expected=shown, actual=str(now))
        return State(now)

    def get_state(self) -> None:
        """Get the state."""
        did = "GET the state"
        expect_equal(self.client.state, self.oracle.state, did=did, rule="fsm.no-spontaneous")

    def reset(self) -> None:
        """Reset the device."""
        with expect_success(did="VFIO_DEVICE_RESET", rule="reset2.running"):
            self.device.reset()
        self.oracle.reset()
        expect_equal(self.client.state, State.RUNNING, did="reset, GET", rule="reset2.running")

    def take(self, size: int) -> bool:
        """Read from the session of a device that is saving; return whether there was data."""
        if not self.oracle.state.saving:
            return False
        try:
            data = self.client.session.read(size)
        except OSError as error:
            good = error.errno == errno.ENOMSG and self.oracle.state is not State.STOP_COPY
            did = f"read {size} bytes in {self.oracle.state.name}"
            expect_true(good, did=did, expected="data", actual=str(error), rule="data.eof")
            return False
        self.oracle.took(data)
        return bool(data)

    def take_all(self) -> None:
        """Read until there is nothing more."""
        for _ in range(1 << 12):
            if not self.take(1 << 16):
                return
        if self.oracle.state is State.STOP_COPY:
            fail("data.eof", did="read 4096 times", expected="an end", actual="data")

    def give(self, size: int) -> None:
        """Give the resuming device the next bytes of the last whole stream."""
        data = self.oracle.to_give(size)
        if not data:
            return
        with expect_success(did=f"write {len(data)} bytes", rule="resume2.any-segmentation"):
            count = self.client.session.write(data)
        expect_true(
            count,
            did="write",
            expected="1 byte or more",
            actual="0",
            rule="resume2.any-segmentation",
        )
        self.oracle.gave(count)

    def give_all(self) -> None:
        """Give it the rest of that stream."""
        while self.oracle.to_give(1 << 16):
            self.give(1 << 16)

    def give_wrong(self, length: int) -> None:
        """Give the resuming device bytes of no stream. It may refuse them at once."""
        if self.oracle.state is not State.RESUMING:
            return
        try:
            taken = bool(self.client.session.write(b"\x5a" * length))
        except OSError:
            taken = False
        self.oracle.gave_wrong(taken=taken)
