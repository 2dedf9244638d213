# SPDX-License-Identifier: GPL-2.0-only
"""The verdicts on mutants as JUnit XML: a mutant is a case that passes if it is killed."""
# mypy: allow-untyped-calls
# (junitparser ships py.typed, but only some of its methods have annotations)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from junitparser import Failure, JUnitXml, Properties, Property, Skipped, TestCase, TestSuite

from conformance.proof.judging.judge import Judged, Verdict
from conformance.proof.output.matrix import line
from conformance.report.text import printable

JUNIT = "junit.xml"


def write(folder: Path, judged: Sequence[Judged], unfit: Mapping[str, str]) -> None:
    """Write the file.

    Args:
        folder: Where to.
        judged: The mutants.
        unfit: Tests that the driver itself fails, and why: each is a failed case.
    """
    suite = TestSuite("mutants")
    suite.add_testcases([_case(one) for one in judged])
    for name, why in unfit.items():
        case = TestCase(f"driver-itself {printable(name)}", "conformance.mutants")
        case.append(Failure(printable(why)))
        suite.add_testcase(case)
    xml = JUnitXml("vfio-migration-mutants")
    xml.add_testsuite(suite)
    xml.update_statistics()
    xml.write(str(folder / JUNIT), pretty=True)


def _case(one: Judged) -> TestCase:
    case = TestCase(one.mutant.id, "conformance.mutants", one.seconds)
    properties = Properties()
    for rule in one.mutant.rules:
        properties.add_property(Property("rule", rule))
    case.append(properties)
    if one.verdict is Verdict.NOT_RUN:
        case.append(Skipped("not run"))
    elif one.verdict is not Verdict.KILLED:
        case.append(Failure(printable(line(one)), str(one.verdict)))
    return case
