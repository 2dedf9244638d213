# SPDX-License-Identifier: GPL-2.0-only
"""What the doctor knows of the file of a module, with `kpatch` and without."""

import gzip
import sys
from pathlib import Path

import pytest

from conformance.doctor.facts import optional

ELF = b"\x7fELF and the rest"


@pytest.fixture(params=[True, False], ids=["kpatch", "no-kpatch"])
def has_kpatch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Let `kpatch.module` be there, or not."""
    if not request.param:
        monkeypatch.setitem(sys.modules, "kpatch.module", None)
    return bool(request.param)


def test_module_that_is_not_packed(tmp_path: Path, has_kpatch: bool) -> None:
    path = tmp_path / "a.ko"
    path.write_bytes(ELF)
    assert optional.unpacked(path) == ELF, f"kpatch: {has_kpatch}"


def test_packed_module(tmp_path: Path, has_kpatch: bool) -> None:
    path = tmp_path / "a.ko.gz"
    path.write_bytes(gzip.compress(ELF))
    assert optional.unpacked(path) == (ELF if has_kpatch else None)


def test_missing_module(tmp_path: Path, has_kpatch: bool) -> None:
    with pytest.raises(FileNotFoundError):
        optional.unpacked(tmp_path / f"{has_kpatch}.ko")


def test_file_without_an_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kpatch.module", None)
    assert optional.unpacked(Path("/dev/zero")) is None
