# SPDX-License-Identifier: GPL-2.0-only
"""Operator mutants: the generic operators of universalmutator over the driver's C.

Most do not compile, and some compile to the same code. The whole suite judges the rest. A mutant
that no test can tell from the driver is equivalent; ``equivalent.toml`` lists those that are
known, each with the reason.
"""

from __future__ import annotations

import difflib
import random
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import Relocation, RelocationSection
from elftools.elf.sections import Section, SymbolTableSection

from conformance.errors import LabError
from conformance.proof.mutants import mutant as mutants
from kpatch.tools import programs

EQUIVALENT: Final = "equivalent.toml"
_HINT: Final = "It comes with `pip install -e .[mutants]`."
_KINDS: Final = ("equivalent", "beyond")
_SHF_ALLOC: Final = 2
_LINES: Final = 3
"""Lines that an operator mutant may change: each operator changes one, or puts one in."""


@dataclass(frozen=True)
class OperatorMutant:
    """An operator mutant.

    Attributes:
        name: File and number; stable for the same sources and tool.
        file: The file that is changed.
        line: Where, a line of the original.
        place: The function, or what else is defined there.
        before: The original's text there; where a line is put in, the line behind it.
        after: What became of it.
        text: The whole file.
    """

    name: str
    file: str
    line: int
    place: str
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line} ({self.place})"
        return f"{self.name}: {where}: {self.before} => {self.after or '(nothing)'}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What identifies it, as long as its place in the driver stays as it is."""
        return self.file, self.place, self.before, self.after


def generate(sources: Mapping[str, str], folder: Path) -> list[OperatorMutant]:
    """Let the tool make all its mutants.

    Args:
        sources: Name and text of each source of the driver.
        folder: For the tool's files; emptied.

    Raises:
        LabError: The tool yielded nothing.
        ProgramMissing: The tool is not installed.
        ProgramFailed: It failed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    found: list[OperatorMutant] = []
    for name in sorted(name for name in sources if name.endswith(".c")):
        out = folder / Path(name).stem
        out.mkdir(parents=True)
        (folder / name).write_text(sources[name], "utf-8")
        argv = [_program(), name, "c", "--noCheck", "--mutantDir", str(out)]
        programs.run(argv, cwd=folder, timeout=300, hint=_HINT)
        found += _read(name, sources[name], out)
    if not found:
        raise LabError("universalmutator yielded no mutant.")
    return found


def _program() -> str:
    """Return the tool; where the kit runs from a virtual environment, that is its place."""
    sibling = Path(sys.executable).with_name("mutate")
    return str(sibling) if sibling.exists() else "mutate"


def _read(file: str, original: str, folder: Path) -> Iterator[OperatorMutant]:
    paths = sorted(folder.iterdir(), key=lambda path: int(path.name.split(".")[-2]))
    lines = original.splitlines()
    for path in paths:
        text = path.read_text("utf-8")
        change = _change(lines, text.splitlines())
        if change:
            name = f"{Path(file).stem}-{path.name.split('.')[-2]}"
            line, before, after = change
            yield OperatorMutant(name, file, line, _place(lines, line), before, after, text)


def _place(lines: list[str], number: int) -> str:
    """Return what is defined where a line is: a function, a table."""
    for line in reversed(lines[:number]):
        found = re.match(r"(?!#|\w+:|/)\w.*?(\w+)(\(|\[| =)", line)
        if found:
            return found[1]
    return ""


def _change(old: list[str], new: list[str]) -> tuple[int, str, str] | None:
    """Return the number of the changed line, and its text before and after."""
    if old == new:
        return None
    begin, end = _around(old, new)
    before, after = old[begin : len(old) - end], new[begin : len(new) - end]
    if max(len(before), len(after)) > _LINES:
        return None
    if not before and end:  # a line was put in
        before, after = old[begin : begin + 1], [*after, old[begin]]
    return begin + 1, _joined(before), _joined(after)


def transplanted(one: OperatorMutant, original: str, other: str) -> str | None:
    """Make the change of a mutant in the same file of the driver for another kernel.

    Args:
        one: The mutant.
        original: The file of which it is.
        other: The file of the other driver, which may have other lines around the change.

    Returns:
        The other file with the change; None if it does not have the changed lines.
    """
    old, new, lines = (text.splitlines() for text in (original, one.text, other))
    begin, behind = _around(old, new)
    end = len(old) - behind
    for block in difflib.SequenceMatcher(None, old, lines, autojunk=False).get_matching_blocks():
        if block.a <= begin and end <= block.a + block.size:
            shift = block.b - block.a
            changed = new[begin : len(new) - behind]
            return "\n".join([*lines[: begin + shift], *changed, *lines[end + shift :], ""])
    return None


def _around(old: list[str], new: list[str]) -> tuple[int, int]:
    """Return how many lines before and behind a change are the same."""
    begin = _alike(old, new)
    return begin, _alike(old[begin:][::-1], new[begin:][::-1])


def _alike(one: list[str], other: list[str]) -> int:
    """Return how many lines both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _joined(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def shuffled(every: list[OperatorMutant], seed: int) -> list[OperatorMutant]:
    """Return them shuffled, in the same order for the same seed."""
    order = list(every)
    random.Random(seed).shuffle(order)  # noqa: S311 - repeatable on purpose
    return order


def code(module: Path) -> dict[str, Any]:
    """Return what of a module is executed or read: two modules alike in it are the same.

    That is the bytes of its sections, and what the kernel puts where in them when it is loaded:
    only that tells a call of one function from a call of another.
    """
    with module.open("rb") as file:
        elf = ELFFile(file)
        found: dict[str, Any] = {
            section.name: section.data() for section in elf.iter_sections() if _loaded(section)
        }
        for section in elf.iter_sections():
            if isinstance(section, RelocationSection):
                symbols = cast(SymbolTableSection, elf.get_section(section["sh_link"]))
                if _loaded(elf.get_section(section["sh_info"])):
                    found[section.name] = [
                        _relocation(relocation, symbols)
                        for relocation in section.iter_relocations()
                    ]
        return found


def _loaded(section: Section) -> bool:
    allocated = bool(section["sh_flags"] & _SHF_ALLOC)
    return allocated and not section.name.startswith((".note", "__versions"))


def _relocation(one: Relocation, symbols: SymbolTableSection) -> tuple[int, int, int, str]:
    symbol = symbols.get_symbol(one["r_info_sym"])
    name = str(symbol.name) or f"section {symbol['st_shndx']}"
    return one["r_offset"], one["r_info_type"], one["r_addend"], name


@dataclass(frozen=True)
class Known:
    """What is known of a mutant that the suite cannot tell from the driver.

    Attributes:
        beyond: Whether they differ, and only nothing in the lab can show it.
        reason: Why the suite cannot notice it.
    """

    beyond: bool
    reason: str


def load_equivalent(folder: Path = mutants.FOLDER) -> dict[tuple[str, str, str, str], Known]:
    """Return the mutants that the suite cannot tell from the driver, by `OperatorMutant.key`.

    Raises:
        LabError: The file has mistakes.
    """
    path = folder / EQUIVALENT
    try:
        entries = tomllib.loads(path.read_text("utf-8"))["equivalent"]
        return {
            (entry["file"], entry["place"], entry["before"], after): Known(
                _KINDS.index(entry["kind"]) == 1, entry["reason"]
            )
            for entry in entries
            for after in entry["after"]
        }
    except (OSError, ValueError, KeyError) as error:
        raise LabError(f"{path} cannot be used: {error!r}.") from error
