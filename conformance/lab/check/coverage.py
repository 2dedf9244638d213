# SPDX-License-Identifier: GPL-2.0-only
"""Which lines and branches of a module were executed, by the counts from the guest.

The kernel shows a module's counts as gcov's data files, under the paths at which the module was
built. The compiler left the other half of each, the notes, there. The image's gcov, which fits the
image's compiler, puts them together.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.lab.check.sourcelines import FileCoverage, merge, table
from kpatch.errors import ProgramFailed
from kpatch.tools import programs
from kpatch.tools.sandbox import Sandbox

JSON = "coverage.json"
TEXT = "coverage.txt"


@dataclass
class Counts:
    """The counts of a run.

    Attributes:
        folder: Where they are kept; made when the first ones come.
        found: For each source file that was compiled, its path without suffix.
    """

    folder: Path
    found: list[Path] = field(default_factory=list)

    def add(self, path: str, data: str) -> None:
        """Keep one file of counts.

        Args:
            path: Where the kernel says it belongs, an absolute path of this host.
            data: Its bytes, in Base64.
        """
        place = Path(path).with_suffix("")
        if place.name.endswith(".mod") or not place.with_suffix(".gcno").exists():
            return  # made by kbuild, or not built here
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{place.name}.gcda").write_bytes(base64.b64decode(data))
        shutil.copyfile(place.with_suffix(".gcno"), self.folder / f"{place.name}.gcno")
        self.found.append(place)


def evaluate(
    counts: Counts, sandbox: Sandbox, results: Path, say: Callable[[str], None]
) -> list[FileCoverage]:
    """Write coverage.json and coverage.txt, and print a line with the result.

    Coverage does not decide the verdict, so a failure of gcov is printed, not raised.

    Args:
        counts: What came.
        sandbox: The image's root, with gcov.
        results: The folder of the run.
        say: Takes lines for the user.
    """
    sources = {place.parent for place in counts.found}
    names = sorted(f"{place.name}.gcda" for place in counts.found)
    argv = [
        "gcov",
        "--json-format",
        "--stdout",
        "--branch-probabilities",
        "--branch-counts",
        *names,
    ]
    folder = counts.folder.absolute()
    try:
        done = programs.run(sandbox.argv(argv, bind=[folder], cwd=folder), timeout=60)
        documents = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    except (ProgramFailed, ValueError) as error:
        say(f"Cannot determine the coverage: {error}")
        return []
    files = merge(_entries(documents, sources))
    document = {"format": 1, "files": [file.as_json() for file in files]}
    (results / JSON).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    text = table(files)
    (results / TEXT).write_text("\n".join(text) + "\n", encoding="utf-8")
    say(f"coverage of the driver: {text[-1]} ({results / TEXT})")
    return files


def _entries(
    documents: Iterable[dict[str, Any]], sources: set[Path]
) -> Iterable[tuple[Path, list[dict[str, Any]]]]:
    """Yield the lines of the module's own files, not those of the kernel's headers."""
    for document in documents:
        for entry in document["files"]:
            path = Path(document.get("current_working_directory", "/"), entry["file"])
            if path.parent in sources and path.exists():
                yield path, entry["lines"]
