# SPDX-License-Identifier: GPL-2.0-only
"""The pytest plugin of the suite: options, rule markers, kernel log, events.

Run as ``python3 -m pytest -p conformance.plugin conformance/suite --vfio-device BDF``.
"""

import errno
import platform
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conformance.events import kinds
from conformance.events.stream import EventWriter
from conformance.kernel import trouble
from conformance.kernel.log import KernelLog, Taint, lines, taint_words
from conformance.plugin import options, share, workers
from conformance.plugin.declared import Settings
from conformance.plugin.devices import DEVICES, OBSERVED, Devices
from conformance.plugin.outcome import Blame, Cause, Tally, blame_of, rules_of
from conformance.plugin.protocols import NotApplicable, chosen, protocol_of, version_below
from conformance.plugin.terse import Terse
from conformance.vfio import trace
from conformance.vfio.errors import SysfsError, VfioError
from conformance.vfio.system import sysfs

pytest_plugins = ["conformance.plugin.fixtures"]

#: In the stash of a session that collects all tests, before it is known what is to be tested.
HELD = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options, register the marker, start the session's parts."""
    config.addinivalue_line("markers", "rule(id, ...): requirements that the test checks")
    config.addinivalue_line("markers", "alone: runs after all other tests, when no other does")
    config.addinivalue_line("markers", "fatal(request): drivers are known to die of it; runs last")
    # A forked child runs nothing but its own loop, which takes no lock that a thread may hold.
    config.addinivalue_line(
        "filterwarnings", "ignore:This process .* is multi-threaded:DeprecationWarning"
    )
    config.pluginmanager.register(Session(config), "conformance-session")
    if config.getoption("--vfio-terse"):
        config.pluginmanager.register(Terse(), "conformance-terse")


def _catalogue() -> dict[str, Any]:
    from conformance import requirements  # noqa: PLC0415 - read only when a session needs it

    return dict(requirements.load())


def _outcomes(rule: str) -> tuple[str, ...]:
    return tuple(getattr(_catalogue().get(rule), "outcomes", ()))


def name_of(item: pytest.Item) -> str:
    """Return the stable name of a test: file and test, without the directories."""
    file, colons, test = item.nodeid.partition("::")
    return f"{file.rpartition('/')[2]}{colons}{test}"


class Session:
    """The hooks that need the state of one session."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self._begin(config)

    def _begin(self, config: pytest.Config) -> None:
        """Begin with the options as they are."""
        self.settings: Settings = options.read(config)
        devices = config.stash.setdefault(DEVICES, Devices(self.settings, outcomes=_outcomes))
        config.stash[DEVICES] = replace(devices, settings=self.settings)
        self.share = share.read(config)
        self.events = EventWriter(config.getoption("--vfio-events"))
        self.log = KernelLog()
        self.flags = Taint()
        self.taint = self.flags.read()
        self.tally = Tally()
        self.started = time.monotonic()
        self.device: dict[str, Any] = {}
        self.peer: dict[str, Any] | None = None
        self.lacking = ""

    def pytest_report_header(self) -> list[str]:
        """Report device, peer, and the seed that repeats the run."""
        lines = [f"vfio: device {self.settings.device}, peer {self.settings.peer or 'none'}"]
        lines.append(f"vfio: seed {self.settings.seed} (repeat with --vfio-seed)")
        if self.taint:
            lines.append(f"vfio: the kernel is tainted: {'; '.join(taint_words(self.taint))}")
        if self.log.missing:
            lines.append(f"vfio: the kernel log is not watched: {self.log.missing}")
        return lines

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        """Choose the version first: under emulation it takes seconds to collect the other's tests.

        Nothing is ignored when tests are only listed, or for a session that is held: that needs no
        device.
        """
        if self.config.option.collectonly or HELD in self.config.stash:
            return
        self._look_at_devices()
        kept = (0, self.config.stash[DEVICES].protocol)
        words = session.config.args
        words[:] = [one for one in words if self._version(one) in kept]

    def _look_at_devices(self) -> None:
        """Open the devices for the first time, and choose the version to judge."""
        if not self.settings.device:
            raise pytest.UsageError("--vfio-device BDF is needed: which function is tested?")
        try:
            self.device = _identity(self.settings.device) or {}
            self.peer = _identity(self.settings.peer)
            self.lacking = self._choose_protocol()
        except (OSError, VfioError) as error:
            raise pytest.UsageError(str(error)) from error

    def begin_again(self, session: pytest.Session) -> None:
        """Begin with other options, after the collection of a session that was held.

        The items are in their order already, as far as pytest finds one by their fixtures.
        """
        self.log.close()
        self.flags.close()
        self._begin(self.config)
        self._look_at_devices()
        self._keep_protocol(session)
        ordered = [self.config.pluginmanager.get_plugin("funcmanage")]
        hook = self.config.pluginmanager.subset_hook_caller(
            "pytest_collection_modifyitems", remove_plugins=[one for one in ordered if one]
        )
        hook(session=session, config=self.config, items=session.items)
        session.testscollected = len(session.items)

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Ignore the folder of the version that is not judged."""
        if not self.device:
            return None
        kept = (0, self.config.stash[DEVICES].protocol)
        return self._version(str(collection_path)) not in kept or None

    def _version(self, node: str) -> int:
        path = self.config.invocation_params.dir / node.partition("::")[0]
        return version_below(path, self.config.rootpath)

    def _pairs(self, tests: int) -> list[workers.Pair]:
        """Return the functions of each worker that pays off for so many tests of all sessions."""
        pairs = [(self.settings.device, self.settings.peer), *self.settings.pairs]
        return pairs[: workers.count(pairs, tests // self.share.count)]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Demand that every test names rules, all of them known."""
        catalogue = _catalogue()
        wrong: list[str] = []
        for item in items:
            rules = rules_of(item)
            if not rules:
                wrong.append(f"{name_of(item)} names no rule: give it @pytest.mark.rule(ID)")
            wrong += [
                f"{name_of(item)} names {rule!r}, which is not in the catalogue"
                for rule in rules
                if rule not in catalogue
            ]
        if wrong:
            raise pytest.UsageError("\n".join(wrong))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Write the session event, then run the tests, by workers if there are any."""
        if session.config.option.collectonly:
            return None
        self._keep_protocol(session)
        lacking = self.lacking
        for item in session.items if lacking else ():
            item.add_marker(pytest.mark.skip(reason=f"not applicable: {lacking}"))
        items = session.items
        pairs = self._pairs(len(items))
        names = [name_of(item) for item in items]
        rules = (tuple(rules_of(item)) for item in items)
        versions = (platform.release(), platform.python_version(), pytest.__version__)
        self.events.emit(
            kinds.Session(
                collected=len(items),
                tests=tuple(map(kinds.Planned, names, rules)),
                device=self.device,
                peer=self.peer,
                versions=dict(zip(kinds.Session.VERSIONS, versions, strict=True)),
                seed=self.settings.seed,
                workers=len(pairs),
                lacking=lacking,
                protocol=self.config.stash[DEVICES].protocol,
                volatile=tuple(str(place) for place in self.settings.volatile),
                fatal=self.settings.fatal,
            )
        )
        hands = self.share.deal(names, len(pairs))
        dealt = [[items[index] for index in hand] for hand in hands]
        if len(pairs) == 1:
            session.items[:] = dealt[0]
            return None
        self.events.turn = workers.Turn()
        workers.run(session, pairs, dealt, self._take)
        return True

    def _choose_protocol(self) -> str:
        """Choose the version to judge; return why nothing of it can be, empty if it can.

        A device that offers nothing has broken a rule, unless it is judged as it is or the
        operator has named a version.
        """
        devices, bdf = self.config.stash[DEVICES], self.settings.device
        wanted = self.settings.protocol
        devices.protocol = wanted or 1
        try:
            offer = devices.offer()
        except (OSError, VfioError) as error:
            if not self.settings.as_is:
                return ""  # the first test will say it
            if isinstance(error, VfioError):
                raise
            raise SysfsError(f"{bdf} cannot be opened: {error}{_hint(error)}") from error
        devices.protocol = wanted or chosen(offer)
        lacking = offer.lacking(wanted) if self.settings.as_is or wanted else ""
        return lacking and f"{bdf}, bound to {sysfs.driver(bdf) or 'no driver'}: {lacking}"

    def _keep_protocol(self, session: pytest.Session) -> None:
        """Deselect the tests of the other version: its rules are not applicable."""
        kept = (0, self.config.stash[DEVICES].protocol)
        others = [item for item in session.items if protocol_of(item) not in kept]
        if others:
            session.items[:] = [item for item in session.items if protocol_of(item) in kept]
            session.testscollected = len(session.items)
            session.config.hook.pytest_deselected(items=others)

    def _take(self, pair: workers.Pair) -> None:
        """Become the worker for these functions, with its own readers of kernel log and taint."""
        stash = self.config.stash
        settings = replace(self.settings, device=pair[0], peer=pair[1])
        stash[DEVICES] = replace(stash[DEVICES], settings=settings)
        self.log = KernelLog()
        self.flags = Taint()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Frame a test by its two events.

        It has taken all the time between them: the shares are dealt by what tests take in all, and
        what pytest does around a test of an emulated device is longer than many a test.
        """
        begun = time.monotonic()
        rules = rules_of(item)
        self.events.emit(kinds.Start(name_of(item), tuple(rules)))
        trace.start()
        self.tally = Tally()
        self._look_at_kernel()  # what came between two tests belongs to neither
        yield
        observed = item.stash.get(OBSERVED, {})
        self.tally.duration = time.monotonic() - begun
        self.events.emit(self.tally.result(name_of(item), rules, observed))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:
        """Judge a phase by its exception, the kernel log, and whether skips are allowed."""
        outcome = yield
        report: pytest.TestReport = outcome.get_result()  # type: ignore[attr-defined]
        blame = blame_of(item, call, report)
        inapplicable = call.excinfo is not None and isinstance(call.excinfo.value, NotApplicable)
        if report.skipped and not inapplicable and self.config.getoption("--vfio-no-skips"):
            skipped = f"skipped: {self.tally.skip_reason(report)}"
            blame = Blame.of(Cause.SKIP, expected="no skip (--vfio-no-skips)", actual=skipped)
            report.outcome = "failed"
            report.longrepr = blame.failure.message
        said = self._look_at_kernel(flags=call.when == "teardown")
        if said and not report.failed:
            blame = Blame.of(Cause.KERNEL, expected="a silent kernel", actual=said[0])
            report.outcome = "failed"
            report.longrepr = "\n".join(("The kernel reported:", *said))
        if report.failed:
            item.vfio_failed = True  # type: ignore[attr-defined]
            report.sections.append(("VFIO calls", "\n".join(trace.lines())))
        calls = trace.lines() if report.failed else []
        self.tally.add(report, blame, calls, applicable=not inapplicable)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Close the devices and write the finish event."""
        self.config.stash[DEVICES].close()
        duration = round(time.monotonic() - self.started, 3)
        self.events.emit(kinds.Finish(int(exitstatus), duration))

    def pytest_unconfigure(self) -> None:
        """Close what is open."""
        self.events.close()
        self.log.close()
        self.flags.close()

    def _look_at_kernel(self, *, flags: bool = True) -> list[str]:
        """Return reports and new taint since the last look; all lines go to the tally.

        Without `flags` those of the taint are looked at only if the kernel has said something.
        """
        records = self.log.read()
        if not (records or flags):
            return []
        self.tally.klog += [record.text for record in records]
        said = list(lines(records))
        found = trouble.faults(said)
        self.tally.switched_off |= trouble.switched_off(said)
        now = self.flags.read()
        if new := now & ~self.taint:
            found += [f"new taint: {word}" for word in taint_words(new)]
        self.taint |= now
        return found


def _hint(error: OSError) -> str:
    """Name the usual cause of an errno when a device is opened."""
    if error.errno == errno.EPERM:
        return (
            ". VFIO refuses devices without interrupt remapping: turn it on (firmware; "
            "intremap), or, if all users are trusted, load vfio_iommu_type1 with "
            "allow_unsafe_interrupts=1. See the kernel log"
        )
    if error.errno == errno.EBUSY:
        return ". Another process has it or its group open"
    return ""


def _identity(bdf: str | None) -> dict[str, Any] | None:
    if not bdf:
        return None
    who = sysfs.function(bdf)
    ids = {"vendor": who.vendor, "device": who.device}
    return {
        "bdf": bdf,
        "driver": who.driver,
        **{key: f"{value:#06x}" for key, value in ids.items() if value is not None},
    }
