# SPDX-License-Identifier: GPL-2.0-only
"""From a change of a driver to the tests that are to run first."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from conformance import requirements
from conformance.proof.mutants import mutant as mutants
from conformance.proof.mutants import touched
from conformance.running import selection

GOLDEN = Path(__file__).parents[3] / "kpatch/tests/render/golden"


@pytest.fixture(scope="module")
def sources() -> Mapping[str, str]:
    place = next((GOLDEN / "igb-vf-v1").rglob("main.c")).parent
    return {path.name: path.read_text() for path in place.glob("*.[ch]")}


def changed(sources: Mapping[str, str], name: str) -> dict[str, str]:
    """Apply a mutant: what its author may have done by mistake."""
    return mutants.load(requirements.load())[name].apply(sources)


@pytest.mark.parametrize("name", ["starts-nothing", "one-stream-for-all"])
def test_tests_of_the_changed_function_come_first(sources: Mapping[str, str], name: str) -> None:
    rules = mutants.load(requirements.load())[name].rules
    wanted = {one.rpartition("/")[2] for one in selection.of_rules(rules)}
    found = touched.tests(sources, changed(sources, name), "igb-vf", "v1")
    assert wanted <= set(found)
    assert len(found) < len(selection.rules_by_test()) / 2


def test_nothing_comes_first_if_nothing_changed(sources: Mapping[str, str]) -> None:
    assert touched.tests(sources, sources, "igb-vf", "v1") == []


def test_new_comment_concerns_no_test(sources: Mapping[str, str]) -> None:
    after = {**sources, "new.c": "int x;\n"}
    assert touched.tests(sources, after, "igb-vf", "v1") == []


def test_driver_of_another_device_is_known_by_the_same_code(sources: Mapping[str, str]) -> None:
    def of_other(texts: Mapping[str, str]) -> dict[str, str]:
        return {
            name: text.replace("igb_vf", "my_dev").replace("IGB_VF", "MY_DEV")
            for name, text in texts.items()
        }

    after = of_other(changed(sources, "starts-nothing"))
    before = of_other(sources)
    assert touched.tests(before, after, "my-dev", "v1")
    assert not touched.tests(before, after, "my-dev", "v2")
