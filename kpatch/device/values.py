# SPDX-License-Identifier: GPL-2.0-only
"""Kinds of values of a description, and the model that all of its tables are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

PAGE = 4096


def whole_mask(width: int) -> int:
    """Return the mask of all bits of a register of so many bytes."""
    return (1 << 8 * width) - 1


def demand(test: Callable[[Any], bool], words: str) -> AfterValidator:
    """Return a validator whose error says what would be valid."""

    def check(value: Any) -> Any:
        if not test(value):
            raise PydanticCustomError("demand", "must be {words}", {"words": words})
        return value

    return AfterValidator(check)


def _plain(text: str) -> bool:
    """Whether a text can stand in a C comment and in a C string."""
    return text.isascii() and text.isprintable() and not any(c in text for c in ('"', "\\", "*/"))


U16 = Annotated[int, Field(ge=0, le=0xFFFF)]
U32 = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
RegisterName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=40)]
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=120),
    demand(_plain, 'printable ASCII in one line, without ", \\ and */'),
]
Pages = Annotated[
    int,
    demand(lambda n: n % PAGE == 0 and PAGE <= n <= 1 << 26, "a multiple of 4096, up to 64 MiB"),
]
# TOML has arrays, frozen models have tuples.
AsTuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)


class Table(BaseModel):
    """A table of a description: its keys and no others, of the types that TOML gave them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
