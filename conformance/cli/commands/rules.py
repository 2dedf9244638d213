# SPDX-License-Identifier: GPL-2.0-only
"""The command ``list``: the rules, their tests and mutants."""

from __future__ import annotations

import argparse
import textwrap

from conformance.cli.options import Say

HELP = "list the rules, their tests and mutants; with -v also the text of each"


def add(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no options of its own."""


def run(arguments: argparse.Namespace, say: Say) -> int:
    """Do it, and return the exit code."""
    from conformance import requirements
    from conformance.proof.mutants import mutant as mutants
    from conformance.proof.mutants import tracing
    from conformance.running import selection

    catalogue = requirements.load()
    every, exempt = mutants.load(catalogue), mutants.load_exempt(catalogue)
    for one in tracing.trace(catalogue, selection.tests_by_rule(), every, exempt):
        rule = one.rule
        shown = ", ".join(one.mutants) or ("no mutant" if rule.level == "MUST" else "-")
        say(
            f"{rule.id}  {rule.level}  {','.join(rule.sources)}  tests: {len(one.tests)}  "
            f"mutants: {shown}"
        )
        if arguments.verbose:
            say(textwrap.fill(rule.text, 96, initial_indent="    ", subsequent_indent="    "))
            if one.exempt:
                say(textwrap.indent(textwrap.fill(f"No mutant: {one.exempt}", 92), "    "))
            for test in one.tests:
                say(f"    - {test}")
            for name in one.mutants:
                say(f"    * {name}: {every[name].defect}")
    return 0
