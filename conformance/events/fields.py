# SPDX-License-Identifier: GPL-2.0-only
"""Reads a JSON object key by key, and says which key is wrong and what it should be."""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

from conformance.events.errors import EventError

_E = TypeVar("_E", bound=StrEnum)

#: No number of an event is near it, and a float has it exactly.
_LARGEST: Final = 1 << 64


class Fields:
    """The keys of one JSON object, each asked for with its type.

    Each method raises what ``complain`` makes of the words if the key is missing where it must
    be there, or has another type. ``null`` counts as absent.
    """

    def __init__(self, raw: Mapping[str, Any], complain: Callable[[str], EventError]) -> None:
        self._raw = raw
        self._complain = complain

    def _get(self, key: str, kinds: tuple[type, ...], wanted: str) -> Any:
        if key not in self._raw:
            raise self._complain(f"key {key!r} is missing, expected {wanted}")
        value = self._raw[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise self._complain(f"key {key!r} is {value!r}, expected {wanted}")
        return value

    def text(self, key: str) -> str:
        """Return a string."""
        return str(self._get(key, (str,), "a string"))

    def text_or(self, key: str, default: str = "") -> str:
        """Text of a key that may be absent or null."""
        return default if self._raw.get(key) is None else self.text(key)

    def number(self, key: str) -> float:
        """Return a number from 0."""
        value = self._get(key, (int, float), "a number")
        if not 0 <= value < _LARGEST:  # NaN is not either
            raise self._complain(f"key {key!r} is {value!r}, expected a number from 0")
        return float(value)

    def whole(self, key: str) -> int:
        """Return a whole number from 0."""
        value: int = self._get(key, (int,), "a whole number from 0")
        if not 0 <= value < _LARGEST:
            raise self._complain(f"key {key!r} is {value!r}, expected a whole number from 0")
        return value

    def texts(self, key: str, *, optional: bool = False) -> tuple[str, ...]:
        """Return strings; none of a key that may be absent, and is."""
        if optional and self._raw.get(key) is None:
            return ()
        values = self._get(key, (list,), "a list of strings")
        if not all(isinstance(value, str) for value in values):
            raise self._complain(f"key {key!r} is {values!r}, expected a list of strings")
        return tuple(values)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return an object."""
        value: Mapping[str, Any] = self._get(key, (dict,), "an object")
        return value

    def mapping_or_none(self, key: str) -> Mapping[str, Any] | None:
        """Return an object, None if it is absent."""
        return None if self._raw.get(key) is None else self.mapping(key)

    def inner(self, raw: object, what: str) -> "Fields":
        """Return the keys of an object within this one."""
        if not isinstance(raw, dict):
            raise self._complain(f"{what} is {raw!r}, expected an object")
        return Fields(raw, self._complain)

    def objects(self, key: str) -> "tuple[Fields, ...]":
        """Return the keys of each object of a list."""
        values = self._get(key, (list,), "a list of objects")
        return tuple(self.inner(value, f"an entry of {key!r}") for value in values)

    def has(self, key: str) -> bool:
        """Return whether a key is there."""
        return self._raw.get(key) is not None

    def one_of(self, key: str, valid: Iterable[_E]) -> _E:
        """Return a member of an enumeration of strings."""
        known = {str(one): one for one in valid}
        value = self.text(key)
        if value not in known:
            raise self._complain(f"key {key!r} is {value!r}, expected one of {', '.join(known)}")
        return known[value]
