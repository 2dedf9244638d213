# SPDX-License-Identifier: GPL-2.0-only
"""The gate: judges a series patch by patch, each on the tree that the ones before it leave.

Everything happens in a scratch repository. The user's tree and branches are read, never written.
A patch takes the `State` that the ones before it leave and gives the next one; what stays the same
is in `_Run`. Neither is changed in place.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.gate import keys as gate_keys
from conformance.gate import patch as gate_patch
from conformance.gate import tree as gate_tree
from conformance.gate.building import boot as gate_boot
from conformance.gate.building import built as gate_built
from conformance.gate.building import selftests as gate_selftests
from conformance.gate.building import whole as gate_whole
from conformance.gate.building.build import Builder, merged
from conformance.gate.building.kconfig import Kconfig
from conformance.gate.input import commit as gate_commit
from conformance.gate.input import series as gate_series
from conformance.gate.input.commit import DoesNotApply, Patch
from conformance.gate.input.mail import Mail
from conformance.gate.input.series import Series
from conformance.gate.results import PatchResult, Report, Step, Store
from conformance.gate.state import State, Work
from conformance.running import locked, paths
from conformance.running.steps import Steps
from kpatch.errors import BuildFailed, ProgramFailed
from kpatch.kernel import source
from kpatch.kernel.tree import KernelTree
from kpatch.tools import git
from kpatch.tools.git import Identity, Repository

_GATE = Identity("conformance gate", "gate@localhost")
_FAILED = 1


@dataclass(frozen=True)
class GateRequest:
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
        whole: The hash of the image in which the whole kernel of the tree is built and booted, in
            place of `kernel`; empty to build modules for `kernel`.
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
    whole: str = ""


@dataclass(frozen=True)
class _Run:
    """What stays the same from patch to patch."""

    request: GateRequest
    repository: Repository
    builder: Builder
    kconfig: Kconfig
    store: Store
    scratch: Path
    say: Callable[[str], None]


def judge(request: GateRequest, say: Callable[[str], None]) -> Report:
    """Judge a series.

    Args:
        request: What and how.
        say: Takes what is being done, a line at a time.

    Raises:
        SourceTreeError: The tree cannot be used.
        SeriesError: The series cannot be read.
        KernelTreeError: The kernel cannot be built with.
        BuildFailed: The tree does not build without the series.
        ProgramMissing: A program is missing.
    """
    tree, kernel = request.tree.absolute(), request.kernel
    version = source.version(tree)
    if not request.whole:
        gate_tree.check_match(version, kernel.release)
    paths.results(request.results)
    with git.scratch_folder() as folder, _place(request, folder, say) as place:
        builder = _builder(request, place, say)
        builder.check()
        series = gate_series.read(request.what, tree, folder / "series", _GATE)
        for line in series.left_out:
            say(line)
        base = _base(request, tree, series, say)
        built = "which is built" if request.whole else f"built for {kernel.release}"
        many = "" if len(series.patches) == 1 else "es"
        say(f"{len(series.patches)} patch{many} on Linux {version}, {built}")
        if request.whole:
            if not place.exists():
                say("copying the tree into the cache, which is done once")
            repository = gate_tree.whole(tree, base, place, _GATE)
        else:
            repository = gate_tree.prepare(tree, series, base, place, _GATE)
        builder.ready(request.results / "configure.log")
        run = _Run(
            request,
            repository,
            builder,
            Kconfig(place, builder.tree, folder / "kconfig"),
            Store(request.store),
            folder,
            say,
        )
        results, status = _series(run, series)
    failed = any(result.failures for result in results)
    return Report(
        request.what,
        str(request.tree),
        version,
        "itself, as a small kernel" if request.whole else f"the headers of Linux {kernel.release}",
        results,
        status or (_FAILED if failed else 0),
    )


@contextmanager
def _place(request: GateRequest, folder: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """Give the place of the patched tree: one that stays for a whole kernel, or in `folder`."""
    if not request.whole:
        yield folder / "tree"
        return
    name = hashlib.sha256(f"{request.tree.absolute()}\0{request.whole}".encode()).hexdigest()[:12]
    place = paths.cache() / "gate-trees" / name
    with locked.lock(place.with_suffix(".lock"), lambda: say("Waiting for another gate.")):
        yield place


def _builder(request: GateRequest, place: Path, say: Callable[[str], None]) -> Builder:
    kernel = request.kernel
    if request.whole and kernel.sandbox:
        return gate_whole.builder(
            place, kernel.sandbox, request.whole, Steps(say), sparse=request.sparse
        )
    return Builder(place, kernel, request.sparse)


def _series(run: _Run, series: Series) -> tuple[tuple[PatchResult, ...], int]:
    """Judge one patch after the other; return what came of each, and the lab's exit code."""
    state = State(*_head(run.repository))
    results: list[PatchResult] = []
    status = 0
    for number, mail in enumerate(series.patches, 1):
        begun = time.monotonic()
        try:
            patch = _apply(run, number, mail)
        except DoesNotApply as error:
            run.say(f"patch {number}: {error.reason}")
            log = str(_log(run, number, "apply"))
            step = Step("apply", "failed", error.reason, error.lines, log)
            results.append(PatchResult(number, _title(mail), (step,)))
            results += _not_applied(series, number)
            break
        applied = Step("apply", "passed", seconds=time.monotonic() - begun)
        state, one = _patch(run, state, patch, PatchResult(number, patch.subject, (applied,)))
        is_last = number == len(series.patches)
        if run.request.boot == "each" or (run.request.boot == "tip" and is_last):
            steps, code = _boot(run, state, one, is_last=is_last)
            one = one.plus(*steps)
            status = status or code
        results.append(one)
    return tuple(results), status


def _base(request: GateRequest, tree: Path, series: Series, say: Callable[[str], None]) -> str:
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


def _head(repository: Repository) -> tuple[str, str]:
    commit, tree = repository.out("rev-parse", "HEAD", "HEAD^{tree}").split()
    return commit, tree


def _apply(run: _Run, number: int, mail: Mail) -> Patch:
    log = _log(run, number, "apply")
    patch = gate_commit.apply(run.repository, mail, run.scratch / f"patches/{number:04}.patch", log)
    log.unlink(missing_ok=True)
    return patch


def _not_applied(series: Series, number: int) -> list[PatchResult]:
    """Return the results of the patches after one that does not apply."""
    step = Step("apply", "skipped", f"patch {number} does not apply")
    rest = enumerate(series.patches[number:], number + 1)
    return [PatchResult(one, _title(mail), (step,)) for one, mail in rest]


def _title(mail: Mail) -> str:
    return mail.subject[len(mail.prefix) :].strip() or mail.name


def _patch(run: _Run, before: State, patch: Patch, one: PatchResult) -> tuple[State, PatchResult]:
    """Judge a patch that was applied, or take what an earlier run came to."""
    request = run.request
    now = before.after(patch, *_head(run.repository))
    work = Work(patch, before, now, run.builder, run.kconfig, request.tree)
    key = gate_keys.of_patch(work, (run.builder.identity, f"{request.sparse} {request.signoff}"))
    kept = None if request.fresh else run.store.load(key)
    if kept:
        steps, warnings, logs = kept
        for name, text in logs.items():
            _log(run, one.number, name).write_text(text, "utf-8", errors="backslashreplace")
        run.say(f"patch {one.number}: {patch.subject}: unchanged")
        one = one.plus(*(_relocated(run, one.number, step) for step in steps))
        one = replace(one, kept=True, warnings=warnings)
        known = before.known | {*work.folders}
        return replace(now, warnings=warnings, known=known, modules=None), one
    run.say(f"patch {one.number}: {patch.subject}")
    warned = before.warnings
    if work.unknown:
        warned = merged(warned, _base_warnings(run, work, one.number))
    steps = []
    for name, do in gate_patch.steps(work, signoff=request.signoff):
        begun = time.monotonic()
        step = do(_log(run, one.number, name))
        if step:
            steps.append(_timed(run, one.number, step, begun))
    begun = time.monotonic()
    built = gate_built.build(work, warned, _log(run, one.number, "build"))
    steps.append(_timed(run, one.number, built.step, begun))
    logs = {step.name: _text(step.log) for step in steps if step.log}
    run.store.save(key, steps, built.warnings, logs)
    known = before.known | {*work.folders}
    now = replace(now, warnings=built.warnings, known=known, modules=built.modules)
    return now, replace(one.plus(*steps), warnings=built.warnings)


def _timed(run: _Run, number: int, step: Step, begun: float) -> Step:
    """Return a step with its log and the time it took; say if it failed."""
    if step.verdict == "failed":
        run.say(f"patch {number}: {step.name} FAILED: {step.reason}")
    log = _log(run, number, step.name)
    return replace(step, log=str(log) if log.exists() else "", seconds=time.monotonic() - begun)


def _base_warnings(run: _Run, work: Work, number: int) -> Mapping[str, int]:
    """Build the tree without the patch, for the warnings that are not its own."""
    before, folders = work.before, work.unknown
    names = [before.tree, run.builder.identity, str(run.request.sparse), *folders]
    names += [f"{key}={value}" for key, value in before.options.items()]
    key = gate_keys.of_base(names)
    kept = None if run.request.fresh else run.store.load(key)
    if kept:
        return kept[1]
    run.say("building the tree without the patch, to know its warnings")
    log = _log(run, number, "base")
    run.repository.run("checkout", "--quiet", "--detach", before.commit)
    try:
        known: dict[str, int] = {}
        for folder in folders:
            if not (run.repository.path / folder).is_dir():
                continue  # it comes with the patch
            outcome = run.builder.build(folder, before.options, log)
            if not outcome.built:
                raise BuildFailed(
                    f"{folder} does not build without patch {number}.",
                    log=outcome.error,
                    log_path=log,
                    sources=run.request.tree,
                )
            known = merged(known, outcome.warnings)
    finally:
        with suppress(ProgramFailed):
            run.repository.run("checkout", "--quiet", "--detach", work.now.commit)
    run.store.save(key, [], known, {})
    return known


def _boot(run: _Run, state: State, one: PatchResult, *, is_last: bool) -> tuple[list[Step], int]:
    """Have the suite judge the driver as it is with the patches so far; then the tree's own tests.

    Returns:
        The steps, and the exit code if kernel or lab failed; else 0.
    """
    skipped = Step("boot", "skipped", "it does not build")
    if any(step.name in ("apply", "build") for step in one.failures):
        return [skipped], 0
    builder = run.builder
    modules = state.modules
    if modules is None:
        log = _log(run, one.number, "boot-build")
        outcome = builder.build(builder.vfio, state.options, log)
        if not outcome.built:
            return [skipped], 0
        modules = outcome.modules
    driver = gate_boot.subject(modules, sorted(state.touched), run.repository.path)
    if not driver and not (run.request.whole and builder.folders(sorted(state.touched))):
        reason = "no driver that can migrate, for a device that the lab has, is touched"
        return [replace(skipped, reason=reason)], 0
    begun = time.monotonic()
    subject = driver or gate_boot.OURS
    # A driver that does not restrict mappings yet breaks no rule; the finished one must.
    trapped = is_last or subject.traps
    names = ["HEAD^{tree}"] if run.request.whole else [f"HEAD:{gate_tree.VFIO}", "HEAD:include"]
    parts = [run.repository.out("rev-parse", name) for name in names]
    parts += [subject.name, subject.device, str(trapped), run.request.image, builder.identity]
    key = gate_keys.of_boot(parts)
    kept = None if run.request.fresh else run.store.load(key)
    if kept and kept[0]:
        run.say(f"patch {one.number}: boot: unchanged")
        return kept[0], 0
    run.say(f"patch {one.number}: {subject.name} in the virtual machine")
    folder = run.request.results.absolute() / f"boot-{one.number:04}"
    log = _log(run, one.number, "boot")
    log.unlink(missing_ok=True)
    if run.request.whole:
        what = gate_boot.of_tree(subject, run.repository.path)
    else:
        staged = gate_boot.stage(modules, folder / "modules", builder.tree, log)
        what = gate_boot.of_modules(subject, staged)
    what = replace(what, trapped=trapped, image=run.request.image or what.image)
    step, status = gate_boot.judge(subject, what, folder / "results", log)
    steps = [_timed(run, one.number, step, begun)]
    if status == 0:
        begun, log = time.monotonic(), _log(run, one.number, "selftests")
        log.unlink(missing_ok=True)
        own = gate_selftests.judge(builder, what, sorted(state.touched), folder / "selftests", log)
        if own:
            step, status = own
            steps.append(_timed(run, one.number, step, begun))
    if status == 0:  # what the lab failed at may be gone the next time
        run.store.save(key, [replace(step, log="") for step in steps], {}, {})
    return steps, status if step.verdict == "failed" and status != _FAILED else 0


def _log(run: _Run, number: int, name: str) -> Path:
    folder = run.request.results.absolute() / f"{number:04}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.log"


def _relocated(run: _Run, number: int, step: Step) -> Step:
    return replace(step, log=str(_log(run, number, step.name)) if step.log else "")


def _text(name: str) -> str:
    path = Path(name)
    return path.read_text("utf-8", errors="replace") if name and path.exists() else ""
