# SPDX-License-Identifier: GPL-2.0-only
"""What can go wrong with a report.

::

    ReportError                 the report cannot say what happened
    +-- ResultsFolderError      the results folder cannot be written
"""

from pathlib import Path


class ReportError(Exception):
    """Base of all errors of this package; the lab failed, nobody was judged."""

    exit_code = 4


class ResultsFolderError(ReportError):
    """A file of the results folder cannot be written."""

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(
            f"cannot write {path}: {cause.strerror or cause}; "
            f"make the folder writable, free some space, or choose another one"
        )
        self.path = path
