# SPDX-License-Identifier: GPL-2.0-only
"""Puts together what the guest is to run: the suite, the module under test, the job.

The payload is a tar archive on a disk of fixed size. It has everything that may change from run
to run; all else is in the snapshot of the booted guest.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from conformance.errors import PayloadError
from conformance.lab.boot import bootkernel
from conformance.lab.boot.bootkernel import BootKernel
from conformance.lab.boot.modtree import ModuleTree
from conformance.lab.machine.argv import PAYLOAD_SIZE
from conformance.running import locked
from conformance.running.selection import SUITE
from kpatch.module.info import ModuleInfo
from kpatch.tools import programs
from kpatch.tools.sandbox import Sandbox

_PLACE = Path("/run/kit/kit")
"""Where the agent unpacks the kit."""

_KEPT = 4
"""Staged copies of the kit to keep: parallel runs read theirs."""

GUEST = (
    "__init__.py",
    "closing.py",
    "uapi",
    "kernel",
    "vfio",
    "migration",
    "model",
    "requirements",
    "events",
    "plugin",
    "suite",
    "bench/__init__.py",
    "bench/measure",
    "vmm/__init__.py",
    "vmm/inside",
)
"""Parts of the package that the guest gets: a positive list."""


@dataclass(frozen=True)
class Trial:
    """One of several builds of a module, and the tests that are to judge it.

    Attributes:
        name: Its name: lower-case letters, digits and hyphens.
        module: Its file.
        tests: What pytest shall collect: node ids, or the suite.
    """

    name: str
    module: Path
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """What the payload has for the agent.

    Attributes:
        module: Name of the module under test; empty for none.
        parameters: Those of the module, as ``name=value``.
        hints: Options that state what the suite may do with the registers.
        tests: What pytest shall collect.
        pytest_args: Arguments for pytest in addition to those the agent makes.
        quiet: Seconds without an event after which the agent shows where the kernel is.
        trials: Builds of the module that are judged instead, one after another.
        mediated: Where the module makes mediated devices, a folder of sysfs, and of which type;
            empty for a module that does not.
    """

    module: str
    parameters: Sequence[str]
    hints: Sequence[str]
    tests: Sequence[str]
    pytest_args: Sequence[str]
    quiet: float
    trials: Sequence[Trial] = ()
    mediated: tuple[str, str] = ("", "")


def write(
    target: Path,
    job: Job | None = None,
    kit: Path | None = None,
    modules: Path | None = None,
    files: Mapping[str, Path] | None = None,
    *,
    programs: Mapping[str, Path] | None = None,
    plan: Mapping[str, Any] | None = None,
) -> None:
    """Write the payload disk.

    Args:
        target: The file.
        job: What to do; None if that comes with another payload.
        kit: Folder with the guest's part of the kit, unless the guest has it.
        modules: Folder with ``lib/modules/RELEASE``, if there is a module under test.
        files: More modules besides those of the trials, by name.
        programs: Programs, by name.
        plan: What is known of the tests, as the suite's ``--vfio-plan`` has it.

    Raises:
        PayloadError: It is larger than the disk.
    """
    with target.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            if job:
                _add_bytes(tar, "job.json", json.dumps(asdict(job), default=str).encode())
            if plan is not None:
                _add_bytes(tar, "plan.json", json.dumps(plan).encode())
            if kit:
                _add_folder(tar, kit, "kit")
            if modules:
                _add_folder(tar, modules, "modules")
            trials = {trial.name: trial.module for trial in (job.trials if job else ())}
            for name, path in {**trials, **(files or {})}.items():
                _add_bytes(tar, f"trials/{name}.ko", path.read_bytes())
            for name, path in (programs or {}).items():
                _add_bytes(tar, f"programs/{name}", path.read_bytes(), 0o755)
        length = file.tell()
        if length > PAYLOAD_SIZE:
            raise PayloadError(
                f"Kit and module take {length >> 20} MiB, the guest's disk for them has "
                f"{PAYLOAD_SIZE >> 20} MiB. Is there debug information in the module? "
                "`strip --strip-debug` removes it."
            )
        file.truncate(PAYLOAD_SIZE)


def kit_files(source: Path) -> Iterator[Path]:
    """Yield what the guest needs of a checkout, as paths below it."""
    yield Path("pyproject.toml")  # the suite runs under the same pytest settings as at home
    for name in GUEST:
        part = source / "conformance" / name
        for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
            if path.suffix in (".py", ".toml", ".json"):
                yield path.relative_to(source)


def stage_kit(source: Path, sandbox: Sandbox, folder: Path, log: Path) -> Path:
    """Copy the guest's part of the kit and compile it with the guest's Python.

    A guest under TCG compiles slowly, so it is done here, and only when something has changed.

    Args:
        source: The checkout.
        sandbox: The image's root.
        folder: Where to; the last few copies stay there.
        log: Takes the output of the compilation.

    Returns:
        The folder with the copy, which nobody changes any more.
    """
    wanted = {path: (source / path).stat() for path in kit_files(source)}
    state = [[str(path), one.st_mtime_ns, one.st_size] for path, one in wanted.items()]
    digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:12]
    target = folder / f"kit-{digest}"
    with locked.lock(folder / "lock"):
        if not target.exists():
            with locked.whole_folder(target) as part:
                for path in wanted:
                    (part / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(source / path, part / path)
                programs.run(_compile_argv(sandbox, part), log=log, check=False, timeout=120)
        target.touch()
        for old in sorted(folder.glob("kit-*"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            locked.remove(old)
    return target


def _compile_argv(sandbox: Sandbox, kit: Path) -> list[str]:
    """Return the command that has pytest write its own compiled form of the tests.

    Should it fail, the guest meets the same error and reports it.
    """
    argv = ["python3", "-m", "pytest", "-p", "conformance.plugin", "-p", "no:cacheprovider"]
    argv += ["--collect-only", "--quiet", SUITE]
    # At the place that it has in the guest: the compiled form holds it, and shows it in traces.
    return sandbox.argv(argv, cwd=_PLACE, at={_PLACE: kit})


def stage_modules(
    under_test: Sequence[ModuleInfo],
    kernel: BootKernel,
    sandbox: Sandbox,
    folder: Path,
    also: Sequence[str] = (),
) -> Path:
    """Make a tree of modules that holds the module under test and what it depends on.

    Args:
        under_test: The module under test, and those of its own that it depends on.
        kernel: The kernel it is for.
        sandbox: The image's root, which has depmod.
        folder: Where to; replaced.
        also: Other modules of the kernel that the guest will load.

    Returns:
        The folder above ``lib/modules/RELEASE``.

    Raises:
        KernelError: The kernel lacks a module it depends on.
        ProgramFailed: depmod failed.
    """
    target = folder / "modules"
    if target.exists():
        shutil.rmtree(target)
    place = target / "lib/modules" / kernel.release
    (place / "updates").mkdir(parents=True)
    for module in under_test:
        shutil.copy2(module.path, place / "updates" / module.loadable)
    own = {module.name for module in under_test}
    needed = [name for module in under_test for name in module.depends if name not in own]
    tree = ModuleTree(kernel.modules)
    for step in tree.load_order([*needed, *also]):
        copy = place / step.path.removesuffix(".xz")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(tree.read(step.path))
    for name in ("modules.order", "modules.builtin"):
        if (kernel.modules / name).exists():
            shutil.copy2(kernel.modules / name, place / name)
    bootkernel.depmod(sandbox, target, kernel.release, show=[])
    return target


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _add_folder(tar: tarfile.TarFile, folder: Path, name: str) -> None:
    tar.add(folder, arcname=name, filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Forget whose a file is; keep its time, which compiled Python files are checked against."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = int(entry.mtime)
    return entry
