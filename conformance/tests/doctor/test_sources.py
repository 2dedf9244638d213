# SPDX-License-Identifier: GPL-2.0-only
"""What the doctor's advice was checked against is there, and says so.

VFIO_KIT_LINUX names the whole source of a kernel for what is Linux's: `tox -e gate` sets it.
"""

import os
from pathlib import Path

import pytest

from conformance.doctor.checks.checks import CHECKS
from conformance.doctor.checks.sources import SOURCES, Source
from conformance.running import paths

ALL = sorted({source for sources in SOURCES.values() for source in sources}, key=str)


def test_each_check_names_its_sources() -> None:
    assert list(SOURCES) == [check.name for check in CHECKS]
    assert all(SOURCES.values())


@pytest.mark.parametrize("source", [one for one in ALL if one.kit], ids=str)
def test_what_is_the_kits(source: Source) -> None:
    assert source.words in (paths.KIT / source.where).read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("source", [one for one in ALL if one.words and not one.kit], ids=str)
def test_what_is_of_linux(source: Source) -> None:
    linux = Path(os.environ.get("VFIO_KIT_LINUX", "/nonexistent"))
    if not (linux / "arch/x86/Kconfig").is_file():
        pytest.skip("VFIO_KIT_LINUX does not name the whole source of a kernel")
    assert source.words in (linux / source.where).read_text("utf-8")
