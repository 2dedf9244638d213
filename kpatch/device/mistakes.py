# SPDX-License-Identifier: GPL-2.0-only
"""What pydantic found wrong with a description, in the words of the description."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from kpatch.errors import Mistake

_COUNTED = ("index", "schema", "width", "count", "bar")


def key(location: Sequence[int | str]) -> str:
    """Write a place in a description as TOML would.

    >>> key(("bar", 0, "size"))
    'bar[0].size'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def show(value: object, name: str = "") -> str:
    """Write a value as TOML would; sizes and offsets in hexadecimal.

    >>> show(4096, "size"), show(7, "index"), show("x"), show(True)
    ('0x1000', '7', '"x"', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if value < 0 or name in _COUNTED else hex(value)
    if isinstance(value, str):
        return json.dumps(value if len(value) <= 60 else value[:57] + "...")
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "an array"
    return str(value)


def in_words(error: ValidationError, model: type[BaseModel]) -> list[Mistake]:
    """Return one mistake for each of pydantic's errors."""
    return [_mistake(cast("Mapping[str, Any]", one), model) for one in error.errors()]


def _mistake(one: Mapping[str, Any], model: type[BaseModel]) -> Mistake:
    location = tuple(one["loc"])
    name = next((part for part in reversed(location) if isinstance(part, str)), "")
    kind, context, value = one["type"], one.get("ctx", {}), one.get("input")
    if kind == "missing":
        return Mistake(key(location), "", "missing; it must be given")
    if kind == "extra_forbidden":
        return Mistake(key(location), show(value, name), _unknown(location, model))
    return Mistake(key(location), show(value, name), _words(kind, context, one["msg"], name))


_TYPES = {
    "int_type": "an integer",
    "string_type": "a string",
    "bool_type": "true or false",
    "tuple_type": "an array",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
}


def _words(kind: str, context: Mapping[str, Any], message: str, name: str) -> str:
    if kind in _TYPES:
        return f"must be {_TYPES[kind]}"
    words: dict[str, Callable[[], str]] = {
        "greater_than_equal": lambda: f"must be {show(context['ge'], name)} or more",
        "less_than_equal": lambda: f"must be {show(context['le'], name)} or less",
        "literal_error": lambda: f"must be {context['expected'].replace(chr(39), chr(34))}",
        "string_too_long": lambda: f"must have at most {context['max_length']} characters",
        "string_too_short": lambda: "must not be empty",
        "too_short": lambda: "must not be empty",
        "string_pattern_mismatch": lambda: "must be letters, digits and _, a letter first",
    }
    return words[kind]() if kind in words else message


def _unknown(location: Sequence[int | str], model: type[BaseModel]) -> str:
    name = str(location[-1])
    valid = tuple(_keys(model, [part for part in location[:-1] if isinstance(part, str)]))
    close = difflib.get_close_matches(name, valid, n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    return f"unknown key; {guess}valid keys here: {', '.join(valid)}"


def _keys(model: type[BaseModel], path: Sequence[str]) -> Iterator[str]:
    """Names that a description uses for the fields of the model at a path."""
    for part in path:
        for name, field in model.model_fields.items():
            if part in {name, field.alias}:
                inner = field.annotation
                arguments = getattr(inner, "__args__", (inner,))
                model = next(a for a in arguments if isinstance(a, type))
    for name, field in model.model_fields.items():
        yield field.alias or name
