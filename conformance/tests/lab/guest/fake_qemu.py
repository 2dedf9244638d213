# SPDX-License-Identifier: GPL-2.0-only
"""Plays QEMU and the guest behind it: `fake_qemu.py STORY QEMU-ARGUMENT...`.

Opens the sockets that the arguments name, speaks enough of QMP, and lets the guest behave as the
story says. What a dying kernel writes is one of the recorded consoles.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Send = Callable[..., None]
SESSION: dict[str, Any] = {
    "collected": 1,
    "device": {"bdf": "0000:01:10.0", "driver": "x", "vendor": "0x8086", "device": "0x10ca"},
    "peer": None,
    "kernel": "6.12",
    "python": "3.13",
    "pytest": "8.3",
    "seed": 1,
}
RESULT: dict[str, Any] = {
    "rules": ["state.default"],
    "outcome": "passed",
    "duration": 0.5,
    "observed": {},
    "failure": None,
    "skip": None,
    "calls": [],
    "klog": [],
}
CONSOLES = Path(__file__).parents[2] / "kernel/consoles"


class Fake:
    """One run of the fake."""

    def __init__(self, story: str, arguments: list[str]) -> None:
        words = " ".join(arguments)
        self.story = story
        self.incoming = "-incoming" in arguments
        self.sockets = dict(re.findall(r"socket,id=(\w+),path=([^,\s]+)", words))
        self.log = Path(re.findall(r"logfile=([^,\s]+)", words)[0])
        self.running = asyncio.Event()
        self.over = asyncio.Event()
        self.kept: list[asyncio.StreamWriter] = []
        self.status = "none"
        if not self.incoming:
            self.running.set()

    async def play(self) -> None:
        """Serve until the story is over."""
        self.log.write_text("[    0.000000] Linux version 6.12\n")
        # The monitor's socket is the one that is waited for, so it comes last.
        services = {"events": self.events, "console": self.console, "qmp": self.qmp}
        _servers = [
            await asyncio.start_unix_server(serve, self.sockets[name])
            for name, serve in services.items()
        ]
        await self.over.wait()

    async def console(self, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        """Take a connection and say nothing."""
        await self.over.wait()

    async def qmp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be the monitor."""
        version = {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}
        greeting = {"QMP": {"version": version, "capabilities": []}}
        writer.write(json.dumps(greeting).encode() + b"\r\n")
        said = ""
        while data := await reader.read(65536):
            said += data.decode()
            while said := said.lstrip():  # requests need not end in a newline
                try:
                    request, end = json.JSONDecoder().raw_decode(said)
                except ValueError:
                    break
                said = said[end:]
                answer = self.execute(request["execute"], request.get("arguments", {}))
                answer |= {"id": request["id"]} if "id" in request else {}
                writer.write(json.dumps(answer).encode() + b"\r\n")
                await writer.drain()
                if request["execute"] == "quit":
                    self.over.set()

    def execute(self, command: str, arguments: dict[str, Any]) -> dict[str, object]:
        """Answer one command."""
        if command == "migrate":
            if self.story == "no room":
                return {"error": {"class": "GenericError", "desc": "No space left on device"}}
            Path(arguments["channels"][0]["addr"]["filename"]).write_text("memory")
            self.status = "completed"
        elif command == "migrate-incoming":
            self.status = "failed" if self.story == "stale snapshot" else "completed"
        elif command == "query-migrate":
            return {"return": {"status": self.status}}
        elif command == "cont":
            self.running.set()
        elif command == "inject-nmi" and self.story == "hangs":
            self.die("nmi")
        return {"return": {}}

    def die(self, console: str) -> None:
        """Write a recorded console and end."""
        with self.log.open("ab") as log:
            log.write((CONSOLES / f"{console}.log").read_bytes())
        self.over.set()

    def share(self, send: Send, number: str) -> None:
        """Begin the session of one of two guests, and the one test that is its share."""
        rules = ["state.default"]
        tests = [{"id": f"test_state.py::test_{one}", "rules": rules} for one in (1, 2)]
        seed = int(number) if self.story == "second unlike" else 1
        send("session", **{**SESSION, "collected": 2, "tests": tests, "seed": seed})
        send("start", id=f"test_state.py::test_{number}", rules=rules)

    async def events(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be the agent."""
        self.kept.append(writer)  # from Python 3.13 on, one that nobody holds closes itself

        def send(event: str, **fields: object) -> None:
            writer.write(json.dumps({"event": event, **fields}).encode() + b"\n")

        if order := await self.come_up(reader, send):
            await self.serve(order, writer, send)
        await writer.drain()

    async def come_up(self, reader: asyncio.StreamReader, send: Send) -> dict[str, Any] | None:
        """Return the order, or None if the guest does not come to it."""
        await self.running.wait()
        if self.story == "never answers" or (self.story == "sleeps on" and self.incoming):
            return None
        if self.story == "init fails":
            self.die("init")
            return None
        if not self.incoming:
            send("agent", phase="ready", detail="")
        while True:
            order: dict[str, Any] = json.loads(await reader.readline())
            if order["order"] not in {"wake", "load"}:
                return order
            send("agent", phase="ready", detail="")

    async def serve(self, order: dict[str, Any], writer: asyncio.StreamWriter, send: Send) -> None:
        """Do what the story says."""
        send("agent", phase="payload", detail="")
        match self.story:
            case "panics":
                self.die("oops")
            case "resets":
                self.over.set()
            case "hangs":
                send("session", **SESSION)
                send("start", id="test_state.py::test_arc", rules=["state.arc.1-2"])
            case "module refused":
                klog = ["[   12.345678] igb_vf: no such hardware"]
                send("agent-error", phase="module", message="the kernel refuses it", klog=klog)
                send("agent", phase="done", detail="")
            case "agent breaks":
                send("agent-error", phase="payload", message="Traceback", klog=[])
                send("agent", phase="done", detail="")
            case "shares" | "second panics" | "second unlike":
                number = order["share"].partition("/")[0]
                self.share(send, number)
                if number == "2" and self.story == "second panics":
                    await writer.drain()
                    self.die("oops")
                    return
                send("result", **RESULT, id=f"test_state.py::test_{number}")
                send("finish", status=0, duration=float(number))
                send("output", text=f"guest {number}")
                send("agent", phase="tests-ended", detail="0")
                send("agent", phase="unload", detail="")
                send("agent", phase="done", detail="")
            case "half a line":
                writer.write(b'{"event": "sta')
                await writer.drain()
                self.over.set()
            case _:
                send("agent", phase="done", detail="")


async def main() -> None:
    """Play the story."""
    story, *arguments = sys.argv[1:]
    if story == "does not start":
        sys.stderr.write("qemu-system-x86_64: -device igb: 'igb' is not a valid device model\n")
        sys.exit(1)
    await Fake(story, arguments).play()


if __name__ == "__main__":
    asyncio.run(main())
