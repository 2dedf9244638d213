# SPDX-License-Identifier: GPL-2.0-only
"""What is said to a monitor and to its guest, and what becomes of their answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.vmm.inside.qmp import Lost, Program, Qmp, Refused


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """Serve a socket: send the next of these answers for each line that comes."""
    path, answers = tmp_path / "socket", [b'{"QMP": {}}\n']
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as lines:
            if answers[0].startswith(b'{"QMP'):
                connection.sendall(answers.pop(0))
            for _ in lines:
                if not answers:
                    return
                connection.sendall(answers.pop(0))

    thread = threading.Thread(target=serve)
    thread.start()
    yield path, answers
    thread.join(5)
    server.close()


def test_the_monitor_answers_and_refuses(peer: tuple[Path, list[bytes]]) -> None:
    path, answers = peer
    answers += [
        b'{"return": {}}\n',
        b'{"event": "STOP"}\n{"return": {"status": "running"}}\n',
        b'{"error": {"desc": "busy"}}\n',
    ]
    qmp = Qmp(path)
    assert qmp.run("query-status") == {"status": "running"}
    with pytest.raises(Refused, match="busy"):
        qmp.run("migrate", uri="x")
    with pytest.raises(Lost, match="closed"):
        qmp.run("query-status")
    qmp.close()


def test_the_end_of_a_migration_is_waited_for(peer: tuple[Path, list[bytes]]) -> None:
    path, answers = peer
    answers += [
        b'{"return": {}}\n',
        b'{"return": {}}\n',
        b'{"return": {"status": "active"}}\n',
        b'{"return": {"status": "failed", "error-desc": "busy"}}\n',
        b'{"return": {"status": "active"}}\n',
    ]
    qmp = Qmp(path)
    found = qmp.migration(lambda status: status == "failed", 10)
    assert found["error-desc"] == "busy"
    with pytest.raises(Lost, match="does not end"):
        qmp.migration(lambda status: status == "completed", -1)
    qmp.close()


def test_a_monitor_that_ended_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(Lost, match="QEMU ended while it started: none"):
        Qmp(tmp_path / "none", alive=lambda: False)


def test_the_guest_answers_and_refuses(peer: tuple[Path, list[bytes]]) -> None:
    path, answers = peer
    answers[:] = [b"ok 0x5\n", b"failed there is no register\n"]
    program = Program(path)
    assert program.ask("read 0 0") == "0x5"
    with pytest.raises(Lost, match="no register"):
        program.ask("read 9 0")
    program.close()
