# SPDX-License-Identifier: GPL-2.0-only
"""Judges calls of which every allocation, or every copy, fails once."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from errno import EFAULT, ENOMEM, errorcode
from typing import Any, Final

from conformance.kernel import faults
from conformance.plugin.checks import errno_words, expect_equal, expect_true, fail
from conformance.plugin.devices import Devices
from conformance.suite.support.binding import unbound
from conformance.suite.support.registers import WIDTH, readable_bars
from conformance.vfio import trace
from conformance.vfio.device import Device
from conformance.vfio.region import Region
from conformance.vfio.system import sysfs

#: Callers from an allocation up to the driver, if it is the driver's or what VFIO makes for it.
#: Those farther away are the kernel's own: VFIO 6.12 warns of its own failure to make a group.
NEAR: Final = 8

#: With which errno a call has to end when this has failed.
ERRNO: Final = {faults.ALLOCATION: ENOMEM, faults.USER_COPY: EFAULT}


@dataclass(frozen=True)
class Sweep:
    """Which points of a call fail, one at each time.

    Attributes:
        kind: what fails.
        within: addresses of which one must be among the callers of the point.
        depth: how many callers are looked at.
        step: 1 for every point, 2 for every other, ...
        errnos: how else than by ERRNO the call may end, because the kernel around the driver
            has errnos of its own for want of memory.
    """

    kind: str = faults.ALLOCATION
    within: tuple[int, int] | None = None
    depth: int = 32
    step: int = 1
    errnos: tuple[int, ...] = ()


def near(device: Device, *errnos: int) -> Sweep:
    """Return what fails where only what the driver does is judged."""
    module = sysfs.module(sysfs.driver(device.bdf) or "")
    within = faults.module_text(module) if module else None
    return Sweep(within=within, depth=NEAR, errnos=errnos)


def expect_clean(
    call: Callable[[], Any],
    *,
    did: str,
    probe: Callable[[], object] = lambda: None,
    undo: Callable[[Any], object] = lambda _result: None,
    sweep: Sweep = Sweep(),
) -> None:
    """Demand that the call fails cleanly, or succeeds, whichever of its points fails.

    ``undo`` gets what a successful call returned, and takes it back. ``probe`` reads what must be
    the same before the first call and after each.
    """
    __tracebackhide__ = True
    before = probe()
    tried = 0
    with faults.points(sweep.kind, within=sweep.within, depth=sweep.depth):
        for attempt in faults.attempts(call, step=sweep.step):
            where = f"{did} while {sweep.kind} fails, its number {attempt.number}"
            _judge(attempt, (ERRNO[sweep.kind], *sweep.errnos), where)
            with trace.quiet():
                if not attempt.errno:
                    undo(attempt.result)
                now = probe()
            expect_equal(now, before, did=f"{where}, then look at the device")
            tried += attempt.hit
    trace.note(f"{did}: {sweep.kind} failed at {tried} points")


def bars_that_read(device: Device) -> list[Region]:
    """Return the BARs whose first register can be read."""
    return [bar for bar in readable_bars(device) if _reads(device.fd, bar)]


def expect_bars(fd: int, bars: list[Region]) -> None:
    """Demand that an open file of the device reads the first register of each of these BARs."""
    __tracebackhide__ = True
    for bar in bars:
        did = f"open the device, with success, and read the first register of {bar.name}"
        expect_true(_reads(fd, bar), did=did, expected="its bytes", actual="none")


def _reads(fd: int, bar: Region) -> bool:
    try:
        return bool(os.pread(fd, WIDTH, bar.offset))
    except OSError:
        return False


def expect_bound(device: Device, devices: Devices, driver: str) -> None:
    """Demand that the function, which is taken from its driver, is bound cleanly.

    It is closed, and at the end bound undisturbed.
    """
    __tracebackhide__ = True
    bdf, sweep = device.bdf, near(device, *errorcode)
    devices.close()
    with unbound(bdf, driver) as fd:
        expect_clean(
            lambda: os.pwrite(fd, bdf.encode(), 0),
            did="bind the function",
            undo=lambda _count: sysfs.unbind(bdf),
            sweep=sweep,
        )


def _judge(attempt: faults.Attempt, allowed: tuple[int, ...], where: str) -> None:
    __tracebackhide__ = True
    if not attempt.errno or (attempt.hit and attempt.errno in allowed):
        return
    names = " or ".join(errno_words(one) for one in allowed)
    expected = f"success or {names}" if attempt.hit else "success, as nothing failed"
    fail(did=where, expected=expected, actual=errno_words(attempt.errno))
