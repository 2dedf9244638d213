# SPDX-License-Identifier: GPL-2.0-only
"""The errors of the server. None of them reaches the command line: each ends where it is named.

::

    VfioUserError
    ├── ProtocolError          the client sent what is not a message: the connection is closed
    │   └── DisconnectedError  ... or it went away in the middle of one
    └── RefusedError           a request that cannot be done: answered with its errno
"""

from __future__ import annotations

import errno
import os


class VfioUserError(Exception):
    """Base of all errors of the server."""


class ProtocolError(VfioUserError):
    """What came is not a message of the protocol; nothing that follows can be understood."""


class DisconnectedError(ProtocolError):
    """The client closed the connection before a message was complete."""


class RefusedError(VfioUserError):
    """A request that the function cannot do.

    Attributes:
        errno: What the client gets.
    """

    def __init__(self, number: int, why: str) -> None:
        self.errno = number
        name = errno.errorcode.get(number, str(number))
        super().__init__(f"{why} ({name}: {os.strerror(number)})")
