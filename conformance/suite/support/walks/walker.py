# SPDX-License-Identifier: GPL-2.0-only
"""What walks of any protocol do: map and unmap pages, write registers, and settle the device."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from errno import EBUSY
from typing import ClassVar, Protocol

from conformance.model.ledger import Ledger
from conformance.plugin.checks import (
    RequirementFailed,
    expect_equal,
    expect_errno,
    expect_success,
)
from conformance.plugin.declared import Scratch
from conformance.suite.support.windows import layout_of
from conformance.vfio import trace
from conformance.vfio.device import Device
from conformance.vfio.memory.mapping import PAGE_SIZE, Mapping
from conformance.vfio.region import Region

_HERE = "the test"


class State(Protocol):
    """A state of a protocol."""

    @property
    def name(self) -> str:
        """What the protocol calls it."""

    @property
    def value(self) -> int:
        """Its number."""

    @property
    def saving(self) -> bool:
        """Whether the saving layout is in force."""


class Oracle(Protocol):
    """What a walk expects of a device, after the model of its protocol.

    ``registers`` has the values that are known, by number; ``saved`` is the last whole stream,
    None until there is one.
    """

    ledger: Ledger
    registers: dict[int, int]

    @property
    def state(self) -> State:
        """The state the device is in."""

    @property
    def saved(self) -> object | None:
        """The last whole stream."""

    def may_write_registers(self) -> bool:
        """Return whether what is written to a register has its effect now."""


class Walker(ABC):
    """Walks one device. Each public method of a subclass is a step, but for those of the frame.

    Steps that make no sense where the device is do nothing, so any sequence of them is a walk,
    and a sequence from which some are dropped still is one.

    Args:
        device: The device.
        regions: The regions of which pages are mapped.
        scratch: Registers that may be written.

    Attributes:
        spoilt: Whether the device has gone wrong since it was opened; set by who sees it.
    """

    #: The rule for a mapping that is refused while saving, and for what the stream restores.
    late_mmap_rule: ClassVar[str]
    round_trip_rule: ClassVar[str]
    #: Where walks begin and end, and where the device is saved between.
    running: ClassVar[State]
    stop_copy: ClassVar[State]
    #: The states that only a reset is sure to leave.
    error: ClassVar[State]
    resuming: ClassVar[State]

    oracle: Oracle

    def __init__(
        self, device: Device, regions: Sequence[Region], scratch: Sequence[Scratch]
    ) -> None:
        self.device = device
        self.regions = tuple(regions)
        self.scratch = tuple(scratch)
        with trace.quiet():
            self._before = [place.read() for place in self.scratch]
        self.spoilt = False
        self._mappings: list[Mapping] = []
        self.begin()

    @abstractmethod
    def back_to_running(self) -> None:
        """Leave whatever state the device is in; reset it where a state change does not help."""

    @abstractmethod
    def new_oracle(self, ledger: Ledger) -> Oracle:
        """Return the oracle of a walk that begins in the running state."""

    @abstractmethod
    def enter(self, value: int) -> None:
        """Change the state, and compare what comes with what the oracle allows."""

    @abstractmethod
    def reset(self) -> None:
        """Reset the device."""

    def begin(self) -> None:
        """Begin a new walk: nothing is mapped, the device runs."""
        trace.start()
        with trace.quiet():
            self.end()
            self.back_to_running()
        ledger = Ledger({region.index: layout_of(region) for region in self.regions})
        self.oracle = self.new_oracle(ledger)

    def begin_anew(self) -> bool:
        """Begin a walk, and open a device again that has gone wrong.

        Returns whether that has helped. If not, nothing that it does now proves anything.
        """
        if self.spoilt:
            with trace.quiet():
                self.end()
                self.device.reopen()
                self.begin()
                try:
                    self.settle()
                except RequirementFailed:
                    return False
        self.spoilt = False
        self.begin()
        return True

    def settle(self) -> None:
        """End a walk: unmap all, let the device run, and see that it can still be saved."""
        self.unmap_all()
        if self.oracle.state in {self.error, self.resuming}:
            self.reset()
        for state in (self.running, self.stop_copy, self.running):
            self.enter(state.value)

    def end(self) -> None:
        """Unmap what is mapped."""
        while self._mappings:
            self._mappings.pop().close()

    def leave(self) -> None:
        """End the last walk: the device runs, its registers have the values of before the first.

        A reset does not change all of them, and other tests set parts of the device going that
        they describe.
        """
        self.end()
        with trace.quiet():
            self.back_to_running()
            for place, value in zip(self.scratch, self._before, strict=True):
                place.write(value)

    @property
    def mapped(self) -> bool:
        """Whether anything is mapped."""
        return bool(self._mappings)

    @property
    def may_resume(self) -> bool:
        """Whether the device runs and a whole stream of it is known."""
        return self.oracle.state is self.running and self.oracle.saved is not None

    def map(self, region: int, page: int, pages: int) -> None:
        """Map pages of one of the regions."""
        if not self.regions:
            return
        where = self.regions[region % len(self.regions)]
        layout, area = layout_of(where), (page * PAGE_SIZE, pages * PAGE_SIZE)
        state = self.oracle.state
        if not layout.mappable(area) or state is self.error:
            return
        did = f"mmap {pages} pages from page {page} of {where.name} in {state.name}"
        if state.saving and layout.conflicts(area):
            with expect_errno(EBUSY, did=did, rule=self.late_mmap_rule) as call:
                call.result = where.map(*area)
            return
        rule = self.late_mmap_rule if state.saving else "saving.after"
        with expect_success(did=did, rule=rule):
            mapping = where.map(*area)
        self._mappings.append(mapping)
        self.oracle.ledger.mmap(_HERE, mapping.address, where.index, *area)

    def unmap(self, mapping: int, first: int, pages: int) -> None:
        """Unmap pages of a mapping."""
        if not self._mappings:
            return
        held = self._mappings[mapping % len(self._mappings)]
        offset, size = first * PAGE_SIZE, pages * PAGE_SIZE
        if not held.is_mapped(offset, size):
            return
        held.munmap(offset, size)
        self.oracle.ledger.munmap(_HERE, held.address + offset, size)

    def unmap_all(self) -> None:
        """Unmap all that is mapped."""
        while self._mappings:
            held = self._mappings.pop()
            held.close()
            self.oracle.ledger.munmap(_HERE, held.address, held.size)

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
            expect_equal(now, known, did="read the registers", rule=self.round_trip_rule)
