# SPDX-License-Identifier: GPL-2.0-only
"""Recorded consoles, each named for its story."""

from __future__ import annotations

from pathlib import Path

from conformance.kernel import console

STORIES = Path(__file__).parent / "consoles"


def recorded(story: str) -> bytes:
    return (STORIES / f"{story}.log").read_bytes()


def test_oops_is_reported_from_its_cause_on() -> None:
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


def cause_of(*lines: str) -> str:
    death = console.death("\n".join(lines).encode())
    assert death is not None
    return death.cause


WARNING = "[   10.100000] WARNING: CPU: 1 PID: 211 at drivers/vfio/x.c:512 f+0x5c/0x70 [vfio]"
FATAL = "[  300.200000] Kernel panic - not syncing: Fatal exception"
ON_WARN = "[   10.200000] Kernel panic - not syncing: kernel: panic_on_warn set ..."


def test_warning_is_the_cause_where_the_kernel_is_to_panic_on_one() -> None:
    cut = "[   10.099000] ------------[ cut here ]------------"
    assert cause_of(cut, WARNING, "[   10.1] RIP: 0010:f", ON_WARN).startswith("WARNING: CPU: 1")


def test_last_trouble_is_the_cause_not_one_that_was_survived() -> None:
    survived = "[   10.000000] BUG: scheduling while atomic: python3/301/0x00000002"
    oops = "[  300.000000] BUG: unable to handle page fault for address: ffffc90000b4f000"
    more = "[  300.000100] Oops: Oops: 0002 [#1] SMP NOPTI"
    assert cause_of(survived, oops, more, FATAL).startswith("BUG: unable to handle page fault")


def test_limit_of_lockdep_is_no_cause() -> None:
    limit = "[  299.999000] BUG: MAX_LOCKDEP_CHAINS too low!"
    oops = "[  300.000000] stack segment: 0000 [#1] PREEMPT SMP NOPTI"
    assert cause_of(limit, oops, FATAL) == "stack segment: 0000 [#1] PREEMPT SMP NOPTI"


def test_corrupt_list_is_the_cause_of_its_bug() -> None:
    lines = (
        "[    9.000000] list_del corruption. prev->next should be ffff, but was 0000",
        "[    9.000100] ------------[ cut here ]------------",
        "[    9.000200] kernel BUG at lib/list_debug.c:62!",
        "[    9.000300] Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI",
    )
    assert cause_of(*lines, FATAL).startswith("list_del corruption.")


def test_warning_that_has_ended_is_not_the_cause_of_a_bug_right_after_it() -> None:
    lines = (
        "[    9.000000] ------------[ cut here ]------------",
        "[    9.000100] WARNING: CPU: 1 PID: 211 at x.c:1 f+0x1/0x2",
        "[    9.000200] ---[ end trace 0000000000000000 ]---",
        "[    9.000300] ------------[ cut here ]------------",
        "[    9.000400] kernel BUG at x.c:2!",
        "[    9.000500] invalid opcode: 0000 [#1] PREEMPT SMP NOPTI",
    )
    assert cause_of(*lines, FATAL) == "kernel BUG at x.c:2!"


def test_old_warning_is_not_why_an_nmi_stopped_the_kernel() -> None:
    nmi = "[  300.000000] Kernel panic - not syncing: NMI: Not continuing"
    assert cause_of(WARNING, nmi) == "Kernel panic - not syncing: NMI: Not continuing"


def test_cause_on_arm64_with_caller_ids_and_a_prompt() -> None:
    lines = (
        "debian login: [   30.000000][  T301] Unable to handle kernel paging request at virtual "
        "address ffff800008a3f000",
        "[   30.000100][  T301] Mem abort info:",
        "[   30.000200][  T301] Internal error: Oops: 0000000096000007 [#1] SMP",
        "[   30.000300][  T301] Kernel panic - not syncing: Oops: Fatal exception",
    )
    assert cause_of(*lines).startswith("Unable to handle kernel paging request")
