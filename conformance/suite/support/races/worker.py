# SPDX-License-Identifier: GPL-2.0-only
"""A party of a race: maps, touches, unmaps and forks while the state is being written."""

import contextlib
import ctypes
import errno
import os
import random
import time
from dataclasses import dataclass, field
from typing import Final

from conformance.suite.support.races.slots import Phase, Slots
from conformance.uapi import mman
from conformance.vfio.memory import libc

#: Numbers of the shared slots: the signal, the state of the device, then two for each party.
SIGNAL: Final = 0
SAVING: Final = 1
_FIRST: Final = 2

#: Seconds after which a party gives up waiting for the signal.
_PATIENCE: Final = 10.0


def own_slot(party: int) -> int:
    """Return the slot for what a party holds itself."""
    return _FIRST + 2 * party


def heir_slot(party: int) -> int:
    """Return the slot for what a forked child of a party holds."""
    return _FIRST + 2 * party + 1


@dataclass(frozen=True)
class Turn:
    """What a party is to do in one round.

    ``fd`` and ``file_offset`` name one conflicting page; ``heirs`` says whether to fork;
    ``slots`` is their address; ``signal`` was in its slot before the round: a late party compares.
    """

    slots: int
    signal: int
    party: int
    seed: str
    fd: int
    file_offset: int
    size: int
    heirs: bool = False


@dataclass
class Account:
    """What a party saw: how often it could map and could not, what was wrong, what it holds."""

    mapped: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    address: int = 0


def run(turn: Turn) -> Account:
    """Wait for the signal, act until it goes, stop and keep what is mapped then."""
    slots, rng, account = Slots(turn.slots), random.Random(turn.seed), Account()  # noqa: S311
    limit = time.monotonic() + _PATIENCE
    while slots.phase(SIGNAL) is not Phase.HELD:
        if slots.read(SIGNAL) != turn.signal:
            return account  # the round is over: this machine is slow, or busy
        if time.monotonic() > limit:
            account.wrong.append("the race never began: a defect of the kit")
            return account
        time.sleep(0)
    while slots.phase(SIGNAL) is Phase.HELD and time.monotonic() < limit:
        _step(slots, turn, rng, account)
        _pause(rng)
    return account


def drop(turn: Turn, address: int) -> None:
    """Unmap what a party kept."""
    libc.munmap(address, turn.size)
    Slots(turn.slots).write(own_slot(turn.party), Phase.FREE)


def _pause(rng: random.Random) -> None:
    if rng.random() < 0.5:
        time.sleep(rng.random() * 0.0005)


def _step(slots: Slots, turn: Turn, rng: random.Random, account: Account) -> None:
    if not account.address:
        _map(slots, turn, account)
    elif turn.heirs and rng.random() < 0.4:
        _fork(slots, turn, rng)
    elif rng.random() < 0.3:
        ctypes.c_uint32.from_address(account.address).value  # noqa: B018 - faults the page in
    else:
        slots.write(own_slot(turn.party), Phase.MAYBE)
        libc.munmap(account.address, turn.size)
        slots.write(own_slot(turn.party), Phase.FREE)
        account.address = 0


def _map(slots: Slots, turn: Turn, account: Account) -> None:
    slot, before = own_slot(turn.party), slots.read(SAVING)
    slots.write(slot, Phase.MAYBE)
    try:
        prot = mman.PROT_READ | mman.PROT_WRITE
        account.address = libc.mmap(0, turn.size, prot, mman.MAP_SHARED, turn.fd, turn.file_offset)
    except OSError as error:
        slots.write(slot, Phase.FREE)
        account.refused += 1
        known = Phase(before & 3) if slots.read(SAVING) == before else Phase.MAYBE
        if error.errno != errno.EBUSY or known is Phase.FREE:
            name = errno.errorcode.get(error.errno or 0)
            account.wrong.append(f"mmap() was {name} while the device did not save")
        return
    slots.write(slot, Phase.HELD)
    account.mapped += 1
    if slots.read(SAVING) == before and Phase(before & 3) is Phase.HELD:
        account.wrong.append("mmap() of a conflicting page succeeded while the device was saving")


def _fork(slots: Slots, turn: Turn, rng: random.Random) -> None:
    """Let a child hold the mapping for a moment and die with it."""
    slot, linger = heir_slot(turn.party), rng.random() * 0.001
    slots.write(slot, Phase.MAYBE)
    pid = os.fork()
    if not pid:
        slots.write(slot, Phase.HELD)
        time.sleep(linger)
        slots.write(slot, Phase.MAYBE)
        os._exit(0)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    slots.write(slot, Phase.FREE)
