# SPDX-License-Identifier: GPL-2.0-only
"""Checks: one-line assertions of what a rule demands.

Every helper takes ``did``, what the test did in words, and optionally ``rule``, the id of the
requirement. Without it the first id of the test's ``rule`` marker counts.
"""

import errno as _errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

from conformance.vfio.errors import ShortTransfer


class RequirementFailed(AssertionError):
    """The device broke a rule: its id, the step, what was expected, what came back.

    ``rule`` is empty where the check named none: the first rule of the test's marker then.
    """

    def __init__(self, rule: str = "", *, did: str, expected: str, actual: str) -> None:
        super().__init__(f"{did}: expected {expected}, got {actual}")
        self.rule = rule
        self.did = did
        self.expected = expected
        self.actual = actual

    def __reduce__(self) -> tuple[Any, ...]:
        # A child process may raise it.
        words = {"did": self.did, "expected": self.expected, "actual": self.actual}
        return partial(type(self), **words), (self.rule,)


def fail(rule: str | None = None, *, did: str, expected: str, actual: str) -> NoReturn:
    """Raise :class:`RequirementFailed`."""
    __tracebackhide__ = True
    raise RequirementFailed(rule or "", did=did, expected=expected, actual=actual) from None


def errno_words(number: int | None) -> str:
    """Return the name of an errno, or its number where it has none."""
    return _errno.errorcode.get(number or 0, f"errno {number}")


class Call:
    """What :func:`expect_errno` yields: set ``result`` to what the call returned, if it did."""

    result: Any = None


@contextmanager
def expect_errno(*errnos: int, did: str, rule: str | None = None) -> Iterator[Call]:
    """Demand that the block is refused with one of ``errnos``, or with any errno if none is given.

    A call that returns, in whole or short, is not a refusal.
    """
    __tracebackhide__ = True
    names = " or ".join(errno_words(number) for number in errnos) or "an error"
    call = Call()
    try:
        yield call
    except OSError as error:
        if errnos and error.errno not in errnos:
            fail(rule, did=did, expected=names, actual=errno_words(error.errno))
        return
    except ShortTransfer as short:
        fail(rule, did=did, expected=names, actual=f"{short.moved} of {short.wanted} bytes")
    returned = "success" if call.result is None else f"success, returning {call.result!r}"
    fail(rule, did=did, expected=names, actual=returned)


@contextmanager
def expect_success(*, did: str, rule: str | None = None) -> Iterator[None]:
    """Demand that the block's calls succeed and move all their bytes."""
    __tracebackhide__ = True
    try:
        yield
    except OSError as error:
        fail(rule, did=did, expected="success", actual=errno_words(error.errno))
    except ShortTransfer as short:
        actual = f"{short.moved} of {short.wanted} bytes without an error"
        fail(rule, did=did, expected="success", actual=actual)


def expect_equal(actual: object, expected: object, *, did: str, rule: str | None = None) -> None:
    """Demand that two values are equal; integers are printed in decimal and hexadecimal."""
    __tracebackhide__ = True
    if actual != expected:
        fail(rule, did=did, expected=_shown(expected), actual=_shown(actual))


def expect_true(
    condition: object, *, did: str, expected: str, actual: str, rule: str | None = None
) -> None:
    """Demand a condition; ``expected`` and ``actual`` are words."""
    __tracebackhide__ = True
    if not condition:
        fail(rule, did=did, expected=expected, actual=actual)


@contextmanager
def unchanged(
    probe: Callable[[], object], *, did: str, rule: str | None = None, what: str = ""
) -> Iterator[None]:
    """Demand that ``probe()`` returns the same after the block as before it.

    ``what`` names what the probe reads. The block's own failure comes first.
    """
    __tracebackhide__ = True
    before = probe()
    yield
    after = probe()
    if after != before:
        named = f"{what} " if what else ""
        fail(
            rule,
            did=did,
            expected=f"{named}unchanged ({_shown(before)})",
            actual=f"{named}{_shown(after)}",
        )


def _shown(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        text = repr(value)
        return text if len(text) <= 200 else f"{text[:200]} ... ({len(text)} characters)"
    return f"{value}" if abs(value) < 10 else f"{value} ({value:#x})"
