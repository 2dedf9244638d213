# SPDX-License-Identifier: GPL-2.0-only
"""The command line names the device in either of two ways."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conformance.cli.arguments import parse
from conformance.running import paths


@pytest.mark.parametrize("command", ["check", "shell"])
@pytest.mark.parametrize(
    ("words", "device"),
    [
        ([], "igb-vf"),
        (["i40e-vf"], "i40e-vf"),
        (["--device", "i40e-vf"], "i40e-vf"),
        (["--image", "bookworm", "--device", "i40e-vf"], "i40e-vf"),
    ],
)
def test_device_is_the_one_that_was_named(command: str, words: list[str], device: str) -> None:
    assert parse([command, *words]).device == device


def test_the_command_line_is_read_with_the_standard_library_alone() -> None:
    # The doctor, and what says that a package is missing, must run where nothing is installed.
    script = "from conformance.cli.arguments import parse; parse(['check']); import sys; "
    script += "print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    argv = [sys.executable, "-S", "-c", script]
    said = subprocess.run(argv, cwd=paths.KIT, capture_output=True, text=True, check=True).stdout
    assert set(said.split()) == {"conformance", "__main__"} - sys.stdlib_module_names
