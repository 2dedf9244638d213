# SPDX-License-Identifier: GPL-2.0-only
"""The environment of the page's templates: values are escaped, what is missing is an error."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from conformance.report.text import printable

TEMPLATES: Final = Path(__file__).with_name("templates")

_TITLE: Final = 70  # characters


def page(template: str, **values: Any) -> str:
    """Return a page.

    Args:
        template: Name of its file.
        values: What it shows.
    """
    style, script = _own("style.css"), _own("filter.js")
    return (
        _environment()
        .get_template(template)
        .render(style=style, script=script, policy=_policy(style, script), **values)
    )


def window_title(text: str) -> str:
    """Return a title that a window or a tab can show.

    >>> window_title("a" * 100)[-3:]
    'aa…'
    """
    return text if len(text) <= _TITLE else f"{text[: _TITLE - 1]}…"


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _harmless(value: object) -> object:
    """Spell out control characters; what is escaped already stays as it is."""
    return value if isinstance(value, Markup) else printable(str(value))


def _own(name: str) -> Markup:
    """Return a file of ours that goes into the page as it is."""
    return Markup((TEMPLATES / name).read_text("utf-8"))  # noqa: S704 - not of the guest


def _policy(style: str, script: str) -> str:
    """Return the policy by which a browser runs these two texts and nothing else."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
