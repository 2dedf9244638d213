# SPDX-License-Identifier: GPL-2.0-only
"""Reads a page as a checker would: what is open and closed, what is named and linked."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

_VOID = frozenset({"meta", "input", "br", "link", "img"})


@dataclass
class Element:
    """An element with what is in it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, tag: str) -> list["Element"]:
        """Return the elements of a kind, in their order, at any depth."""
        found = [self] if self.tag == tag else []
        return found + [one for child in self.children for one in child.all(tag)]

    def every(self) -> list["Element"]:
        """Return this element and all in it."""
        return [self] + [one for child in self.children for one in child.every()]

    def words(self) -> str:
        """Return all text in it, that of its children after its own."""
        return " ".join([self.text, *(child.words() for child in self.children)])


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.top = Element("", {})
        self.open = [self.top]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        one = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(one)
        if tag not in _VOID:
            self.open.append(one)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"{tag} ends, and is not what is open"

    def handle_data(self, data: str) -> None:
        self.open[-1].text += data


def read(path: Path) -> Element:
    """Return the page; all that is opened in it must be closed in order."""
    reader = _Reader()
    reader.feed(path.read_text("utf-8"))
    reader.close()
    assert reader.open == [reader.top]
    return reader.top


def mistakes(page: Element, folder: Path = Path("/nowhere")) -> list[str]:
    """Return what keeps a page from being read by everybody, and without a network.

    Args:
        page: The page.
        folder: Where it is, with the files that it may link.
    """
    found = []
    every = page.every()
    ids = [one.attributes["id"] for one in every if "id" in one.attributes]
    labelled = [one.attributes.get("for") or "nothing" for one in page.all("label")]
    found += [f"id {name} is there twice" for name in set(ids) if ids.count(name) > 1]
    for one in every:
        link = one.attributes.get("href", "")
        if one.tag == "a" and link.removeprefix("#") not in ids and not (folder / link).is_file():
            found.append(f"a link leads to {link}")
        found += [f"{one.tag} fetches {one.attributes[x]}" for x in ("src",) if x in one.attributes]
        if "style" in one.attributes or any(name.startswith("on") for name in one.attributes):
            found.append(f"{one.tag} has style or script of its own")
        if one.tag == "th" and one.attributes.get("scope") not in ("col", "row"):
            found.append(f"the head {one.words()} has no scope")
        if one.tag == "table" and not one.all("caption"):
            found.append("a table has no caption")
        if one.tag == "svg" and one.attributes.get("aria-hidden") != "true":
            named = one.attributes.get("aria-labelledby", "").split()
            if one.attributes.get("role") != "img" or not named or set(named) - set(ids):
                found.append("a drawing has no name")
        if one.tag in ("select", "input") and one.attributes.get("id") not in labelled:
            found.append(f"{one.tag} has no label")
    levels = [int(one.tag[1]) for one in every if one.tag in {f"h{n}" for n in range(1, 7)}]
    found += [f"h{b} after h{a}" for a, b in pairwise(levels) if b > a + 1]
    if [one.tag for one in every].count("h1") != 1 or page.all("html")[0].attributes[
        "lang"
    ] != "en":
        found.append("one main heading and a language are missing")
    return found
