# SPDX-License-Identifier: GPL-2.0-only
"""The command line: judge a driver in the lab, get a prompt, make images, list what there is.

Exit codes: 0 it conforms, 1 a requirement failed, 2 usage, 3 the kernel died or hung, 4 the lab
failed, 5 the device offers nothing to judge, 130 Ctrl-C.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence

_EXIT_LAB_FAILED = 4
_EXIT_INTERRUPTED = 130

_LISTS = ("devices", "doctor", "list")
"""Commands that are done when nobody reads on."""

try:  # what takes its time
    from conformance.cli.arguments import execute, parse
    from conformance.errors import ConformanceError
    from conformance.events.errors import EventError
    from conformance.report import ReportError
    from conformance.requirements import CatalogueError
    from kpatch.errors import KpatchError
    from kpatch.tools import streams
except KeyboardInterrupt:
    sys.exit(_EXIT_INTERRUPTED)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    streams.show_anything()
    for number in (signal.SIGTERM, signal.SIGHUP):  # end as tidily as on Ctrl-C
        signal.signal(number, signal.default_int_handler)
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        level = logging.INFO if arguments.verbose else logging.WARNING
        logging.basicConfig(level=level, format="%(message)s")
        return execute(arguments, _say)
    except (ConformanceError, KpatchError, ReportError, EventError, CatalogueError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        streams.reader_has_gone()
        # It may be what reads a list as far as it wants. What judges has not come to a verdict.
        return 0 if arguments.command in _LISTS else _EXIT_LAB_FAILED
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("conformance", "kpatch"):
            raise
        print(
            f"conformance: the command {arguments.command} needs the Python package "
            f"{error.name}, which this Python does not have. `make setup` makes .venv, which has "
            "all packages of the kit: use .venv/bin/python.",
            file=sys.stderr,
        )
        return _EXIT_LAB_FAILED
    except OSError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return _EXIT_LAB_FAILED
    except KeyboardInterrupt:
        print("conformance: interrupted, nothing is left running.", file=sys.stderr)
        return _EXIT_INTERRUPTED


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
