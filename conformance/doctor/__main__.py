# SPDX-License-Identifier: GPL-2.0-only
"""The doctor alone: ``python3 -m conformance.doctor``, where the rest of the kit is not."""

import argparse
import io
import os
import sys
from collections.abc import Sequence

_EXIT_FAILED = 4
"""The code of a failed lab: nothing was judged."""

_EXIT_INTERRUPTED = 130

try:  # what takes its time
    from conformance.doctor import arguments, command
    from conformance.errors import ConformanceError
except KeyboardInterrupt:
    sys.exit(_EXIT_INTERRUPTED)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it and return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # as kpatch.tools.streams, which may be missing
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(prog="python3 -m conformance.doctor")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what is fine as well")
    arguments.add(parser)
    try:
        return command.run(parser.parse_args(argv), _say)
    except ConformanceError as error:
        print(f"doctor: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output has gone, and Python would fail to write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"doctor: {error}", file=sys.stderr)
        return _EXIT_FAILED
    except KeyboardInterrupt:
        print("doctor: interrupted; nothing was changed.", file=sys.stderr)
        return _EXIT_INTERRUPTED


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
