# SPDX-License-Identifier: GPL-2.0-only
"""Takes the steps of a walk in version 2, each for real and in the oracle, and compares the two.

Each public method is a step. Steps that make no sense where the device is do nothing, so any
sequence of them is a walk, and a sequence from which some are left out still is one.
"""

import contextlib
import errno
from collections.abc import Sequence
from errno import EBUSY

from conformance.migration.v2.client import Client
from conformance.model.ledger import Ledger
from conformance.model.v2.fsm import State
from conformance.model.v2.walk import Outcome, Walk
from conformance.plugin.checks import (
    RequirementFailed,
    expect_equal,
    expect_errno,
    expect_success,
    expect_true,
    fail,
)
from conformance.plugin.devices import Scratch
from conformance.suite.support.windows import layout_of
from conformance.vfio import trace
from conformance.vfio.memory.mapping import PAGE_SIZE, Mapping
from conformance.vfio.region import Region

_HERE = "the test"


class Walker:
    """Walks one device.

    Attributes:
        spoilt: Whether the device has gone wrong since it was opened; set by who sees it.
    """

    def __init__(
        self, client: Client, regions: Sequence[Region], scratch: Sequence[Scratch]
    ) -> None:
        self.client = client
        self.regions = tuple(regions)
        self.scratch = tuple(scratch)
        self.spoilt = False
        self._mappings: list[Mapping] = []
        self.begin()

    def begin(self) -> None:
        """Begin a new walk: nothing is mapped, the device runs."""
        trace.start()
        with trace.quiet():
            self.end()
            if self.client.state != State.RUNNING and self.client.attempt(State.RUNNING):
                self.client.device.reset()
            self.client.close()
        ledger = Ledger({region.index: layout_of(region) for region in self.regions})
        self.oracle = Walk(ledger, self.client.flags)

    def begin_anew(self) -> bool:
        """Begin a walk, and open a device again that has gone wrong; tell if that has helped."""
        if self.spoilt:
            with trace.quiet():
                self.end()
                self.client.close()
                self.client.device.reopen()
                self.begin()
                try:
                    self.settle()
                except RequirementFailed:
                    return False
        self.spoilt = False
        self.begin()
        return True

    def settle(self) -> None:
        """End a walk: unmap all, let the device run, and see that it still can be saved."""
        self.unmap_all()
        if self.oracle.state in {State.ERROR, State.RESUMING}:
            self.reset()
        for state in (State.RUNNING, State.STOP_COPY, State.RUNNING):
            self.set_state(state)

    def end(self) -> None:
        """Unmap what is mapped."""
        while self._mappings:
            self._mappings.pop().close()

    @property
    def mapped(self) -> bool:
        """Whether anything is mapped."""
        return bool(self._mappings)

    @property
    def may_resume(self) -> bool:
        """Whether the device runs and a whole stream of it is known."""
        return self.oracle.state is State.RUNNING and self.oracle.saved is not None

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
            self.client.device.reset()
        self.oracle.reset()
        expect_equal(self.client.state, State.RUNNING, did="reset, GET", rule="reset2.running")

    def map(self, region: int, page: int, pages: int) -> None:
        """Map pages of one of the regions."""
        if not self.regions:
            return
        where = self.regions[region % len(self.regions)]
        layout, area = layout_of(where), (page * PAGE_SIZE, pages * PAGE_SIZE)
        if not layout.mappable(area) or self.oracle.state is State.ERROR:
            return
        did = f"mmap {pages} pages from page {page} of {where.name} in {self.oracle.state.name}"
        if self.oracle.state.saving and layout.conflicts(area):
            with expect_errno(EBUSY, did=did, rule="saving2.late-mmap") as call:
                call.result = where.map(*area)
            return
        with expect_success(did=did, rule="saving.after"):
            mapping = where.map(*area)
        self._mappings.append(mapping)
        self.oracle.ledger.mmap(_HERE, mapping.address, where.index, *area)

    def unmap_all(self) -> None:
        """Unmap all that is mapped."""
        while self._mappings:
            held = self._mappings.pop()
            held.close()
            self.oracle.ledger.munmap(_HERE, held.address, held.size)

    def take(self, size: int) -> bool:
        """Read from the session of a device that is saving; tell whether there was data."""
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
        if self.oracle.state is State.RESUMING:
            with contextlib.suppress(OSError):
                self.client.session.write(b"\x5a" * length)
            self.oracle.gave_wrong()

    def put(self, register: int, value: int) -> None:
        """Write a register, where that has its effect."""
        if self.scratch and self.oracle.may_write_registers():
            number = register % len(self.scratch)
            self.scratch[number].write(value)
            self.oracle.registers[number] = value & self.scratch[number].mask

    def look(self) -> None:
        """Read all registers whose values are known, while the device runs."""
        if self.oracle.may_write_registers():
            known = self.oracle.registers
            now = {number: self.scratch[number].read() for number in known}
            expect_equal(now, known, did="read the registers", rule="resume2.round-trip")
