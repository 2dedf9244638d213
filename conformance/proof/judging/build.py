# SPDX-License-Identifier: GPL-2.0-only
"""Builds many edited copies of one driver, and keeps each module under the hash of its sources."""

from __future__ import annotations

import hashlib
import queue
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from conformance.lab.boot.bootkernel import BootKernel
from conformance.running import locked, paths
from kpatch.errors import BuildFailed, KpatchError
from kpatch.kernel import kbuild
from kpatch.tools import programs
from kpatch.tools.sandbox import Sandbox


@dataclass(frozen=True)
class Built:
    """Result of building the sources of a driver.

    Attributes:
        name: Whose they are.
        module: The module; None if they do not build.
        problem: Why not.
    """

    name: str
    module: Path | None
    problem: str = ""


def digest(sources: Mapping[str, str], kernel: BootKernel) -> str:
    """Return what identifies a module."""
    found = hashlib.sha256(kernel.tree.identity.encode())
    for name, text in sorted(sources.items()):
        found.update(f"\0{name}\0{text}".encode())
    return found.hexdigest()[:24]


class Builder:
    """Builds drivers for one kernel, in parallel.

    Args:
        kernel: The kernel to build for.
        sandbox: The image's root, which has strip.
        jobs: How many at a time.
    """

    def __init__(self, kernel: BootKernel, sandbox: Sandbox, jobs: int) -> None:
        self._kernel = kernel
        self._sandbox = sandbox
        self._jobs = jobs
        self._folder = paths.cache() / "mutants" / kernel.key

    def build(
        self, wanted: Mapping[str, Mapping[str, str]], done: Callable[[Built], None]
    ) -> dict[str, Built]:
        """Build drivers; what was built before is used again.

        Args:
            wanted: For each name the name and text of its sources.
            done: Told of each as it is ready.

        Returns:
            The same names.

        Raises:
            KpatchError: Nothing can be built here.
        """
        found: dict[str, Built] = {}
        with locked.lock(self._folder / "lock"):
            missing = []
            for name, sources in wanted.items():
                module, failed = self._place(sources), self._place(sources, ".failed")
                if module.exists():
                    found[name] = Built(name, module)
                elif failed.exists():
                    found[name] = Built(name, None, failed.read_text("utf-8"))
                else:
                    missing.append(name)
                    continue
                done(found[name])
            for built in self._build_missing({name: wanted[name] for name in missing}):
                found[built.name] = built
                done(built)
        return {name: found[name] for name in wanted}

    def _place(self, sources: Mapping[str, str], suffix: str = ".ko") -> Path:
        return self._folder / f"{digest(sources, self._kernel)}{suffix}"

    def _build_missing(self, wanted: Mapping[str, Mapping[str, str]]) -> Iterable[Built]:
        # A folder is changed from one driver to the next, so that make redoes what differs.
        folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(self._jobs):
            folders.put(self._folder / f"work-{number}")
        pool = ThreadPoolExecutor(self._jobs)
        try:
            tasks = [pool.submit(self._one, name, one, folders) for name, one in wanted.items()]
            yield from (task.result() for task in as_completed(tasks))
        finally:
            pool.shutdown(cancel_futures=True)

    def _one(
        self, name: str, sources: Mapping[str, str], folders: queue.SimpleQueue[Path]
    ) -> Built:
        folder = folders.get()
        try:
            _write(folder / "src", sources)
            made = kbuild.build(
                folder / "src", self._kernel.tree, warnings=False, log=folder / "build.log"
            )
            module = self._place(sources)
            part = folder / module.name
            # Debug information would only make the payload large.
            strip = ["strip", "--strip-debug", "-o", str(part), str(made)]
            programs.run(self._sandbox.argv(strip, bind=[folder]))
            part.replace(module)
        except BuildFailed as error:
            if re.search(r"\berror: |ERROR: modpost", error.log):  # it will fail again
                self._place(sources, ".failed").write_text(str(error), "utf-8")
            return Built(name, None, str(error))
        except KpatchError as error:
            return Built(name, None, str(error))
        else:
            return Built(name, module)
        finally:
            folders.put(folder)


def _write(folder: Path, sources: Mapping[str, str]) -> None:
    """Write sources, but leave alone those that are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in _changed(folder, sources):
        (folder / name).write_text(text, "utf-8")


def _changed(folder: Path, sources: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, text in sources.items():
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:
            yield name, text
