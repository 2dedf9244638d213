# SPDX-License-Identifier: GPL-2.0-only
"""Random walks over states, data, mappings and registers: each step as the oracle says."""

import pytest

from conformance.suite.v2.walks import walk_machine
from conformance.suite.v2.walks.walker import Walker

#: What a walk may find broken: the rules that its steps name.
JUDGED = (
    "fsm.invalid",
    "fsm.blocked",
    "fsm.same",
    "fsm.no-spontaneous",
    "mig2.get",
    "data.new",
    "data.eof",
    "error.sticky",
    "reset2.running",
    "resume2.incomplete",
    "resume2.any-segmentation",
    "resume2.round-trip",
    "saving2.entry",
    "saving2.late-mmap",
    "saving.after",
)


@pytest.mark.rule(*JUDGED)
def test_random_walks(walker: Walker, part: int, walks: int, seed: int) -> None:
    """Take random walks over states, mappings, data, registers and resets: as the oracle says.

    A walk that goes wrong is shortened, and shown as a test at the end of the calls.
    """
    walk_machine.walk(walker, walks, seed + part)
