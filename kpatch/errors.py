# SPDX-License-Identifier: GPL-2.0-only
"""The errors of kpatch.

Each says what happened, what was expected and what to do about it, in whole sentences, and
carries the exit code with which the command line ends::

    KpatchError                4  something on the way to a module failed
    ├── DescriptionError       2  a device description has mistakes (all of them are listed)
    ├── UnknownDevice          2  no description has that name
    ├── ProtocolError          2  a driver cannot speak the version of the protocol asked for
    ├── ModuleFileError        2  a file is not a kernel module, or cannot be read as one
    ├── OutputError            2  the output folder cannot be used
    ├── SourceTreeError        2  a directory is not a kernel source tree that a series can be for
    ├── SeriesError            2  a patch series cannot be made, or cannot be read as one
    ├── KernelTreeError        4  a directory is not a kernel build tree that can build modules
    ├── TemplateError          4  a template asks for what the context does not have, or is broken
    ├── BuildFailed            4  kbuild did not produce the module
    └── ProgramFailed          4  a program ended with an error
        ├── ProgramMissing     4  ... was not found
        └── ProgramTimeout     4  ... took too long and was ended
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class KpatchError(Exception):
    """Something on the way from a description to a module failed.

    ``str(error)`` is the complete text for the user: it may have several lines.
    """

    exit_code = 4


@dataclass(frozen=True)
class Mistake:
    """One mistake in a description.

    Attributes:
        key: Where it is, in the notation of TOML paths: ``bar[0].size``.
        value: What is written there, as it would be shown to the user; empty when it is missing.
        message: What is wrong and what would be valid, without a full stop.
    """

    key: str
    value: str
    message: str

    def __str__(self) -> str:
        """One line: key, value if there is one, message."""
        return f"{self.key}{self.value and ' = '}{self.value}: {self.message}"


class DescriptionError(KpatchError):
    """A device description has mistakes.

    Attributes:
        source: The file, as the user would name it.
        mistakes: Every mistake found, in the order of the file where that is known.
    """

    exit_code = 2

    def __init__(self, source: str, mistakes: Sequence[Mistake]) -> None:
        self.source = source
        self.mistakes = tuple(mistakes)
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        lines = [f"The device description {source} has {count}:"]
        lines += [f"  {source}: {mistake}" for mistake in self.mistakes]
        super().__init__("\n".join(lines))


class UnknownDevice(KpatchError):
    """No description has the name that was asked for."""

    exit_code = 2

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(
            f"There is no device description {name!r}. Known: {', '.join(known) or 'none'}. "
            "Name one of them, or the path of a description file (*.toml)."
        )


class ProtocolError(KpatchError):
    """A driver cannot speak the version of the migration protocol that is asked for."""

    exit_code = 2

    def __init__(self, device: str, wanted: str, supported: Sequence[str]) -> None:
        super().__init__(
            f"The description of {device} is for {' and '.join(supported)} of the migration "
            f"protocol, not for {wanted}. Ask for that, or give the description a table "
            f"[migration.{wanted}]."
        )


class ModuleFileError(KpatchError):
    """A file is not a kernel module, or cannot be read as one."""

    exit_code = 2


class OutputError(KpatchError):
    """The folder for the output cannot be used."""

    exit_code = 2


class SourceTreeError(KpatchError):
    """A directory is not a kernel source tree, or not one that a series can be made for."""

    exit_code = 2


class SeriesError(KpatchError):
    """A patch series cannot be made as it was asked for, or is none."""

    exit_code = 2


class KernelTreeError(KpatchError):
    """A directory is not a kernel build tree with which modules can be built."""


class TemplateError(KpatchError):
    """A template is broken, or asks for a variable that the context does not have."""


class BuildFailed(KpatchError):
    """Kbuild did not produce the module.

    Attributes:
        log: The last lines of the build's output, which hold the compiler's words.
        log_path: The whole output.
        sources: The folder with the sources that failed, kept for a look.
    """

    def __init__(self, message: str, *, log: str, log_path: Path, sources: Path) -> None:
        self.log = log
        self.log_path = log_path
        self.sources = sources
        super().__init__(
            f"{message}\n\n{log.rstrip()}\n\n"
            f"The whole output is in {log_path}, the sources are kept in {sources}."
        )


class ProgramFailed(KpatchError):
    """A program ended with an error.

    Attributes:
        argv: The command.
        status: Its exit status; negative for the number of the signal that ended it.
        tail: The last lines of its output.
        hint: What to do, if the caller knows.
    """

    def __init__(
        self, argv: Sequence[str], status: int, tail: str = "", hint: str = "", *, what: str = ""
    ) -> None:
        self.argv = tuple(argv)
        self.status = status
        self.tail = tail
        self.hint = hint
        end = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        lines = [what or f"{argv[0]} {end}.", f"The command was: {shlex.join(argv)}"]
        if tail.strip():
            lines += ["Its last output:", *(f"  {line}" for line in tail.strip().splitlines())]
        if hint:
            lines.append(hint)
        super().__init__("\n".join(lines))


class ProgramMissing(ProgramFailed):
    """A program was not found.

    Attributes:
        program: Its name.
        package: The Debian package that has it, or an empty string if that is not known.
    """

    def __init__(self, argv: Sequence[str], program: str, package: str, hint: str = "") -> None:
        self.program = program
        self.package = package
        advice = f"Install the Debian package {package}." if package else "Install it."
        what = f"The program {program} was not found. {advice}"
        super().__init__(argv, 127, hint=hint, what=what)


class ProgramTimeout(ProgramFailed):
    """A program took longer than it was given, and was ended with all its children.

    Attributes:
        timeout: What it was given, in seconds.
    """

    def __init__(self, argv: Sequence[str], timeout: float, tail: str = "", hint: str = "") -> None:
        self.timeout = timeout
        super().__init__(
            argv,
            -9,
            tail,
            hint,
            what=f"{argv[0]} was still running after {timeout:g} s and was ended.",
        )
