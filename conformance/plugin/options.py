# SPDX-License-Identifier: GPL-2.0-only
"""The options of the pytest plugin: declaration and parsing."""

import random
import re
from collections.abc import Callable
from typing import Final, TypeVar

import pytest

from conformance.plugin import share, terse
from conformance.plugin.declared import (
    DoorbellPlace,
    KickPlace,
    Place,
    Settings,
    TriggerPlace,
    Write,
)
from conformance.plugin.protocols import VERSIONS
from conformance.vfio.system import sysfs

FATAL = ("stale-write", "first-set")
"""Requests that tests can do without."""

WALKS: Final = 10
"""Random walks by default; they take a second or two."""

_T = TypeVar("_T")
_SOFTWARE: Final = re.compile(r"[\w.-]+")
"""The name of a software device in sysfs."""


def add(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("vfio", "VFIO migration conformance")
    group.addoption(
        "--vfio-device", metavar="DEVICE", help="PCI address of the function under test"
    )
    group.addoption(
        "--vfio-peer",
        metavar="DEVICE",
        help="PCI address of a second function of the same kind, the destination",
    )
    group.addoption(
        "--vfio-pair",
        metavar="BDF,BDF",
        action="append",
        default=[],
        help="one more device and peer of the same kind; tests run on all pairs in parallel; may "
        "be repeated",
    )
    group.addoption(
        "--vfio-events", metavar="PATH", help="write events to this file, one JSON object per line"
    )
    group.addoption(
        "--vfio-scratch",
        metavar="BAR:OFFSET:MASK",
        action="append",
        default=[],
        help="bits of a 32-bit register that tests may write; may be repeated",
    )
    group.addoption(
        "--vfio-volatile",
        metavar="BAR:OFFSET[:MASK]",
        action="append",
        default=[],
        help="bits of a 32-bit register that change by themselves, even in a stopped device, such "
        "as a clock or a counter; comparisons ignore them; may be repeated",
    )
    group.addoption(
        "--vfio-trapped",
        metavar="BAR:OFFSET",
        action="append",
        default=[],
        help="a register whose writes the driver must see while it saves the device, so that its "
        "page must not stay mapped; may be repeated",
    )
    group.addoption(
        "--vfio-doorbell",
        metavar="BAR:OFFSET:ADDRESS",
        action="append",
        default=[],
        help="a 32-bit register: a write of a value other than 0 makes the running device write to "
        "the IOVA in the two registers at ADDRESS, low half first; may be repeated",
    )
    group.addoption(
        "--vfio-enable",
        metavar="BAR:OFFSET:MASK",
        action="append",
        default=[],
        help="bits of a 32-bit register that start a part of the device, such as a queue: tests "
        "may set them, and they read as set while the device runs; may be repeated",
    )
    group.addoption(
        "--vfio-kick",
        metavar="BAR:OFFSET:MOVES",
        action="append",
        default=[],
        help="a 32-bit register: a write makes the running device change the one at MOVES, as "
        "the head of a queue follows its tail, once --vfio-enable has started it; may be repeated",
    )
    group.addoption(
        "--vfio-trigger",
        metavar="VECTOR,BAR:OFFSET:VALUE,...",
        action="append",
        default=[],
        help="writes to 32-bit registers, the last of which raises an interrupt on an MSI-X "
        "vector of the running device; may be repeated",
    )
    group.addoption(
        "--vfio-busy",
        metavar="BAR:OFFSET:VALUE",
        action="append",
        default=[],
        help="a write to a 32-bit register that keeps the device busy, once --vfio-enable has "
        "started it, so that it cannot be stopped in time; may be repeated",
    )
    group.addoption(
        "--vfio-packets",
        metavar="INTERFACE",
        help="a network interface: Ethernet frames that are sent there reach the device, if it is "
        "a virtual function for which the suite has a driver (82576), such as the interface of "
        "its physical function; it must be up",
    )
    group.addoption(
        "--vfio-as-is",
        action="store_true",
        help="judge the driver that is bound: no test binds another one; skip all tests if the "
        "device offers no migration",
    )
    group.addoption(
        "--vfio-protocol",
        type=int,
        choices=VERSIONS,
        help="version of the protocol to judge (default: the latest that the device offers)",
    )
    group.addoption(
        "--vfio-fatal",
        choices=FATAL,
        action="append",
        default=[],
        help="a request of which this driver is known to kill the kernel, so that only the last "
        "test makes it; stale-write: write to the data_fd of a load that has ended; first-set: SET "
        "right after an open, whatever state it finds",
    )
    group.addoption("--vfio-seed", type=int, metavar="N", help="seed of everything random")
    group.addoption(
        "--vfio-walks", type=int, default=WALKS, metavar="N", help="number of random walks"
    )
    group.addoption("--vfio-no-skips", action="store_true", help="count a skipped test as failed")
    share.add_options(group)
    terse.add_options(group)


def read(config: pytest.Config) -> Settings:
    """Read the options; raises :class:`pytest.UsageError` with every mistake."""
    wrong: list[str] = []
    for option in ("--vfio-device", "--vfio-peer"):
        bdf = config.getoption(option)
        if bdf and not _is_name(bdf):
            wrong.append(
                f"{option}: {bdf!r} is neither a PCI address such as 0000:01:10.0 nor the name "
                "of a software device"
            )
    peer = config.getoption("--vfio-peer")
    if peer and peer == config.getoption("--vfio-device"):
        wrong.append("--vfio-peer: the same function as --vfio-device")
    pairs = tuple(tuple(text.split(",")) for text in config.getoption("--vfio-pair"))
    for pair in pairs:
        if len(pair) != 2 or not all(_is_name(bdf) for bdf in pair):
            given = ",".join(pair)
            wrong.append(f"--vfio-pair: {given!r} is not two devices separated by a comma")
    functions = [config.getoption("--vfio-device"), peer, *(bdf for pair in pairs for bdf in pair)]
    if pairs and len(set(functions)) < len(functions):
        wrong.append("--vfio-pair: a function is given twice")
    scratch = _each(config, "--vfio-scratch", read_scratch, wrong)
    volatile = _each(config, "--vfio-volatile", read_volatile, wrong)
    trapped = _each(config, "--vfio-trapped", read_volatile, wrong)
    doorbells = _each(config, "--vfio-doorbell", read_doorbell, wrong)
    enables = _each(config, "--vfio-enable", read_scratch, wrong)
    kicks = _each(config, "--vfio-kick", read_kick, wrong)
    triggers = _each(config, "--vfio-trigger", read_trigger, wrong)
    busies = _each(config, "--vfio-busy", read_write, wrong)
    if config.getoption("--vfio-walks") < 1:
        wrong.append("--vfio-walks: not a number from 1 on")
    if wrong:
        raise pytest.UsageError("; ".join(wrong))
    seed = config.getoption("--vfio-seed")
    return Settings(
        config.getoption("--vfio-device") or "",
        peer,
        scratch,
        _new_seed() if seed is None else seed,
        pairs,
        volatile,
        doorbells,
        config.getoption("--vfio-as-is"),
        trapped,
        config.getoption("--vfio-protocol") or 0,
        enables,
        kicks,
        triggers,
        busies,
        tuple(config.getoption("--vfio-fatal")),
        config.getoption("--vfio-packets"),
    )


def _is_name(text: str) -> bool:
    return sysfs.is_pci(text) or _SOFTWARE.fullmatch(text) is not None


def _each(
    config: pytest.Config, option: str, read_one: Callable[[str], _T], wrong: list[str]
) -> tuple[_T, ...]:
    """Read all values of an option; what is wrong with one is added to the list."""
    found = []
    for text in config.getoption(option):
        try:
            found.append(read_one(text))
        except ValueError as error:
            wrong.append(f"{option}: {error}")
    return tuple(found)


def read_volatile(text: str) -> Place:
    """Read ``BAR:OFFSET`` or ``BAR:OFFSET:MASK``, as :func:`read_scratch` does."""
    return read_scratch(f"{text}:0xffffffff" if text.count(":") == 1 else text)


def read_doorbell(text: str) -> DoorbellPlace:
    """Read ``BAR:OFFSET:ADDRESS``, numbers as in C. Raises :class:`ValueError`."""
    bar, offset, address = _numbers(text, "BAR:OFFSET:ADDRESS, for example 0:0x1000:0x2000")
    _check_register(text, bar, offset)
    _check_register(text, bar, address)
    return DoorbellPlace(bar, offset, address)


def read_kick(text: str) -> KickPlace:
    """Read ``BAR:OFFSET:MOVES``, numbers as in C. Raises :class:`ValueError`."""
    bar, offset, moves = _numbers(text, "BAR:OFFSET:MOVES, for example 0:0x8400:0x6400")
    _check_register(text, bar, offset)
    _check_register(text, bar, moves)
    return KickPlace(bar, offset, moves)


def read_trigger(text: str) -> TriggerPlace:
    """Read ``VECTOR,BAR:OFFSET:VALUE,...``, numbers as in C. Raises :class:`ValueError`."""
    head, *rest = text.split(",")
    try:
        vector = int(head, 0)
    except ValueError:
        vector = -1
    if not 0 <= vector < 2048 or not rest:
        raise ValueError(f"{text!r} is not VECTOR,BAR:OFFSET:VALUE, for example 1,0:0x3800:0x5")
    return TriggerPlace(vector, tuple(map(read_write, rest)))


def read_write(text: str) -> Write:
    """Read ``BAR:OFFSET:VALUE``, numbers as in C. Raises :class:`ValueError`."""
    bar, offset, value = _numbers(text, "BAR:OFFSET:VALUE, for example 0:0x3800:0x5")
    _check_register(text, bar, offset)
    if not 0 <= value < 1 << 32:
        raise ValueError(f"{text!r}: a register has 32 bits")
    return Write(bar, offset, value)


def _numbers(text: str, form: str) -> tuple[int, int, int]:
    try:
        first, second, third = (int(part, 0) for part in text.split(":"))
    except ValueError:
        raise ValueError(f"{text!r} is not {form}") from None
    return first, second, third


def _check_register(text: str, bar: int, offset: int) -> None:
    if not 0 <= bar <= 5:
        raise ValueError(f"{text!r}: a BAR has a number from 0 to 5")
    if offset < 0 or offset % 4:
        raise ValueError(f"{text!r}: the offset of a 32-bit register is a multiple of 4")


def read_scratch(text: str) -> Place:
    """Read ``BAR:OFFSET:MASK``, numbers as in C. Raises :class:`ValueError`."""
    bar, offset, mask = _numbers(text, "BAR:OFFSET:MASK, for example 0:0x800:0xffffffff")
    _check_register(text, bar, offset)
    if not 0 < mask < 1 << 32:
        raise ValueError(f"{text!r}: a mask is from 0x1 to 0xffffffff")
    return Place(bar, offset, mask)


def _new_seed() -> int:
    """Return a seed for a session that was given none."""
    return random.SystemRandom().randrange(1 << 32)
