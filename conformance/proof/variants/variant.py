# SPDX-License-Identifier: GPL-2.0-only
"""Good drivers that differ in what the rules leave open: the suite must pass on each.

Each file of this folder is what a description has that its ``base`` has not, with ``why`` it is
worth trying and the ``protocols`` by which it is judged. Tables are merged, all else is replaced.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from conformance.errors import UsageError
from kpatch.device import load as devices
from kpatch.device.description import Device
from kpatch.device.protocols import PROTOCOLS, Protocol
from kpatch.errors import DescriptionError, Mistake

FOLDER: Final = Path(__file__).resolve().parent
"""The data."""


@dataclass(frozen=True)
class Variant:
    """A conforming driver.

    Attributes:
        name: Its name.
        why: What is special about it.
        device: Its description.
        protocols: The versions of the protocol by which it is judged, a driver for each.
        scratch: Registers that the suite may write, where not all of the machine's are state. The
            device then neither raises interrupts nor receives: those registers are no state.
    """

    name: str
    why: str
    device: Device
    protocols: tuple[Protocol, ...] = ("v1",)
    scratch: tuple[str, ...] = ()


def names() -> tuple[str, ...]:
    """Return the names of all variants."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load(name: str, folder: Path = FOLDER) -> Variant:
    """Read a variant.

    Raises:
        UsageError: There is none of this name.
        DescriptionError: It has mistakes.
        UnknownDevice: What it is based on does not exist.
    """
    path = folder / f"{name}.toml"
    if not path.exists():
        raise UsageError(f"There is no variant {name!r}. There are: {', '.join(names())}.")
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DescriptionError(path.name, [Mistake("TOML", "", str(error))]) from error
    why, base = raw.pop("why", ""), raw.pop("base", "")
    scratch = tuple(raw.pop("scratch", ()))
    protocols = tuple(raw.pop("protocols", ("v1",)))
    if not why or not base:
        raise DescriptionError(path.name, [Mistake("why, base", "", "both must be there")])
    if not protocols or set(protocols) - set(PROTOCOLS):
        known = " and ".join(f'"{one}"' for one in PROTOCOLS)
        raise DescriptionError(path.name, [Mistake("protocols", "", f"a list of {known}")])
    devices.load(base)  # mistakes of the base are its own
    description = tomllib.loads((devices.FOLDER / f"{base}.toml").read_text("utf-8"))
    description["name"] = f"{base}-{name}"
    device = devices.check(_merged(description, raw), path.name)
    return Variant(name, why, device, protocols, scratch)


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
