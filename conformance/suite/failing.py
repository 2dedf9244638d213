# SPDX-License-Identifier: GPL-2.0-only
"""Judges calls of which every allocation, or every copy, fails once."""

from collections.abc import Callable
from errno import EFAULT, ENOMEM
from typing import Any, Final

from conformance.checks import errno_words, expect_equal, fail
from conformance.vfio import faults, trace

#: With which errno a call has to end when this has failed.
ERRNO: Final = {faults.ALLOCATION: ENOMEM, faults.USER_COPY: EFAULT}


def expect_clean(
    call: Callable[[], Any],
    *,
    did: str,
    probe: Callable[[], object],
    undo: Callable[[Any], object] = lambda _result: None,
    kind: str = faults.ALLOCATION,
) -> None:
    """Demand that the call fails cleanly, or succeeds, whichever of its points fails.

    ``undo`` gets what a successful call returned, and takes it back. ``probe`` reads what must be
    the same before the first call and after each.
    """
    __tracebackhide__ = True
    before = probe()
    tried = 0
    with faults.points(kind):
        for attempt in faults.attempts(call):
            tried = attempt.number
            where = f"{did} while {kind} fails, its number {tried}"
            with trace.quiet():
                if not attempt.errno:
                    undo(attempt.result)
                now = probe()
            _judge(attempt, ERRNO[kind], where)
            expect_equal(now, before, did=f"{where}, then look at the device")
    trace.note(f"{did}: {tried - 1} points at which {kind} can fail")


def _judge(attempt: faults.Attempt, allowed: int, where: str) -> None:
    __tracebackhide__ = True
    if not attempt.errno or (attempt.hit and attempt.errno == allowed):
        return
    expected = f"success or {errno_words(allowed)}" if attempt.hit else "success, nothing failed"
    fail(did=where, expected=expected, actual=errno_words(attempt.errno))
