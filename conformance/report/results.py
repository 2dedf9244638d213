# SPDX-License-Identifier: GPL-2.0-only
"""What is known of a run: its tests, and what they say about each rule."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from conformance.events import kinds as events
from conformance.events.errors import EventError
from conformance.events.kinds import BAD, CUT_SHORT, TestOutcome
from conformance.requirements import Requirement


class RuleVerdict(StrEnum):
    """What the tests of a rule say about it."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_TESTED = "not-tested"
    NOT_APPLICABLE = "not-applicable"


@dataclass
class TestRecord:
    """One test of the run; times in seconds."""

    __test__ = False

    id: str
    rules: tuple[str, ...]
    outcome: TestOutcome = TestOutcome.NOT_RUN
    result: events.Result | None = None

    @property
    def group(self) -> str:
        """The group of its first rule; tests without a rule look after the kit."""
        return group_of(self.rules[0]) if self.rules else "kit"


@dataclass(frozen=True)
class RuleResult:
    """A rule, and what came of it."""

    requirement: Requirement
    verdict: RuleVerdict
    tests: tuple[TestRecord, ...]
    other_protocol: str = ""  # why it is not applicable, if its whole protocol is not

    @cached_property
    def observed(self) -> tuple[str, ...]:
        """The outcomes seen of a FREE rule, sorted; more than one where tests differ."""
        seen = {
            record.result.observed[self.requirement.id]
            for record in self.tests
            if record.result and self.requirement.id in record.result.observed
        }
        return tuple(sorted(seen))

    @property
    def skip_reasons(self) -> tuple[str, ...]:
        """Why its tests were skipped or not applicable, each reason once."""
        if self.other_protocol:
            return (self.other_protocol,)
        reasons = [r.result.skip or "no reason given" for r in self.tests if r.result]
        return tuple(dict.fromkeys(reasons))


@dataclass(frozen=True)
class GroupResult:
    """The rules whose ids begin with `name` and a dot."""

    name: str
    rules: tuple[RuleResult, ...]

    def count(self, verdict: RuleVerdict) -> int:
        """How many rules of the group came out as `verdict`."""
        return sum(rule.verdict is verdict for rule in self.rules)


@dataclass
class Results:
    """Collects the events of a run; knows all rules from the beginning.

    Args:
        requirements: the catalogue, by id.
    """

    requirements: Mapping[str, Requirement]
    session: events.Session | None = None
    finish: events.Finish | None = None
    agent_error: events.AgentError | None = None
    tests: dict[str, TestRecord] = field(default_factory=dict)
    # Both follow from `tests`, and are asked for at every event.
    _running: dict[str, TestRecord] = field(default_factory=dict)
    _counts: Counter[TestOutcome] = field(default_factory=Counter)

    @property
    def running(self) -> tuple[TestRecord, ...]:
        """The tests that have begun and not ended."""
        return tuple(self._running.values())

    def add(self, event: events.Event) -> None:
        """Take in one event.

        Raises:
            EventError: the event does not follow from those before it, or names a
                rule that the catalogue lacks.
        """
        match event:
            case events.Session():
                self._begin(event)
            case events.Start():
                self._start(event)
            case events.Result():
                self._result(event)
            case events.Finish():
                self.finish = event
            case events.AgentError():
                self.agent_error = event
            case _:
                pass  # how the run goes on; says nothing of a test

    def count(self, outcome: TestOutcome) -> int:
        """How many tests ended as `outcome`, those included of which only the number is known."""
        known = self._counts[outcome]
        return known + self.unnamed if outcome is TestOutcome.NOT_RUN else known

    def switched_off(self) -> dict[str, tuple[str, str]]:
        """Return the kernel's checks that are off since a test: its id, and the kernel's words."""
        found: dict[str, tuple[str, str]] = {}
        for record in self.tests.values():
            for check, line in (record.result.switched_off if record.result else {}).items():
                found.setdefault(check, (record.id, line))
        return found

    @property
    def unnamed(self) -> int:
        """Tests that were collected and never heard of."""
        return max(0, self.session.collected - len(self.tests)) if self.session else 0

    def rule(self, rule_id: str) -> RuleResult:
        """Judge one rule by the tests seen so far."""
        tests = tuple(record for record in self.tests.values() if rule_id in record.rules)
        return self._rule(self.requirements[rule_id], tests)

    def rules(self) -> Iterator[RuleResult]:
        """All rules of the catalogue, in its order."""
        by_rule: dict[str, list[TestRecord]] = {rule_id: [] for rule_id in self.requirements}
        for record in self.tests.values():
            for rule_id in record.rules:
                by_rule[rule_id].append(record)
        for rule_id, tests in by_rule.items():
            yield self._rule(self.requirements[rule_id], tuple(tests))

    def _rule(self, requirement: Requirement, tests: tuple[TestRecord, ...]) -> RuleResult:
        judged = self.session.protocol if self.session else 0
        if judged and requirement.protocol not in (0, judged) and not tests:
            reason = f"this session judges version {judged} of the protocol"
            return RuleResult(requirement, RuleVerdict.NOT_APPLICABLE, (), reason)
        return RuleResult(requirement, _judge(tests), tests)

    def groups(self) -> tuple[GroupResult, ...]:
        """Return the rules by group, groups in the order of the catalogue."""
        grouped: dict[str, list[RuleResult]] = {}
        for rule in self.rules():
            grouped.setdefault(rule.requirement.group, []).append(rule)
        return tuple(GroupResult(name, tuple(rules)) for name, rules in grouped.items())

    def tests_by_group(self) -> dict[str, list[TestRecord]]:
        """Return the tests by group, groups in the order of the catalogue."""
        groups = (requirement.group for requirement in self.requirements.values())
        grouped: dict[str, list[TestRecord]] = {name: [] for name in groups}
        for record in self.tests.values():
            grouped.setdefault(record.group, []).append(record)
        return {name: records for name, records in grouped.items() if records}

    def _begin(self, event: events.Session) -> None:
        if self.session is not None:
            raise EventError("a second session", repr(event.collected))
        self.session = event
        for planned in event.tests:
            self._check_rules(planned.id, planned.rules)
            self._put(TestRecord(planned.id, planned.rules))

    def _start(self, event: events.Start) -> None:
        if self.session is None:
            raise EventError("a test starts before the session", event.id)
        running = self.running
        if len(running) >= self.session.workers:
            raise EventError(f"a test starts while {running[0].id} still runs", event.id)
        known = self.tests.get(event.id)
        if known is not None and known.outcome is not TestOutcome.NOT_RUN:
            raise EventError("a test starts for the second time", event.id)
        self._check_rules(event.id, event.rules)
        record = TestRecord(event.id, event.rules, TestOutcome.RUNNING)
        self._put(record)
        self._running[event.id] = record

    def _result(self, event: events.Result) -> None:
        record = self.tests.get(event.id)
        if record is None or record.outcome is not TestOutcome.RUNNING:
            raise EventError("a test ends that has not started", event.id)
        self._check_rules(event.id, (*event.rules, *event.observed))
        del self._running[event.id]
        self._put(TestRecord(event.id, event.rules, event.outcome, event))

    def _put(self, record: TestRecord) -> None:
        if known := self.tests.get(record.id):
            self._counts[known.outcome] -= 1
        self._counts[record.outcome] += 1
        self.tests[record.id] = record

    def _check_rules(self, test_id: str, rules: tuple[str, ...]) -> None:
        unknown = [rule for rule in rules if rule not in self.requirements]
        if unknown:
            raise EventError(f"the catalogue has no rule {', '.join(unknown)}", test_id)


def group_of(rule_id: str) -> str:
    """Return the group of a rule.

    >>> group_of("state.arc.1-2")
    'state'
    """
    return rule_id.partition(".")[0]


def _judge(tests: tuple[TestRecord, ...]) -> RuleVerdict:
    """One failed test fails its rule; one that never ended leaves it open."""
    outcomes = {record.outcome for record in tests}
    if outcomes & BAD:
        return RuleVerdict.FAILED
    if not outcomes or outcomes & CUT_SHORT:
        return RuleVerdict.NOT_TESTED
    if outcomes == {TestOutcome.NOT_APPLICABLE}:
        return RuleVerdict.NOT_APPLICABLE
    if TestOutcome.PASSED not in outcomes:
        return RuleVerdict.SKIPPED
    return RuleVerdict.PASSED
