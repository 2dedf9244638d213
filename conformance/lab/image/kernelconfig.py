# SPDX-License-Identifier: GPL-2.0-only
"""Compares a configuration fragment with the resulting kernel configuration.

Kconfig silently drops unknown symbols and those whose dependencies are not met.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from conformance.errors import KernelError

_SET = re.compile(r"(CONFIG_\w+)=(.*)")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set")
_SYMBOL = re.compile(r"^\s*(?:menu)?config\s+(\w+)\s*$", re.M)


@dataclass(frozen=True)
class Unmet:
    """A requested option that .config lacks.

    Attributes:
        symbol: Its name, with the prefix.
        wanted: The value in the fragment; ``n`` for off.
        actual: The resulting value; ``n`` for off.
    """

    symbol: str
    wanted: str
    actual: str


def read(text: str) -> dict[str, str]:
    r"""Return the symbols that a configuration decides; those switched off are ``n``.

    >>> read("CONFIG_A=y\n# a remark\n# CONFIG_B is not set\nCONFIG_C=n")
    {'CONFIG_A': 'y', 'CONFIG_B': 'n', 'CONFIG_C': 'n'}
    """
    found = {}
    for line in text.splitlines():
        if match := _SET.fullmatch(line.strip()):
            found[match[1]] = match[2]
        elif match := _UNSET.fullmatch(line.strip()):
            found[match[1]] = "n"
    return found


def compare(wanted: Mapping[str, str], actual: Mapping[str, str]) -> list[Unmet]:
    """Return the requested options that the configuration lacks, in order."""
    return [
        Unmet(symbol, value, actual.get(symbol, "n"))
        for symbol, value in wanted.items()
        if actual.get(symbol, "n") != value
    ]


def check(fragment: str, config: str, kconfigs: Iterable[str], name: str) -> None:
    """Demand that a configuration has all that the fragment asks for.

    Args:
        fragment: The fragment.
        config: The kernel's ``.config``.
        kconfigs: The texts of all its Kconfig files, read only if something is missing.
        name: Name of the fragment, for the message.

    Raises:
        KernelError: It lacks some; names each symbol, the requested value and the reason.
    """
    unmet = compare(read(fragment), read(config))
    if not unmet:
        return
    known = {f"CONFIG_{symbol}" for text in kconfigs for symbol in _SYMBOL.findall(text)}
    lines = [f"  {one.symbol}={one.wanted}: {_reason(one, known)}" for one in unmet]
    symbols = "symbol" if len(unmet) == 1 else "symbols"
    raise KernelError(
        "\n".join(
            [
                f"The kernel cannot be configured as {name} says, for {len(unmet)} {symbols}:",
                *lines,
                "Correct the fragment: name what they depend on, or remove them.",
            ]
        )
    )


def _reason(one: Unmet, known: set[str]) -> str:
    if one.symbol not in known:
        return "the kernel has no such symbol"
    if one.wanted == "n":
        return f"it is {one.actual}, because something else selects it"
    if one.actual == "n":
        return "it is off: a symbol that it depends on is off"
    return f"it is {one.actual}, because of what it depends on or what selects it"
