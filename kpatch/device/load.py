# SPDX-License-Identifier: GPL-2.0-only
"""Finds, reads and checks device descriptions.

A description is a TOML file, see `kpatch.device.description` for its format. It is either right,
or all of its mistakes are reported at once.
"""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from kpatch.device import mistakes, rules
from kpatch.device.description import (
    Bar,
    Device,
    Device1,
    DeviceId,
    Drained,
    Emulated,
    Register,
    Stop,
)
from kpatch.device.protocols import Protocol
from kpatch.device.ring import Ring
from kpatch.errors import DescriptionError, Mistake, ProtocolError, UnknownDevice

__all__ = ["FOLDER", "Device", "check", "load", "names", "parse", "spoken"]

FOLDER = Path(__file__).parents[1] / "devices"
"""Where the descriptions of the known devices are."""

_M = TypeVar("_M", bound=BaseModel)


def names() -> tuple[str, ...]:
    """Return the names of the devices that the kit knows."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load(name_or_path: str | Path) -> Device:
    """Read and check a description.

    Args:
        name_or_path: The name of a known device, or the path of a description (`*.toml`, or
            with a slash).

    Raises:
        UnknownDevice: There is no such description.
        DescriptionError: It has mistakes; all of them are in the error.
    """
    path = Path(name_or_path)
    if isinstance(name_or_path, str) and "/" not in name_or_path and path.suffix != ".toml":
        if name_or_path not in names():
            raise UnknownDevice(name_or_path, names())
        path = FOLDER / f"{name_or_path}.toml"
    return parse(
        _read(path, str(name_or_path)),
        str(name_or_path) if path == Path(name_or_path) else path.name,
    )


def parse(text: str, source: str) -> Device:
    """Check the text of a description.

    Args:
        text: The TOML.
        source: The file it is from, for the words of errors.

    Raises:
        DescriptionError: It has mistakes; all of them are in the error.
    """
    if text.startswith("\ufeff"):
        words = "begins with a byte order mark, which TOML does not have; save it as UTF-8 without"
        raise DescriptionError(source, [Mistake("TOML", "", words)])
    try:
        raw = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise DescriptionError(source, [Mistake("TOML", "", str(error))]) from error
    except RecursionError as error:
        words = "arrays or tables are nested too deep"
        raise DescriptionError(source, [Mistake("TOML", "", words)]) from error
    return check(raw, source)


def check(raw: dict[str, Any], source: str) -> Device:
    """Check a description that was read already.

    Args:
        raw: The tables, as `tomllib` gives them.
        source: The file it is from, for the words of errors.

    Raises:
        DescriptionError: It has mistakes; all of them are in the error.
    """
    device = None
    found: list[Mistake] = []
    model = Device1 if rules.is_old(raw) else Device
    try:
        device = model.model_validate(raw)
    except ValidationError as error:
        found = mistakes.in_words(error, model)
    found += rules.check(raw, _parts(raw))
    if found or device is None:
        raise DescriptionError(source, found)
    return device.upgraded() if isinstance(device, Device1) else device


def spoken(
    device: Device, wanted: Protocol | None = None, *, both: bool = False
) -> tuple[Protocol, ...]:
    """Return the versions of the protocol that the driver of a device speaks, all in one module.

    Args:
        device: Its description, which may leave the choice.
        wanted: The version that is asked for; None for what the description says.
        both: Whether all versions are asked for that the device can have.

    Raises:
        ProtocolError: The description excludes what is asked for.
    """
    fixed, supported = device.migration.protocols, device.migration.supported
    if wanted and wanted not in supported:
        raise ProtocolError(device.name, wanted, supported)
    if both and len(supported) == 1:
        raise ProtocolError(device.name, "v1" if supported == ("v2",) else "v2", supported)
    if both or (fixed and len(fixed) > 1):
        return supported
    return (wanted or supported[0],)


def _read(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UnknownDevice(name, names()) from error
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text (byte {error.start})"
        raise DescriptionError(str(path), [Mistake("file", "", message)]) from error
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise DescriptionError(str(path), [Mistake("file", "", message)]) from error


def _parts(raw: dict[str, Any]) -> rules.Parts:
    """Check each entry of the lists by itself, so that one bad entry does not hide another."""
    migration = raw.get("migration")
    emulated = None
    with contextlib.suppress(ValidationError):
        emulated = Emulated.model_validate(raw.get("emulated"))
    return rules.Parts(
        ids=_entries(raw, "ids", DeviceId),
        bars=_entries(raw, "bar", Bar),
        state=_entries(migration, "migration.state", Register),
        stop=_entries(migration, "migration.stop", Stop),
        drained=_entries(migration, "migration.drained", Drained),
        ring=_entries(migration, "migration.ring", Ring),
        emulated=emulated,
    )


def _entries(table: Any, key: str, model: type[_M]) -> list[tuple[str, _M]]:
    items = table.get(key.rpartition(".")[2]) if isinstance(table, dict) else None
    good = []
    for number, item in enumerate(items if isinstance(items, list) else []):
        with contextlib.suppress(ValidationError):
            good.append((f"{key}[{number}]", model.model_validate(item)))
    return good
