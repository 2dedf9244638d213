# SPDX-License-Identifier: GPL-2.0-only
"""A reader of the output that does not read on."""

from __future__ import annotations

import pytest

from conformance import __main__ as program
from kpatch.tools import streams


@pytest.mark.parametrize(("words", "code"), [(["list"], 0), (["image"], 4), (["matrix"], 4)])
def test_what_was_not_read_to_its_end_has_passed_nothing(
    monkeypatch: pytest.MonkeyPatch, words: list[str], code: int
) -> None:
    def write(*_: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(program, "execute", write)
    monkeypatch.setattr(streams, "reader_has_gone", lambda: None)
    assert program.main(words) == code
