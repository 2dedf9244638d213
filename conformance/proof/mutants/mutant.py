# SPDX-License-Identifier: GPL-2.0-only
"""Faulty drivers as data: small edits of the driver that the kit renders.

Each file of ``conformance/mutants`` holds entries ``[[mutant]]``: the rules that the defect breaks,
and the edits that make it. A suite that is worth its name has a test of each of those rules that
fails with that driver. ``exempt.toml`` lists the rules of which no mutant can be shown, and why.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from conformance import requirements
from conformance.errors import LabError, UsageError
from conformance.requirements import Requirement
from kpatch.device.protocols import PROTOCOLS, Protocol

FOLDER: Final = Path(__file__).resolve().parent
"""The data."""

EXEMPT: Final = "exempt.toml"
STRANGERS_IMAGE: Final = "trixie"
"""The image whose kernel's source the edits of strangers are of."""

DEVICE: Final = "igb-vf"
"""The device whose driver the edits are of, unless their file names another `device`."""

_KEYS: Final = frozenset({"id", "rules", "defect", "seen", "crash", "edit", "sound"})
_EDIT_KEYS: Final = frozenset({"find", "replace"})


class MutantError(LabError):
    """The data about mutants have mistakes.

    Attributes:
        mistakes: One line each.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        lines = "\n".join(f"  {mistake}" for mistake in self.mistakes)
        super().__init__(f"The mutants in {FOLDER} have errors:\n{lines}")


class EditError(LabError):
    """An edit does not apply exactly once."""


@dataclass(frozen=True)
class Edit:
    """A change of one place in one file.

    Attributes:
        file: Name of the file; empty if the text is in one file only, whichever that is.
        find: Text that must be there exactly once.
        replace: What takes its place.
    """

    file: str
    find: str
    replace: str


@dataclass(frozen=True)
class Mutant:
    """A faulty driver.

    Attributes:
        id: Its name.
        rules: The rules it breaks; a test of each must fail.
        defect: What is wrong with it, in a sentence.
        seen: Where the defect was really seen, if it was.
        crash: Whether the defect is that the kernel dies or hangs.
        edits: What makes it.
        sound: What is edited before: changes that are no defect, and without which no driver of
            the lab comes to where the defect is. That driver is tried as well.
        device: The device whose driver they are of.
        stranger: The driver of the kernel that they are of instead, see vm-images/strangers.
        protocol: The version of the protocol for which a device's driver is rendered, or ``both``.
        image: The image in which it shows, if its file names one; empty for any.
    """

    id: str
    rules: tuple[str, ...]
    defect: str
    seen: str
    crash: bool
    edits: tuple[Edit, ...]
    sound: tuple[Edit, ...] = ()
    device: str = DEVICE
    image: str = ""
    stranger: str = ""
    protocol: Protocol | Literal["both"] = "v1"

    @property
    def of(self) -> str:
        """Whose driver it is of."""
        return self.stranger or (
            self.device if self.protocol == "v1" else f"{self.device}-{self.protocol}"
        )

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """The versions of the protocol that a device's driver speaks."""
        return PROTOCOLS if self.protocol == "both" else (self.protocol,)

    def apply(self, sources: Mapping[str, str]) -> dict[str, str]:
        """Return the sources of the faulty driver.

        Args:
            sources: Name and text of each source of the driver.

        Raises:
            EditError: An edit does not apply exactly once.
        """
        return self._edited(self.without_defect(sources), self.edits)

    def without_defect(self, sources: Mapping[str, str]) -> dict[str, str]:
        """Return the sources with the edits that are no defect. As `apply`."""
        return self._edited(sources, self.sound)

    def _edited(self, sources: Mapping[str, str], edits: Sequence[Edit]) -> dict[str, str]:
        texts = dict(sources)
        for number, edit in enumerate(edits, 1):
            files = [edit.file] if edit.file else list(texts)
            counts = {name: texts.get(name, "").count(edit.find) for name in files}
            count = sum(counts.values())
            if count != 1:
                known = not edit.file or edit.file in texts
                what = f"{count} times" if known else "not, there is no such file"
                raise EditError(
                    f"Edit {number} of the mutant {self.id} applies {what}; its text must be in "
                    f"{edit.file or 'the sources'} exactly once:\n{edit.find}"
                )
            name = next(name for name, times in counts.items() if times)
            texts[name] = texts[name].replace(edit.find, edit.replace)
        return texts


def load(known: Mapping[str, Requirement], folder: Path = FOLDER) -> dict[str, Mutant]:
    """Read all mutants.

    Args:
        known: The catalogue of rules.
        folder: Where they are.

    Raises:
        MutantError: The data have mistakes; all are listed.
    """
    mistakes: list[str] = []
    found: dict[str, Mutant] = {}
    for path in sorted(folder.glob("*.toml")):
        if path.name in {EXEMPT, "equivalent.toml"}:
            continue
        table = _read(path, mistakes)
        place = tuple(table.get(key, "") for key in ("device", "image", "stranger", "protocol"))
        for number, raw in enumerate(table.get("mutant", ()), 1):
            where = f"{path.name}, mutant {number} ({raw.get('id', 'without an id')})"
            wrong = list(_wrong(raw, known, found))
            mistakes += [f"{where}: {text}" for text in wrong]
            if not wrong:
                found[raw["id"]] = _mutant(raw, *place)
    if mistakes:
        raise MutantError(mistakes)
    return found


def load_exempt(known: Mapping[str, Requirement], folder: Path = FOLDER) -> dict[str, str]:
    """Return the rules of which no mutant can be shown, each with the reason.

    Raises:
        MutantError: The data have mistakes.
    """
    mistakes: list[str] = []
    found: dict[str, str] = {}
    for raw in _read(folder / EXEMPT, mistakes).get("exempt", ()):
        reason = str(raw.get("reason", ""))
        if not reason or set(raw) != {"rules", "reason"}:
            mistakes.append(f"{EXEMPT}: {raw} must have rules and a reason, and nothing else")
            continue
        for rule in raw["rules"]:
            if rule not in known:
                mistakes.append(f"{EXEMPT}: there is no rule {rule!r}")
            found[rule] = reason
    if mistakes:
        raise MutantError(mistakes)
    return found


def by_rule(mutants: Mapping[str, Mutant]) -> dict[str, list[str]]:
    """Return the mutants that break each rule."""
    found: dict[str, list[str]] = {}
    for mutant in mutants.values():
        for rule in mutant.rules:
            found.setdefault(rule, []).append(mutant.id)
    return found


def select(
    mutants: Mapping[str, Mutant], ids: Sequence[str], rules: Sequence[str]
) -> dict[str, Mutant]:
    """Return the mutants that are asked for; all if nothing is.

    Args:
        mutants: All.
        ids: Names of mutants.
        rules: Rules, or what several rules begin with, up to a dot.

    Raises:
        UsageError: There is no such mutant, or none of a rule.
    """
    for name in ids:
        if name not in mutants:
            raise UsageError(
                f"There is no mutant {name!r}. `python3 -m conformance mutants --list` has all."
            )
    wanted = {name: mutants[name] for name in ids}
    for name in rules:
        breaks = {
            key: one
            for key, one in mutants.items()
            if any(requirements.is_below(rule, name) for rule in one.rules)
        }
        if not breaks:
            raise UsageError(f"No mutant breaks a rule {name!r}.")
        wanted |= breaks
    return wanted if ids or rules else dict(mutants)


def for_image(
    mutants: Mapping[str, Mutant], image: str, *, named: bool = False
) -> dict[str, Mutant]:
    """Return the mutants that are for an image: its own if it has some, else those for any.

    Args:
        mutants: Some mutants.
        image: The image's name.
        named: Whether the user has named each of them.

    Raises:
        UsageError: One is for another image, and was named.
    """
    own = {name: one for name, one in mutants.items() if one.image == image}
    usual = {
        name: one
        for name, one in mutants.items()
        if not one.image and (not one.stranger or image == STRANGERS_IMAGE)
    }
    foreign = [mutant for mutant in mutants.values() if mutant.image not in {"", image}]
    if foreign and (named or not (own or usual)):
        where = foreign[0].image
        raise UsageError(f"The mutant {foreign[0].id} shows in an image {where}: --image {where}.")
    return dict(mutants) if named else own or usual


def _read(path: Path, mistakes: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        mistakes.append(f"{path.name}: {error}")
        return {}


def _wrong(
    raw: dict[str, Any], known: Mapping[str, Requirement], found: Mapping[str, Mutant]
) -> Iterator[str]:
    """Yield what is wrong with an entry."""
    yield from (f"unknown key {key!r}" for key in sorted(set(raw) - _KEYS))
    yield from (
        f"{key!r} is missing" for key in ("id", "rules", "defect", "edit") if key not in raw
    )
    if raw.get("id") in found:
        yield "there is another one with this id"
    if not raw.get("rules", True):
        yield "it breaks no rule"
    yield from (f"there is no rule {rule!r}" for rule in raw.get("rules", ()) if rule not in known)
    for edit in (*raw.get("sound", ()), *raw.get("edit", ())):
        if set(edit) - {"file"} != _EDIT_KEYS:
            yield "an edit has find and replace, maybe file, and nothing else"
        elif not edit["find"] or edit["find"] == edit["replace"]:
            yield "an edit changes nothing"


def _mutant(raw: dict[str, Any], device: str, image: str, stranger: str, protocol: str) -> Mutant:
    sound, edits = (
        tuple(Edit(one.get("file", ""), one["find"], one["replace"]) for one in raw.get(key, ()))
        for key in ("sound", "edit")
    )
    return Mutant(
        id=raw["id"],
        rules=tuple(raw["rules"]),
        defect=raw["defect"],
        seen=raw.get("seen", ""),
        crash=raw.get("crash", False),
        edits=edits,
        sound=sound,
        device=device or DEVICE,
        image=image,
        stranger=stranger,
        protocol="both" if protocol == "both" else "v2" if protocol == "v2" else "v1",
    )


def by_device(mutants: Mapping[str, Mutant]) -> dict[str, dict[str, Mutant]]:
    """Return the mutants of the driver of each device, or of each stranger."""
    found: dict[str, dict[str, Mutant]] = {}
    for name, mutant in mutants.items():
        found.setdefault(mutant.of, {})[name] = mutant
    return found
