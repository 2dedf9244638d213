# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue of requirements: the files in this folder, read, checked, families expanded.

::

    CatalogueError   the catalogue contradicts itself; every mistake is listed
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

#: The folder of the catalogue; its files, in the order of the results.
CATALOGUE: Final = Path(__file__).parent
FILES: Final = ("sources.toml", "v1.toml", "v2.toml", "both.toml", "saving.toml", "kernel.toml")
SCHEMA: Final = 1
LEVELS: Final = ("MUST", "SHOULD", "FREE")

_RULE_KEYS: Final = frozenset({"id", "level", "sources", "text"})


class CatalogueError(Exception):
    """The catalogue is broken: a defect of the kit, never of a device."""

    exit_code = 4

    def __init__(self, path: Path, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(f"{path.name}: {mistake}" for mistake in mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True)
class Source:
    """Where a requirement comes from: key, name, and where to read it."""

    key: str
    name: str
    where: str


@dataclass(frozen=True)
class Requirement:
    """One requirement.

    Attributes:
        id: stable name, for example ``state.arc.1-2``.
        level: ``MUST``, ``SHOULD`` or ``FREE``.
        sources: keys of :attr:`Catalogue.sources`.
        text: the rule in our words.
        outcomes: of a FREE rule: the outcomes that conform; empty for the others.
        family: id of the family of which this is a case; empty for a rule of its own.
        protocol: version of the protocol to which it belongs; 0 if it is about any.
    """

    id: str
    level: str
    sources: tuple[str, ...]
    text: str
    outcomes: tuple[str, ...] = ()
    family: str = ""
    protocol: int = 0

    @property
    def group(self) -> str:
        """Text before the first dot: the topic under which results are counted."""
        return self.id.partition(".")[0]


@dataclass(frozen=True)
class Catalogue:
    """All requirements by id, in the order of the file, with their groups and sources."""

    requirements: Mapping[str, Requirement]
    groups: Mapping[str, str]
    sources: Mapping[str, Source]


def is_below(rule: str, name: str) -> bool:
    """Return whether a rule is the one of a name, or below it.

    >>> is_below("state.arc.1-2", "state.arc"), is_below("state.arc.1-2", "stat")
    (True, False)
    """
    return rule == name or rule.startswith(f"{name}.")


def load(path: Path = CATALOGUE) -> dict[str, Requirement]:
    """Return all requirements by id, of a file or of all in a folder.

    Raises :class:`CatalogueError` with every mistake.
    """
    return dict(load_catalogue(path).requirements)


@cache
def load_catalogue(path: Path = CATALOGUE) -> Catalogue:
    """Read and check the catalogue. Raises :class:`CatalogueError` with every mistake."""
    files = [path / name for name in FILES] if path.is_dir() else [path]
    mistakes: list[str] = []
    groups: dict[str, str] = {}
    sources: dict[str, Source] = {}
    found: list[Requirement] = []
    for file in files:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        if data.get("schema") != SCHEMA:
            said = f"schema is {data.get('schema')!r}, this program reads {SCHEMA}"
            mistakes.append(f"{file.name}: {said}")
        for key, entry in data.get("sources", {}).items():
            sources[key] = Source(key, entry["name"], entry["where"])
        groups |= data.get("groups", {})
        found += _expand(data, mistakes)
    requirements: dict[str, Requirement] = {}
    for requirement in found:
        if requirement.id in requirements:
            mistakes.append(f"{requirement.id} is there twice")
        mistakes += _mistakes_of(requirement, groups, sources)
        requirements[requirement.id] = requirement
    if mistakes:
        raise CatalogueError(path, tuple(mistakes))
    return Catalogue(requirements, groups, sources)


def _expand(data: Mapping[str, Any], mistakes: list[str]) -> Iterator[Requirement]:
    """Yield the rules and the cases of the families in the order of the groups."""
    found: list[Requirement] = []
    for entry in data.get("rule", []):
        _check_keys(entry, _RULE_KEYS, mistakes)
        found.append(_requirement(entry, entry.get("id", ""), entry.get("text", "")))
    for entry in data.get("family", []):
        _check_keys(entry, _RULE_KEYS | {"cases"}, mistakes)
        family = entry.get("id", "")
        if not entry.get("cases"):
            mistakes.append(f"family {family} has no cases")
        for case, text in entry.get("cases", {}).items():
            found.append(_requirement(entry, f"{family}.{case}", text, family))
    found = [replace(requirement, protocol=data.get("protocol", 0)) for requirement in found]
    order = {group: at for at, group in enumerate(data.get("groups", {}))}
    yield from sorted(found, key=lambda requirement: order.get(requirement.group, len(order)))


def _requirement(entry: Mapping[str, Any], name: str, text: str, family: str = "") -> Requirement:
    return Requirement(
        id=name,
        level=entry.get("level", ""),
        sources=tuple(entry.get("sources", ())),
        text=text,
        outcomes=tuple(entry.get("outcomes", ())),
        family=family,
    )


def _check_keys(entry: Mapping[str, Any], required: frozenset[str], mistakes: list[str]) -> None:
    name = entry.get("id", "an entry without id")
    for key in sorted(required - entry.keys()):
        mistakes.append(f"{name} lacks {key}")
    for key in sorted(entry.keys() - required - {"outcomes"}):
        mistakes.append(f"{name} has the unknown key {key}")


def _mistakes_of(
    requirement: Requirement, groups: Mapping[str, str], sources: Mapping[str, Source]
) -> Iterator[str]:
    name = requirement.id
    if requirement.level not in LEVELS:
        yield f"{name}: level is {requirement.level!r}, valid are {', '.join(LEVELS)}"
    if requirement.group not in groups:
        yield f"{name}: group {requirement.group!r} is not one of {', '.join(groups)}"
    if not requirement.sources:
        yield f"{name} names no source"
    for key in requirement.sources:
        if key not in sources:
            yield f"{name}: source {key!r} is not one of {', '.join(sources)}"
    if not requirement.text.endswith("."):
        yield f"{name}: the text is not a sentence"
    if (requirement.level == "FREE") != (len(requirement.outcomes) > 1):
        yield f"{name}: outcomes are what a FREE rule lists, two at least, and no other rule"
