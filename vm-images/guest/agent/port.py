# SPDX-License-Identifier: GPL-2.0-only
"""The line to the host: JSON, one object a line."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.errors import Failure

_NAME = "lab.events"


class Port:
    """The virtio-serial port that the host listens to. Only one may have it open."""

    def __init__(self) -> None:
        for name in Path("/sys/class/virtio-ports").glob("*/name"):
            if name.read_text().strip() == _NAME:
                self._fd = os.open(Path("/dev", name.parent.name), os.O_RDWR)
                return
        raise Failure(f"there is no virtio-serial port named {_NAME}")

    def write(self, data: bytes) -> None:
        """Write bytes, all of them."""
        while data:
            data = data[os.write(self._fd, data) :]

    # The events that conformance.events.kinds reads. The agent runs before the host has sent
    # the kit with that module, so they are spelt here as well; a unit test compares.

    def phase(self, name: str, detail: str = "") -> None:
        """Say how far the agent got."""
        self._send("agent", phase=name, detail=detail)

    def error(self, phase: str, message: str, klog: Sequence[str] = ()) -> None:
        """Say why the agent cannot go on, with lines of the kernel log."""
        self._send("agent-error", phase=phase, message=message, klog=list(klog))

    def output(self, text: str) -> None:
        """Pass on what a program printed."""
        self._send("output", text=text)

    def coverage(self, path: str, data: str) -> None:
        """Pass on a file of gcov's counts, in base64."""
        self._send("coverage", path=path, data=data)

    def _send(self, event: str, **fields: object) -> None:
        self.write(json.dumps({"event": event, **fields}).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """Wait for an order of the host."""
        line = b""
        while not line.endswith(b"\n"):
            data = os.read(self._fd, 4096)
            if not data:  # the host is not connected, for instance while it restores
                time.sleep(0.01)
            line += data
        order: dict[str, Any] = json.loads(line)
        return order
