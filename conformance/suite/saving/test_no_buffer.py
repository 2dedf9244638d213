# SPDX-License-Identifier: GPL-2.0-only
"""Ring registers that are written from a buffer that is not there, while the device receives."""

import random
from errno import EFAULT

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_errno, expect_success
from conformance.suite.support.receiving import FAST, begin, expect_reported, wait_for
from conformance.vfio.memory import libc
from conformance.vfio.receiving.receiver import Receiver

pytestmark = [pytest.mark.rule("saving.bad-buffer"), pytest.mark.usefixtures("apart")]

DID = "write the tail in pre-copy, no buffer"


def test_tail(saver: Saver, receiver: Receiver, rng: random.Random) -> None:
    """Write the tail of a queue in pre-copy from a bad buffer: EFAULT, the save goes on."""
    receiver.refill(rng, 8)
    begin(saver, receiver)
    first = receiver.traffic.count()
    with expect_errno(EFAULT, did=DID) as call:
        call.result = receiver.device.region(0).write_from(libc.NOWHERE, receiver.TAIL, 4)
    receiver.refill(rng, 8)
    receiver.traffic.set_rate(FAST)
    wait_for(receiver, first + receiver.waiting, f"{DID}, receive")
    with expect_success(did=f"{DID}, receive, enter stop-and-copy"):
        saver.enter(Stage.STOP_COPY)
    written = receiver.pages(first, receiver.traffic.count())
    expect_reported(receiver, written, f"{DID}, receive, enter stop-and-copy")
