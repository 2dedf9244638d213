# SPDX-License-Identifier: GPL-2.0-only
"""Each command prints what its output cannot encode, and names a package that is missing."""

import os
import re
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


def test_python_without_the_packages_of_the_kit() -> None:
    """Not 1, with which `inspect` ends where it has found a problem."""
    argv = [sys.executable, "-S", "-m", "kpatch", "inspect", "x.ko"]
    done = subprocess.run(argv, cwd=KIT, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert re.match(
        r"kpatch: it needs the Python package \w+, .* use \.venv/bin/python", done.stderr
    )
