# SPDX-License-Identifier: GPL-2.0-only
"""What the tests on a machine with functions need of it, told without one."""

import os
import re
import subprocess
import sys
from pathlib import Path

from conformance.running import paths
from conformance.tests.host.guest_machine import ON_MACHINE


def test_a_machine_needs_no_package_that_only_tests_of_the_kit_use(tmp_path: Path) -> None:
    for name in ("hypothesis", "xdist", "mypy", "kcidb_io"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no', name='{name}')\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    argv = [sys.executable, *ON_MACHINE, "--collect-only"]
    done = subprocess.run(argv, cwd=paths.KIT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"collected (\d+) items", done.stdout)
    assert found
    assert int(found[1]) > 20
