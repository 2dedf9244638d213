# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue loads, is whole, and its mistakes are reported at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from conformance import requirements
from conformance.requirements import CatalogueError

GOOD = """
schema = 1
groups = { a = "A" }
sources.U = { name = "n", where = "w" }
[[rule]]
id = "a.b"
level = "MUST"
sources = ["U"]
text = "It works."
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def _write(text: str) -> Path:
        path = tmp_path / "requirements.toml"
        path.write_text(text)
        return path

    return _write


def test_the_catalogue_loads_and_has_every_group() -> None:
    catalogue = requirements.load_catalogue()
    assert {r.group for r in catalogue.requirements.values()} == set(catalogue.groups)
    assert len(catalogue.requirements) > 90


def test_ids_are_names_of_the_same_shape() -> None:
    for name in requirements.load():
        assert name == name.lower()
        assert " " not in name


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("state.arc.1-0", "MUST"),
        ("state.arc-vmm.same", "MUST"),
        ("state.arc-free.0-3", "FREE"),
        ("saving.exact.munmap-head", "MUST"),
        ("access.other-width", "SHOULD"),
        ("save.outside", "FREE"),
    ],
)
def test_families_are_expanded(name: str, level: str) -> None:
    assert requirements.load()[name].level == level


def test_free_rules_list_their_outcomes() -> None:
    catalogue = requirements.load()
    assert catalogue["state.arc-free.4-0"].outcomes == ("accepted", "refused")
    assert catalogue["state.arc.1-0"].outcomes == ()


def test_groups_stay_together_in_the_order_of_the_file() -> None:
    catalogue = requirements.load_catalogue()
    seen = list(dict.fromkeys(r.group for r in catalogue.requirements.values()))
    assert seen == list(catalogue.groups)


def test_a_small_catalogue_loads(write: Callable[[str], Path]) -> None:
    assert requirements.load(write(GOOD))["a.b"].text == "It works."


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("schema = 1", "schema = 2", "schema is 2"),
        ('"MUST"', '"must"', "level is 'must'"),
        ('["U"]', '["X"]', "source 'X'"),
        ('["U"]', "[]", "names no source"),
        ('"a.b"', '"z.b"', "group 'z'"),
        ("It works.", "works", "not a sentence"),
        ('"MUST"', '"FREE"', "outcomes"),
        ('text = "It works."', "", "lacks text"),
        ("text =", "colour = 1\ntext =", "unknown key colour"),
    ],
)
def test_a_mistake(write: Callable[[str], Path], old: str, new: str, expected: str) -> None:
    with pytest.raises(CatalogueError, match=expected):
        requirements.load(write(GOOD.replace(old, new)))


def test_all_mistakes_are_reported_at_once(write: Callable[[str], Path]) -> None:
    broken = GOOD.replace('"MUST"', '"x"').replace('["U"]', '["X"]')
    with pytest.raises(CatalogueError) as caught:
        requirements.load(write(broken + GOOD.partition("[[rule]]")[2].join(["[[rule]]", ""])))
    assert len(caught.value.mistakes) == 3


def test_an_empty_family_is_a_mistake(write: Callable[[str], Path]) -> None:
    family = '[[family]]\nid = "a.c"\nlevel = "MUST"\nsources = ["U"]\ntext = "All."\n'
    with pytest.raises(CatalogueError, match="has no cases"):
        requirements.load(write(GOOD + family))
