# SPDX-License-Identifier: GPL-2.0-only
"""What the whole session has left behind in the kernel. Runs last, see conftest.py."""

import pytest

from conformance.kernel import leaks
from conformance.plugin.checks import expect_true
from conformance.vfio.device import Device

_OPENED = 8


@pytest.mark.alone
@pytest.mark.rule("robust.leak")
@pytest.mark.skipif(bool(leaks.missing()), reason=leaks.missing() or "no reason")
def test_no_memory_was_lost(device: Device) -> None:
    """Open the device anew, again and again, and let kmemleak scan: it finds nothing."""
    for _ in range(_OPENED):  # a stale pointer can hide one lost object, not all
        device.reopen()
    found = [str(leak) for leak in leaks.scan()]
    expect_true(
        not found,
        did="let kmemleak look for lost memory after all tests",
        expected="none",
        actual="; ".join(found),
    )
