# SPDX-License-Identifier: GPL-2.0-only
"""Text for terminals and files: harmless, wrapped, coloured where that is wanted."""

import textwrap
import unicodedata
from dataclasses import dataclass

_LABEL = 11  # width of the left column of a block
_LONGEST = 8000  # characters of an entry that a terminal shows


def printable(text: str) -> str:
    r"""Return `text` with control characters spelled out; newlines stay.

    What a guest prints is not trusted with the reader's terminal, nor may it hold what
    XML cannot.

    >>> printable("a\x1b[31m\tb")
    'a\\x1b[31m b'
    """
    if text.isprintable():
        return text
    control = (one for one in set(text) if one != "\n" and unicodedata.category(one)[0] == "C")
    return text.translate({ord(one): " " if one == "\t" else _spelled(one) for one in control})


def shortened(text: str, limit: int, whole: str = "events.jsonl") -> str:
    """Return `text`, without its middle if it has more than `limit` characters.

    Args:
        text: The text.
        limit: The most characters of what is returned.
        whole: The file that has all of it, for the words in the gap.
    """
    if len(text) <= limit:
        return text
    cut = f"\n[... cut; in full in {whole} ...]\n"
    half = max(0, limit - len(cut)) // 2
    return text[:half] + cut + text[len(text) - half :]


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def block(label: str, text: str, width: int) -> list[str]:
    """Lay out `text` right of `label`, wrapped at `width`; nothing for an empty text."""
    if not text:
        return []
    lead = f"  {label:<{_LABEL}}"
    lines: list[str] = []
    for paragraph in printable(shortened(text, _LONGEST)).splitlines():
        lines += textwrap.wrap(
            paragraph,
            max(width, 40),
            initial_indent=lead if not lines else " " * len(lead),
            subsequent_indent=" " * len(lead),
            break_on_hyphens=False,
        ) or [""]
    return lines


def listing(label: str, entries: tuple[str, ...], limit: int) -> list[str]:
    """Lay out `entries` one a line under `label`, the last `limit` of a long list."""
    if not entries:
        return []
    note = f" (last {limit} of {len(entries)})" if len(entries) > limit else ""
    return [f"  {label}{note}:", *(f"    {line}" for e in entries[-limit:] for line in _lines(e))]


def _lines(entry: str) -> list[str]:
    return printable(shortened(entry, _LONGEST)).splitlines() or [""]


def plural(count: int, noun: str) -> str:
    """Count a regular noun.

    >>> plural(1, "rule"), plural(2, "rule")
    ('1 rule', '2 rules')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@dataclass(frozen=True)
class Style:
    """Paints words, or does not."""

    colour: bool

    def red(self, text: str) -> str:
        """For what failed."""
        return self._paint("31;1", text)

    def green(self, text: str) -> str:
        """For what passed."""
        return self._paint("32", text)

    def yellow(self, text: str) -> str:
        """For what nobody may overlook."""
        return self._paint("33;1", text)

    def bold(self, text: str) -> str:
        """For headings."""
        return self._paint("1", text)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text


def slug(words: str) -> str:
    """Return words as a page's style and filter name them.

    >>> slug("does not conform")
    'does-not-conform'
    """
    return words.replace(" ", "-")
