# SPDX-License-Identifier: GPL-2.0-only
"""Pages in a real browser: opened, filtered, reached by keyboard, judged by axe and html-validate.

`tox -e page` brings the browser and the checkers; without them these tests are skipped.
"""

import importlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.events.stream import parse
from conformance.matrix import page as matrix_page
from conformance.proof.operators import page as operators_page
from conformance.proof.operators.fate import Fate, conclusion
from conformance.proof.operators.operators import OperatorMutant
from conformance.proof.output.page import Proved
from conformance.proof.output.page import render as mutants_page
from conformance.report import Verdict
from conformance.report.page import HTML_FILE
from conformance.requirements import load
from conformance.tests.matrix.test_matrix import judged as cells
from conformance.tests.proof.test_page import KILLED, SURVIVED
from conformance.tests.report.test_page import EVIL
from conformance.tests.report.test_report import finish, reporter, result, session, start

BROWSER = os.environ.get("VFIO_KIT_BROWSER")
NODE = Path(os.environ.get("VFIO_KIT_NODE", "/nowhere"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BROWSER, reason="`tox -e page` brings the browser for it"),
]
KINDS = ("v1", "v2", "matrix", "mutants", "operators")


def run_page(folder: Path, protocol: int) -> Path:
    """A run with each rule of a version: every fifth fails, its words are those of an attack."""
    report = reporter(folder)
    rules = [one.id for one in load().values() if one.protocol in (0, protocol)]
    report.feed(parse({**session(len(rules)), "protocol": protocol, "volatile": [EVIL]}))
    said = dict.fromkeys(("did", "expected", "actual", "message", "where"), EVIL)
    for number, rule in enumerate(rules):
        outcome = ("failed", "passed", "skipped", "passed", "not-applicable")[number % 5]
        report.feed(parse(start(f"t{number}", rule)))
        ended: dict[str, Any] = {**result(f"t{number}", outcome, rule), "skip": EVIL}
        if outcome == "failed":
            ended |= {"failure": {"rule": rule, **said}, "calls": [EVIL], "klog": [EVIL] * 3}
        report.feed(parse(ended))
    report.feed(parse(finish(1)))
    report.finish(Verdict.completed())
    return folder / HTML_FILE


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {f"v{n}": run_page(tmp_path_factory.mktemp(f"v{n}"), n) for n in (1, 2)}
    folder = tmp_path_factory.mktemp("matrix")
    found["matrix"] = matrix_page.write(folder, cells(folder))
    found["mutants"] = tmp_path_factory.mktemp("mutants") / HTML_FILE
    found["mutants"].write_text(mutants_page([Proved("igb-vf v1", [KILLED, SURVIVED], {})], 2))
    changed = OperatorMutant("main-1", "main.c", 7, EVIL, "a < b", EVIL, "")
    fates = [Fate(changed, "t", "trixie"), Fate(changed, "", "")]
    said = conclusion(fates, "trixie")
    folder = tmp_path_factory.mktemp("operators")
    found["operators"] = operators_page.write(folder, "igb-vf v1", fates, said)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = importlib.import_module("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        # Its sandbox needs user namespaces, which a container may not have; the page is ours.
        yield driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])


class Opened:
    """A page in the browser, and what it did by itself."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.page = browser.new_context(**options).new_page()
        self.did: list[str] = []
        self.page.on("dialog", self._dialog)
        self.page.on("console", lambda one: self.did.append(one.text))
        self.page.on("pageerror", lambda one: self.did.append(str(one)))
        self.page.on("request", lambda one: self.did.append(one.url))
        self.page.goto(path.as_uri())
        self.did.remove(path.as_uri())

    def _dialog(self, dialog: Any) -> None:
        self.did.append("a dialog")
        dialog.dismiss()

    def rows(self) -> list[Any]:
        """The rows that are visible of the table that can be filtered."""
        rows = self.page.locator("[id^=table-of-] tbody tr").all()
        return [row for row in rows if row.is_visible()]


@pytest.mark.parametrize("kind", KINDS)
def test_it_opens_without_network_error_or_foreign_script(
    browser: Any, pages: dict[str, Path], kind: str
) -> None:
    opened = Opened(browser, pages[kind])
    assert opened.page.title()
    assert opened.did == []
    assert len(opened.rows()) >= 2
    evil = "e => { e.textContent = 'window.hit = 1'; document.body.append(e); }"
    opened.page.evaluate(f"({evil})(document.createElement('script'))")
    assert opened.page.evaluate("window.hit") is None  # the policy, if ever escaping failed


def test_the_filter(browser: Any, pages: dict[str, Path]) -> None:
    opened = Opened(browser, pages["v1"])
    everything = len(opened.rows())
    assert everything == len(load())
    opened.page.get_by_role("combobox", name="Verdict").select_option("failed")
    failed = opened.rows()
    assert 0 < len(failed) < everything
    assert {row.get_attribute("data-outcome") for row in failed} == {"failed"}
    status = opened.page.get_by_role("status")
    assert status.inner_text() == f"{len(failed)} of {everything} rules shown"
    opened.page.get_by_role("combobox", name="Group").select_option("state")
    assert {row.get_attribute("data-group") for row in opened.rows()} == {"state"}
    opened.page.get_by_role("button", name="Show all").click()
    assert len(opened.rows()) == everything
    opened.page.get_by_role("searchbox", name="Text").fill("STATE.RESET-EVERY")
    assert [row.locator("th").inner_text() for row in opened.rows()] == ["state.reset-every-way"]


def test_all_of_it_can_be_read_without_scripts(browser: Any, pages: dict[str, Path]) -> None:
    opened = Opened(browser, pages["v2"], java_script_enabled=False)
    assert len(opened.rows()) == len(load())
    assert not opened.page.locator("fieldset").is_visible()


def test_the_keyboard_reaches_the_verdict_and_the_filter(
    browser: Any, pages: dict[str, Path]
) -> None:
    page = Opened(browser, pages["v1"]).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    assert page.locator(".skip").bounding_box()["x"] >= 0  # it is visible where it has the focus
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("searchbox", name="Text").focus()
    page.keyboard.type("state.default")
    assert page.get_by_role("status").inner_text().startswith("1 of ")


@pytest.mark.parametrize("kind", KINDS)
def test_a_narrow_window_scrolls_tables_only(
    browser: Any, pages: dict[str, Path], kind: str
) -> None:
    page = Opened(browser, pages[kind], viewport={"width": 320, "height": 800}).page
    for details in page.locator("details").all():
        details.evaluate("e => { e.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("protocol", [1, 2])
def test_the_graph_has_a_name_and_a_table(
    browser: Any, pages: dict[str, Path], protocol: int
) -> None:
    page = Opened(browser, pages[f"v{protocol}"]).page
    drawing = page.get_by_role("img", name=f"States and transitions of version {protocol}")
    assert drawing.is_visible()
    boxes = [one.bounding_box() for one in drawing.locator("rect").all()]
    texts = [one.bounding_box() for one in drawing.locator("text:not(.also,.cross)").all()]
    assert len(boxes) == len(texts) >= 5
    for box, text in zip(boxes, texts, strict=True):
        assert box["x"] < text["x"]
        assert text["x"] + text["width"] < box["x"] + box["width"]
    page.get_by_text("All transitions as a table").press("Enter")
    assert page.get_by_role("table", name="The state graph as a table").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing(browser: Any, pages: dict[str, Path], kind: str, scheme: str) -> None:
    page = Opened(browser, pages[kind], bypass_csp=True, color_scheme=scheme).page
    page.add_script_tag(path=str(NODE / "node_modules/axe-core/axe.min.js"))
    for details in page.locator("details").all():
        details.evaluate("e => { e.open = true; }")
    found = page.evaluate("axe.run()")
    assert len(found["passes"]) > 20
    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_valid_html(pages: dict[str, Path], kind: str, tmp_path: Path) -> None:
    settings = tmp_path / "htmlvalidate.json"
    settings.write_text(json.dumps({"root": True, "extends": ["html-validate:recommended"]}))
    checker = NODE / "node_modules/.bin/html-validate"
    argv = [str(one) for one in (checker, "--config", settings, pages[kind])]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
