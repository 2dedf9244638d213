# SPDX-License-Identifier: GPL-2.0-only
"""The events of a run: one class each, which knows its form on the wire in both directions.

Sent by the pytest plugin (`session`, `start`, `result`, `finish`), by the agent that runs it in
the guest (`agent`, `agent-error`, `output`, `coverage`) and by the benchmark (`measure`). A key
that is missing or of the wrong type is an error; a key nobody here knows is ignored, so that a
newer guest may say more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Final, Self

from conformance.events.fields import Fields


class TestOutcome(StrEnum):
    """How one test ended. An error is a failure outside of the test's own checks."""

    __test__ = False  # not a class of tests

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    NOT_APPLICABLE = "not-applicable"  # the device does not have what the test is about
    RUNNING = "running"  # was running when the run ended
    NOT_RUN = "not-run"  # was planned, its turn never came


BAD: Final = frozenset({TestOutcome.FAILED, TestOutcome.ERROR})
CUT_SHORT: Final = frozenset({TestOutcome.RUNNING, TestOutcome.NOT_RUN})
ENDED: Final = tuple(outcome for outcome in TestOutcome if outcome not in CUT_SHORT)


class Phase(StrEnum):
    """Phases of the agent on which the host acts; there are others, which are only shown."""

    READY = "ready"
    MODULE = "module"
    BIND = "bind"
    TESTS = "tests"
    TESTS_ENDED = "tests-ended"  # detail: the status of pytest
    TRIAL = "trial"  # detail: the name of the build
    TRIAL_ENDED = "trial-ended"
    MEASURED = "measured"  # detail: the status of the benchmark
    SCRIPT_ENDED = "script-ended"  # detail: the status of the script
    PROGRAM = "program"  # detail: its name
    PROGRAM_ENDED = "program-ended"  # detail: its status
    UNLOAD = "unload"
    LEAKS = "leaks"
    KERNEL = "kernel"  # of an error: the kernel reported a fault while tests or programs ran
    AGENT = "agent"  # of an error: the agent itself met what nobody foresaw
    DONE = "done"


@dataclass(frozen=True)
class Event:
    """Base of all events."""

    KIND: ClassVar[str]

    @classmethod
    def read(cls, f: Fields) -> Self:
        """Return the event that a JSON object describes. Raises what `f` raises."""
        raise NotImplementedError

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `read` understands.

        Not by `dataclasses.asdict`: its deep copies cost as much as a quarter of a test.
        """
        return {"event": self.KIND, **vars(self)}


@dataclass(frozen=True)
class Planned:
    """A test that the session is going to run."""

    id: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Session(Event):
    """pytest has collected its tests and opened its device."""

    KIND = "session"
    VERSIONS: ClassVar = ("kernel", "python", "pytest")

    collected: int
    device: Mapping[str, Any]
    peer: Mapping[str, Any] | None
    versions: Mapping[str, str]  # of VERSIONS
    seed: int | None
    tests: tuple[Planned, ...]  # empty where the guest sends only their number
    workers: int = 1  # how many tests may run in parallel
    protocol: int = 0  # the version that is judged; 0 if the guest does not say
    lacking: str = ""  # why nothing of the device can be judged
    volatile: tuple[str, ...] = ()  # registers that were not looked at, BAR:OFFSET:MASK
    fatal: tuple[str, ...] = ()  # requests that only the last tests make: the kernel dies of them

    @classmethod
    def read(cls, f: Fields) -> Self:
        """See `Event`."""
        tests = f.objects("tests") if f.has("tests") else ()
        return cls(
            collected=f.whole("collected"),
            device=f.mapping("device"),
            peer=f.mapping_or_none("peer"),
            versions={key: f.text(key) for key in cls.VERSIONS if f.has(key)},
            seed=f.whole("seed") if f.has("seed") else None,
            tests=tuple(Planned(test.text("id"), test.texts("rules")) for test in tests),
            workers=f.whole("workers") if f.has("workers") else 1,
            protocol=f.whole("protocol") if f.has("protocol") else 0,
            lacking=f.text_or("lacking"),
            volatile=f.texts("volatile", optional=True),
            fatal=f.texts("fatal", optional=True),
        )

    def as_json(self) -> dict[str, Any]:
        """See `Event`; each version has a key of its own."""
        found = super().as_json()
        found["tests"] = [dict(vars(planned)) for planned in self.tests]
        return {**found, **found.pop("versions")}


@dataclass(frozen=True)
class Start(Event):
    """A test begins."""

    KIND = "start"

    id: str
    rules: tuple[str, ...]

    @classmethod
    def read(cls, f: Fields) -> Self:
        """See `Event`."""
        return cls(f.text("id"), f.texts("rules"))


@dataclass(frozen=True)
class Failure:
    """Why a test failed, in the words of the check that found it; ``rule`` may be empty."""

    rule: str
    did: str
    expected: str
    actual: str
    message: str
    where: str

    @classmethod
    def read(cls, f: Fields) -> Self:
        """Return the failure that a JSON object describes. Raises what `f` raises."""
        return cls(
            rule=f.text_or("rule"),
            did=f.text_or("did"),
            expected=f.text_or("expected"),
            actual=f.text_or("actual"),
            message=f.text_or("message"),
            where=f.text_or("where"),
        )


@dataclass(frozen=True)
class Result(Event):
    """A test ended, `duration` seconds after it started."""

    KIND = "result"

    id: str
    rules: tuple[str, ...]
    outcome: TestOutcome
    duration: float
    observed: Mapping[str, str]  # FREE rule -> the outcome seen
    failure: Failure | None
    skip: str | None
    calls: tuple[str, ...]  # decoded VFIO calls, in order
    klog: tuple[str, ...]  # kernel log lines that appeared meanwhile
    switched_off: Mapping[str, str] = field(default_factory=dict)  # check of the kernel -> message

    @classmethod
    def read(cls, f: Fields) -> Self:
        """See `Event`."""
        failure = f.mapping_or_none("failure")
        observed = f.mapping_or_none("observed") or {}
        switched_off = f.mapping_or_none("switched_off") or {}
        return cls(
            id=f.text("id"),
            rules=f.texts("rules"),
            outcome=f.one_of("outcome", ENDED),
            duration=f.number("duration"),
            observed={rule: str(outcome) for rule, outcome in observed.items()},
            failure=None if failure is None else Failure.read(f.inner(failure, "key 'failure'")),
            skip=f.text_or("skip") or None,
            calls=f.texts("calls", optional=True),
            klog=f.texts("klog", optional=True),
            switched_off={check: str(line) for check, line in switched_off.items()},
        )

    def as_json(self) -> dict[str, Any]:
        """See `Event`; what is mostly empty is omitted then."""
        found = super().as_json()
        found["failure"] = dict(vars(self.failure)) if self.failure else None
        if not self.switched_off:
            del found["switched_off"]
        return found

    @property
    def reason(self) -> str:
        """Why it failed or was skipped; empty if it passed."""
        return (self.failure.message if self.failure else "") or self.skip or ""


@dataclass(frozen=True)
class Finish(Event):
    """pytest ended with `status`, `duration` seconds after it began."""

    KIND = "finish"

    status: int
    duration: float

    @classmethod
    def read(cls, f: Fields) -> Self:
        """See `Event`."""
        return cls(f.whole("status"), f.number("duration"))


@dataclass(frozen=True)
class Agent(Event):
    """The guest's agent reached a phase, which `Phase` has if the host acts on it."""

    KIND = "agent"

    phase: str
    detail: str

    @classmethod
    def read(cls, f: Fields) -> Self:
        """See `Event`."""
        return cls(f.text("phase"), f.text_or("detail"))


@dataclass(frozen=True)
class AgentError(Event):
    """The guest's agent could not go on: no tests will follow."""

    KIND = "agent-error"

    phase: str
    message: str
    klog: tuple[str, ...] = ()

    @classmethod
    def read(cls, f: Fields) -> Self:
        """See `Event`."""
        return cls(f.text("phase"), f.text("message"), f.texts("klog", optional=True))


@dataclass(frozen=True)
class Output(Event):
    """What a program in the guest printed, or a part of it."""

    KIND = "output"

    text: str

    @classmethod
    def read(cls, f: Fields) -> Self:
        """See `Event`."""
        return cls(f.text("text"))


@dataclass(frozen=True)
class Coverage(Event):
    """A file of gcov's counts: the path it was built at, and its bytes in base64."""

    KIND = "coverage"

    path: str
    data: str

    @classmethod
    def read(cls, f: Fields) -> Self:
        """See `Event`."""
        return cls(f.text("path"), f.text("data"))


@dataclass(frozen=True)
class Ratio(Event):
    """A measured ratio.

    Attributes:
        group: What the ratio means, by `conformance.bench.report.TITLES`.
        name: What was measured.
        against: What it was measured against.
        live: Mappings that were live meanwhile; None where that means nothing.
        ratio: Of the medians over all rounds.
        low: The least ratio within a round.
        high: The greatest ratio within a round.
        rounds: How many rounds there were.
    """

    KIND = "measure"

    group: str
    name: str
    against: str
    live: int | None
    ratio: float
    low: float
    high: float
    rounds: int

    @classmethod
    def read(cls, f: Fields) -> Self:
        """See `Event`."""
        return cls(
            f.text("group"),
            f.text("name"),
            f.text("against"),
            f.whole("live") if f.has("live") else None,
            f.number("ratio"),
            f.number("low"),
            f.number("high"),
            f.whole("rounds"),
        )


KINDS: Final[tuple[type[Event], ...]] = (
    Session,
    Start,
    Result,
    Finish,
    Agent,
    AgentError,
    Output,
    Coverage,
    Ratio,
)
