# SPDX-License-Identifier: GPL-2.0-only
"""Streams that a destination must refuse, since the function's part of them is not whole."""

import contextlib
import re
from collections.abc import Callable
from typing import Final

from conformance.vmm.inside.bench import Bench, Unexpected, expect
from conformance.vmm.inside.machine import Machine
from conformance.vmm.inside.qmp import Lost, Refused

_DATA: Final = bytes.fromhex("ffffffffef100004")
"""What QEMU's stream has before each piece of the function's data, and its length in 8 bytes."""


_REFUSAL: Final = re.compile(
    r"Failed setting device state to RUNNING"
    r"|vfio_mig_write 8 byte \S+: failed at .*: Invalid argument"
)
"""What QEMU reports when the state is not taken: 10 of the change that leaves RESUMING, with the
P2P state or without; 7.2 of the write of data_size that ends the bad frame, and then it ends."""


def cut_stream(bench: Bench) -> None:
    """Refuse a stream that was cut in the function's part: the monitor sees that by itself."""
    _refused_by_monitor(bench, lambda data: data[: _last_piece(data)[0] + 8])


def corrupt_stream(bench: Bench) -> None:
    """Refuse a stream in which one bit of the function's state has changed."""

    def flip(data: bytes) -> bytes:
        start, length = _last_piece(data)
        middle = start + length // 2
        return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]

    _refused_by_driver(bench, flip)


def foreign_stream(bench: Bench) -> None:
    """Refuse a stream with the state of something else in the place of the function's."""

    def replace(data: bytes) -> bytes:
        start, length = _last_piece(data)
        return data[:start] + bytes(n * 37 % 251 for n in range(length)) + data[start + length :]

    _refused_by_driver(bench, replace)


def _last_piece(data: bytes) -> tuple[int, int]:
    """Return where the last piece of the function's data begins, and its length."""
    start = data.rindex(_DATA) + len(_DATA) + 8
    return start, int.from_bytes(data[start - 8 : start], "big")


def _spoilt(bench: Bench, spoil: Callable[[bytes], bytes]) -> tuple[Machine, list[str]]:
    """Write files with a guest, good and bad; return their source and what is compared."""
    source = bench.guest()
    before = bench.fingerprint(source)
    bench.save(source, "good")
    bench.drop(source)
    data = (bench.folder / "good").read_bytes()
    spoilt = spoil(data)
    expect("the stream was changed", spoilt != data, True)
    (bench.folder / "bad").write_bytes(spoilt)
    return source, before


def _refused_by_monitor(bench: Bench, spoil: Callable[[bytes], bytes]) -> None:
    """Load a spoilt file: the destination must fail, and the good file still load there."""
    source, before = _spoilt(bench, spoil)
    try:
        target = bench.from_file("bad", source)
    except (Lost, Refused):
        pass
    else:
        expect("the run state after a bad stream", target.status, "no start")
    _good_one_loads(bench, source, before)


def _refused_by_driver(bench: Bench, spoil: Callable[[bytes], bytes]) -> None:
    """Load a file whose function's state is spoilt: none of it may get into the function."""
    source, before = _spoilt(bench, spoil)
    _driver_refuses(bench, source, before, "bad")
    _good_one_loads(bench, source, before)


def other_driver(bench: Bench) -> None:
    """Refuse a stream of another version of the driver, and take it with the right one again."""
    if bench.driver is None:
        raise Unexpected("there is no other version of the driver")
    source = bench.guest()
    before = bench.fingerprint(source)
    bench.save(source, "good")
    bench.clear()
    with bench.driver.replaced():
        try:
            _driver_refuses(bench, source, before, "good")
        finally:
            bench.clear()
    bench.went_on(bench.from_file("good", source), before)


def _driver_refuses(bench: Bench, source: Machine, before: list[str], name: str) -> None:
    """Load a file at a destination whose driver must not take the function's state.

    QEMU writes the data without a look at it. A driver of version 1 refuses a write, and QEMU 7.2
    gives up; one of version 2 refuses to leave RESUMING, and QEMU 10 resets the function and
    starts the guest all the same.
    """
    target = None
    with contextlib.suppress(Lost):
        target = bench.from_file(name, source)
    said = bench.logs()[-1].read_text(errors="replace")
    expect("the driver refused the state", bool(_REFUSAL.search(said)), True)
    if target is None:
        return
    registers = bench.fingerprint(target)[:-1]
    kept = [one for one, was in zip(registers, before, strict=False) if one == was]
    expect("registers from a stream that was refused", kept, [])


def _good_one_loads(bench: Bench, source: Machine, before: list[str]) -> None:
    bench.clear()
    (bench.folder / "bad").unlink()
    bench.went_on(bench.from_file("good", source), before)
