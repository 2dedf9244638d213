# SPDX-License-Identifier: GPL-2.0-only
"""Makes a series: from a device description and a source tree to a folder of patches."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kpatch.device.description import Device
from kpatch.device.protocols import Protocol
from kpatch.errors import OutputError, SeriesError
from kpatch.kernel import source
from kpatch.series import mail as series_mail
from kpatch.series import qemu
from kpatch.series import steps as series
from kpatch.series.mail import FIRST, Recipients, Version
from kpatch.tools import git
from kpatch.tools.git import Identity, Repository

_OURS = ("send.sh", "b4.sh", "b4-cover.txt")


@dataclass(frozen=True)
class SeriesRequest:
    """What kind of series is wanted.

    Attributes:
        device: What the driver is for.
        tree: The kernel source tree: a git checkout or a plain one.
        protocol: The version of the migration protocol that the driver speaks.
        base: The commit to base it on, in a git tree.
        version: Which version of the series it is.
        signoff: Whether the user signs the patches off.
        ask: Whether the tree is asked for the recipients.
        tested: Results of a gate run, for the cover letter; None for nothing was run.
    """

    device: Device
    tree: Path
    protocol: Protocol = "v1"
    base: str = "HEAD"
    version: Version = FIRST
    signoff: bool = False
    ask: bool = True
    tested: Path | None = None


def make(request: SeriesRequest, target: Path) -> list[Path]:
    """Write a series into a folder, in place of one that is there.

    Returns:
        The patches, the cover letter first.

    Raises:
        SourceTreeError: The tree is no kernel, has uncommitted changes, or cannot take the series.
        SeriesError: There is no author, the request is contradictory, or the device is software.
        OutputError: The folder cannot be written, or has something else in it.
    """
    if request.device.emulated:
        raise SeriesError(
            f"{request.device.name} is a software device, made for tests: there is no hardware "
            "for it. It can be rendered and built as a module."
        )
    version, tree = request.version, request.tree.absolute()
    if version.number < 1 or (version.number > 1) != (version.previous is not None):
        raise SeriesError(
            "A version after the first is compared with the one before: -v N, with N from 2 on, "
            "and --previous DIR belong together."
        )
    source.version(tree)
    _check_target(target, version)
    who = git.identity(tree)
    with git.scratch_folder() as folder:
        repository, date, note = _repository(request, tree, folder / "tree", who)
        base = repository.out("rev-parse", "HEAD")
        words = series.context(request.device, repository.path, who, request.protocol)
        series.commit(repository, request.device, words, date=date, signoff=request.signoff)
        nobody = Recipients((), ())
        people = nobody
        if request.ask:
            drafts = series_mail.format_patches(
                repository, base, folder / "drafts", Version(), nobody
            )
            maintainers = repository.path / "MAINTAINERS"
            people = series_mail.recipients(tree, maintainers, drafts, who)
        cover = {**words, **_cover(request, note)}
        done = folder / "done"
        patches = series_mail.format_patches(repository, base, done, version, people, cover=cover)
        series_mail.send_files(done, patches, people, request.device.name)
        return _replace(done, target, patches)


def make_qemu(tree: Path, target: Path, version: Version, *, signoff: bool) -> list[Path]:
    """Write the series for QEMU into a folder, in place of one that is there.

    Returns:
        The patches.

    Raises:
        SourceTreeError: The tree is not QEMU's, or cannot take the series.
        SeriesError: There is no author.
        OutputError: The folder cannot be written, or has something else in it.
    """
    tree = tree.absolute()
    qemu.version(tree)
    _check_target(target, version)
    who = git.identity(tree)
    with git.scratch_folder() as folder:
        repository = qemu.repository(tree, folder / "tree", who)
        base = repository.out("rev-parse", "HEAD")
        qemu.commit(repository, tree, date=git.EPOCH + 60, signoff=signoff)
        done = folder / "done"
        patches = series_mail.format_patches(repository, base, done, version, Recipients((), ()))
        return _replace(done, target, patches)


def _repository(
    request: SeriesRequest, tree: Path, folder: Path, who: Identity
) -> tuple[Repository, int, str]:
    """Return a repository with the base checked out, the first date, a note on the base."""
    if git.top_of_git(tree):
        git.refuse_dirty(tree)
        commit = git.resolve(tree, request.base)
        wanted = [*series.NEEDED, *series.OPTIONAL]
        repository = git.borrow(tree, commit, folder, who, [f"/{name}" for name in wanted])
        return repository, int(repository.out("log", "-1", "--format=%ct")) + 60, ""
    if request.base != "HEAD":
        raise SeriesError(f"{tree} is not a git tree, so it has no commit {request.base}.")
    names = [*series.NEEDED, *(name for name in series.OPTIONAL if (tree / name).is_file())]
    for name in series.NEEDED:
        source.read(tree, name)
    files = {name: tree / name for name in names}
    title = f"Linux {source.version(tree)}, the files that the series touches"
    note = ", a source tree without history: the base-commit is that of an\nimport of the files"
    return git.adopt(files, folder, who, title), git.EPOCH + 60, note


def _cover(request: SeriesRequest, note: str) -> dict[str, Any]:
    name = request.device.name
    registers = request.device.migration
    has_layout = any(bar.trapped_while_saving for bar in request.device.bars)
    what = f"Save the registers of {name}"
    tested = "nothing has been run on this version yet."
    if request.tested:
        tested = _tested(request.tested, _JUDGED[request.protocol])
    return {
        "subject": f"vfio: {what}, with a saving layout" if has_layout else f"vfio/{name}: {what}",
        "stops": sum(stop.count for stop in registers.stop),
        "rfc": request.version.rfc,
        "tested": tested,
        "base_note": note,
    }


_JUDGED: dict[Protocol, str] = {
    "v1": "the migration region",
    "v2": "VFIO_DEVICE_FEATURE_MIGRATION",
}
"""What the conformance suite is of, besides the saving layout."""


def _tested(path: Path, judged: str) -> str:
    """Put the results of the gate into words."""
    try:
        results: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
        patches = results["patches"]
        steps = {step["name"]: step["verdict"] for patch in patches for step in patch["steps"]}
        where = results["environment"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SeriesError(
            f"{path} does not have the results of a gate run: {error}. It is the file gate.json "
            "in a folder that `python -m conformance gate` has written."
        ) from error
    if results.get("verdict") != "passed":
        raise SeriesError(f"According to {path} the series did not pass the gate; do not send it.")
    text = f"each patch builds alone without new warnings ({where})"
    text += " and is clean under checkpatch --strict"
    if steps.get("boot") == "passed":
        text += ". The modules built from the patched tree passed the conformance suite of "
        text += f"{judged} and the saving layout in a virtual machine"
    return text + "."


def _check_target(target: Path, version: Version) -> None:
    if version.previous and version.previous.resolve() == target.resolve():
        raise OutputError(f"{target} is the previous version. Name another folder with -o.")
    if not target.exists():
        return
    try:
        strange = [path.name for path in target.iterdir() if not _ours(path.name)]
    except OSError as error:
        raise OutputError(f"{target} cannot be used: {error.strerror}.") from error
    if strange:
        raise OutputError(
            f"{target} holds files that are no series ({strange[0]}). Name an empty or a new "
            "folder."
        )


def _ours(name: str) -> bool:
    return name in _OURS or name.endswith(".patch")


def _replace(done: Path, target: Path, patches: list[Path]) -> list[Path]:
    try:
        target.mkdir(parents=True, exist_ok=True)
        for path in target.iterdir():
            path.unlink()
        for path in sorted(done.iterdir()):
            shutil.copy2(path, target / path.name)
    except OSError as error:
        raise OutputError(f"The series cannot be written into {target}: {error}.") from error
    return [target / path.name for path in patches]
