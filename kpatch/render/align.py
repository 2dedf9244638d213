# SPDX-License-Identifier: GPL-2.0-only
"""Align the continuation lines of C as the kernel's coding style wants it.

A line that goes on inside a parenthesis starts below the character after it. Where
that is depends on the length of the device's name, so a template cannot know it.
"""

import functools
import re

TAB = 8
"""Columns of a tab in the kernel's coding style."""

_OF_INTEREST = re.compile(r"""[()\[\]{}"'/]""")
"""What changes the state of a scan outside comments, or begins what does."""


@functools.lru_cache(maxsize=256)  # the same files are rendered for many commits
def align(source: str) -> str:
    r"""Return C source with each continuation line below its open parenthesis.

    Preprocessor lines, comments, and lines inside braces that were opened within a
    parenthesis stay as they are.

    >>> print(align("int abc_f(int a,\n\tint b)\n{\n").replace("\t", ">"))
    int abc_f(int a,
    >  int b)
    {
    <BLANKLINE>
    """
    lines: list[str] = []
    columns: list[int] = []
    comment = False
    directive = False
    for line in source.split("\n"):
        directive = directive or (line.startswith("#") and not comment)
        text = line
        if columns and columns[-1] >= 0 and not comment and not directive and line.strip():
            text = _indent(columns[-1]) + line.lstrip()
        if "*/" in text if comment else _OF_INTEREST.search(text):
            comment = _scan(text, columns, comment)
        directive = directive and line.endswith("\\")
        lines.append(text)
    return "\n".join(lines)


def _indent(column: int) -> str:
    return "\t" * (column // TAB) + " " * (column % TAB)


def _scan(line: str, columns: list[int], comment: bool) -> bool:
    """Follow the brackets of a line; return whether it ends inside a comment."""
    column = position = 0
    quote = ""
    while position < len(line):
        char, pair = line[position], line[position : position + 2]
        step = 1
        if comment:
            if pair == "*/":
                comment, step = False, 2
        elif quote:
            if char == "\\":
                step = 2
            elif char == quote:
                quote = ""
        elif pair == "/*":
            comment, step = True, 2
        elif pair == "//":
            break
        elif char in "\"'":
            quote = char
        elif char in "([":
            columns.append(column + 1)
        elif char == "{" and columns:
            columns.append(-1)
        elif char in ")]}" and columns:
            columns.pop()
        column += TAB - column % TAB if char == "\t" else step
        position += step
    return comment
