# SPDX-License-Identifier: GPL-2.0-only
"""A good description, and what is wrong with changed ones."""

from __future__ import annotations

import pytest

from kpatch.device import load as device
from kpatch.errors import DescriptionError

GOOD = """
schema = 1
name = "test-vf"
summary = "Test virtual function"
transport = "pci"
ids = [{ vendor = 0x8086, device = 0x10ca }]

[[bar]]
index = 0
size = 0x4000
trapped_while_saving = [{ offset = 0x2818, size = 4, why = "tail" }]

[migration]
data_size = 0x2000

[[migration.state]]
name = "LEN"
bar = 0
offset = 0x100
mask = 0x80000fff

[[migration.state]]
name = "HALF"
bar = 0
offset = 0x204
width = 2
count = 2

[[migration.stop]]
name = "LEN"
bar = 0
offset = 0x100
clear = 0x80000000
"""


def complaints(text: str) -> list[str]:
    """The mistakes of a description, one line each."""
    with pytest.raises(DescriptionError) as caught:
        device.parse(text, "test.toml")
    assert caught.value.exit_code == 2
    assert str(caught.value).count("\n") == len(caught.value.mistakes)
    return [str(mistake) for mistake in caught.value.mistakes]


def changed(old: str, new: str) -> str:
    """The good description with one change."""
    assert GOOD.count(old) >= 1
    return GOOD.replace(old, new, 1)
