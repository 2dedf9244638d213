# SPDX-License-Identifier: GPL-2.0-only
"""The tests that are most likely to notice a change of a driver: those of the code it touches.

Which rules a piece of the driver serves is known from the mutants: each breaks rules by an edit of
some function. Whoever changes that function may break them as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from conformance import requirements
from conformance.proof.mutants import mutant as mutants
from conformance.proof.mutants.mutant import Mutant
from conformance.running import selection

_END = re.compile(r"(?<=^}\n)|(?<=^};\n)", re.MULTILINE)
"""Where a function, a structure or a table ends."""


def tests(
    before: Mapping[str, str], after: Mapping[str, str], device: str, protocol: str
) -> list[str]:
    """Return the short names of the tests that a change of a driver concerns.

    Args:
        before: The sources of the driver, by name.
        after: The same of the changed driver.
        device: The name of its device.
        protocol: The version of the protocol for which it is rendered.

    Raises:
        LabError: The suite cannot be collected.
    """
    changed = list(_changed(before, after))
    if not changed:
        return []
    every = mutants.load(requirements.load()).values()
    alike = [one for one in every if one.protocol == protocol and not one.stranger]
    found = rules(changed, alike, device)
    if not found:
        return []
    by_rule = selection.tests_by_rule()
    named = (test.rpartition("/")[2] for rule in found for test in by_rule.get(rule, ()))
    return list(dict.fromkeys(named))


def rules(changed: Iterable[str], alike: Iterable[Mutant], device: str) -> list[str]:
    """Return the rules that mutants break by an edit of some pieces of source.

    Args:
        changed: The pieces, as they were before.
        alike: Mutants of drivers of the same protocol.
        device: The name of the device whose driver the pieces are of.
    """
    pieces = list(changed)
    found = (
        rule
        for one in alike
        if any(_of(edit.find, one, device) in piece for edit in one.edits for piece in pieces)
        for rule in one.rules
    )
    return list(dict.fromkeys(found))


def _of(text: str, one: Mutant, device: str) -> str:
    """Return what a mutant edits as it is in the driver of another device."""
    own, other = one.device.replace("-", "_"), device.replace("-", "_")
    return text.replace(own, other).replace(own.upper(), other.upper()).strip()


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """Yield the functions, structures and tables that are not the same any more, as they were."""
    for name, text in before.items():
        now = set(_END.split(after.get(name, "")))
        yield from (piece for piece in _END.split(text) if piece not in now)
