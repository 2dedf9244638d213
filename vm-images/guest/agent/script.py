# SPDX-License-Identifier: GPL-2.0-only
"""Runs a command of the host's in the guest, for tests of what needs a whole machine."""

import os
import subprocess
from collections.abc import Mapping
from typing import Any

from agent.errors import Failure
from agent.job import KIT
from agent.port import Port


def run(port: Port, order: Mapping[str, Any], functions: list[str]) -> int:
    """Run a command in the copy of the kit, pass on what it prints, and return its status.

    Raises:
        Failure: It cannot be started.
    """
    settings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    settings |= {"HOME": "/root", "TERM": "dumb", "VFIO_KIT_FUNCTIONS": " ".join(functions)}
    try:
        child = subprocess.Popen(
            order["argv"],
            cwd=KIT,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise Failure(f"{order['argv'][0]} cannot be run: {error}") from error
    assert child.stdout
    for line in child.stdout:
        port.output(line.decode(errors="replace"))
    return child.wait()
