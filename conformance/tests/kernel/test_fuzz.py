# SPDX-License-Identifier: GPL-2.0-only
"""Logs and consoles that nobody has seen: each is read, and a planted report is found."""

from hypothesis import given
from hypothesis import strategies as st

from conformance.kernel import console, log, trouble
from conformance.tests.kernel.test_trouble import GRAVE, LOCKDEP, OOPSES
from kpatch.tests.fuzzing import drawn

BYTES = st.sampled_from([
    b"[    1.0", b"[   12.345678] ", b"[   12.345678][  T301] ", b"<4>", b"login: ", b"\x1b[31m",
    b"\r\n", b"\n", b"\0", b"\xff", b"\xc3", b"[ cut here ]", b"---[ end trace 0 ]---",
    b"Kernel panic - not syncing: ", b"Fatal exception", b"Sending NMI from CPU 0", b"lab-init: x",
    b"panic_on_warn set", b"RIP: 0010:f", b" ? f+0x1", *(text.encode() for text in OOPSES + GRAVE),
]) | st.binary(max_size=12)  # fmt: skip
PREFIXES = ["[   {0:5}.{1:06}] ", "[   {0:5}.{1:06}][  T301] ", "<3>[   {0:5}.{1:06}][   C1] ",
            "root@lab:~# [   {0:5}.{1:06}] "]  # fmt: skip
NOISE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60).filter(
    lambda text: trouble.kind_of(text) is None and "cut here" not in text
)


@drawn(50)
@given(st.lists(BYTES, max_size=30))
def test_any_console(parts: list[bytes]) -> None:
    raw = b"".join(parts)
    death = console.death(raw)
    assert (death is None) == (
        not any("panic - not syncing: " in one for one in console.lines(raw))
    )
    console.init_failure(raw)
    assert len(console.tail(raw)) <= 30


@drawn(50)
@given(
    st.lists(NOISE, max_size=8),
    st.sampled_from(OOPSES),
    st.lists(NOISE, max_size=8),
    st.sampled_from(PREFIXES),
    st.integers(0, 9999),
)
def test_cause_of_a_planted_death(
    before: list[str], report: str, after: list[str], prefix: str, second: int
) -> None:
    lines = [*before, report, *after, "Kernel panic - not syncing: Fatal exception"]
    text = "\n".join(prefix.format(second, number) + line for number, line in enumerate(lines))
    death = console.death(text.encode())
    assert death is not None
    assert death.cause == report


@drawn(50)
@given(st.text(max_size=60) | st.sampled_from(OOPSES + LOCKDEP), st.integers(-9, 10**25))
def test_any_record(text: str, number: int) -> None:
    for raw in (text, f"{number},{number},{number},-;{text}", f"4,1,5,-,caller=T1;{text}\n A=b"):
        record = log.parse(raw)
        assert record is None or 0 <= record.level <= 7


@drawn(50)
@given(
    st.lists(NOISE, max_size=8),
    st.sampled_from(OOPSES + GRAVE + LOCKDEP),
    st.integers(0, 8),
    st.sampled_from(["4,{},500,-;{}", "3,{},500,-,caller=T301;{}\n SUBSYSTEM=pci", "2,{},5,c;{}"]),
)
def test_planted_report_in_kmsg(noise: list[str], report: str, at: int, form: str) -> None:
    texts = [*noise[:at], report, *noise[at:]]
    records = [log.parse(form.format(number, text)) for number, text in enumerate(texts)]
    assert log.reports(one for one in records if one) == [report]
