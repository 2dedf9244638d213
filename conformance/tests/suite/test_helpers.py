# SPDX-License-Identifier: GPL-2.0-only
"""The suite's helpers for themselves: damaged streams, tables of cases, the slots of a race."""

import os
import random

import pytest

from conformance.migration.stream import joined
from conformance.model.v1.states import State
from conformance.plugin.declared import Place
from conformance.suite.support.msix import table as msix_table
from conformance.suite.support.races.race import Tally
from conformance.suite.support.races.slots import Phase, SharedMemory, Slots
from conformance.suite.support.registers import Register, moved_between
from conformance.suite.support.streams import corrupt as damage
from conformance.suite.v1 import cases
from conformance.suite.v1.volatile import differing_words, without
from conformance.vfio.memory.areas import Area

ONE = [bytes(range(200))]
THREE = [bytes(range(64)), bytes(range(64, 128)), b"the end of it all"]
DAMAGES = {
    **damage.FOREIGN,
    **damage.EMPTY,
    **damage.CUT,
    **damage.CORRUPT,
    **damage.LONGER,
    **damage.REORDERED,
}


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable on purpose


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_never_leaves_the_stream_as_it_was(name: str) -> None:
    for seed in range(20):
        assert joined(DAMAGES[name](THREE, seeded(seed))) != joined(THREE)


@pytest.mark.parametrize("name", [name for name in DAMAGES if name != "buffers-reversed"])
def test_damage_of_a_single_buffer(name: str) -> None:
    assert joined(DAMAGES[name](ONE, seeded(1))) != joined(ONE)


@pytest.mark.parametrize("name", damage.CORRUPT)
def test_corruption_keeps_the_length(name: str) -> None:
    assert len(joined(damage.CORRUPT[name](THREE, seeded(3)))) == len(joined(THREE))


@pytest.mark.parametrize("name", damage.CUT)
def test_a_cut_is_shorter(name: str) -> None:
    assert len(joined(damage.CUT[name](THREE, seeded(3)))) < len(joined(THREE))


def test_the_same_seed_damages_the_same() -> None:
    first, again = (damage.CORRUPT["a-burst"](THREE, seeded(7)) for _ in range(2))
    assert first == again


def test_damaged_data_keeps_the_sizes_of_the_buffers() -> None:
    assert [len(chunk) for chunk in damage.like(THREE, bytes(145))] == [64, 64, 17]
    assert damage.like(THREE, bytes(150))[-1] == bytes(5)


def test_arcs_which_add_saving_and_those_which_do_not_are_all() -> None:
    pairs = list(cases.all_pairs())
    adding = [pair for pair in pairs if pair not in list(cases.not_adding_saving())]
    assert len(pairs) == 25
    assert set(adding) == {(1, 2), (1, 3), *cases.adding_saving_freely()}


def test_refusable_writes_are_never_must_arcs() -> None:
    assert not set(cases.refusable()) & set(cases.must_arcs("state.arc"))


def test_names_of_arcs() -> None:
    assert cases.name_of(State.RUNNING, 2) == "1->2"
    assert cases.name_of(State.STOPPED, 0x80000000) == "0->0x80000000"


def test_a_board_is_seen_by_a_child() -> None:
    memory = SharedMemory()
    slots = Slots(memory.address)
    before = slots.read(3)
    pid = os.fork()
    if not pid:
        Slots(memory.address).write(3, Phase.HELD)
        os._exit(0)
    os.waitpid(pid, 0)
    assert slots.phase(3) is Phase.HELD
    assert slots.read(3) != before


def test_a_slot_that_changes_back_reads_differently() -> None:
    memory = SharedMemory()
    slots = Slots(memory.address)
    before = slots.read(0)
    slots.write(0, Phase.MAYBE)
    slots.write(0, Phase.FREE)
    assert slots.phase(0) is Phase.FREE
    assert slots.read(0) != before


def test_a_race_in_which_nothing_met_is_not_fair() -> None:
    assert not Tally(accepted=5, mapped=7).met
    assert Tally(accepted=1, refused=1, mapped=1).met


def config_space(*capabilities: bytes) -> bytes:
    """Return a configuration space with these capabilities, whose next is filled in."""
    config = bytearray(256)
    config[6] = 0x10 if capabilities else 0
    place, at = 0x34, 0x50
    for capability in capabilities:
        config[place] = at
        config[at : at + len(capability)] = capability
        place, at = at + 1, at + 0x20
    return bytes(config)


def test_msix_table() -> None:
    msix = b"\x11\0\x02\x80\x03\x10\0\0\x03\x20\0\0"  # 3 entries at 0x1000 of BAR3
    assert msix_table(config_space(b"\x01\0", msix)) == (3, Area(0x1000, 48))
    assert msix_table(config_space(b"\x01\0")) is None
    assert msix_table(config_space()) is None


def test_a_list_of_capabilities_without_end_is_left() -> None:
    config = bytearray(config_space(b"\x01\0"))
    config[0x51] = 0x50
    assert msix_table(bytes(config)) is None


def test_registers_that_move_by_themselves_are_not_looked_at() -> None:
    before = {"BAR0": bytes(16), "BAR3": bytes(4)}
    after = {"BAR0": bytes([0, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0]), "BAR3": b"\1\0\0\0"}
    assert moved_between(before, after) == [
        Register("BAR0", 4),
        Register("BAR0", 12),
        Register("BAR3", 0),
    ]
    volatile = [Place(0, 4, 0xFF), Place(0, 4, 0xFF00), Place(0, 12, 0x1), Place(3, 0, 0xFFFFFFFF)]
    assert moved_between(before, after, volatile) == [Register("BAR0", 12)]


@pytest.mark.parametrize("offset", [0, 0xFFC, 0x1000, 0x1FFC, 0x2008])
def test_registers_that_moved_are_found_in_any_page(offset: int) -> None:
    data = bytearray(0x200C)
    before = {"BAR0": bytes(data)}
    data[offset + 3] = 1
    assert moved_between(before, {"BAR0": bytes(data)}) == [Register("BAR0", offset)]


def test_a_register_is_shown_by_bar_and_offset() -> None:
    assert str([Register("BAR3", 0x1048)]) == "[BAR3+0x1048]"


def test_words_that_differ_are_left_out() -> None:
    one, other = [b"abcdef", b"ghij"], [b"abcdEf", b"ghij"]
    words = differing_words(b"".join(one), b"".join(other))
    assert words == {1}
    assert without(one, words) == without(other, words) == [b"abcd\0\0\0\0ij"]
    assert without(one, set()) == [b"abcdefghij"]
