# SPDX-License-Identifier: GPL-2.0-only
"""The end of a run in words: a line for each group, then what asks for attention."""

import textwrap
from collections.abc import Iterator

from conformance.events.kinds import CUT_SHORT, TestOutcome
from conformance.report.failure import explain
from conformance.report.results import GroupResult, Results, RuleResult, RuleVerdict
from conformance.report.text import Style, block, listing, plural, printable
from conformance.report.verdict import Conclusion, Verdict

_KLOG = 45  # lines of the kernel log shown of an agent that gave up
_NAMES = 12  # rules without a test named one by one; more are counted by group
#: The verdict in words.
CONCLUSIONS = {
    Conclusion.CONFORMS: "conforms",
    Conclusion.REQUIREMENT_FAILED: "does not conform",
    Conclusion.BAD_USAGE: "nothing was judged: bad usage",
    Conclusion.NOT_APPLICABLE: "nothing was judged: no rule is applicable",
    Conclusion.KERNEL_DIED: "the kernel died",
    Conclusion.LAB_FAILED: "the lab failed, the driver was not judged",
    Conclusion.INTERRUPTED: "interrupted, the driver was not judged",
}


def render(results: Results, verdict: Verdict, style: Style, width: int) -> str:
    """Return the summary of a run, wrapped at `width` columns."""
    lines: list[str] = []
    if results.tests:
        lines += ["", *_table(results, style)]
    lines += explain(results, style, width)
    lines += _unjudged(results, style, width)
    lines += _ending(results, verdict, style, width)
    return "\n".join(lines) + "\n"


def _table(results: Results, style: Style) -> Iterator[str]:
    groups = results.groups()
    name_width = max(len("rules of"), *(len(group.name) for group in groups))
    yield style.bold(
        f"{'rules of':<{name_width}}  passed  failed  skipped  not tested  n/a  free outcomes"
    )
    for group in groups:
        passed, failed, skipped, untested, other = (group.count(verdict) for verdict in RuleVerdict)
        if all(rule.other_protocol for rule in group.rules):
            continue  # the end says it of all of them in one line
        failed_cell = style.red(f"{failed:>6}") if failed else f"{failed:>6}"
        row = (
            f"{group.name:<{name_width}}  {passed:>6}  {failed_cell}  {skipped:>7}"
            f"  {untested:>10}  {other:>3}  {_free(group)}"
        )
        yield row.rstrip()


def _free(group: GroupResult) -> str:
    """Name the outcomes seen of a group's FREE rules; families are folded.

    A family whose members agree is one entry, else each outcome lists its members.
    """
    families: dict[str, dict[str, list[str]]] = {}
    for rule in group.rules:
        if not rule.observed:
            continue
        requirement = rule.requirement
        name = (requirement.family or requirement.id).removeprefix(f"{group.name}.")
        member = requirement.id.removeprefix(requirement.family).lstrip(".")
        outcome = printable("/".join(rule.observed))
        members = families.setdefault(name, {}).setdefault(outcome, [])
        members += [member] if requirement.family else []
    entries = []
    for name, outcomes in families.items():
        folded = len(outcomes) == 1
        said = [
            outcome if folded or not members else f"{outcome} {' '.join(members)}"
            for outcome, members in outcomes.items()
        ]
        cases = sum(len(members) for members in outcomes.values())
        entries.append(f"{name}{f'.* ({cases})' if cases and folded else ''} {'; '.join(said)}")
    return ", ".join(entries)


def _unjudged(results: Results, style: Style, width: int) -> list[str]:
    """MUST rules about which this run says nothing, loudly."""
    musts = [rule for rule in results.rules() if rule.requirement.level == "MUST"]
    lines: list[str] = []
    session = results.session
    if session and session.volatile:
        named = "IGNORED  registers that the operator says change by themselves (--volatile):"
        lines += ["", style.yellow(named), *_indented(" ".join(session.volatile), width, 6)]
    if session and session.fatal:
        named = (
            "SPARED  requests of which the kernel is said to die; only the last test makes them:"
        )
        lines += ["", style.yellow(named), *_indented(" ".join(session.fatal), width, 6)]
    for check, (test, said) in results.switched_off().items():
        title = f"OFF  {check}, from {printable(test)} on; later faults may go unseen:"
        lines += ["", style.yellow(title), *_indented(said, width, 6)]
    if session and session.lacking:
        title = f"NOT APPLICABLE  {plural(len(musts), 'MUST rule')}, and all others"
        return [*lines, "", style.yellow(title)]
    skipped = [rule for rule in musts if rule.verdict is RuleVerdict.SKIPPED]
    if skipped:
        lines += ["", style.yellow(f"SKIPPED  {plural(len(skipped), 'MUST rule')} not judged:")]
        for reason, ids in by_reason(skipped).items():
            lines += _indented(f"{reason}:", width, 2) + _indented(" ".join(ids), width, 6)
    apart = [rule for rule in results.rules() if rule.verdict is RuleVerdict.NOT_APPLICABLE]
    if apart:
        lines += ["", style.yellow(f"NOT APPLICABLE  {plural(len(apart), 'rule')}:")]
        for reason, ids in by_reason(apart).items():
            named = " ".join(ids) if len(ids) <= _NAMES else plural(len(ids), "rule")
            lines += _indented(f"{reason}:", width, 2) + _indented(named, width, 6)
    untested = [rule for rule in musts if rule.verdict is RuleVerdict.NOT_TESTED]
    if untested and results.tests:
        title = (
            f"NOT TESTED  {plural(len(untested), 'MUST rule')} without a test that ran to its end"
        )
        lines += ["", style.yellow(title)]
        if len(untested) <= _NAMES:
            lines += _indented(" ".join(rule.requirement.id for rule in untested), width, 6)
    return lines


def by_reason(rules: list[RuleResult]) -> dict[str, list[str]]:
    """Return the rules by the reason for which they were not judged."""
    reasons: dict[str, list[str]] = {}
    for rule in rules:
        reasons.setdefault("; ".join(rule.skip_reasons), []).append(rule.requirement.id)
    return reasons


def _indented(text: str, width: int, indent: int) -> list[str]:
    return textwrap.wrap(
        printable(text),
        max(width, 40),
        initial_indent=" " * indent,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _ending(results: Results, verdict: Verdict, style: Style, width: int) -> list[str]:
    lines = [""]
    for running in results.running:
        lines += [style.red(f"RUNNING  {printable(running.id)} when the run ended")]
        for rule in running.rules:
            lines += block("rule", f"{rule}: {results.requirements[rule].text}", width)
        lines.append("")
    if (error := results.agent_error) is not None:
        lines += listing("kernel log", error.klog, _KLOG)
    # All of it: who watched the console has chosen the lines, the cause comes first.
    lines += listing("console", verdict.console, len(verdict.console))
    good = verdict.conclusion is Conclusion.CONFORMS
    reason = reach(results) if good else printable(verdict.reason)
    first, *rest = reason.splitlines() or [""]
    paint = style.green if good else style.red
    lines.append(paint(f"{CONCLUSIONS[verdict.conclusion]}{first and ': '}{first}"))
    lines += rest
    lines += [f"  {printable(verdict.hint)}"] if verdict.hint else []
    lines += [tests_in_words(results)] if results.session else []
    return lines


def reach(results: Results) -> str:
    """Tell how much a run without a failed rule proves."""
    verdicts = [rule.verdict for rule in results.rules() if rule.requirement.level == "MUST"]
    verdicts = [verdict for verdict in verdicts if verdict is not RuleVerdict.NOT_APPLICABLE]
    passed = verdicts.count(RuleVerdict.PASSED)
    if passed == len(verdicts):
        return f"all {passed} MUST rules passed"
    return f"{passed} of {len(verdicts)} MUST rules passed, the others were not judged"


def tests_in_words(results: Results) -> str:
    """Count the tests in one line, as pytest would."""
    count = results.count
    failed = count(TestOutcome.FAILED) + count(TestOutcome.ERROR)
    numbers = [(count(TestOutcome.PASSED), "passed"), (failed, "failed")]
    numbers += [(count(TestOutcome.SKIPPED), "skipped")] if count(TestOutcome.SKIPPED) else []
    numbers += [
        (count(outcome), outcome.replace("-", " "))
        for outcome in sorted({TestOutcome.NOT_APPLICABLE, *CUT_SHORT})
        if count(outcome)
    ]
    seconds = f" in {results.finish.duration:.1f} s" if results.finish else ""
    return "tests: " + ", ".join(f"{number} {word}" for number, word in numbers) + seconds
