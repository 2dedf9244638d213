# SPDX-License-Identifier: GPL-2.0-only
"""The monitor is reached as soon as it can be, and not a moment before."""

import json
import socket
import threading
import time
from pathlib import Path

from conformance.lab.machine.monitor import Monitor

GREETING = {"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 0}}, "capabilities": []}}


def test_a_socket_on_which_nobody_listens_yet_is_tried_again(tmp_path: Path) -> None:
    place = tmp_path / "qmp"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))

        def serve() -> None:
            time.sleep(0.2)
            server.listen(1)
            connection, _ = server.accept()
            with connection:
                connection.sendall(json.dumps(GREETING).encode() + b"\r\n")
                assert b"qmp_capabilities" in connection.recv(4096)
                connection.sendall(b'{"return": {}}\r\n')
                connection.recv(1)  # until it is closed

        thread = threading.Thread(target=serve)
        thread.start()
        Monitor(place, alive=lambda: True, timeout=5).close()
        thread.join()
