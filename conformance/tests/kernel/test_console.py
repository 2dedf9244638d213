# SPDX-License-Identifier: GPL-2.0-only
"""Recorded consoles, each named for its story."""

from __future__ import annotations

from pathlib import Path

from conformance.kernel import console

STORIES = Path(__file__).parent / "consoles"


def recorded(story: str) -> bytes:
    return (STORIES / f"{story}.log").read_bytes()


def test_oops_is_told_from_its_cause_on() -> None:
    death = console.death(recorded("oops"))
    assert death is not None
    assert death.cause == "BUG: kernel NULL pointer dereference, address: 0000000000000018"
    assert "BUG: kernel NULL" in death.lines[0]
    assert any("Kernel panic" in line for line in death.lines)


def test_warning_before_an_oops_is_not_its_cause() -> None:
    death = console.death(recorded("oops"))
    assert death is not None
    assert not any("WARNING" in line for line in death.lines)


def test_nmi_of_a_hung_kernel_is_a_death() -> None:
    death = console.death(recorded("nmi"))
    assert death is not None
    assert death.cause == "Kernel panic - not syncing: NMI: Not continuing"


def test_report_that_is_too_long_loses_its_middle() -> None:
    death = console.death(recorded("oops"), limit=6)
    assert death is not None
    assert len(death.lines) == 7
    assert death.lines[3] == "..."
    assert "Kernel Offset" in death.lines[-1]


def test_kernel_that_is_well_is_not_dead() -> None:
    assert console.death(recorded("quiet")) is None
    assert console.death(b"") is None


def test_oops_without_panic_is_for_the_tests_to_judge() -> None:
    assert console.death(b"[ 1.0] BUG: scheduling while atomic: python3\n[ 1.1] go on\n") is None


def test_init_says_why_it_gave_up() -> None:
    assert console.init_failure(recorded("init")) == "cannot mount the root disk"
    assert console.init_failure(recorded("oops")) == ""


def test_lines_have_no_escape_sequences_and_no_carriage_returns() -> None:
    assert console.lines(recorded("init"))[0] == "[    2.433000] Run /init as init process"


def test_console_that_is_not_text_is_shown_as_far_as_possible() -> None:
    assert console.tail(b"\xff\xfe half\nwhole\n\n") == (
        "\N{REPLACEMENT CHARACTER}" * 2 + " half",
        "whole",
    )


def test_tail_has_the_last_lines() -> None:
    assert console.tail(b"".join(b"%d\n" % n for n in range(100)), 3) == ("97", "98", "99")
