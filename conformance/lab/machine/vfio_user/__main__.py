# SPDX-License-Identifier: GPL-2.0-only
"""Serve one i40e virtual function a socket, until a signal ends the process."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from conformance.lab.machine.vfio_user.i40e import I40eVirtualFunction
from conformance.lab.machine.vfio_user.server import listen, serve


def main(argv: list[str] | None = None) -> int:
    """Run the server; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m conformance.lab.machine.vfio_user", description=__doc__
    )
    parser.add_argument("socket", nargs="+", type=Path, help="where a function is served")
    parser.add_argument("--verbose", action="store_true", help="log every access")
    options = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(threadName)s: %(message)s",
    )
    try:
        listeners = [(path, listen(path)) for path in options.socket]
    except OSError as error:
        print(f"The sockets cannot be made: {error}", file=sys.stderr)
        return 4
    # Blocked in every thread, so that they are waited for and the sockets are removed.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    for path, listener in listeners:
        threading.Thread(
            target=serve, args=(listener, I40eVirtualFunction()), name=path.name, daemon=True
        ).start()
    try:
        signal.sigwait(signals)
    finally:
        for path, _ in listeners:
            path.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
