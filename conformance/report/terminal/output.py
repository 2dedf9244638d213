# SPDX-License-Identifier: GPL-2.0-only
"""Where a report is printed to: somebody may stop reading, the run goes on."""

import contextlib
import os
from typing import TextIO


class Output:
    """A stream for people. When nobody reads it any more (`make check | head`), it is silent.

    The files of the run and its exit code do not depend on whether somebody watches.

    Args:
        stream: Where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.terminal = stream.isatty()

    def write(self, text: str) -> None:
        """Print at once; characters that the stream's encoding lacks are spelled out."""
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()
        except BrokenPipeError:
            self._close()

    def _close(self) -> None:
        # Python flushes the stream again when it ends, and would fail again.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
