# SPDX-License-Identifier: GPL-2.0-only
"""The second suite: the tree's own tests of VFIO, on a function with the driver that was judged."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from conformance.errors import ConformanceError, DriverError, GuestLost
from conformance.gate.building.build import Builder
from conformance.gate.results import Step
from conformance.lab.check import selftests as lab
from conformance.lab.check.prepare import Options, look_up
from conformance.lab.check.selftests import Ran
from conformance.report import Conclusion
from conformance.running.steps import Steps
from kpatch.errors import KpatchError, ProgramFailed

_OF_THE_TESTS = ("tools/", "include/uapi/")
"""What they are built from."""


def judge(
    builder: Builder, options: Options, touched: Sequence[str], results: Path, log: Path
) -> tuple[Step, int] | None:
    """Build and run them; return the step and the exit code of the lab; None without any.

    Args:
        builder: Builds them; its tree is built.
        options: The lab and the driver.
        touched: The files that the patches touch.
        results: The folder for the lab's logs; made here.
        log: File for all output.
    """
    try:
        programs = builder.selftests(log)
    except ProgramFailed as error:
        ours = any(path.startswith(_OF_THE_TESTS) for path in touched)
        words = f"they do not build: {str(error).splitlines()[0]}"
        return Step("selftests", "failed" if ours else "skipped", words), 0
    if programs is None:
        return None
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    try:
        with log.open("a", encoding="utf-8") as file:
            found = lab.run(look_up(options), programs, results, Steps(partial(print, file=file)))
            for ran in found:
                file.write(f"\n== {ran.name}: status {ran.status}\n{ran.output}")
    except DriverError as error:
        return Step("selftests", "failed", str(error), error.klog), 0
    except GuestLost as error:
        reason = f"the kernel died or hung: {error.reason}"
        return Step("selftests", "failed", reason, error.console), Conclusion.KERNEL_DIED.exit_code
    except (ConformanceError, KpatchError, OSError) as error:
        reason = f"the lab failed: {error}"
        return Step("selftests", "failed", reason), Conclusion.LAB_FAILED.exit_code
    return step(found), 0


def step(found: Sequence[Ran]) -> Step:
    """Return the step for what the programs reported."""
    passed = sum(len(one.passed) for one in found)
    skipped = [test for one in found for test in one.skipped]
    skipped += [one.name for one in found if not (one.passed or one.skipped or one.failed)]
    words = f"{passed} tests of {len(found)} programs passed, {len(skipped)} skipped"
    failed = [test for one in found for test in one.failed]
    if failed:
        return Step("selftests", "failed", failed[0], (*failed, words))
    if not passed:
        return Step("selftests", "skipped", "none had anything to test here", tuple(skipped))
    return Step("selftests", "passed", details=(words,))
