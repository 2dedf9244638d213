# SPDX-License-Identifier: GPL-2.0-only
"""Programs in the guest, on a function with the driver, as the VFIO selftests of a tree are run.

Needs the image trixie in the cache (`python -m conformance image trixie`).
"""

from pathlib import Path

import pytest

from conformance.lab.check import selftests
from conformance.lab.check.prepare import Options, look_up
from conformance.lab.image import definitions, image
from conformance.lab.image.image import Image
from conformance.running.steps import Steps

TRIXIE = definitions.image("trixie")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Image(TRIXIE, image.place(TRIXIE)).exists(),
        reason="the image trixie is not in the cache (python -m conformance image trixie)",
    ),
]

BOUND = """#!/bin/sh
echo 1..2
[ "$(basename $(readlink /sys/bus/pci/devices/$1/driver))" = igb_vf_vfio_pci ] || echo -n "not "
echo "ok 1 bound"
echo "ok 2 pages # SKIP none"
"""
DIES = '#!/bin/sh\necho 1..2\necho "ok 1 a"\nkill -6 $$\n'
WARNS = '#!/bin/sh\necho 1..1\necho "ok 1 a"\necho "<0>BUG: bad" >/dev/kmsg\n'


def run(folder: Path, **texts: str) -> list[selftests.Ran]:
    programs = {}
    for name, text in texts.items():
        programs[name] = folder / name
        programs[name].write_text(text)
    (folder / "results").mkdir()
    request = look_up(Options("igb-vf"))
    return selftests.run(request, programs, folder / "results", Steps(print))


def test_a_program_sees_the_function_with_its_driver(tmp_path: Path) -> None:
    good, bad = run(tmp_path, bound=BOUND, dies=DIES)
    assert (good.status, good.passed, good.failed) == (0, ("bound",), ())
    assert good.skipped == ("pages: none",)
    assert (bad.status, bad.passed, bad.failed) == (-6, ("a",), ("dies reported 1 of 2 tests",))


def test_what_user_space_writes_is_no_fault(tmp_path: Path) -> None:
    (ran,) = run(tmp_path, writes=WARNS)
    assert ran.passed == ("a",)
