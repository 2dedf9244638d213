# SPDX-License-Identifier: GPL-2.0-only
"""Devices x kernels: the cells and their results."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from conformance.errors import UnknownMachine
from conformance.lab.check.prepare import LabRequest, Options, look_up, too_old
from conformance.lab.image import definitions
from conformance.report.results import RuleVerdict
from conformance.report.verdict import Conclusion, worst
from kpatch.device import load as devices
from kpatch.device.protocols import Protocol
from kpatch.errors import ProtocolError


class State(Enum):
    """What is known of a cell; the words are those of the table."""

    CONFORMS = "conforms"
    AS_DOCUMENTED = "fails as documented"
    DOES_NOT_CONFORM = "does not conform"
    KERNEL_DIED = "kernel died"
    LAB_FAILED = "lab failed"
    NOT_RUN = "not run"


STATES = {
    0: State.CONFORMS,
    1: State.DOES_NOT_CONFORM,
    3: State.KERNEL_DIED,
    4: State.LAB_FAILED,
}
"""State of a cell by its exit code; any other code means that nothing was run."""


@dataclass(frozen=True)
class Column:
    """A kernel.

    Attributes:
        name: What it is called in the table and in names of folders.
        image: The image whose root builds the modules and is the guest's.
        kernel_tree: A built tree whose kernel runs instead of the image's.
    """

    name: str
    image: str
    kernel_tree: Path | None = None


@dataclass(frozen=True)
class Cell:
    """A device on a kernel, and what became of it.

    Attributes:
        device: The device's name.
        column: The kernel.
        options: With which it is run.
        request: What is run; None if it cannot be.
        state: What is known; `NOT_RUN` before.
        reason: Why it is so; empty for one that conforms.
        exit_code: That of its run; 0 for a cell that is empty for a reason that lies in it.
        seconds: How long it took.
        folder: Its results.
        results: What `results.json` says there; empty if there is none.
    """

    device: str
    column: Column
    options: Options
    request: LabRequest | None = None
    state: State = State.NOT_RUN
    reason: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    folder: Path | None = None
    results: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> str:
        """The row of the table: the device, and the version of the protocol if one was chosen.

        ``igb-vf both v1``: a driver of both versions, judged by the first.
        """
        both = "both " if self.options.both else ""
        words = f"{both}{self.options.protocol or ''}".strip()
        return f"{self.device} {words}" if words else self.device

    @property
    def name(self) -> str:
        """What it is called in names of folders and suites."""
        return f"{self.row.replace(' ', '-')}-{self.column.name}"

    def empty(self, reason: str) -> Cell:
        """Return the cell as one that is not run, for a reason."""
        return replace(self, request=None, state=State.NOT_RUN, reason=reason)

    def count(self, verdict: str) -> int:
        """Return how many rules have a verdict; how many there are for an empty word."""
        rules: Mapping[str, int] = self.results.get("counts", {}).get("rules", {})
        return rules.get(verdict, 0) if verdict else sum(rules.values())

    @property
    def documented(self) -> dict[str, bool]:
        """The rules that the driver is known to break on its kernel, and which kill that."""
        stranger = self.request.stranger if self.request else None
        release = self.results.get("versions", {}).get("kernel")
        found = stranger.findings(release) if stranger and release else {}
        return {rule: one.dies for rule, one in found.items()}

    @property
    def failed_rules(self) -> list[str]:
        """The rules that failed."""
        rules: Mapping[str, Any] = self.results.get("rules", {})
        return [name for name, rule in rules.items() if rule["verdict"] == RuleVerdict.FAILED]


def columns(images: Sequence[str], trees: Sequence[Path], tree_image: str) -> list[Column]:
    """Return the columns: images, then trees.

    Args:
        images: Names; without any, all images with a kernel of their distribution.
        trees: Built kernel trees.
        tree_image: The image for these.

    Raises:
        UnknownImage: There is no such image.
        DefinitionError: The file of an image has mistakes.
    """
    loaded = [definitions.image(name) for name in images or definitions.images()]
    # One whose kernel the lab builds is for a closer look, and takes minutes for each device.
    found = [
        Column(one.name, one.name) for one in loaded if images or (one.kernel and not one.for_tests)
    ]
    for tree in trees:
        name = re.sub(r"[^A-Za-z0-9._]+", "-", tree.absolute().name).strip("-") or "tree"
        taken = [column.name for column in found]
        unique = next(
            one for n in range(1, 99) if (one := f"{name}-{n}" if n > 1 else name) not in taken
        )
        found.append(Column(unique, tree_image, tree.absolute()))
    return found


def plan(
    names: Iterable[str],
    among: Sequence[Column],
    options: Options,
    foreign: Sequence[str] = (),
    protocols: Sequence[Protocol | None] = (None,),
    *,
    both: bool = False,
) -> list[Cell]:
    """Return all cells, those that cannot be run with the reason.

    Args:
        names: Devices; without any, all that the kit describes.
        among: The kernels.
        options: Those that all cells share.
        foreign: Names of strangers, more rows; with some, no device but those that are named.
        protocols: Versions of the protocol, a row of each device for each.
        both: Whether there are further rows, of drivers that speak both versions.

    Raises:
        UsageError: Something does not exist.
        KpatchError: A description has mistakes.
    """
    cells = []
    named = list(names) or ([] if foreign else devices.names())
    forms = (False, True) if both else (False,)
    for name, together, protocol in itertools.product(named, forms, protocols):
        for column in among:
            own = replace(
                options,
                device=name,
                image=column.image,
                kernel_tree=column.kernel_tree,
                protocol=protocol,
                both=together,
            )
            cell = Cell(devices.load(name).name, column, own)
            try:
                cells.append(replace(cell, request=look_up(own)))
            except (UnknownMachine, ProtocolError) as error:
                cells.append(cell.empty(str(error)))
    for name in foreign:
        for column in among:
            own = replace(
                options, stranger=name, image=column.image, kernel_tree=column.kernel_tree
            )
            cells.append(Cell(name, column, own, look_up(own)))
    return cells


def with_kernel(cell: Cell, release: str) -> Cell:
    """Return the cell, empty if the kernel that was found is older than its stranger."""
    stranger = cell.request.stranger if cell.request else None
    if stranger is None or cell.column.kernel_tree or not stranger.too_new(release):
        return cell
    return cell.empty(f"{stranger.name} is in Linux {stranger.since} and later, not in {release}")


def with_emulator(cell: Cell, version: str) -> Cell:
    """Return the cell, empty if the QEMU that was found is too old for its machine."""
    reason = too_old(cell.request, version) if cell.request else ""
    return cell.empty(reason) if reason else cell


def exit_code(cells: Sequence[Cell]) -> int:
    """Return the exit code of a whole matrix: that of its worst cell, or 2 if none was run."""
    codes = {cell.exit_code for cell in cells}
    if not codes & {0, 1, 3, 4, 130} or all(cell.state is State.NOT_RUN for cell in cells):
        codes.add(2)  # what proves nothing is no success
    return worst(codes - {Conclusion.NOT_APPLICABLE.exit_code})
