# SPDX-License-Identifier: GPL-2.0-only
"""The faults that `tox -e gate` plants are still ones of the series, which changes with the kit."""

from pathlib import Path

import pytest

from conformance.tests.gate.test_gate_real import BREAKS, SEEDED, Fault, Real
from kpatch.tests.series.fake_source import make_source

FAULTS = [pytest.param(one.values[0], id=one.id) for one in SEEDED]


@pytest.mark.parametrize("fault", [*FAULTS, pytest.param(BREAKS, id="breaks")])
def test_a_fault_has_its_place(tmp_path: Path, fault: Fault) -> None:
    real = Real(make_source(tmp_path / "linux"), tmp_path, tmp_path, tmp_path / "work")
    real.folder.mkdir()
    series = real.seeded((fault,), 5)
    (patch,) = series.glob(f"{fault.patch:04}-*")
    added = [line[1:] for line in patch.read_text().splitlines() if line.startswith("+")]
    assert not fault.new or fault.new.strip("\n").splitlines()[0] in "\n".join(added)
