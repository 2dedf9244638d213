# SPDX-License-Identifier: GPL-2.0-only
"""The steps for one patch, and what they hand on to the next patch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from conformance.gate import checks as gate_checks
from conformance.gate import kconfig as gate_kconfig
from conformance.gate import tree as gate_tree
from conformance.gate.build import Builder, Outcome, merged, new_warnings
from conformance.gate.input import Patch
from conformance.gate.kconfig import Kconfig
from conformance.gate.results import Step

_UAPI = re.compile(r"(?:arch/x86/)?include/uapi/.*\.h$")


@dataclass
class Progress:
    """Where the gate has come to in a series.

    Attributes:
        before: The tree without the patch, as git names it.
        parent: The commit before the patch.
        options: The options that the patches so far have added, with what they are set to.
        earlier: The same without those of the patch itself.
        folders: The directories that the patch asks to be built.
        touched: The files that the patches so far touch.
        known: Warnings of the tree before the patch; None if nobody knows them.
        modules: What was built last; None if nothing was in this run.
    """

    before: str = ""
    parent: str = ""
    options: dict[str, str] = field(default_factory=dict)
    earlier: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    known: dict[str, int] | None = None
    modules: dict[str, Path] | None = None

    def take(self, patch: Patch) -> None:
        """Go on to a patch."""
        self.earlier = dict(self.options)
        self.options |= {name: _kind(patch, name) for name in gate_kconfig.options_of(patch)}
        self.touched |= set(patch.touched)
        self.folders = gate_tree.buildable(patch.touched)


@dataclass(frozen=True)
class Work:
    """A patch to be judged, and what with.

    Attributes:
        patch: The patch, which has been applied.
        builder: Builds the tree with it.
        kconfig: Configures it.
        progress: Where the gate has come to; taken further by the steps.
        tree: The user's tree, for what the patched one does not have.
    """

    patch: Patch
    builder: Builder
    kconfig: Kconfig
    progress: Progress
    tree: Path


def steps(work: Work, *, signoff: bool) -> Iterator[tuple[str, Callable[[Path], Step | None]]]:
    """Yield the steps for a patch: a name, and a function which gets a log and does it.

    The function returns None where the step has no meaning for the patch. `signoff` tells whether
    a missing Signed-off-by is a failure.
    """
    patch, builder = work.patch, work.builder
    place = builder.place
    yield "message", lambda _log: gate_checks.message(patch, signoff=signoff)
    yield "checkpatch", partial(gate_checks.checkpatch, patch, place, builder.tree)
    yield "maintainers", lambda _log: gate_checks.maintainers(patch, place)
    if gate_kconfig.touches(patch):
        yield "kconfig", partial(_kconfig, work)
    uapi = [path for path in patch.touched if _UAPI.match(path) and (place / path).is_file()]
    if uapi:
        yield "headers", partial(gate_checks.headers, uapi, place, builder.tree)
    yield "build", partial(_build, work)


def _kconfig(work: Work, log: Path) -> Step:
    """Set each new option to m (or y) and to n, as the kernel's own Kconfig understands it."""
    patch, kconfig, progress = work.patch, work.kconfig, work.progress
    if not kconfig.available():
        return Step("kconfig", "skipped", "the tree or the kernel has no whole Kconfig")
    added = {name: progress.options[name] for name in gate_kconfig.options_of(patch)}
    on = kconfig.with_kernel(progress.options, log)
    if not on.options:
        return Step("kconfig", "failed", "Kconfig cannot read the tree", on.complaints)
    # The kernel's own configuration can have complaints that are none of the patch's.
    ours = re.compile("|".join(map(re.escape, [*patch.touched, *progress.options])))
    complaints = tuple(line for line in on.complaints if ours.search(line))
    if complaints:
        return Step("kconfig", "failed", complaints[0], complaints)
    notes = []
    for name, value in added.items():
        if on.options.get(name, "n") != value:
            notes.append(
                f"CONFIG_{name} cannot be {value} in this kernel's configuration: "
                "does it depend on something that is off?"
            )
    off = kconfig.with_kernel({**progress.options, **dict.fromkeys(added, "n")}, log)
    wrong = [line for line in off.complaints if ours.search(line)]
    for name in added:
        if off.options.get(name, "n") != "n":
            wrong.append(f"CONFIG_{name} cannot be n: it has no prompt, or something selects it")
    if wrong:
        return Step("kconfig", "failed", wrong[0], tuple(wrong))
    if notes:
        return Step("kconfig", "noted", notes[0], tuple(notes))
    return Step("kconfig", "passed")


def _build(work: Work, log: Path) -> Step:
    """Build what the patch touches, without and with the options that it adds."""
    patch, builder, progress = work.patch, work.builder, work.progress
    left_out = gate_tree.not_built(patch.touched)
    if not progress.folders:
        if left_out:
            reason = f"{left_out[0]} is not part of a module, and is not built here"
            return Step("build", "noted", reason, tuple(left_out))
        return Step("build", "skipped", "the patch touches nothing that is built")
    wrong: list[str] = []
    added = progress.options.keys() - progress.earlier.keys()
    modules: dict[str, Path] = {}
    before: set[str] = set()
    for folder in progress.folders:
        if not (builder.place / folder).is_dir():
            continue  # the patch removes it
        if added:
            outcome = builder.build(folder, progress.earlier, log)
            before |= outcome.modules.keys()
            wrong += _judge(outcome, progress, "with the new options off, ")
            wrong += _too_much(work, outcome)
        outcome = builder.build(folder, progress.options, log)
        wrong += _judge(outcome, progress, "")
        modules |= outcome.modules
    if not wrong and added:
        new = {name: path for name, path in modules.items() if name not in before}
        wrong += _nothing_new(new, added)
    if not wrong:
        wrong += _needs(work, modules, log)
    progress.modules = modules if gate_tree.VFIO in progress.folders else progress.modules
    if wrong:
        return Step("build", "failed", wrong[0], tuple(wrong))
    if left_out:
        reason = f"{left_out[0]} is not part of a module, and is not built here"
        return Step("build", "noted", reason, tuple(left_out))
    return Step("build", "passed")


def _judge(outcome: Outcome, progress: Progress, when: str) -> list[str]:
    known: Mapping[str, int] = progress.known or {}
    if not outcome.built:
        lines = outcome.error.splitlines()
        telling = (line for line in lines if "error:" in line or "ERROR:" in line)
        first = next(telling, lines[0] if lines else "make failed")
        return [f"{when}does not build: {first.strip()}", *lines]
    new = new_warnings(outcome, known)
    progress.known = merged(known, outcome.warnings)
    return [f"{when}new warning: {line}" for line in new]


def _too_much(work: Work, outcome: Outcome) -> Iterator[str]:
    """Find modules which are built although the option that they belong to is off."""
    patch, builder, progress = work.patch, work.builder, work.progress
    for name, path in outcome.modules.items():
        folder = str(path.parent.relative_to(builder.place))
        if any(str(Path(one).parent) == folder and one.endswith(".c") for one in patch.created):
            options = ", ".join(f"CONFIG_{one}" for one in progress.options)
            yield f"{name} is built although {options} is off: does its Makefile not ask for it?"


def _nothing_new(new: Mapping[str, Path], added: set[str]) -> Iterator[str]:
    if not new:
        options = ", ".join(f"CONFIG_{one}" for one in sorted(added))
        yield f"with {options} on nothing more is built: does a Makefile lead there?"


def _needs(work: Work, modules: Mapping[str, Path], log: Path) -> Iterator[str]:
    """Check that the options of new drivers ask for all that the drivers use."""
    patch, builder, kconfig = work.patch, work.builder, work.kconfig
    progress, tree = work.progress, work.tree
    if not kconfig.available():
        return
    for name, path in modules.items():
        folder = str(path.parent.relative_to(builder.place))
        if not any(str(Path(one).parent) == folder for one in patch.touched):
            continue
        option = _option_of(name, path.parent, progress)
        if not option:
            continue
        files = [one for one in progress.touched if "Kconfig" in Path(one).name]
        small = kconfig.smallest(option, kconfig.needs(option, files), log)
        if small.options.get(option) != "m":
            continue  # it needs more than could be found out, or less
        found = gate_kconfig.missing_needs(path, small.options, builder.place, tree, builder.tree)
        yield from (f"CONFIG_{option} lacks a dependency: {one}" for one in found)


def _option_of(name: str, folder: Path, progress: Progress) -> str:
    """Return the new option by which a module is built, or an empty string."""
    text = "".join(
        (folder / one).read_text("utf-8", errors="replace")
        for one in ("Kbuild", "Makefile")
        if (folder / one).is_file()
    )
    wanted = re.escape(name).replace("_", "[-_]")
    found = re.search(rf"^obj-\$\(CONFIG_(\w+)\)\s*\+?=.*\b{wanted}\.o", text, re.M)
    return found[1] if found and progress.options.get(found[1]) == "m" else ""


def _kind(patch: Patch, option: str) -> str:
    """Return what an option is set to when it is on: m for a tristate, y for others."""
    text = patch.added(r".*Kconfig[\w.]*")
    block = re.search(rf"^(?:menu)?config {option}\n((?:[ \t].*\n?|\n)*)", text, re.M)
    return "m" if block and re.search(r"^\s+(?:def_)?tristate\b", block[1], re.M) else "y"
