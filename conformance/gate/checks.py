# SPDX-License-Identifier: GPL-2.0-only
"""The steps that look at a patch without building it: message, checkpatch, maintainers, headers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

from conformance.gate.input.commit import Patch
from conformance.gate.results import Step
from kpatch.kernel.tree import KernelTree
from kpatch.tools import git
from kpatch.tools.programs import run

# Documentation/process/coding-assistants.rst: a tool has a name and a version, and no address.
_PERSONS = re.compile(r"(?!Assisted-by$).*-by$|^(?:Cc|To)$", re.I)
_ADDRESS = re.compile(r"[^\s<>@,\"]+@[^\s<>@,\"]+")
# Judged by steps of their own, with the whole tree in view.
_IGNORED = "FILE_PATH_CHANGES,MISSING_SIGN_OFF,BAD_SIGN_OFF"
_COLUMNS = 75


def message(patch: Patch, *, signoff: bool) -> Step:
    """Judge the commit message.

    Args:
        patch: The patch.
        signoff: Whether a Signed-off-by must be there; without it, that is a note.
    """
    wrong = list(_subject(patch.subject))
    trailers = _trailers(patch)
    if not _text(patch, trailers):
        wrong.append("there is no text: say why the change is needed")
    if not patch.files:
        wrong.append("the patch changes nothing")
    for key, value in trailers:
        # Behind a # are the versions of stable kernels, as stable-kernel-rules.rst has it.
        if _PERSONS.match(key) and not _ADDRESS.search(value.partition("#")[0]):
            wrong.append(f"{key}: {value}: expected a name and an address, Name <mail@host>")
    if wrong:
        return Step("message", "failed", wrong[0], tuple(wrong))
    if not any(key.lower() == "signed-off-by" for key, _ in trailers):
        reason = "there is no Signed-off-by, without which nobody can take the patch"
        return Step("message", "failed" if signoff else "noted", reason)
    return Step("message", "passed")


def checkpatch(patch: Patch, place: Path, tree: KernelTree, log: Path) -> Step:
    """Run the tree's own checkpatch.pl, at its strictest."""
    script = place / "scripts/checkpatch.pl"
    argv = ["perl", str(script), "--strict", "--no-summary", "--show-types", "--mailback"]
    argv += [f"--root={place}", f"--ignore={_IGNORED}", "--max-line-length=100"]
    argv += [str(patch.path.absolute())]
    # With a repository it runs spdxcheck.py, which needs Python modules that are not everywhere.
    env = {"GIT_DIR": "/nonexistent"}
    if tree.sandbox:
        shown = [place, patch.path.absolute().parent]
        argv = tree.sandbox.argv(argv, ro_bind=shown, cwd=place, env=env)
    done = run(argv, check=False, log=log, timeout=300, env=env)
    output = done.stdout
    found = re.findall(
        r"^(ERROR|WARNING|CHECK):(\w+): (.*)\n(?:#\d+: (?:FILE: (\S+))?)?", output, re.M
    )
    lines = tuple(
        f"{where + ' ' if where else ''}{level}: {text} [{name}]"
        for level, name, text, where in found
    )
    if lines:
        return Step("checkpatch", "failed", lines[0], lines)
    if done.returncode or done.stderr.strip():
        words = (done.stderr or output).strip().splitlines() or ["no output"]
        reason = f"checkpatch.pl failed: {words[-1]}"
        return Step("checkpatch", "failed", reason, tuple(words[-20:]))
    return Step("checkpatch", "passed")


def maintainers(patch: Patch, place: Path, tree: KernelTree, log: Path) -> Step | None:
    """Ask the tree's get_maintainer.pl whose each new file is; None without new files.

    A moved file is new in its new place.
    """
    orphans = []
    for path in patch.created:
        argv = ["perl", str(place / "scripts/get_maintainer.pl"), "--no-tree", "--no-git"]
        argv += ["--no-git-fallback", "--no-git-blame", "--keywords-in-file", "--sections"]
        # A link that leads nowhere in this part of the tree is as its folder.
        asked = path if (place / path).exists() else str(Path(path).parent)
        argv += [f"--mpath={place / 'MAINTAINERS'}", "-f", "--", asked]
        done = _inside(tree, argv, place, None, log, cwd=place)
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
            reason = f"get_maintainer.pl failed: {words[-1]}"
            return Step("maintainers", "failed", reason, tuple(words[-20:]))
        # A section begins with its name, behind an empty line.
        names = [block.splitlines()[0] for block in done.stdout.split("\n\n") if block.strip()]
        if not any(name.strip() and name.strip() != "THE REST" for name in names):
            orphans.append(path)
    if orphans:
        reason = f"{orphans[0]} is new, and no entry of MAINTAINERS has it"
        return Step("maintainers", "failed", reason, tuple(orphans))
    return Step("maintainers", "passed") if patch.created else None


def headers(paths: Sequence[str], place: Path, tree: KernelTree, log: Path) -> Step:
    """Install the headers of the user API that a patch touches, and compile each for user space."""
    out = log.parent / "installed-headers"
    out.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    for path in paths:
        name = path.partition("uapi/")[2]
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        install = ["sh", str(place / "scripts/headers_install.sh"), str(place / path), str(target)]
        done = _inside(tree, install, place, out, log, cwd=tree.path)
        if done.returncode or not target.exists():
            wrong += _words(done, f"{path} cannot be installed")
            continue
        # As usr/include/Makefile of the kernel does: each header must stand alone.
        compile_ = ["gcc", "-std=c90", "-Wall", "-Werror", "-fsyntax-only", f"-I{out}"]
        compile_ += ["-x", "c", "-include", name, "/dev/null"]
        done = _inside(tree, compile_, place, out, log, cwd=out)
        if done.returncode:
            wrong += _words(done, f"{path} does not compile alone, for user space")
    if wrong:
        return Step("headers", "failed", wrong[0], tuple(wrong))
    return Step("headers", "passed")


def _inside(
    tree: KernelTree, argv: list[str], place: Path, out: Path | None, log: Path, *, cwd: Path
) -> CompletedProcess[str]:
    if tree.sandbox:
        show = [place] + [tree.path] * (tree.host_path == tree.path)
        argv = tree.sandbox.argv(argv, ro_bind=show, bind=[out] if out else [], cwd=cwd)
        return run(argv, check=False, log=log, timeout=300)
    return run(argv, check=False, log=log, timeout=300, cwd=cwd)


def _words(done: CompletedProcess[str], what: str) -> list[str]:
    output = (done.stdout + done.stderr).strip().splitlines()
    first = next((line for line in output if "error" in line.lower()), output[-1] if output else "")
    return [f"{what}: {first}" if first else what, *output[:20]]


def _subject(subject: str) -> list[str]:
    wrong: list[str] = []
    if re.match(r'^(?:Revert|Reapply) ".+"$', subject):
        return wrong  # git writes it, whatever it quotes
    if not re.match(r"^[\w./+*,{}() -]+: \S", subject):
        wrong.append(
            f"the subject {subject!r} does not begin with a subsystem: `vfio/pci: Do this`"
        )
    if len(subject) > _COLUMNS:
        wrong.append(f"the subject has {len(subject)} characters, {_COLUMNS} at most are usual")
    if subject.endswith("."):
        wrong.append("the subject ends in a full stop")
    return wrong


def _trailers(patch: Patch) -> list[tuple[str, str]]:
    """Return the trailers of a message, as git finds them."""
    message = patch.path.with_suffix(".message")
    message.write_text(patch.message, "utf-8")
    done = git.outside("interpret-trailers", "--parse", message.name, cwd=message.parent)
    message.unlink()
    pairs = (line.partition(": ") for line in done.stdout.splitlines())
    return [(key, value.strip()) for key, _, value in pairs]


def _text(patch: Patch, trailers: Sequence[tuple[str, str]]) -> str:
    """Return what a message says besides its trailers and remarks in brackets on them."""
    known = {(key, value) for key, value in trailers}
    lines = []
    for line in patch.body.split("\n"):
        key, _, value = line.partition(":")
        remark = bool(trailers) and re.match(r"^\[.*\]$", line)
        if (key, value.strip()) not in known and not remark:
            lines.append(line)
    return "\n".join(lines).strip()
