# SPDX-License-Identifier: GPL-2.0-only
"""Strangers as they are described in vm-images/strangers/*.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from conformance.errors import DefinitionError, UsageError
from conformance.running import paths

FOLDER = paths.DATA / "strangers"

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Version = Annotated[str, Field(pattern=r"^\d+\.\d+$")]
SourceFile = Annotated[str, Field(pattern=r"^[a-z][\w/.-]*\.[ch]$")]


class Finding(BaseModel):
    """A rule that a stranger is known to break; docs/findings.md has a row for it.

    Attributes:
        rule: The rule.
        kernels: The kernels on which it was seen, such as ``6.12``.
        seen: What was seen, one line.
        dies: Whether the kernel dies of it, and the run with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Annotated[str, Field(pattern=r"^[a-z][a-z0-9.-]+$")]
    kernels: Annotated[tuple[Version, ...], Field(min_length=1)]
    seen: Annotated[str, Field(min_length=1)]
    dies: bool = False


class Stranger(BaseModel):
    """A driver of the kernel that a distribution does not build, or not for what the lab has.

    Attributes:
        name: The name of its file.
        summary: One line for people.
        since: The first kernel whose source has it as it is wanted here.
        module: Its module.
        sources: Its files, as paths in the kernel's source.
        machine: The machine of the lab on which it is judged.
        parent: Of mediated devices, the folder in sysfs of what makes them.
        type: Of mediated devices, the type that is made.
        stand_in: Of others, the module of ours that stands in for the driver of the physical
            function, a file next to the definition.
        functions: What the driver calls in it. All get another name, since the kernel may have
            the real ones.
        finding: The rules that it is known to break.
        fatal: Requests of which it kills the kernel, which only the last tests make then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    schema_: Literal[1] = Field(alias="schema")
    summary: str
    since: Version
    module: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    sources: Annotated[tuple[SourceFile, ...], Field(min_length=1)]
    machine: str
    parent: Annotated[str, Field(pattern=r"^/sys/")] = ""
    type: str = ""
    stand_in: Identifier | Literal[""] = ""
    functions: tuple[Identifier, ...] = ()
    finding: tuple[Finding, ...] = ()
    fatal: tuple[Literal["stale-write", "first-set"], ...] = ()

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if bool(self.parent) != bool(self.type):
            raise ValueError("`parent` and `type` go together")
        if bool(self.stand_in) != bool(self.functions):
            raise ValueError("`stand_in` and `functions` go together")
        return self

    @property
    def own_sources(self) -> tuple[Path, ...]:
        """Files of ours that are built with it."""
        return (FOLDER / f"{self.stand_in}.c", FOLDER / "vf_state.h") if self.stand_in else ()

    def findings(self, release: str) -> dict[str, Finding]:
        """Return what is known of it on a kernel, by rule.

        >>> sorted(load("qat").findings("6.12.118+deb13-amd64"))
        ['precopy.enomsg']
        """
        version = ".".join(map(str, kernel_version(release)))
        return {one.rule: one for one in self.finding if version in one.kernels}

    def too_new(self, release: str) -> bool:
        """Return whether a kernel is too old to have it.

        >>> load("qat").too_new("6.1.0-38-amd64"), load("qat").too_new("6.12.118+deb13-amd64")
        (True, False)
        """
        return kernel_version(release) < tuple(int(part) for part in self.since.split("."))


def kernel_version(release: str) -> tuple[int, int]:
    """Return version and patch level of a kernel's release.

    >>> kernel_version("6.12.118+deb13-amd64")
    (6, 12)
    """
    found = re.match(r"(\d+)\.(\d+)", release)
    if not found:
        raise UsageError(f"The kernel's release {release!r} does not begin with a version.")
    return int(found[1]), int(found[2])


def names(folder: Path = FOLDER) -> list[str]:
    """Return the names of all strangers."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load(name: str, folder: Path = FOLDER) -> Stranger:
    """Load the stranger of that name.

    Raises:
        UsageError: There is none.
        DefinitionError: Its file has mistakes.
    """
    if name not in names(folder):
        raise UsageError(f"There is no stranger {name!r}; there are: {', '.join(names(folder))}.")
    path = folder / f"{name}.toml"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return Stranger.model_validate({**raw, "name": name})
    except ValidationError as error:
        listed = [
            f"{'.'.join(map(str, one['loc'])) or name}: {one['msg']}" for one in error.errors()
        ]
        raise DefinitionError(str(path), listed) from error
    except (OSError, ValueError) as error:
        raise DefinitionError(str(path), [str(error)]) from error
