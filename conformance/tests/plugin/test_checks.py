# SPDX-License-Identifier: GPL-2.0-only
"""The judgements: what passes, what fails, and in which words."""

import errno

import pytest

from conformance.plugin import checks
from conformance.plugin.checks import (
    RequirementFailed,
    expect_equal,
    expect_errno,
    expect_success,
    expect_true,
    fail,
    unchanged,
)
from conformance.vfio.errors import ShortTransfer

SHORT = ShortTransfer("write BAR0", wanted=4, moved=2)


def _refuse(number: int) -> None:
    raise OSError(number, "refused")


def _run_short() -> None:
    raise SHORT


def test_the_failure_tells_everything() -> None:
    with pytest.raises(RequirementFailed) as caught:
        fail(did="map BAR0", expected="success", actual="EBUSY")
    failure = caught.value
    assert (failure.rule, failure.did) == ("", "map BAR0")
    assert (failure.expected, failure.actual) == ("success", "EBUSY")
    assert str(failure) == "map BAR0: expected success, got EBUSY"
    assert isinstance(failure, AssertionError)


def test_a_check_may_name_its_own_rule() -> None:
    with pytest.raises(RequirementFailed) as caught:
        fail("other.rule", did="x", expected="y", actual="z")
    assert caught.value.rule == "other.rule"


def test_the_right_errno_passes() -> None:
    with expect_errno(errno.EBUSY, did="x"):
        _refuse(errno.EBUSY)
    with expect_errno(errno.EINVAL, errno.EBUSY, did="x"):
        _refuse(errno.EBUSY)
    with expect_errno(did="x"):
        _refuse(errno.EIO)


def test_another_errno_fails() -> None:
    with (
        pytest.raises(RequirementFailed, match="expected EBUSY, got EINVAL"),
        expect_errno(errno.EBUSY, did="x"),
    ):
        _refuse(errno.EINVAL)


def test_success_is_no_refusal() -> None:
    with (
        pytest.raises(RequirementFailed, match="expected EBUSY, got success"),
        expect_errno(errno.EBUSY, did="x"),
    ):
        pass


def test_what_was_returned_is_reported() -> None:
    with (
        pytest.raises(RequirementFailed, match="expected an error, got success, returning 0"),
        expect_errno(did="x") as call,
    ):
        call.result = 0


def test_a_short_count_is_no_refusal() -> None:
    with (
        pytest.raises(RequirementFailed, match="expected EBUSY, got 2 of 4 bytes"),
        expect_errno(errno.EBUSY, did="x"),
    ):
        _run_short()


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), expect_errno(errno.EBUSY, did="x"):
        raise ZeroDivisionError


def test_expected_success() -> None:
    with expect_success(did="x"):
        pass
    with (
        pytest.raises(RequirementFailed, match="expected success, got EBUSY"),
        expect_success(did="x"),
    ):
        _refuse(errno.EBUSY)
    with pytest.raises(RequirementFailed, match="got 2 of 4 bytes"), expect_success(did="x"):
        _run_short()


def test_equal() -> None:
    expect_equal(1, 1, did="x")
    with pytest.raises(RequirementFailed, match=r"expected 16 \(0x10\), got 3$"):
        expect_equal(3, 16, did="x")
    with pytest.raises(RequirementFailed, match="expected True, got False"):
        expect_equal(False, True, did="x")


def test_long_values_are_cut() -> None:
    with pytest.raises(RequirementFailed) as caught:
        expect_equal(bytes(1000), b"", did="x")
    assert len(caught.value.actual) < 300


def test_a_condition() -> None:
    expect_true([1], did="x", expected="something", actual="nothing")
    with pytest.raises(RequirementFailed, match="expected something, got nothing"):
        expect_true([], did="x", expected="something", actual="nothing")


def test_unchanged() -> None:
    values = [1]
    with unchanged(lambda: values[0], did="x"):
        pass
    with (
        pytest.raises(RequirementFailed, match=r"expected state unchanged \(1\), got state 2"),
        unchanged(lambda: values[0], did="x", what="state"),
    ):
        values[0] = 2


def test_the_failure_inside_comes_first() -> None:
    values = [1]

    def change_and_fail() -> None:
        values[0] = 2
        fail(did="inner", expected="a", actual="b")

    with pytest.raises(RequirementFailed, match="inner"), unchanged(lambda: values[0], did="x"):
        change_and_fail()


def test_an_unknown_errno_has_a_number() -> None:
    assert checks.errno_words(9999) == "errno 9999"
    assert checks.errno_words(None) == "errno None"
