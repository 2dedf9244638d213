# SPDX-License-Identifier: GPL-2.0-only
"""The command line names the device in either of two ways."""

from __future__ import annotations

import pytest

from conformance.cli.arguments import parse


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
