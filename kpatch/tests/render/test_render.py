# SPDX-License-Identifier: GPL-2.0-only
"""The same input gives the same driver, and nothing half."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from kpatch.device import load as device
from kpatch.errors import OutputError, TemplateError
from kpatch.kernel.features import Features
from kpatch.render.context import arcs, layout_id, variables
from kpatch.render.form import Form
from kpatch.render.render import TEMPLATES, render, texts
from kpatch.tests.render.pinned import LINUX_6_12
from kpatch.tests.render.refresh_golden import FORMS, GOLDEN, TREES, folder

DEVICES = device.names()


def tree(folder: Path) -> dict[str, str]:
    """All files of a folder with their text."""
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


forms = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)


@pytest.mark.parametrize(("name", "form"), TREES, ids=lambda part: getattr(part, "name", part))
def test_golden_tree(name: str, form: Form) -> None:
    """A wanted change: python -m kpatch.tests.render.refresh_golden, and review the diff."""
    rendered = texts(device.load(name), LINUX_6_12, form=form)
    assert rendered == tree(GOLDEN / folder(name, form))


def test_golden_trees_are_of_known_devices() -> None:
    known = {folder(name, form) for name, form in TREES}
    assert {path.name for path in GOLDEN.iterdir()} == known


@pytest.mark.parametrize("name", DEVICES)
def test_rendering_again_writes_nothing(name: str, tmp_path: Path) -> None:
    written = render(device.load(name), LINUX_6_12, tmp_path)
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()}
    times = [path.stat().st_mtime_ns for path in written]
    assert render(device.load(name), LINUX_6_12, tmp_path) == []
    assert [path.stat().st_mtime_ns for path in written] == times


def test_only_what_differs_is_replaced(tmp_path: Path) -> None:
    one = device.load("igb-vf")
    render(one, LINUX_6_12, tmp_path)
    (tmp_path / "main.c").write_text("edited\n")
    (tmp_path / "main.o").write_text("of the build\n")
    assert render(one, LINUX_6_12, tmp_path) == [tmp_path / "main.c"]
    assert (tmp_path / "main.o").exists()


def test_file_whose_code_is_the_same_keeps_its_time(tmp_path: Path) -> None:
    """The name of the device is in a comment of each file, and in a string of one."""
    one = device.load("igb-vf")
    before = {path: path.stat().st_mtime_ns for path in render(one, LINUX_6_12, tmp_path)}
    renamed = one.model_copy(update={"summary": "Another function"})
    written = [
        path for path in render(renamed, LINUX_6_12, tmp_path) if path.suffix in {".c", ".h"}
    ]
    assert tmp_path / "igb_vf.h" in written
    newer = [path.name for path in written if path.stat().st_mtime_ns != before[path]]
    assert newer == ["main.c"]


@forms
@pytest.mark.parametrize("name", DEVICES)
def test_every_file_says_where_it_comes_from(name: str, form: Form) -> None:
    for file, text in texts(device.load(name), LINUX_6_12, form=form).items():
        head = "".join(text.splitlines(keepends=True)[:10])
        assert "SPDX-License-Identifier: GPL-2.0-only" in head, file
        assert f"Generated from {name}.toml" in head, file


@forms
@pytest.mark.parametrize("name", DEVICES)
def test_form_is_that_of_the_kernel(name: str, form: Form) -> None:
    """As far as it can be shown without checkpatch: widths, blanks, ends of files."""
    for file, text in texts(device.load(name), LINUX_6_12, form=form).items():
        assert text.endswith("\n"), file
        assert not text.endswith("\n\n"), file
        assert "\n\n\n" not in text, file
        for number, line in enumerate(text.splitlines(), 1):
            # A string is not split, so that it can be searched for.
            assert len(line.expandtabs(8)) <= 100 or '"' in line, f"{file}:{number}"
            assert line == line.rstrip(), f"{file}:{number}"


@forms
@pytest.mark.parametrize("name", DEVICES)
def test_log_of_dma_writes_is_there_if_it_can_be_reported(name: str, form: Form) -> None:
    """And if the driver knows of writes: it does them itself, or follows the rings."""
    one = device.load(name)
    with_bitmap = texts(one, LINUX_6_12, form=form)
    without = texts(one, dataclasses.replace(LINUX_6_12, iova_bitmap=False), form=form)
    knows = one.emulated or "rings.c" in with_bitmap
    assert ("dma_log.c" in with_bitmap) == bool("v2" in form.protocols and knows)
    assert "dma_log.c" not in without
    for file, text in without.items():
        assert not re.search("log_ops|log_init|log_add|dma_write|dma_log", text), file


@pytest.mark.parametrize("field", [one.name for one in dataclasses.fields(Features)])
@pytest.mark.parametrize("name", DEVICES)
def test_every_feature_renders_either_way(name: str, field: str) -> None:
    other = dataclasses.replace(LINUX_6_12, **{field: not getattr(LINUX_6_12, field)})
    assert set(texts(device.load(name), other)) == set(texts(device.load(name), LINUX_6_12))


def test_broken_template_writes_nothing(tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    for path in TEMPLATES.rglob("*.j2"):
        copy = templates / path.relative_to(TEMPLATES)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    broken = templates / "driver" / "Makefile.j2"
    one, out = device.load("igb-vf"), tmp_path / "out"
    for text, complaint in (
        ("a\n{{ no_such_name }}\n", r"driver/Makefile.j2, line 2 is broken: 'no_such_name'"),
        ("{% if %}", r"driver/Makefile.j2, line 1 is broken"),
    ):
        broken.write_text(text)
        with pytest.raises(TemplateError, match=complaint):
            render(one, LINUX_6_12, out, templates=templates)
    broken.unlink()
    with pytest.raises(TemplateError, match=r"The template driver/Makefile\.j2 does not exist"):
        render(one, LINUX_6_12, out, templates=templates)
    assert not out.exists()


def test_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "out" / "main.c").mkdir(parents=True)
    for out in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "out"):
        with pytest.raises(OutputError) as caught:
            render(device.load("igb-vf"), LINUX_6_12, out)
        assert caught.value.exit_code == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["main.c"]


def test_layout_id_is_that_of_the_registers_not_of_their_names() -> None:
    state = device.load("igb-vf").migration.state
    renamed = [one.model_copy(update={"name": f"{one.name}_"}) for one in state]
    moved = [state[0].model_copy(update={"offset": 0x1708}), *state[1:]]
    assert layout_id(renamed) == layout_id(state)
    assert layout_id(moved) != layout_id(state)
    assert layout_id(state[::-1]) != layout_id(state)


def test_arcs_are_what_the_protocol_demands_and_what_the_description_adds() -> None:
    plain = arcs(())
    assert plain == [[0, 1, 2], [0, 1, 2, 3, 4], [0, 1, 2], [1, 2, 3], [1, 4], [], [], []]
    more = arcs(("0->4", "4->0"))
    assert (more[0], more[4]) == ([0, 1, 2, 4], [0, 1, 4])
    assert (more[1:4], more[5:]) == (plain[1:4], plain[5:])


def test_variables_of_a_device() -> None:
    found = variables(device.load("i40e-vf"), LINUX_6_12)
    assert found["PREFIX"] == "I40E_VF"
    assert found["ids"][1] == {"vendor": "0x8086", "device": "0x1571"}
    assert found["state_count"] == sum(one["count"] for one in found["registers"])
    stops = {one["name"]: one["stop"] for one in found["registers"] if one["stop"]}
    assert stops == {"ATQLEN1": 0x80000000, "ARQLEN1": 0x80000000}
    assert found["bars"][0]["reasons"] == " the trapped ranges"
