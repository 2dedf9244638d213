# SPDX-License-Identifier: GPL-2.0-only
"""Live progress of a run: one line that updates on a terminal, plain lines elsewhere."""

import shutil
import time
from collections.abc import Callable

from conformance.events import kinds as events
from conformance.events.kinds import BAD, TestOutcome
from conformance.report.results import Results
from conformance.report.terminal.output import Output
from conformance.report.text import Style, plural, printable

_PERIOD = 10.0  # seconds between plain lines: a log of CI stays short, and shows life
_ERASE = "\r\x1b[2K"


class Progress:
    """Shows where a run is; failures get lines of their own.

    Args:
        out: where to.
        results: counted from.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        out: Output,
        results: Results,
        style: Style,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out
        self._results = results
        self._style = style
        self._clock = clock
        self._live = out.terminal
        self._shown = False  # a live line stands on the terminal
        self._last = clock()

    def show(self, event: events.Event) -> None:
        """Show what an event, already added to the results, changed."""
        match event:
            case events.Session():
                self.line(_greeting(event))
            case events.Start():
                self._update(f"{self._tally()}  {event.id}")
            case events.Result():
                self._result(event)
            case events.Agent(phase, detail):
                self._phase(f"guest: {phase}{f' ({detail})' if detail else ''}")
            case events.AgentError(phase, message):
                self.line(self._style.red(f"guest: {phase} failed: {printable(message)}"))
            case events.Finish():
                self.clear()

    def line(self, text: str) -> None:
        """Print a line of its own; the live line goes."""
        self.clear()
        self._out.write(f"{text}\n")

    def clear(self) -> None:
        """Take the live line away."""
        if self._shown:
            self._out.write(_ERASE)
            self._shown = False

    def _result(self, event: events.Result) -> None:
        if event.outcome in BAD:
            rule = f"  [{', '.join(event.rules)}]" if event.rules else ""
            self.line(f"{self._style.red(event.outcome.upper())}  {printable(event.id)}{rule}")
        if not self._live and self._clock() - self._last >= _PERIOD:
            self._last = self._clock()
            self.line(self._tally())

    def _phase(self, text: str) -> None:
        """Show what the guest is at: gone with the next line, but kept in a log."""
        if self._live:
            self._update(text)
        else:
            self.line(printable(text))

    def _update(self, text: str) -> None:
        """Show the live line, where there is one, in the place of the one before."""
        if not self._live:
            return
        columns = shutil.get_terminal_size().columns
        self._out.write(_ERASE + printable(text)[: max(columns - 1, 20)])
        self._shown = True

    def _tally(self) -> str:
        count = self._results.count
        done = {o: count(o) for o in TestOutcome if o not in ("running", "not-run")}
        collected = self._results.session.collected if self._results.session else 0
        failed = done[TestOutcome.FAILED] + done[TestOutcome.ERROR]
        skipped = done[TestOutcome.SKIPPED]
        return f"[{sum(done.values())}/{collected}]" + "".join(
            f" {number} {word}"
            for number, word in ((failed, "failed"), (skipped, "skipped"))
            if number
        )


def _greeting(session: events.Session) -> str:
    device = session.device
    ids = ":".join(
        str(device[key]).removeprefix("0x") for key in ("vendor", "device") if key in device
    )
    parts = [plural(session.collected, "test"), "for", str(device.get("bdf", "the device"))]
    parts += [f"({ids})"] if ids else []
    parts += [f"with {device['driver']}"] if device.get("driver") else []
    parts += [f"and {session.peer['bdf']}"] if session.peer and "bdf" in session.peer else []
    parts += [f"on {session.versions['kernel']}"] if "kernel" in session.versions else []
    return printable(" ".join(parts))
