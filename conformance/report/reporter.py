# SPDX-License-Identifier: GPL-2.0-only
"""Takes the events of a run and leaves its report, whatever happens in between."""

import contextlib
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TextIO

from conformance.events.errors import EventError
from conformance.events.kinds import Event
from conformance.events.stream import EventDecoder, line
from conformance.report.errors import ReportError, ResultsFolderError
from conformance.report.files import write_whole
from conformance.report.formats import jsonfile, kcidb, ktap
from conformance.report.page import HTML_FILE
from conformance.report.results import Results
from conformance.report.settle import settle
from conformance.report.terminal import summary
from conformance.report.terminal.output import Output
from conformance.report.terminal.progress import Progress
from conformance.report.text import Style
from conformance.report.verdict import Verdict
from conformance.requirements import Requirement

EVENTS_FILE = "events.jsonl"
JSON_FILE = "results.json"
JUNIT_FILE = "junit.xml"
KTAP_FILE = "report.ktap"
KCIDB_FILE = "kcidb.json"


class Reporter:
    """Shows a run while it goes on and writes its files when it ends.

    Args:
        results_dir: where the files go; made if it is missing.
        out: where progress and summary go.
        requirements: the catalogue, by rule id.
        versions: what the run was made of, for the files: kernel, QEMU, image, module.
            Those of the guest (kernel, python, pytest) come with its session.
        colour: use colours; by default if `out` is a terminal.
        clock: monotonic seconds.

    Raises:
        ResultsFolderError: the folder cannot be written.
    """

    def __init__(
        self,
        results_dir: Path,
        out: TextIO,
        *,
        requirements: Mapping[str, Requirement],
        versions: Mapping[str, str],
        colour: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.results = Results(requirements)
        self._dir = results_dir
        self._out = Output(out)
        self._versions = dict(versions)
        self._style = Style(self._out.terminal if colour is None else colour)
        self._clock = clock
        self._begun = clock()
        self._run = kcidb.Run(uuid.uuid4().hex, datetime.now(UTC))
        self._timings: dict[str, float] = {}
        self._problem = ""
        self._exit_code: int | None = None
        self._progress = Progress(self._out, self.results, self._style, clock=clock)
        try:
            results_dir.mkdir(parents=True, exist_ok=True)
            self._events = (results_dir / EVENTS_FILE).open("wb")
        except OSError as error:
            raise ResultsFolderError(results_dir / EVENTS_FILE, error) from error

    def feed(self, event: Event) -> None:
        """Take in one event of the guest.

        Raises:
            EventError: the event is out of order. The run can no longer
                conform; `finish` still writes all files.
            ResultsFolderError: the event cannot be kept, for instance on a full disk.
        """
        try:
            self._events.write(line(event))
            self._events.flush()
        except OSError as error:
            raise ResultsFolderError(self._dir / EVENTS_FILE, error) from error
        try:
            self.results.add(event)
        except EventError as error:
            self.problem(error)
            raise
        self._progress.show(event)

    def problem(self, error: ReportError | EventError) -> None:
        """Note that the stream of events is damaged: the run proves nothing any more."""
        self._problem = self._problem or str(error)

    def note(self, line: str) -> None:
        """Print a line about the host's own work, without disturbing the progress."""
        self._progress.line(line)

    def timing(self, name: str, seconds: float) -> None:
        """Note how long a part of the run took, for results.json."""
        self._timings[name] = seconds

    def version(self, name: str, value: str) -> None:
        """Note a version that was not known when the run began."""
        self._versions[name] = value

    def finish(self, verdict: Verdict) -> int:
        """Print the summary, write the files, and return the exit code of the run.

        The second call does nothing and returns the same.

        Args:
            verdict: what the host saw. `Verdict.completed()` lets the results decide.

        Raises:
            ResultsFolderError: a file cannot be written. The summary is printed before.
        """
        if self._exit_code is not None:
            return self._exit_code
        final = settle(verdict, self.results, self._problem)
        self._exit_code = final.exit_code
        self._progress.clear()
        for name, package, there in (
            (JUNIT_FILE, "junitparser", _junit()),
            (HTML_FILE, "jinja2", _page()),
        ):
            if not there:
                self._out.write(f"{name} is not written: the package {package} is missing\n")
        with contextlib.suppress(OSError):  # a full disk was reported when it was met
            self._events.close()
        self.timing("total", self._clock() - self._begun)
        if self.results.session is not None:
            self._versions = {**self.results.session.versions, **self._versions}
        width = shutil.get_terminal_size((100, 24)).columns
        self._out.write(summary.render(self.results, final, self._style, width))
        self._out.write(f"results: {self._dir}\n")
        self._write(final)
        if _page():
            self._out.write(f"report: {(self._dir / HTML_FILE).absolute().as_uri()}\n")
        return self._exit_code

    def _write(self, final: Verdict) -> None:
        document = jsonfile.render(self.results, final, self._versions, self._timings)
        write_whole(self._dir / JSON_FILE, document)
        if junit := _junit():
            write_whole(self._dir / JUNIT_FILE, junit.render(self.results, final, self._versions))
        write_whole(self._dir / KTAP_FILE, ktap.render(self.results, final))
        document = kcidb.render(self.results, final, self._versions, self._timings, self._run)
        write_whole(self._dir / KCIDB_FILE, document)
        if page := _page():
            document = page.render(self.results, final, self._versions, self._timings)
            write_whole(self._dir / HTML_FILE, document)


def _junit() -> ModuleType | None:
    """Return what writes junit.xml, None on a machine without the package that it needs."""
    try:
        from conformance.report.formats import junit  # noqa: PLC0415
    except ModuleNotFoundError:
        return None
    return junit


def _page() -> ModuleType | None:
    """Return what writes report.html, None on a machine without the package that it needs."""
    try:
        from conformance.report.page import run  # noqa: PLC0415
    except ModuleNotFoundError:
        return None
    return run


def replay(path: Path, reporter: Reporter, verdict: Verdict | None = None) -> int:
    """Report a run from the events it left in a file, as `--vfio-events` writes them.

    For runs without a lab: pytest on the machine that has the device, the report
    anywhere else.

    Args:
        path: the events, one JSON object a line.
        reporter: reports; its folder must not be the one `path` is in.
        verdict: what is known of the end; by default that the run was completed.

    Returns:
        The exit code. A file that is cut or damaged gives that of a failed lab.

    Raises:
        OSError: `path` cannot be read.
    """
    decoder = EventDecoder()
    try:
        for event in decoder.feed(path.read_bytes()):
            reporter.feed(event)
        decoder.close()
    except EventError as error:
        reporter.problem(error)
    return reporter.finish(verdict or Verdict.completed())
