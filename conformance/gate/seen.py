# SPDX-License-Identifier: GPL-2.0-only
"""Which changes of a patch no compiler has seen.

kbuild leaves next to each object the list of all files that it was made of. A C file or header that
is in none of them was not compiled. Of a file that was, lines can still be dropped: those between
an `#ifdef` of an option that is off and its `#endif`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from conformance.gate import tree as gate_tree
from conformance.gate.input.commit import Patch
from kpatch.kernel.tree import KernelTree

_CODE = (".c", ".h", ".S", ".rs", ".dts", ".dtsi", ".dtso")
_BUILD_FILE = re.compile(r"(?:^|/)(?:Kconfig|Makefile|Kbuild)[^/]*$")
_ARCH = re.compile(r"^(?:arch|tools/arch)/(?!x86/)(\w+)/")
_HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,\d+)? @@")
_IF = re.compile(r"^\s*#\s*(ifdef|ifndef|if|elif|else|endif)\b\s*(.*?)\s*(?:/[*/].*)?$")
_TARGET = re.compile(r"(?:saved)?cmd_(\S+) :=")
# The forms of a condition on one option that can be judged; others are taken for seen.
_OPTION = re.compile(
    r"^(!?)\s*(?:defined\s*\(?\s*|IS_(?:ENABLED|BUILTIN|MODULE|REACHABLE)\s*\(\s*)?"
    r"CONFIG_(\w+?)(?:_MODULE)?\s*\)?$"
)


def unseen(patch: Patch, place: Path, kernel: KernelTree, options: Mapping[str, str]) -> list[str]:
    """Return a line for each file with changes that no compiler saw, with the reason.

    Args:
        patch: The patch, which was built as far as that goes.
        place: The patched tree, with what was built.
        kernel: The kernel that it was built for.
        options: Options that were set in addition to the kernel's own.
    """
    changed = [path for path, status in patch.files if status != "D" and _is_code(path)]
    looked_at = [path for path in changed if (place / path).is_file() and not _is_uapi(path)]
    if not looked_at:
        return []
    built = compiled(place, looked_at)
    config = {**kernel.config, **options}
    whole = kernel.host_path == place
    lines = _changed_lines(patch)
    found = []
    for path in looked_at:
        if path not in built:
            found.append(f"{path} was not compiled: {_why(path, whole=whole)}")
            continue
        text = (place / path).read_text("utf-8", errors="replace")
        off = skipped(text, *lines.get(path, (set(), set())), config)
        if off:
            number, option = off
            found.append(f"{path}:{number} was not compiled: it is there for {option} only")
    return found


def skipped(
    text: str, lines: set[int], gaps: set[int], config: Mapping[str, str]
) -> tuple[int, str] | None:
    r"""Return the first of some places that the preprocessor drops, and the condition.

    Args:
        text: The file.
        lines: Numbers of lines.
        gaps: Numbers of lines before which others were taken out.
        config: The options.

    >>> skipped("#ifdef CONFIG_S390\nint a;\n#else\nint b;\n#endif\n", {2, 4}, set(), {})
    (2, 'CONFIG_S390')
    >>> skipped("#ifdef CONFIG_S390\nint a;\n#else\nint b;\n#endif\n", {2, 4}, set(), {"S390": "y"})
    (4, '!CONFIG_S390')
    >>> skipped("#ifdef CONFIG_S390\n#endif\n", set(), {2}, {})
    (2, 'CONFIG_S390')
    """
    stack: list[tuple[bool | None, str]] = []  # whether the branch is taken, if that is known
    for number, line in enumerate(text.split("\n"), 1):
        found = _IF.match(line)
        off = next((one for one in stack if one[0] is False), None)
        if off and (number in gaps or (number in lines and line.strip() and not found)):
            return number, off[1]
        if not found:
            continue
        word, condition = found[1], found[2]
        if word in ("if", "ifdef", "ifndef"):
            stack.append(_judge(condition, config, negate=word == "ifndef"))
        elif not stack:
            continue  # not C, or damaged: the compiler has said what it thinks of it
        elif word == "endif":
            stack.pop()
        else:
            taken, name = stack.pop()
            other = name.removeprefix("!") if name.startswith("!") else f"!{name}"
            # Behind elif another condition decides, which does not matter if one before was true.
            decided = not taken if word == "else" and taken is not None else None
            stack.append((False if taken and word == "elif" else decided, other))
    return None


def _judge(condition: str, config: Mapping[str, str], *, negate: bool) -> tuple[bool | None, str]:
    found = _OPTION.match(condition)
    if not found:
        return None, condition
    no = negate != bool(found[1])
    is_on = config.get(found[2], "n") != "n"
    return is_on != no, f"{'!' * no}CONFIG_{found[2]}"


def compiled(place: Path, paths: list[str]) -> set[str]:
    """Return which of some files objects were made of, by the .cmd files next to them."""
    left, found = set(paths), set()
    names = {os.path.basename(path) for path in paths}  # noqa: PTH119
    for where, folders, files in os.walk(place):
        folders[:] = [folder for folder in folders if folder != ".git"]
        for name in files:
            if not (left and name.startswith(".") and name.endswith(".cmd")):
                continue
            made = Path(where, name[1:-4])
            if not made.exists():
                continue
            text = Path(where, name).read_text("latin-1")
            if not any(each in text for each in names):
                continue
            sources = _sources(made, text, place)
            hit = {path for path in left if f"{place}/{path}" in sources}
            found |= hit
            left -= hit
    return found


def _sources(made: Path, text: str, place: Path) -> set[str]:
    """Return the files that a .cmd file names, as absolute paths.

    They are relative to the folder in which make ran, as is the name of the object: the top of
    the tree, or, since Linux 6.13, the folder that M= names.
    """
    target = _TARGET.match(text)
    here = str(made)
    whence = here.removesuffix(target[1]) if target and here.endswith(f"/{target[1]}") else place
    return {os.path.normpath(os.path.join(whence, word)) for word in text.split()}  # noqa: PTH118


def _changed_lines(patch: Patch) -> dict[str, tuple[set[int], set[int]]]:
    """Return by file which lines a patch adds, and before which ones it takes others out."""
    found = {}
    for part in re.split(r"^(?=diff --git )", patch.diff, flags=re.M):
        name = re.search(r"^\+\+\+ b/([^\t\n]*)", part, re.M)
        if name:
            places = list(_places(part))
            found[name[1]] = (
                {number for number, sign in places if sign == "+"},
                {number for number, sign in places if sign == "-"},
            )
    return found


def _places(part: str) -> Iterator[tuple[int, str]]:
    number = 0
    for line in part.split("\n"):
        hunk = _HUNK.match(line)
        if hunk:
            number = int(hunk[1])
        elif number and line.startswith("+"):
            yield number, "+"
            number += 1
        elif number and line.startswith("-") and line[1:].strip():
            yield number, "-"
        elif number and line.startswith(" "):
            number += 1


def _is_code(path: str) -> bool:
    """Return whether a build would have to look at a file: code, or what says how to build it.

    What says so for this architecture is looked at whenever anything is built.
    """
    return path.endswith(_CODE) or bool(_ARCH.match(path) and _BUILD_FILE.search(path))


def _why(path: str, *, whole: bool) -> str:
    other = _ARCH.match(path)
    if other:
        return f"it is for the architecture {other[1]}"
    if re.match(r"(?:tools|samples|scripts)/", path):
        return "it is no part of the kernel, and the gate builds nothing else"
    if not whole and not gate_tree.buildable([path]):
        return "it is not part of a module (--build builds the whole kernel)"
    return "no option of this kernel's configuration asks for it"


def _is_uapi(path: str) -> bool:
    """Return whether the step `headers` compiles it."""
    return re.match(r"(?:arch/x86/)?include/uapi/", path) is not None
