# SPDX-License-Identifier: GPL-2.0-only
"""Builds the whole kernel of a tree, small, as the lab's machines boot it (`--build`).

So a tree needs no image of its version, and changes of core code are compiled and booted as well.
The tree stays in the cache with its objects: a patch, and the next series, cost what they touch.
What a file that is not compiled again had warned of is remembered.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from conformance.errors import LabError
from conformance.gate.building.build import (
    Builder,
    Outcome,
    modules_in,
    warnings_in,
    without_warnings,
)
from conformance.running import paths
from conformance.running.steps import Steps
from kpatch.kernel import kbuild
from kpatch.kernel.tree import KernelTree
from kpatch.tools.programs import run
from kpatch.tools.sandbox import Sandbox

FRAGMENT = paths.DATA / "images/kernel-build.config"
"""What the kernel is to have; all else is off."""

SELFTESTS = "tools/testing/selftests/vfio"
"""Where a tree has its own tests of VFIO, since Linux 6.18."""

_CDEV = "drivers/vfio/device_cdev.c"
"""What gives a device a file of its own, since Linux 6.6."""

_FOR_CDEV = {"IOMMUFD": "m", "VFIO_DEVICE_CDEV": "y"}
"""What such a file takes; most tests of a tree open a device by it, and some of the suite."""

WHOLE = "."
"""The directory that is built: all of it."""

_TIMEOUT = 7200
_COMPILED = re.compile(r"^  (?:CC|AS|CHECK|CPP) +(?:\[M\] +)?(\S+?)\.(?:o|c|s)$", re.M)
# What a build does not look at.
_ASIDE = re.compile(r"^(?:Documentation|LICENSES|samples|tools)/|^[A-Z]+$|\.(?:rst|txt|yaml)$")
_OPTION = re.compile(r"^CONFIG_(\w+)=", re.M)
_RENAMED = {"PROC_SYSCTL": "SYSCTL"}
"""Options that newer trees have under another name."""
_FRAGMENT = ".gate-fragment"
_OUTPUT = ".gate-output"
_SELFTESTS_OUT = ".gate-selftests"
_WARNINGS = ".gate-warnings"


@dataclass(frozen=True)
class KernelBuilder(Builder):
    """Builds the whole kernel of a tree in the tree itself.

    Attributes:
        key: The image in which it is built.
        steps: Reports the progress of a build.
    """

    key: str = ""
    steps: Steps = field(default_factory=lambda: Steps(lambda _line: None))

    @property
    def identity(self) -> str:
        """What decides whether a result can be kept, in addition to the tree."""
        return f"{self.key} {FRAGMENT.read_text('utf-8')}"

    def fresh(self) -> KernelBuilder:
        """Return it with another look at the tree, whose configuration may have changed."""
        return replace(self, tree=KernelTree(self.place, self.tree.sandbox))

    def check(self) -> None:
        """Check that sparse is there."""
        self.check_sparse()

    def folders(self, touched: list[str]) -> list[str]:
        """Return the directories to build for changes of these files: all or nothing."""
        return [WHOLE] if any(not _ASIDE.search(path) for path in touched) else []

    @property
    def vfio(self) -> str:
        """The directory to build for the VFIO modules."""
        return WHOLE

    def ready(self, log: Path) -> None:
        """Configure the tree and build what other steps than the build need of it.

        Raises:
            ProgramFailed: Kconfig cannot read the tree, or its tools do not build.
        """
        self.configure({}, log)
        for name in lacking(FRAGMENT.read_text("utf-8"), (self.place / ".config").read_text()):
            self.steps.say(
                f"CONFIG_{name}, which the lab's kernel is to have, cannot be set in this tree."
            )
        run(self._inside([*self._make(), "prepare"]), log=log, timeout=_TIMEOUT)

    def configure(self, options: Mapping[str, str], log: Path) -> None:
        """Write the configuration.

        Raises:
            ProgramFailed: Kconfig cannot read the tree.
        """
        also = _FOR_CDEV if (self.place / _CDEV).is_file() else {}
        text = FRAGMENT.read_text("utf-8")
        text += "".join(f"CONFIG_{key}={value}\n" for key, value in {**also, **options}.items())
        (self.place / _FRAGMENT).write_text(text, "utf-8")
        argv = [*self._make(), f"KCONFIG_ALLCONFIG={_FRAGMENT}", "allnoconfig"]
        run(self._inside([*argv]), log=log, timeout=600)

    def build(self, folder: str, options: Mapping[str, str], log: Path) -> Outcome:
        """Build all of it; the directory is `WHOLE`."""
        assert folder == WHOLE
        self.configure(options, log)
        # The output goes to a file that outlives an interrupt, like the objects.
        output = self.place / _OUTPUT
        check = ["C=1", "CHECK=sparse"] if self.sparse else []
        argv = ["nice", "-n", "10", *self._make(), "W=1", *check, "--keep-going"]
        argv = self._inside([*argv, "bzImage", "modules"])
        with self.steps.compiling(output):
            done = run(argv, log=output, timeout=_TIMEOUT, check=False)
        text = output.read_text("utf-8", errors="backslashreplace")
        with log.open("a", encoding="utf-8") as file:
            file.write(text)
        counts, lines = remember(self.place, text)
        output.unlink()
        built = done.returncode == 0
        error = "" if built else kbuild.excerpt(without_warnings(text, self.place))
        modules = modules_in(self.place / "modules.order") if built else {}
        return Outcome(built, error, counts, lines, modules)

    def selftests(self, log: Path) -> dict[str, Path] | None:
        """Build the tree's own tests of VFIO and return the programs; None if it has none.

        Raises:
            ProgramFailed: They do not build.
        """
        if not (self.place / SELFTESTS).is_dir():
            return None
        out = self.place / _SELFTESTS_OUT
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        run(self._inside([*self._make(), "headers"]), log=log, timeout=_TIMEOUT)
        argv = ["make", f"-j{os.cpu_count() or 1}", "-C", SELFTESTS, f"OUTPUT={out}"]
        argv += [f"KHDR_INCLUDES=-isystem {self.place / 'usr/include'}"]
        run(self._inside(argv), log=log, timeout=_TIMEOUT)
        return {
            path.name: path
            for path in sorted(out.iterdir())
            if path.is_file() and os.access(path, os.X_OK)
        }

    def _make(self) -> list[str]:
        # LOCALVERSION: nothing is added to the release because the tree is in git.
        return ["make", f"-j{os.cpu_count() or 1}", "LOCALVERSION="]

    def _inside(self, argv: list[str]) -> list[str]:
        assert self.tree.sandbox
        env = {
            "KBUILD_BUILD_USER": "gate",
            "KBUILD_BUILD_HOST": "gate",
            "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
        }
        return self.tree.sandbox.argv(argv, bind=[self.place], cwd=self.place, env=env)


def lacking(wanted: str, config: str) -> list[str]:
    r"""Return the options that are asked for and not set, as far as the tree has no new name.

    >>> lacking("CONFIG_A=y\nCONFIG_B=m\nCONFIG_PROC_SYSCTL=y\n", "CONFIG_A=y\nCONFIG_SYSCTL=y\n")
    ['B']
    """
    have = set(_OPTION.findall(config))
    names = _OPTION.findall(wanted)
    return [name for name in names if name not in have and _RENAMED.get(name) not in have]


def remember(place: Path, output: str) -> tuple[dict[str, int], dict[str, str]]:
    """Return the warnings of a tree as it is: of this output, and of what it did not build.

    A file that was compiled again warns of what it warns of now.

    Args:
        place: The tree, which keeps them for the next time.
        output: What make printed.

    Raises:
        LabError: What is known of the tree is damaged.
    """
    path = place / _WARNINGS
    kept = _known(path)
    compiled = set(_COMPILED.findall(output))
    counts, lines = warnings_in(output, place)
    found = {
        key: (count, line)
        for key, (count, line) in kept.items()
        if key.partition(": ")[0].rpartition(".")[0] not in compiled
    }
    found |= {key: (count, lines[key]) for key, count in counts.items()}
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(found), "utf-8")
    new.replace(path)
    return (
        {key: count for key, (count, _) in found.items()},
        {key: line for key, (_, line) in found.items()},
    )


def _known(path: Path) -> dict[str, tuple[int, str]]:
    """Return the warnings of a tree with their numbers and lines, as an earlier build left them."""
    if not path.exists():
        return {}
    try:
        kept = json.loads(path.read_text("utf-8"))
        return {str(key): (int(count), str(line)) for key, (count, line) in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # Without it, old warnings of files that are compiled again would count as new.
        raise LabError(
            f"{path} is damaged ({error}). Remove the folder {path.parent}, so that the kernel is "
            "built anew."
        ) from error


def builder(
    place: Path, sandbox: Sandbox, key: str, steps: Steps, *, sparse: bool
) -> KernelBuilder:
    """Return what builds the kernel of a tree.

    Args:
        place: The patched tree.
        sandbox: The root of an image with compiler and tools.
        key: The image's hash.
        steps: Reports the progress of a build.
        sparse: Whether sparse checks what is compiled.
    """
    return KernelBuilder(place, KernelTree(place, sandbox), sparse, key, steps)
