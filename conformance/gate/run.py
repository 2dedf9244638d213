# SPDX-License-Identifier: GPL-2.0-only
"""The gate: judges a series patch by patch, each on the tree that the ones before it leave.

Everything happens in a scratch repository. The user's tree and branches are read, never written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from conformance.gate import boot as gate_boot
from conformance.gate import input as gate_input
from conformance.gate import keys as gate_keys
from conformance.gate import patch as gate_patch
from conformance.gate import tree as gate_tree
from conformance.gate.build import Builder, merged
from conformance.gate.input import Patch, Series
from conformance.gate.kconfig import Kconfig
from conformance.gate.patch import Progress, Work
from conformance.gate.results import PatchResult, Report, Step, Store
from kpatch.errors import BuildFailed, ProgramFailed
from kpatch.kernel import source
from kpatch.kernel.tree import KernelTree
from kpatch.tools import git
from kpatch.tools.git import Identity, Repository

_GATE = Identity("conformance gate", "gate@localhost")
_FAILED = 1


@dataclass(frozen=True)
class Request:
    """What is to be judged, and how.

    Attributes:
        what: The series: a folder, a mailbox or a range of commits.
        tree: The kernel source tree.
        kernel: The kernel to build with.
        results: Folder for logs and reports.
        store: Where results are kept for the next time.
        boot: When the suite judges the driver: "" never, "tip" or "each".
        image: The lab image for that, empty for the lab's own choice.
        signoff: Whether a missing Signed-off-by is a failure.
        sparse: Whether sparse checks what is built.
        fresh: Whether results of earlier runs are not used.
    """

    what: str
    tree: Path
    kernel: KernelTree
    results: Path
    store: Path
    boot: str = ""
    image: str = ""
    signoff: bool = False
    sparse: bool = True
    fresh: bool = False


@dataclass
class _Run:
    """A run of the gate: what stays the same from patch to patch, and where it has come to."""

    request: Request
    repository: Repository
    builder: Builder
    kconfig: Kconfig
    store: Store
    say: Callable[[str], None]
    progress: Progress = field(default_factory=Progress)
    exit_code: int = 0


def judge(request: Request, say: Callable[[str], None]) -> Report:
    """Judge a series.

    Args:
        request: What and how.
        say: Is told what is being done, a line at a time.

    Raises:
        SourceTreeError: The tree cannot be used.
        SeriesError: The series cannot be read.
        KernelTreeError: The kernel cannot be built with.
        BuildFailed: The tree does not build without the series.
        ProgramMissing: A program is missing.
    """
    tree, kernel = request.tree.absolute(), request.kernel
    version = source.version(tree)
    gate_tree.check_match(version, kernel.release)
    request.results.mkdir(parents=True, exist_ok=True)
    with git.scratch_folder() as folder:
        place = folder / "tree"
        builder = Builder(place, kernel, request.sparse)
        builder.check()
        series = gate_input.read(request.what, tree, folder / "series", _GATE)
        base = _base(request, tree, series, say)
        say(f"{len(series.patches)} patches on Linux {version}, built for {kernel.release}")
        repository = gate_tree.prepare(tree, series, base, place, _GATE)
        report = Report(
            request.what, str(request.tree), version, f"the headers of Linux {kernel.release}"
        )
        run = _Run(
            request,
            repository,
            builder,
            Kconfig(place, kernel, folder / "kconfig"),
            Store(request.store),
            say,
        )
        for number, patch in enumerate(series.patches, 1):
            one = PatchResult(number, patch.subject)
            report.patches.append(one)
            if not _apply(run, patch, one):
                report.patches += _not_applied(series, number)
                break
            _patch(run, patch, one)
            if request.boot == "each":
                _boot(run, one)
        else:
            if request.boot == "tip":
                _boot(run, report.patches[-1])
        failed = any(one.failures for one in report.patches)
        report.exit_code = run.exit_code or (_FAILED if failed else 0)
        return report


def _base(request: Request, tree: Path, series: Series, say: Callable[[str], None]) -> str:
    """Return the commit to apply the series to; empty for a plain tree."""
    if not git.top_of_git(tree):
        return ""
    is_range = ".." in request.what and not Path(request.what).exists()
    if not is_range:
        git.refuse_dirty(tree)
    if series.base:
        done = git.user_git(tree, "cat-file", "-e", f"{series.base}^{{commit}}", check=False)
        if done.returncode == 0:
            return git.resolve(tree, series.base)
        say(f"The base-commit {series.base[:12]} is not in {request.tree}; HEAD is used instead.")
    return git.resolve(tree, "HEAD")


def _apply(run: _Run, patch: Patch, one: PatchResult) -> bool:
    run.progress.before = run.repository.out("rev-parse", "HEAD^{tree}")
    run.progress.parent = run.repository.out("rev-parse", "HEAD")
    start = time.monotonic()
    log = _log(run, one, "apply")
    try:
        git.apply(replace(run.repository, log=log), patch.path)
    except ProgramFailed as error:
        if error.status == 127:
            raise
        lines = [line for line in error.tail.splitlines() if not line.startswith("hint:")]
        first = next((line for line in lines if line.startswith("error:")), "it does not apply")
        reason = "does not apply: " + first.removeprefix("error: ")
        one.steps.append(Step("apply", "failed", reason, tuple(lines), str(log)))
        run.say(f"patch {one.number}: {reason}")
        return False
    log.unlink(missing_ok=True)
    one.steps.append(Step("apply", "passed", seconds=time.monotonic() - start))
    return True


def _not_applied(series: Series, number: int) -> list[PatchResult]:
    """Return the results of the patches after one that does not apply."""
    step = Step("apply", "skipped", f"patch {number} does not apply")
    rest = enumerate(series.patches[number:], number + 1)
    return [PatchResult(one, patch.subject, [step]) for one, patch in rest]


def _patch(run: _Run, patch: Patch, one: PatchResult) -> None:
    """Judge a patch that was applied, or take what an earlier run came to."""
    progress, request = run.progress, run.request
    progress.take(patch)
    after = run.repository.out("rev-parse", "HEAD^{tree}")
    how = (run.builder.tree.identity, f"{request.sparse} {request.signoff}")
    key = gate_keys.of_patch(patch, progress, after, how)
    kept = None if request.fresh else run.store.load(key)
    if kept:
        steps, warnings, logs = kept
        for name, text in logs.items():
            _log(run, one, name).write_text(text, "utf-8")
        one.steps += [_relocated(run, one, step) for step in steps]
        one.kept, one.warnings = True, warnings
        progress.known, progress.modules = warnings, None
        run.say(f"patch {one.number}: {patch.subject}: unchanged")
        return
    run.say(f"patch {one.number}: {patch.subject}")
    if progress.known is None:
        _base_warnings(run, one)
    steps = []
    work = Work(patch, run.builder, run.kconfig, progress, request.tree)
    for name, do in gate_patch.steps(work, signoff=request.signoff):
        start = time.monotonic()
        log = _log(run, one, name)
        step = do(log)
        if step:
            shown = str(log) if log.exists() else ""
            steps.append(replace(step, log=shown, seconds=time.monotonic() - start))
            if step.verdict == "failed":
                run.say(f"patch {one.number}: {name} FAILED: {step.reason}")
    one.steps += steps
    one.warnings = dict(progress.known or {})
    logs = {step.name: _text(step.log) for step in steps if step.log}
    run.store.save(key, steps, one.warnings, logs)


def _base_warnings(run: _Run, one: PatchResult) -> None:
    """Build the tree without the patch, for the warnings that are not its own."""
    progress = run.progress
    folders = progress.folders
    names = [progress.before, run.builder.tree.identity, str(run.request.sparse), *folders]
    names += [f"{key}={value}" for key, value in progress.earlier.items()]
    key = gate_keys.of_base(names)
    kept = None if run.request.fresh else run.store.load(key)
    if kept:
        progress.known = kept[1]
        return
    run.say("building the tree without the patches, to know its warnings")
    log = _log(run, one, "base")
    tip = run.repository.out("rev-parse", "HEAD")
    run.repository.run("checkout", "--quiet", "--detach", progress.parent)
    try:
        known: dict[str, int] = {}
        for folder in folders:
            if not (run.repository.path / folder).is_dir():
                continue  # it comes with the patch
            outcome = run.builder.build(folder, progress.earlier, log)
            if not outcome.built:
                raise BuildFailed(
                    f"{folder} does not build without patch {one.number}.",
                    log=outcome.error,
                    log_path=log,
                    sources=run.request.tree,
                )
            known = merged(known, outcome.warnings)
    finally:
        with suppress(ProgramFailed):
            run.repository.run("checkout", "--quiet", "--detach", tip)
    progress.known = known
    run.store.save(key, [], known, {})


def _boot(run: _Run, one: PatchResult) -> None:
    """Have the suite judge the driver as it is with the patches so far."""
    progress = run.progress
    if any(step.name in ("apply", "build") for step in one.failures):
        one.steps.append(Step("boot", "skipped", "it does not build"))
        return
    log = _log(run, one, "boot")
    log.unlink(missing_ok=True)
    if progress.modules is None:
        outcome = run.builder.build(gate_tree.VFIO, progress.options, _log(run, one, "boot-build"))
        if not outcome.built:
            one.steps.append(Step("boot", "skipped", "it does not build"))
            return
        progress.modules = dict(outcome.modules)
    place = run.repository.path
    driver = gate_boot.subject(progress.modules, sorted(progress.touched), place)
    if not driver:
        reason = "no driver with the migration region, for a device that the lab has, is touched"
        one.steps.append(Step("boot", "skipped", reason))
        return
    start = time.monotonic()
    names = [f"HEAD:{gate_tree.VFIO}", "HEAD:include"]
    parts = [run.repository.out("rev-parse", name) for name in names]
    parts += [driver.device, run.request.image, run.builder.tree.identity]
    key = gate_keys.of_boot(parts)
    kept = None if run.request.fresh else run.store.load(key)
    if kept:
        one.steps += kept[0]
        run.say(f"patch {one.number}: boot: unchanged")
        return
    run.say(f"patch {one.number}: {driver.name} in the virtual machine")
    folder = run.request.results.absolute() / f"boot-{one.number:04}"
    staged = gate_boot.stage(progress.modules, folder / "modules", run.builder.tree, log)
    step, status = gate_boot.judge(driver, staged, run.request.image, folder, log)
    if status in (gate_boot.KERNEL_DIED, gate_boot.LAB_FAILED) and not run.exit_code:
        run.exit_code = status
    step = replace(step, log=str(log), seconds=time.monotonic() - start)
    if step.verdict == "failed":
        run.say(f"patch {one.number}: boot FAILED: {step.reason}")
    one.steps.append(step)
    if status == 0:  # what the lab failed at may be gone the next time
        run.store.save(key, [replace(step, log="")], {}, {})


def _log(run: _Run, one: PatchResult, name: str) -> Path:
    folder = run.request.results.absolute() / f"{one.number:04}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.log"


def _relocated(run: _Run, one: PatchResult, step: Step) -> Step:
    return replace(step, log=str(_log(run, one, step.name)) if step.log else "")


def _text(name: str) -> str:
    path = Path(name)
    return path.read_text("utf-8", errors="replace") if name and path.exists() else ""
