# SPDX-License-Identifier: GPL-2.0-only
"""A session that collects the suite before it is known what is to be tested, and then waits.

An emulated guest takes seconds to import and to collect the suite, which are the same each time. So
that is done before its snapshot is written. What runs is a copy of this process, for which the
options are read a second time.
"""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NoReturn

import pytest

from conformance.plugin import HELD, Session

Wait = Callable[[], Sequence[str]]
"""Returns, in a copy of this process, the arguments with which the suite is to run."""

_FOLLOWED: Final = frozenset({"deselect", "file_or_dir", "keyword", "markexpr", "maxfail"})
"""Options that may come after the suite was collected, beside those of this plugin."""

_BEFORE: Final = frozenset({"vfio_walks"})
"""Options of this plugin on which it depends what is collected."""


def hold(arguments: Sequence[str], wait: Wait) -> int:
    """Collect the suite, wait, and run it; return pytest's status.

    Args:
        arguments: Those of pytest that are known before.
        wait: Called when all is collected; not if that fails.
    """
    return int(pytest.main(list(arguments), plugins=[Held(wait)]))


class Held:
    """The hook that waits."""

    def __init__(self, wait: Wait) -> None:
        self._wait = wait

    def pytest_configure(self, config: pytest.Config) -> None:
        """Mark the session."""
        config.stash[HELD] = True

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        """Wait before all that is done for a run of the tests, then go on with the arguments."""
        if not session.testsfailed:
            arguments = list(self._wait())
            if not follow(session, arguments):
                again(arguments)
        yield


def again(arguments: list[str]) -> NoReturn:
    """Run pytest as if nothing had been collected, and end the process with its status."""
    os._exit(int(pytest.main(arguments)))


def follow(session: pytest.Session, arguments: list[str]) -> bool:
    """Take over the arguments, as if they had been there from the beginning.

    Returns:
        Whether that can be done: other tests might have been collected with them, or in another
        order.

    Raises:
        pytest.UsageError: The arguments are wrong.
    """
    config = session.config
    held = config.option
    asked = config._parser.parse(arguments, copy.deepcopy(held))
    if any(_differs(name, value, held) for name, value in vars(asked).items()):
        return False
    items = select(session.items, asked.file_or_dir)
    if items is None:
        return False
    held.__dict__.update(vars(asked))
    config.args = asked.file_or_dir
    session.items[:] = items
    plugin = config.pluginmanager.get_plugin("conformance-session")
    assert isinstance(plugin, Session)
    plugin.begin_again(session)
    return True


def _differs(name: str, value: Any, held: Any) -> bool:
    if name in _FOLLOWED or (name.startswith("vfio_") and name not in _BEFORE):
        return False
    before = getattr(held, name, None)
    if isinstance(value, list) and isinstance(before, list):  # what was given again is there twice
        return set(map(str, value)) != set(map(str, before))
    return bool(value != before)


def select(items: Sequence[pytest.Item], wanted: Sequence[str]) -> list[pytest.Item] | None:
    """Return the items of node ids, files or folders; None if pytest had another order, or none.

    Args:
        items: All of them, in their order.
        wanted: What is named on the command line.
    """
    found: list[pytest.Item] = []
    place = 0
    for name in wanted:
        begins = tuple(f"{name.rstrip('/')}{mark}" for mark in ("::", "[", "/"))
        chosen = [
            number
            for number, item in enumerate(items)
            if item.nodeid == name or item.nodeid.startswith(begins)
        ]
        if not chosen or chosen[0] < place:
            return None
        place = chosen[-1] + 1
        found += [items[number] for number in chosen]
    return found
