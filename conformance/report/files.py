# SPDX-License-Identifier: GPL-2.0-only
"""Writing the results folder, so that a file there is always a whole file."""

from pathlib import Path

from conformance.report.errors import ResultsFolderError


def write_whole(path: Path, content: str) -> None:
    """Write `content` to `path` under a temporary name, then rename.

    Raises:
        ResultsFolderError: the folder is full, or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ResultsFolderError(path, error) from error
