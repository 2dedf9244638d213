# SPDX-License-Identifier: GPL-2.0-only
"""Results of kbuild that are kept as long as all they were made from is unchanged.

A headers package or a kernel tree of one's own can change in any header, and neither release nor
Module.symvers tells. So a record lists each file that the compiler read, with size and time.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kpatch.kernel.tree import KernelTree


def save(record: Path, key: str, value: Any, tree: KernelTree, objects: Path) -> None:
    """Write down a result.

    Args:
        record: The file to keep it in.
        key: Hash of what it was made from, in addition to the files that the compiler read.
        value: The result; anything that JSON can hold.
        tree: The tree it was made with.
        objects: The folder in which kbuild left its `.cmd` files.
    """
    files = {str(path): _stamp(path) for path in _dependencies(tree, objects)}
    temporary = record.with_name(f"{record.name}.new")
    temporary.write_text(json.dumps({"key": key, "value": value, "files": files}), "utf-8")
    temporary.replace(record)


def load(record: Path, key: str) -> Any:
    """Return the result that was saved under `key`, or None if it is not valid any more."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        kept = json.loads(record.read_text("utf-8"))
        if kept["key"] == key and all(
            stamp == _stamp(Path(path)) for path, stamp in kept["files"].items()
        ):
            return kept["value"]
    return None


def _stamp(path: Path) -> list[int]:
    """Size and time of a file; of none, an empty list."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return [status.st_size, status.st_mtime_ns]
    return []


def _dependencies(tree: KernelTree, objects: Path) -> Iterator[Path]:
    """Yield the host path of each header that the objects were compiled from."""
    names: set[str] = set()
    for command in objects.glob(".*.o.cmd"):
        # After the sources, a line for each prerequisite; $(wildcard ...) are options of the
        # configuration, which the tree's identity covers.
        names |= set(re.findall(r"^  (\S+\.[hS]) \\$", command.read_text("utf-8"), re.MULTILINE))
    for name in sorted(names):
        path = tree.path / name  # an absolute name stays as it is
        inside = tree.sandbox.inside(path) if tree.sandbox else path
        yield inside if inside.exists() else path
