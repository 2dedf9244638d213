# SPDX-License-Identifier: GPL-2.0-only
"""Ring registers that are written from a buffer that is not there, while the device receives."""

import random
from errno import EFAULT

import pytest

from conformance.migration.saver import Saver, Stage
from conformance.plugin.checks import expect_errno, expect_success
from conformance.suite.support.receiving import (
    begin,
    expect_reported,
    fill,
    need_82576,
)
from conformance.vfio.memory import libc
from conformance.vfio.receiving import i82576
from conformance.vfio.receiving.receiver import Receiver

pytestmark = [pytest.mark.rule("saving.bad-buffer"), pytest.mark.usefixtures("apart")]

DID = "write a queue's register in pre-copy, no buffer"
#: Registers of an 82576 beside its tail.
OTHERS = {
    "base": i82576.BASE,
    "size": i82576.CONTROL,
    "head": i82576.HEAD,
    "enables": i82576.ENABLES,
}


@pytest.mark.parametrize("name", ["tail", *OTHERS])
def test_register(saver: Saver, receiver: Receiver, rng: random.Random, name: str) -> None:
    """Write a register of a queue in pre-copy from a bad buffer: EFAULT, the save goes on."""
    if name in OTHERS:
        need_82576(receiver)
    receiver.refill(rng, 8)
    begin(saver, receiver)
    first = receiver.traffic.count()
    with expect_errno(EFAULT, did=DID) as call:
        place = OTHERS.get(name, receiver.TAIL)
        call.result = receiver.device.region(0).write_from(libc.NOWHERE, place, 4)
    receiver.refill(rng, 8)
    fill(receiver, receiver.waiting, f"{DID}, receive")
    with expect_success(did=f"{DID}, receive, enter stop-and-copy"):
        saver.enter(Stage.STOP_COPY)
    written = receiver.pages(first, receiver.traffic.count())
    expect_reported(receiver, written, f"{DID}, receive, enter stop-and-copy")
