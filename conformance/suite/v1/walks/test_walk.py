# SPDX-License-Identifier: GPL-2.0-only
"""Random walks against the oracle: all that can be done with one device, in any order."""

import pytest

from conformance.suite.v1.walks import walk_machine
from conformance.suite.v1.walks.walker import Walker

#: What the oracle judges on the way; a failure names the one that was broken.
JUDGED = (
    "state.readback",
    "state.no-spontaneous",
    "state.invalid",
    "state.unknown-bits",
    "state.error-exit",
    "state.reset",
    "state.reset-every-way",
    "state.decode-off",
    "state.keeps-config",
    "save.pending-pure",
    "save.stable",
    "save.window",
    "save.terminates",
    "resume.same-chunks",
    "resume.round-trip",
    "resume.invalid",
    "saving.refuse",
    "saving.accept",
    "saving.late-mmap",
    "saving.after",
)


@pytest.mark.rule(*JUDGED)
def test_random_walks(walker: Walker, part: int, walks: int, seed: int) -> None:
    """Take random walks over states, mappings, buffers, registers and resets: as the oracle says.

    A walk that goes wrong is shortened, and shown as a test at the end of the calls.
    """
    walk_machine.walk(walker, walks, seed + part)
