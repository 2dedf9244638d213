# SPDX-License-Identifier: GPL-2.0-only
"""The page of a matrix: everybody can read it, and each cell leads to its own page."""

from dataclasses import replace
from pathlib import Path

from conformance.matrix import page
from conformance.matrix.cells import Column
from conformance.tests.matrix.test_matrix import judged
from conformance.tests.report.html import mistakes, read

EVIL = "</td><script>alert(1)</script>\x1b[31m"


def test_the_page_has_the_table_and_each_cell(tmp_path: Path) -> None:
    shown = judged(tmp_path)
    (tmp_path / "igb-vf-trixie" / "report.html").write_text("")
    path = page.write(tmp_path, shown)
    found = read(path)
    assert mistakes(found, tmp_path) == []
    matrix, cells = found.all("table")
    row = matrix.all("tr")[1]
    assert row.all("th")[0].text == "igb-vf"
    assert [one.text for one in row.all("span")] == ["does not conform", "not run"]
    assert "5/6" in row.words()
    one, two = cells.all("tr")[1:]
    assert [x.attributes["href"] for x in one.all("a")] == ["igb-vf-trixie/report.html"]
    assert "save.offset" in one.words()
    assert not two.all("a")  # it was not run
    assert "QEMU is too old" in two.words()
    assert "Exit code 1" in found.words()


def test_a_cell_cannot_write_the_page(tmp_path: Path) -> None:
    cells = [
        replace(one, device=EVIL, reason=EVIL, column=Column(EVIL, EVIL))
        for one in judged(tmp_path)
    ]
    found = read(page.write(tmp_path, cells))
    assert mistakes(found) == []
    assert len(found.all("script")) == 1
    assert "alert(1)" in found.all("table")[1].words()
    assert "\x1b" not in (tmp_path / "report.html").read_text()
