# SPDX-License-Identifier: GPL-2.0-only
"""Failures on demand, with a counter of our own in place of the kernel's."""

import os
from collections.abc import Callable
from errno import ENOMEM
from pathlib import Path

import pytest

from conformance.kernel import faults, leaks

KMEMLEAK = """unreferenced object 0xffff8880 (size 16):
  comm "python3", pid 75, jiffies 4294898529
  hex dump (first 16 bytes):
    02 00 01 00 00 00 00 00 03 00 00 00 01 00 00 00  ................
  backtrace (crc 0):
    [<00000000a1>] krealloc_noprof+0x5b/0x120
    [<00000000a2>] vfio_info_add_capability+0x3a/0xb0 [vfio]
"""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Return a call with three points, the last of which it can do without."""
    counter = tmp_path / "fail-nth"
    counter.write_text("0")
    monkeypatch.setattr(faults, "FAIL_NTH", counter)

    def fails() -> bool:
        left = int(counter.read_text().split()[0])
        counter.write_text(f"{max(left - 1, 0)}\n")
        return left == 1

    def made() -> str:
        for _ in range(2):
            if fails():
                raise OSError(ENOMEM, os.strerror(ENOMEM))
        return "without" if fails() else "whole"

    return made


def test_each_point_fails_once(call: Callable[[], str]) -> None:
    seen = [
        (attempt.number, attempt.hit, attempt.errno, attempt.result)
        for attempt in faults.attempts(call)
    ]
    assert seen == [
        (1, True, ENOMEM, None),
        (2, True, ENOMEM, None),
        (3, True, 0, "without"),
        (4, False, 0, "whole"),
    ]


def test_steps_leave_points_out(call: Callable[[], str]) -> None:
    assert [attempt.number for attempt in faults.attempts(call, step=2)] == [1, 3, 5]


def test_a_call_without_end_is_reported(call: Callable[[], str]) -> None:
    with pytest.raises(RuntimeError, match="after 2"):
        list(faults.attempts(call, most=2))


@pytest.fixture
def debugfs(tmp_path: Path) -> Path:
    for name in ("failslab", "fail_page_alloc", "fail_usercopy"):
        (tmp_path / name).mkdir()
        for file, value in {"require-start": "0", "require-end": "9", "verbose": "2"}.items():
            (tmp_path / name / file).write_text(value)
    return tmp_path


def test_only_one_kind_of_points_counts(debugfs: Path) -> None:
    with faults.points(faults.ALLOCATION, within=(16, 32), directory=debugfs):
        assert (debugfs / "fail_usercopy/require-end").read_text() == "0x1"
        assert (debugfs / "failslab/require-start").read_text() == "0x10"
        assert (debugfs / "failslab/verbose").read_text() == "0"
    assert (debugfs / "failslab/require-start").read_text() == "0"
    assert (debugfs / "fail_usercopy/verbose").read_text() == "2"


def test_the_reason_for_a_kernel_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "FAIL_NTH", tmp_path / "none")
    assert "FAULT_INJECTION" in faults.missing(tmp_path)
    monkeypatch.setattr(faults, "FAIL_NTH", tmp_path)
    assert "debugfs" in faults.missing(tmp_path)


def test_a_leak_is_read_with_its_backtrace() -> None:
    (leak,) = leaks.parse(KMEMLEAK)
    assert leak.backtrace[-1] == "vfio_info_add_capability+0x3a/0xb0 [vfio]"
    assert 'comm "python3"' in str(leak)


def test_no_leak_is_none() -> None:
    assert leaks.parse("") == []
