# SPDX-License-Identifier: GPL-2.0-only
"""Takes the steps of a walk, each for real and in the oracle, and compares the two."""

import contextlib
from collections.abc import Sequence

from conformance.migration.v1.movers import mover
from conformance.migration.v1.region import STRUCT_SIZE, MigrationRegion
from conformance.migration.v1.states import words
from conformance.model.ledger import Ledger
from conformance.model.v1.states import State
from conformance.model.v1.walk import Outcome, Walk
from conformance.plugin.checks import (
    expect_equal,
    expect_errno,
    expect_success,
    expect_true,
    fail,
)
from conformance.plugin.declared import Scratch
from conformance.suite.support.walks import walker
from conformance.suite.v1.steps import attempt
from conformance.vfio.pci import config, resets
from conformance.vfio.pci.config import Config
from conformance.vfio.region import Region


class Walker(walker.Walker):
    """Walks one device by its migration region.

    Args:
        migration: The migration region.
        regions: The regions of which pages are mapped.
        scratch: Registers that may be written.
        space: Config space, with decoding on; None to leave it alone.
    """

    late_mmap_rule = "saving.late-mmap"
    round_trip_rule = "resume.round-trip"
    running = State.RUNNING
    stop_copy = State.STOP_AND_COPY
    error = State.ERROR
    resuming = State.RESUMING

    oracle: Walk

    def __init__(
        self,
        migration: MigrationRegion,
        regions: Sequence[Region],
        scratch: Sequence[Scratch],
        space: Config | None = None,
    ) -> None:
        self.migration = migration
        self.space = space
        self._master: bool | None = None
        super().__init__(migration.device, regions, scratch)

    def back_to_running(self) -> None:
        """Write the running state; reset the device if it does not take that."""
        if self.migration.state != State.RUNNING and attempt(self.migration, State.RUNNING):
            self.device.reset()

    def new_oracle(self, ledger: Ledger) -> Walk:
        """Return the oracle of a device that runs."""
        self._master = None
        return Walk(ledger)

    def enter(self, value: int) -> None:
        """Write device_state."""
        self.write_state(value)

    def write_state(self, value: int) -> None:
        """Write device_state and read it back."""
        oracle = self.oracle
        expected = oracle.expect(value)
        did = f"write {words(value)} in state {words(oracle.state)}"
        did += f" ({expected.why})" if expected.why else ""
        taken = True
        if expected.outcome is Outcome.TAKEN:
            with expect_success(did=did, rule=expected.rule):
                self.migration.set_state(value)
        elif expected.outcome is Outcome.EITHER:
            taken = attempt(self.migration, value) is None
        else:
            taken = False
            errnos = (expected.errno,) if expected.errno else ()
            with expect_errno(*errnos, did=did, rule=expected.rule):
                self.migration.set_state(value)
        oracle.moved(self._read_back(did, oracle.allowed_after(value, taken=taken)))

    def _read_back(self, did: str, allowed: Sequence[State]) -> State:
        now = self.migration.state
        shown = " or ".join(words(state) for state in allowed)
        if now not in allowed:
            fail("state.readback", did=f"{did}, read it", expected=shown, actual=words(now))
        return State(now)

    def write_state_undecoded(self, value: int) -> None:
        """Write device_state while memory decoding is off: the outcome is the same."""
        if not self.space:
            return
        self.space.set_command(off=config.MEMORY)
        try:
            self.write_state(value)
            decoding = self.space.command & config.MEMORY
            did = f"switch decoding off, write {words(value)}, read COMMAND"
            expect_equal(decoding, 0, did=did, rule="state.decode-off")
        finally:
            self.space.set_command(on=config.MEMORY)

    def set_master(self, on: int) -> None:
        """Set or clear bus master."""
        if not self.space:
            return
        self.space.set_command(on=config.MASTER if on else 0, off=0 if on else config.MASTER)
        self._master = bool(on)

    def read_master(self) -> None:
        """Read bus master of a device that runs: as it was written last."""
        if not self.space or self._master is None or not self.oracle.may_write_registers():
            return
        now = bool(self.space.command & config.MASTER)
        did = "read bus master of the running device"
        expect_equal(now, self._master, did=did, rule="state.keeps-config")

    def read_state(self) -> None:
        """Read device_state."""
        now = self.migration.state
        expect_equal(now, self.oracle.state, did="read device_state", rule="state.no-spontaneous")

    def reset(self) -> None:
        """Reset the function."""
        with expect_success(did="VFIO_DEVICE_RESET", rule="state.reset"):
            self.device.reset()
        self._was_reset("reset", "state.reset")

    def reset_by(self, way: str) -> None:
        """Reset the function in another way, where it has that."""
        if not self.space or resets.lacking(self.device, way):
            return
        with expect_success(did=f"reset by {way}", rule="state.reset-every-way"):
            resets.WAYS[way](self.device)
        self._was_reset(f"reset by {way}", "state.reset-every-way")

    def _was_reset(self, did: str, rule: str) -> None:
        self.oracle.reset()
        self._master = None
        expect_equal(self.migration.state, State.RUNNING, did=f"{did}, read it", rule=rule)

    def poll(self) -> int:
        """Read pending_bytes twice, with the same result."""
        if not self.oracle.state.saving:
            return 0
        pending = self.migration.pending_bytes
        again = self.migration.pending_bytes
        expect_equal(again, pending, did="read pending_bytes again", rule="save.pending-pure")
        if self.oracle.drained:
            did = "read pending_bytes after it was 0"
            expect_equal(pending, 0, did=did, rule="save.terminates")
        if not pending:
            self.oracle.nothing_pends()
        return pending

    def take(self) -> None:
        """Take a buffer of a device that is saving."""
        if not self.poll():
            return
        migration = self.migration
        offset, size = migration.data_offset, migration.data_size
        same = (migration.data_offset, migration.data_size)
        expect_equal(same, (offset, size), did="read the buffer's place again", rule="save.stable")
        expect_true(
            offset >= STRUCT_SIZE and offset + size <= migration.size,
            did="read data_offset and data_size",
            expected=f"a buffer between {STRUCT_SIZE:#x} and {migration.size:#x}",
            actual=f"{offset:#x} and {size:#x}",
            rule="save.window",
        )
        data = migration.region.read_exact(offset, size)
        if migration.region.read_exact(offset, size) != data:
            fail("save.stable", did="read the data again", expected="the same", actual="other data")
        self.oracle.took(data)

    def take_all(self) -> None:
        """Take buffers until nothing pends."""
        for _ in range(1 << 16):
            if not self.poll():
                return
            self.take()
        fail("save.terminates", did="take 65536 buffers", expected="an end", actual="none")

    def give(self) -> None:
        """Give the resuming device the next buffer of the last whole stream."""
        chunk = self.oracle.chunk_to_give()
        if self.oracle.state is not State.RESUMING or chunk is None:
            return
        with expect_success(did="give a buffer in its turn", rule="resume.same-chunks"):
            self._give(chunk)
        self.oracle.gave()

    def give_all(self) -> None:
        """Give it the rest of that stream."""
        while self.oracle.state is State.RESUMING and self.oracle.chunk_to_give() is not None:
            self.give()

    def give_wrong(self, length: int) -> None:
        """Give the resuming device bytes that belong to no stream. It may refuse them at once."""
        if self.oracle.state is not State.RESUMING:
            return
        taken = False
        with contextlib.suppress(OSError):
            self._give(b"\x5a" * length)
            taken = True
        self.oracle.gave_wrong(taken=taken)

    def _give(self, chunk: bytes) -> None:
        with mover(self.migration, "bulk") as move:
            offset = self.migration.data_offset
            move.write(offset, chunk)
            self.migration.set_data_size(len(chunk))
