# SPDX-License-Identifier: GPL-2.0-only
"""Memory that is missing for a while."""

import mmap
import tempfile
import time

import pytest

from conformance.vfio.memory import libc
from conformance.vfio.memory.mapping import anonymous
from conformance.vfio.memory.userfault import Userfault

PAGE = mmap.PAGESIZE


def read(address: int, size: int) -> bytes:
    """Return memory as a system call sees it, which lets Python's other threads run."""
    with tempfile.TemporaryFile() as file:
        assert libc.write_from(file.fileno(), address, size) == size
        file.seek(0)
        return file.read()


def test_page_comes_after_a_while() -> None:
    content = bytes(range(256)) * (2 * PAGE // 256)
    with anonymous(2 * PAGE) as memory:
        try:
            made = Userfault(memory.address, content, 0.05)
        except OSError as error:
            pytest.skip(f"userfaultfd: {error}")
        with made:
            begun = time.monotonic()
            assert read(memory.address + PAGE + 3, 8) == content[PAGE + 3 : PAGE + 11]
            assert time.monotonic() - begun >= 0.05
            assert made.faults == 1
            assert read(memory.address + PAGE, PAGE) == content[PAGE:]
            assert made.faults == 1
        assert read(memory.address, PAGE) == bytes(PAGE)
        made.close()
