# SPDX-License-Identifier: GPL-2.0-only
"""What is trouble, on lines as Linux 6.1 to 7.3 write them, on x86 and arm64."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.kernel import trouble
from conformance.kernel.log import Record, reports
from conformance.kernel.trouble import Weight

OOPSES = [
    "BUG: kernel NULL pointer dereference, address: 0000000000000018",
    "BUG: unable to handle page fault for address: ffffc90000b4f000",
    "Oops: 0002 [#1] PREEMPT SMP NOPTI",
    "Oops: Oops: 0002 [#1] SMP NOPTI",
    "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
    "Internal error: Oops: 0000000096000004 [#1] SMP",
    "Internal error: Oops - BUG: 00000000f2000800 [#1] SMP",
    "Internal error: synchronous external abort: 0000000096000010 [#1] SMP",
    "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008",
    # Linux 6.1 on x86 has no "Oops:" before these
    "invalid opcode: 0000 [#1] PREEMPT SMP NOPTI",
    "divide error: 0000 [#1] PREEMPT SMP NOPTI",
    "stack segment: 0000 [#1] PREEMPT SMP NOPTI",
    "general protection fault: 0000 [#2] SMP",
    "int3: 0000 [#1] PREEMPT SMP",
    "kernel BUG at mm/slub.c:448!",
    "PANIC: double fault, error_code: 0x0",
]
GRAVE = [
    "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [python3:301]",
    "watchdog: Watchdog detected hard LOCKUP on cpu 3",
    "watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 3",
    "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0",
    'irq 24: nobody cared (try booting with the "irqpoll" option)',
    "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 30s!",
    "INFO: task python3:301 blocked for more than 120 seconds.",
    "rcu: INFO: rcu_preempt self-detected stall on CPU",
    "BUG kmalloc-64 (Tainted: G           O      ): Right Redzone overwritten",
    "BUG: MAX_LOCK_DEPTH too low!",  # one task that holds 48 locks: its own doing
    "Slab corruption (Not tainted): kmalloc-64 start=ffff888003d0a0c0, len=64",
    "slab error in verify_redzone_free(): cache `kmalloc-32': memory outside was overwritten",
]
WARNINGS = [
    "WARNING: CPU: 1 PID: 301 at drivers/vfio/pci/x.c:12 x_open+0x1/0x2 [x]",
    "WARNING: drivers/vfio/pci/x.c:12 at x_open+0x1/0x2 [x], CPU#0: python3/301",
    "UBSAN: shift-out-of-bounds in drivers/vfio/pci/x.c:12:3",
    "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "sysfs: cannot create duplicate filename '/class/vfio-dev/vfio0'",
    "debugfs: Directory '0000:01:10.0' with parent 'vfio' already present!",
    "resource: Trying to free nonexistent resource <00000000fe000000-00000000fe003fff>",
    "Trying to free nonexistent resource <00000000fe000000-00000000fe003fff>",
]
LOCKDEP = [
    "[ BUG: Invalid wait context ]",
    "WARNING: possible circular locking dependency detected",
    "WARNING: possible recursive locking detected",
    "WARNING: inconsistent lock state",
    "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected",
    "WARNING: bad unlock balance detected!",
    "WARNING: held lock freed!",
    "INFO: trying to register non-static key.",
    "DEBUG_LOCKS_WARN_ON(lock->magic != lock)",
    "BUG: MAX_LOCK_DEPTH too low!",
]
_POOL = "kmemleak: Memory pool empty, consider increasing CONFIG_DEBUG_KMEMLEAK_MEM_POOL_SIZE"
LIMITS = {
    "BUG: MAX_LOCKDEP_CHAINS too low!": "lockdep",
    "BUG: MAX_LOCKDEP_ENTRIES too low!": "lockdep",
    "BUG: MAX_LOCKDEP_KEYS too low!": "lockdep",
    "BUG: MAX_LOCKDEP_CHAIN_HLOCKS too low!": "lockdep",
    "BUG: MAX_STACK_TRACE_ENTRIES too low!": "lockdep",
    "Disabling lock debugging due to kernel taint": "lockdep",
    _POOL: "kmemleak",
    "kmemleak: Cannot allocate a kmemleak_object structure": "kmemleak",
    "ODEBUG: Out of memory. ODEBUG disabled": "debug objects",
    "DMA-API: debugging out of memory - disabling": "DMA mappings",
}
HARMLESS = [
    "RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks",
    "Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible",
    "INFO: NMI handler (perf_event_nmi_handler) took too long to run: 3.1 msecs",
    "workqueue: vfio_work hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND",
    "watchdog: Delayed init of the lockup detector failed: -19",
    "igb_vf_vfio_pci: saved [#12] frames: 1000 [#x]",
    "kasan: KernelAddressSanitizer initialized",
    "traps: python3[301] general protection fault ip:7f12a0 sp:7ffc12 error:0 in libc.so.6[7f12a0]",
    "python3[301]: segfault at 0 ip 00007f12a0 sp 00007ffc12 error 4 in libc.so.6[7f12a0+1000]",
    "x: page allocation failure: order:5, mode:0x40cc0(GFP_KERNEL|__GFP_COMP), nodemask=(null)",
    "kfence: initialized - using 2097152 bytes for 255 objects",
]


@pytest.mark.parametrize("text", OOPSES)
def test_oops(text: str) -> None:
    kind = trouble.kind_of(text)
    assert kind is not None
    assert kind.weight is Weight.OOPS


@pytest.mark.parametrize("text", GRAVE)
def test_grave(text: str) -> None:
    kind = trouble.kind_of(text)
    assert kind is not None
    assert kind.weight is Weight.GRAVE


@pytest.mark.parametrize("text", WARNINGS)
def test_warning(text: str) -> None:
    kind = trouble.kind_of(text)
    assert kind is not None
    assert kind.weight is Weight.WARNING


@pytest.mark.parametrize("text", LOCKDEP)
def test_lockdep_checks_nothing_after_its_own_report(text: str) -> None:
    assert trouble.faults([text]) == [text]
    assert trouble.switched_off([text]) == {"lockdep": text}


@pytest.mark.parametrize(("text", "check"), LIMITS.items())
def test_limit_of_a_check_is_nobodys_fault_and_is_reported(text: str, check: str) -> None:
    assert trouble.faults([text]) == []
    assert trouble.switched_off([text]) == {check: text}


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless(text: str) -> None:
    assert trouble.faults([text]) == []
    assert trouble.switched_off([text]) == {}


@pytest.mark.parametrize(
    "prefix",
    [
        "[   12.345678] ",
        "[   12.345678][    T1] ",
        "[   12.345678][   C0] ",
        "<4>[   12.345678] ",
        "[12345.345678][T12345] ",
        "debian login: [   12.345678] ",
        "root@lab:~# [   12.345678][  T301] ",
        "",
    ],
)
@pytest.mark.parametrize("text", ["[ BUG: Invalid wait context ]", OOPSES[0], LOCKDEP[1]])
def test_prefix_of_a_console_is_taken_off(prefix: str, text: str) -> None:
    assert trouble.text_of(prefix + text) == text


def test_what_user_space_wrote_is_no_report() -> None:
    """User space cannot write with facility 0: the kernel makes it 1."""
    assert (
        reports([Record(4, 1.0, OOPSES[0], facility=1), Record(4, 1.0, OOPSES[1])]) == OOPSES[1:2]
    )


def test_record_of_several_lines_is_read_line_by_line() -> None:
    assert reports([Record(4, 1.0, "=====\nBUG: bad\n---")]) == ["BUG: bad"]


def test_fault_taints_leave_out_what_a_driver_out_of_tree_sets() -> None:
    assert trouble.fault_words(1 << 12 | 1 << 13 | 1 << 0) == []
    assert trouble.fault_words(1 << 7 | 1 << 14) == ["oops or BUG", "soft lockup"]


@given(st.text(max_size=300))
def test_no_text_is_too_odd(text: str) -> None:
    trouble.kind_of(trouble.text_of(text))
    trouble.seconds_of(text)


_NOISE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60).filter(
    lambda text: trouble.kind_of(text) is None
)


@given(st.lists(_NOISE, max_size=20), st.sampled_from(OOPSES + GRAVE + LOCKDEP), st.data())
def test_a_planted_report_is_found_among_noise(
    noise: list[str], report: str, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(noise)))
    assert trouble.faults([*noise[:place], report, *noise[place:]]) == [report]
