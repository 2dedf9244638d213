# SPDX-License-Identifier: GPL-2.0-only
"""Prints what was found: a line each for people, JSON for programs."""

import json
from collections.abc import Iterator, Sequence

from conformance.doctor.checks.checks import Check
from conformance.doctor.checks.finding import Finding, Level, Scope
from conformance.doctor.checks.sources import SOURCES
from conformance.doctor.facts.facts import Facts

SCHEMA = 1
"""Grows when a key of the JSON changes its meaning or goes."""

_ABOUT = {
    Scope.FUNCTION: "functions of this machine",
    Scope.LAB: "the lab's virtual machines",
}

Found = Sequence[tuple[Check, Finding]]


def lines(facts: Facts, found: Found, *, verbose: bool) -> Iterator[str]:
    """Yield the lines for people: what blocks first, and a verdict last."""
    shown = [pair for pair in found if verbose or pair[1].level is not Level.FINE]
    width = max((len(check.name) for check, _ in shown), default=0)
    for check, finding in shown:
        yield f"{finding.level:<6}  {check.name:<{width}}  {finding}"
        if verbose and finding.do:
            listed = "; ".join(map(str, SOURCES[check.name]))
            yield f"{'':<{width + 10}}(checked against {listed})"
    good = sum(finding.level is Level.FINE for _, finding in found)
    if good and not verbose:
        yield f"fine    {good} more checks found nothing wrong (-v shows them)"
    yield verdict(facts, found)


def verdict(facts: Facts, found: Found) -> str:
    """Return the last line: what stands in the way of what."""
    subject = facts.function.bdf if facts.function else "this machine"
    blocked = {check.scope for check, finding in found if finding.level is Level.BLOCKS}
    if not blocked:
        return f"{subject}: nothing blocks"
    count = sum(finding.level is Level.BLOCKS for _, finding in found)
    if facts.function:
        return f"{subject}: {count} in the way; begin with the first"
    about = " and ".join(_ABOUT[scope] for scope in Scope if scope in blocked)
    return f"{subject}: {count} in the way of {about}; begin with the first"


def as_json(facts: Facts, found: Found) -> str:
    """Return what was found as JSON."""
    document = {
        "schema": SCHEMA,
        "function": facts.function.bdf if facts.function else None,
        "kernel": facts.kernel.release,
        "candidates": list(facts.candidates),
        "blocks": any(finding.level is Level.BLOCKS for _, finding in found),
        "findings": [
            {
                "level": str(finding.level),
                "check": check.name,
                "scope": str(check.scope),
                "what": finding.what,
                "why": finding.why,
                "do": finding.do,
                "checked_against": [str(one) for one in SOURCES[check.name]] if finding.do else [],
            }
            for check, finding in found
        ],
    }
    return json.dumps(document, indent=1)
