# SPDX-License-Identifier: GPL-2.0-only
"""What can go wrong with a report.

::

    ReportError                 the report cannot tell what happened
    +-- EventError              an event is not what plugin and agent write
    |   +-- TruncatedEventsError  the stream of events ends inside a line
    +-- ResultsFolderError      the results folder cannot be written
"""

from pathlib import Path


class ReportError(Exception):
    """Base of all errors of this package; the lab failed, nobody was judged."""

    exit_code = 4


class EventError(ReportError):
    """An event is damaged, of unknown form, or out of order.

    Args:
        problem: what is wrong, and what was expected.
        line: the event as received.
        number: position in the stream, from 1; 0 where it is not known.
    """

    def __init__(self, problem: str, line: str, number: int = 0) -> None:
        place = f"event {number}" if number else "event"
        shown = line if len(line) <= 200 else f"{line[:200]}... ({len(line)} characters)"
        super().__init__(
            f"{place}: {problem}: {shown!r}; host and guest must run the same version "
            f"of the kit, and nothing else may write to the events port"
        )
        self.problem = problem
        self.line = line
        self.number = number


class TruncatedEventsError(EventError):
    """The guest stopped in the middle of a line: it died, or its port was closed."""

    def __init__(self, line: str, number: int) -> None:
        super().__init__("the stream ends inside a line", line, number)


class ResultsFolderError(ReportError):
    """A file of the results folder cannot be written."""

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(
            f"cannot write {path}: {cause.strerror or cause}; "
            f"make the folder writable, free some space, or choose another one"
        )
        self.path = path
