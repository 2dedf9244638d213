# SPDX-License-Identifier: GPL-2.0-only
"""`check --bdf`, `run` and `restore` on a machine of the lab that is like a test machine.

Needs the images of test machines, Debian 13 and 12 (`python -m conformance image testhost
testhost-bookworm`), and VFIO_KIT_BOOT=1, since each takes a quarter of an hour without KVM:
`tox -e host`.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from conformance.lab.image import definitions, image
from conformance.lab.image.image import Image
from conformance.tests.host import guest_machine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("VFIO_KIT_BOOT"), reason="VFIO_KIT_BOOT is not set; tox -e host"
    ),
]

QUIET = 1200.0
"""Seconds without a line; the first test builds the driver in the guest, which takes minutes."""


@pytest.mark.parametrize("name", guest_machine.PYTHONS)
def test_a_machine_with_the_device(name: str, tmp_path: Path) -> None:
    definition = definitions.image(name)
    if not Image(definition, image.place(definition)).exists():
        pytest.skip(f"the image {name} is not in the cache (python -m conformance image {name})")
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        sys.stdout.write(f"{line}\n")

    argv = guest_machine.ON_MACHINE
    assert guest_machine.run(name, argv, tmp_path, say, quiet=QUIET) == 0
    assert re.search(r"\d\d passed in", lines[-1])
    assert "skipped" not in lines[-1]
