# SPDX-License-Identifier: GPL-2.0-only
"""C without its comments: whether two versions of a file are the same to the compiler."""

import re

_COMMENT_OR_TEXT = re.compile(
    r"""(?P<comment>/\*(?!\*).*?\*/|//[^\n]*)|/\*\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""",
    re.DOTALL,
)


def without(source: str) -> str:
    r"""Return C source with each comment shortened to its line ends, so that all lines stay.

    Comments of kernel-doc are kept: kbuild checks what they say.

    >>> without('a /* b\n   c */ = "/* d */"; // e\n/** f */')
    'a \n = "/* d */"; \n/** f */'
    """
    return _COMMENT_OR_TEXT.sub(_shorten, source)


def _shorten(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n") if found["comment"] is not None else found[0]
