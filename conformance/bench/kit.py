# SPDX-License-Identifier: GPL-2.0-only
"""How long a driver author waits for a check, as ratios of one run on one machine."""

from __future__ import annotations

import json
import re
import statistics
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conformance.errors import LabError, UsageError
from conformance.running import paths
from kpatch.tools import programs

_TIMEOUT = 1800.0
_SHORT = ("--rule", "region.type")
"""Tests that take no time, for runs of which something else counts."""

_CONFORMS = 0


@dataclass
class Side:
    """One side of a comparison.

    Attributes:
        name: What it is.
        folder: The kit that runs.
        options: Options of its `check`.
        step: The step of the run that counts; the whole run if it is empty.
        warm: Whether a run before makes it quick.
        seconds: What was measured.
        tests: How many tests passed in a run, where all of it counts.
    """

    name: str
    folder: Path
    options: tuple[str, ...] = ()
    step: str = ""
    warm: bool = True
    seconds: list[float] = field(default_factory=list)
    tests: int = 0

    @property
    def median(self) -> float:
        """Seconds of the median run."""
        return statistics.median(self.seconds)


def measure(
    description: Path, image: str, commit: str, rounds: int, say: Callable[[str], None]
) -> list[str]:
    """Measure, and return the lines of the table.

    Args:
        description: That of the device; one file of its driver has other code in each run.
        image: The image.
        commit: A commit of the kit to compare with; empty for none.
        rounds: How often each side is measured; the sides take turns.
        say: Prints progress.

    Raises:
        UsageError: There is no such commit.
        LabError: A check did not end with the verdict that the driver conforms.
        KpatchError: A program failed.
    """
    with tempfile.TemporaryDirectory(prefix="vfio-kit-bench-") as name:
        place = Path(name)
        check = Side("check of a changed driver", paths.KIT)
        sides = [
            check,
            Side("the same with one guest", paths.KIT, ("--guests", "1")),
            Side("cold boot to the prompt", paths.KIT, ("--cold", *_SHORT), "boot", warm=False),
        ]
        if commit:
            sides.append(Side(f"check of {commit}", _checkout(commit, place / "kit")))
        for side in sides:
            if side.warm:
                say(f"warming up: {side.name}")
                _run(side, _changed(description, side, place), image, place, ())
        for number in range(rounds):
            for side in sides:
                changed = _changed(description, side, place)
                side.seconds.append(_run(side, changed, image, place, side.options))
                say(f"round {number + 1}: {side.name}: {side.seconds[-1]:.1f} s")
        return table(sides)


def table(sides: Sequence[Side]) -> list[str]:
    """Return the ratio of the first side to each other one: of medians, and the extremes.

    Another commit may have other tests, so that ratio is printed for each test, too.
    """
    check, *others = sides
    lines = ["", f"{check.name}: median {check.median:.1f} s; ratio to"]
    for other in others:
        ratio = check.median / other.median
        each = [one / two for one, two in zip(check.seconds, other.seconds, strict=True)]
        lines.append(f"  {other.name:30} {ratio:5.2f}  ({min(each):.2f} to {max(each):.2f})")
        if check.tests and other.tests and check.tests != other.tests:
            one, two = (side.median / side.tests * 1000 for side in (check, other))
            counts = f"({check.tests} tests, {one:.0f} ms; {other.tests} tests, {two:.0f} ms)"
            lines.append(f"  {'  for each test':30} {one / two:5.2f}  {counts}")
    return lines


def _changed(description: Path, side: Side, place: Path) -> Path:
    """Return a description whose driver was never built: its summary is like no other.

    A description of the kit is that of the side's own commit, which may be of an older schema.
    """
    if description.resolve().is_relative_to(paths.KIT):
        description = side.folder / description.resolve().relative_to(paths.KIT)
    if not description.exists():
        raise UsageError(f"{side.name}: there is no {description.name} among its descriptions.")
    text, count = re.subn(
        r'^summary = ".*"$',
        f'summary = "Benchmark {uuid.uuid4().hex}"',
        description.read_text("utf-8"),
        flags=re.MULTILINE,
    )
    if count != 1:
        raise UsageError(f"{description} has no line `summary`, which is changed for each run.")
    target = place / description.name
    target.write_text(text, encoding="utf-8")
    return target


def _run(side: Side, description: Path, image: str, place: Path, options: Sequence[str]) -> float:
    """Run a check, and return the seconds that count."""
    into = Path(tempfile.mkdtemp(dir=place))
    argv = [sys.executable, "-m", "conformance", "check", str(description), "--image", image]
    argv += ["--into", str(into), *options]
    begun = time.monotonic()
    done = programs.run(argv, cwd=side.folder, check=False, timeout=_TIMEOUT)
    seconds = time.monotonic() - begun
    if done.returncode != _CONFORMS:
        said = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).splitlines()[-10:])
        raise LabError(
            f"{side.name} ended with status {done.returncode}; only a driver that conforms is "
            f"measured. Its last lines:\n{said}"
        )
    results = json.loads((into / "results.json").read_text("utf-8"))
    if side.step:
        return float(results["timings"][side.step])
    side.tests = int(results["counts"]["tests"]["passed"])
    return seconds


def _checkout(commit: str, folder: Path) -> Path:
    """Return a folder with the kit of a commit; the repository stays as it is."""
    archive = folder.with_suffix(".tar")
    argv = ["git", "archive", "--format=tar", f"--output={archive}", commit]
    if programs.run(argv, cwd=paths.KIT, check=False, timeout=60).returncode:
        raise UsageError(f"There is no commit {commit} in {paths.KIT}.")
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):  # Python 3.11.4 and later
            tar.extraction_filter = tarfile.data_filter
        tar.extractall(folder)  # noqa: S202 - our own repository
    return folder
