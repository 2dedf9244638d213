# SPDX-License-Identifier: GPL-2.0-only
"""What can be wrong with a stream of events.

::

    EventError                  an event is not what plugin and agent write
    +-- TruncatedEventsError    the stream ends inside a line
"""


class EventError(Exception):
    """An event is damaged, of unknown form, or out of order; the lab failed, nobody was judged.

    Args:
        problem: what is wrong, and what was expected.
        line: the event as received.
        number: position in the stream, from 1; 0 where it is not known.
    """

    exit_code = 4

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
