# SPDX-License-Identifier: GPL-2.0-only
"""The step `build`: what a patch touches is built, without and with the options that it adds.

A patch whose changes no compiler saw has not passed. It is *not built*, and the report says of
which file and why: an option that is off, or another architecture.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from conformance.gate import seen as gate_seen
from conformance.gate.building import kconfig as gate_kconfig
from conformance.gate.building.build import Outcome, merged, new_warnings
from conformance.gate.results import Step
from conformance.gate.state import Work

_TELLING = re.compile(r"error:|ERROR:|multiple definition of|undefined reference")


@dataclass(frozen=True)
class Built:
    """What came of a build.

    Attributes:
        step: The step.
        warnings: What the tree with the patch warns of.
        modules: The VFIO modules; None if none were built.
    """

    step: Step
    warnings: Mapping[str, int]
    modules: Mapping[str, Path] | None


def build(work: Work, known: Mapping[str, int], log: Path) -> Built:
    """Build what a patch touches.

    Args:
        work: The patch.
        known: What the tree without the patch warns of.
        log: File for the output.
    """
    builder = work.builder
    wrong: list[str] = []
    modules: dict[str, Path] = {}
    before: set[str] = set()
    for folder in work.folders:
        if not (builder.place / folder).is_dir():
            continue  # the patch removes it
        if work.added:
            outcome = builder.build(folder, work.before.options, log)
            before |= outcome.modules.keys()
            wrong += _judge(outcome, known, "with the new options off, ")
            known = merged(known, outcome.warnings) if outcome.built else known
            wrong += _too_much(work, outcome)
        outcome = builder.build(folder, work.now.options, log)
        wrong += _judge(outcome, known, "")
        known = merged(known, outcome.warnings) if outcome.built else known
        modules |= outcome.modules
    if not wrong and work.added:
        wrong += _nothing_new(modules.keys() - before, work.added)
    if not wrong:
        wrong += _needs(work, modules, log)
    own = modules if work.builder.vfio in work.folders else work.before.modules
    return Built(_step(work, wrong), known, own)


def _step(work: Work, wrong: list[str]) -> Step:
    if wrong:
        return Step("build", "failed", wrong[0], tuple(wrong))
    builder = work.builder.fresh()
    unseen = gate_seen.unseen(work.patch, builder.place, builder.tree, work.now.options)
    if unseen:
        return Step("build", "not built", unseen[0], tuple(unseen))
    if not work.folders:
        return Step("build", "skipped", "the patch touches nothing that is built")
    return Step("build", "passed")


def _judge(outcome: Outcome, known: Mapping[str, int], when: str) -> list[str]:
    if not outcome.built:
        return [f"{when}does not build: {telling(outcome.error)}", *outcome.error.splitlines()]
    return [f"{when}new warning: {line}" for line in new_warnings(outcome, known)]


def telling(error: str) -> str:
    """Return the line of a failed build's output that names the fault."""
    lines = error.splitlines()
    found = (line for line in lines if _TELLING.search(line))
    return next(found, lines[0] if lines else "make failed").strip()


def _too_much(work: Work, outcome: Outcome) -> Iterator[str]:
    """Find modules that are built although the option that they belong to is off."""
    for name, path in outcome.modules.items():
        folder = str(path.parent.relative_to(work.builder.place))
        created = (one for one in work.patch.created if one.endswith(".c"))
        if any(str(Path(one).parent) == folder for one in created):
            options = ", ".join(f"CONFIG_{option}" for option in work.now.options)
            yield f"{name} is built although {options} is off: does its Makefile not ask for it?"


def _nothing_new(new: Collection[str], added: Mapping[str, str]) -> Iterator[str]:
    """Find that no module came with a new option that is for one; others only change some."""
    drivers = [f"CONFIG_{name}" for name, value in added.items() if value == "m"]
    if drivers and not new:
        options = ", ".join(drivers)
        yield f"with {options} on nothing more is built: does a Makefile lead there?"


def _needs(work: Work, modules: Mapping[str, Path], log: Path) -> Iterator[str]:
    """Check that the options of new drivers ask for all that the drivers use."""
    builder, kconfig = work.builder.fresh(), work.kconfig
    if not kconfig.available():
        return
    for name, path in modules.items():
        folder = str(path.parent.relative_to(builder.place))
        if not any(str(Path(one).parent) == folder for one in work.patch.touched):
            continue
        option = _option_of(name, path.parent, work.now.options)
        if not option:
            continue
        files = [one for one in sorted(work.now.touched) if "Kconfig" in Path(one).name]
        small = kconfig.smallest(option, kconfig.needs(option, files), log)
        if small.options.get(option) != "m":
            continue  # it needs more than could be found out, or less
        place, kernel = builder.place, builder.tree
        found = gate_kconfig.missing_needs(path, small.options, place, work.tree, kernel)
        yield from (f"CONFIG_{option} lacks a dependency: {one}" for one in found)


def _option_of(name: str, folder: Path, options: Mapping[str, str]) -> str:
    """Return the new option by which a module is built, or an empty string."""
    text = "".join(
        (folder / one).read_text("utf-8", errors="replace")
        for one in ("Kbuild", "Makefile")
        if (folder / one).is_file()
    )
    wanted = re.escape(name).replace("_", "[-_]")
    found = re.search(rf"^obj-\$\(CONFIG_(\w+)\)\s*\+?=.*\b{wanted}\.o", text, re.M)
    return found[1] if found and options.get(found[1]) == "m" else ""
