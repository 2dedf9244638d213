# SPDX-License-Identifier: GPL-2.0-only
"""Each command prints what its output cannot encode."""

import os
import subprocess
import sys

import pytest

from kpatch.device.load import FOLDER

KIT = FOLDER.parents[1]
ODD = "\N{LATIN SMALL LETTER E WITH ACUTE}\udcff"


@pytest.mark.parametrize("package", ["kpatch", "conformance", "conformance.doctor"])
def test_names_that_are_no_text(package: str) -> None:
    program = f"import sys; from {package}.__main__ import main\n"
    program += "try: main(['--help'])\nexcept SystemExit: print(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, ODD],
        cwd=KIT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.stderr == b""
    assert done.stdout.splitlines()[-1] == rb"\xe9\udcff"
