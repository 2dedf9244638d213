# SPDX-License-Identifier: GPL-2.0-only
"""The steps for one patch before it is built: what each needs is in its `Work`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from conformance.gate import checks as gate_checks
from conformance.gate.building import kconfig as gate_kconfig
from conformance.gate.results import Step
from conformance.gate.state import Work

_UAPI = re.compile(r"(?:arch/x86/)?include/uapi/.*\.h$")
_UNMET = re.compile(r"unmet direct dependencies detected for (\w+)")


def steps(work: Work, *, signoff: bool) -> Iterator[tuple[str, Callable[[Path], Step | None]]]:
    """Yield the steps for a patch: a name, and a function that gets a log and does it.

    The function returns None where the step has no meaning for the patch. `signoff` says whether
    a missing Signed-off-by is a failure.
    """
    patch, builder = work.patch, work.builder
    place = builder.place
    yield "message", lambda _log: gate_checks.message(patch, signoff=signoff)
    yield "checkpatch", partial(gate_checks.checkpatch, patch, place, builder.tree)
    yield "maintainers", partial(gate_checks.maintainers, patch, place, builder.tree)
    if gate_kconfig.touches(patch):
        yield "kconfig", partial(_kconfig, work)
    uapi = [path for path in patch.touched if _UAPI.match(path) and (place / path).is_file()]
    if uapi:
        yield "headers", partial(gate_checks.headers, uapi, place, builder.tree)


def _kconfig(work: Work, log: Path) -> Step:
    """Set each new option to m (or y) and to n, as the kernel's own Kconfig understands it."""
    patch, kconfig, options = work.patch, work.kconfig, work.now.options
    if not kconfig.available():
        return Step("kconfig", "skipped", "the tree or the kernel has no whole Kconfig")
    on = kconfig.with_kernel(options, log)
    if not on.options:
        return Step("kconfig", "failed", "Kconfig cannot read the tree", on.complaints)
    # The kernel's own configuration can have complaints that are none of the patch's.
    ours = "|".join(map(re.escape, [*patch.touched, *options]))
    if any(re.search(ours, line) for line in on.complaints):
        return Step("kconfig", "failed", first_complaint(on.complaints, ours), on.complaints)
    notes = []
    for name, value in work.added.items():
        if on.options.get(name, "n") != value:
            notes.append(
                f"CONFIG_{name} cannot be {value} in this kernel's configuration: "
                "does it depend on something that is off?"
            )
    off = kconfig.with_kernel({**options, **dict.fromkeys(work.added, "n")}, log)
    wrong = [line for line in off.complaints if re.search(ours, line)]
    for name in work.added:
        if off.options.get(name, "n") != "n":
            wrong.append(f"CONFIG_{name} cannot be n: it has no prompt, or something selects it")
    if wrong:
        return Step("kconfig", "failed", first_complaint(wrong, ours), tuple(wrong))
    if notes:
        return Step("kconfig", "noted", notes[0], tuple(notes))
    return Step("kconfig", "passed")


def first_complaint(complaints: Sequence[str], ours: str) -> str:
    """Return the fault in a line: what a report is about, not one of its details.

    Args:
        complaints: What `conf` says.
        ours: A regular expression: what the patch touches.
    """
    for number, line in enumerate(complaints):
        unmet = _UNMET.search(line)
        if unmet:
            details = "\n".join(complaints[number + 1 :])
            who = re.search(r"Selected by \[[ym]\]:\n-?\s*(\w+)", details)
            selected = f", which {who[1]} selects" if who else ""
            return f"unmet direct dependencies for {unmet[1]}{selected}"
    return next((line for line in complaints if re.search(ours, line)), complaints[0])
