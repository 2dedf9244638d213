# SPDX-License-Identifier: GPL-2.0-only
"""What is handed from patch to patch, and the work on one patch. Nothing here changes in place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from conformance.gate.building import kconfig as gate_kconfig
from conformance.gate.building.build import Builder
from conformance.gate.building.kconfig import Kconfig
from conformance.gate.input.commit import Patch


@dataclass(frozen=True)
class State:
    """What the patches so far have left.

    Attributes:
        commit: The commit of the last of them.
        tree: Its tree, as git names it.
        options: The options that they have added, with what they are set to.
        touched: The files that they touch.
        warnings: How often a build gives each warning, in the directories of `known`.
        known: The directories of which that is known.
        modules: The VFIO modules that were built last; None if none were in this run.
    """

    commit: str
    tree: str
    options: Mapping[str, str] = field(default_factory=dict)
    touched: frozenset[str] = frozenset()
    warnings: Mapping[str, int] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    modules: Mapping[str, Path] | None = None

    def after(self, patch: Patch, commit: str, tree: str) -> State:
        """Return the state with one more patch applied, and nothing built of it yet."""
        new = {name: _kind(patch, name) for name in gate_kconfig.options_of(patch)}
        return replace(
            self,
            commit=commit,
            tree=tree,
            options={**self.options, **new},
            touched=self.touched | set(patch.touched),
        )


@dataclass(frozen=True)
class Work:
    """A patch to be judged, and what with.

    Attributes:
        patch: The patch, which has been applied.
        before: The state without it.
        now: The state with it.
        builder: Builds the tree.
        kconfig: Configures it.
        tree: The user's tree, for what the scratch one does not have.
    """

    patch: Patch
    before: State
    now: State
    builder: Builder
    kconfig: Kconfig
    tree: Path

    @property
    def added(self) -> dict[str, str]:
        """The options that the patch adds."""
        new = self.now.options.keys() - self.before.options.keys()
        return {name: self.now.options[name] for name in sorted(new)}

    @property
    def folders(self) -> list[str]:
        """The directories that the patch asks to be built."""
        return self.builder.folders(self.patch.touched)

    @property
    def unknown(self) -> list[str]:
        """Those of which nobody knows yet what they warn of without the patch."""
        return [folder for folder in self.folders if folder not in self.before.known]


def _kind(patch: Patch, option: str) -> str:
    """Return what an option is set to when it is on: m for a tristate, y for others."""
    text = patch.added(gate_kconfig.KCONFIG)
    block = re.search(rf"^\s*(?:menu)?config\s+{option}\n((?:[ \t].*\n?|\n)*)", text, re.M)
    return "m" if block and re.search(r"^\s+(?:def_)?tristate\b", block[1], re.M) else "y"
