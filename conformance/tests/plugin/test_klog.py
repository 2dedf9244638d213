# SPDX-License-Identifier: GPL-2.0-only
"""The kernel log: records are read, reports are found, chatter is not."""

import os
from pathlib import Path

import pytest

from conformance.kernel.log import KernelLog, Record, Taint, parse, reports, taint_words
from conformance.tests.plugin.raising import raises_errno

REPORTS = [
    "WARNING: CPU: 1 PID: 301 at drivers/vfio/vfio_main.c:120 vfio_device_open+0x1/0x2",
    "WARNING: possible circular locking dependency detected",
    "WARNING: inconsistent lock state",
    "BUG: KASAN: slab-use-after-free in igb_vf_ledger_add+0x10/0x20 [igb_vf_vfio_pci]",
    "BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "BUG: sleeping function called from invalid context at mm/util.c:1",
    "BUG: unable to handle page fault for address: ffff88800",
    "BUG igb_vf_range (Not tainted): Objects remaining on __kmem_cache_shutdown()",
    "kernel BUG at mm/slub.c:448!",
    "Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI",
    "Internal error: Oops: 0000000096000004 [#1] SMP",
    "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1]",
    "general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
    "Unable to handle kernel paging request at virtual address ffff0000",
    "UBSAN: array-index-out-of-bounds in region.c:12:3",
    "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "INFO: task python3:301 blocked for more than 120 seconds.",
    "INFO: trying to register non-static key.",
    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [python3:301]",
    "refcount_t: underflow; use-after-free.",
    "list_del corruption. prev->next should be ffff, but was 0000",
    "DEBUG_LOCKS_WARN_ON(lock->magic != lock)",
    "igb_vf_vfio_pci 0000:01:10.0: refcount_t: saturated; leaking memory.",
    "Kernel panic - not syncing: Fatal exception",
]
CHATTER = [
    "igb_vf_vfio_pci 0000:01:10.0: enabling device (0000 -> 0002)",
    "vfio-pci 0000:01:10.0: INFO: nothing of interest",
    "pcieport 0000:00:02.0: AER: Corrected error received",
    "igb 0000:01:00.0: this is no BUG",
    "kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)",
    "igb_vf_vfio_pci: loading out-of-tree module taints kernel.",
    "debug: WARNINGS are on",
    "======",
]


@pytest.mark.parametrize("line", REPORTS)
def test_a_report(line: str) -> None:
    assert reports([Record(4, 1.0, line)]) == [line]


@pytest.mark.parametrize("line", CHATTER)
def test_chatter(line: str) -> None:
    assert reports([Record(4, 1.0, line)]) == []


def test_parse() -> None:
    raw = "6,1024,5120077,-;vfio: it said; so\n SUBSYSTEM=pci\n DEVICE=+pci:0000:01:10.0\n"
    assert parse(raw) == Record(6, 5.120077, "vfio: it said; so")


def test_the_facility_is_left_out_of_the_level() -> None:
    record = parse("12,339,5140900,-,caller=T1;from user space")
    assert record is not None
    assert record.level == 4


@pytest.mark.parametrize("raw", ["", "no record", "a,b,c;text", "4,1;text"])
def test_what_is_no_record(raw: str) -> None:
    assert parse(raw) is None


class Feed:
    """Hands out what a read of /dev/kmsg would, one by one."""

    def __init__(self, *items: bytes | OSError) -> None:
        self.items = list(items)

    def read(self, _fd: int, _size: int) -> bytes:
        if not self.items:
            raise BlockingIOError
        item = self.items.pop(0)
        if isinstance(item, OSError):
            raise item
        return item


def test_only_what_is_new_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kmsg"
    path.write_bytes(b"4,1,1,-;old\n")
    with KernelLog(str(path)) as log:
        assert log.read() == []
        monkeypatch.setattr(os, "read", Feed(b"4,2,2,-;new\n", b"4,3,3,-;newer\n").read)
        assert [record.text for record in log.read()] == ["new", "newer"]
        assert log.read() == []


def test_lost_messages_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kmsg"
    path.touch()
    with KernelLog(str(path)) as log:
        feed = Feed(OSError(32, "overwritten"), b"4,9,9,-;after\n")
        monkeypatch.setattr(os, "read", feed.read)
        assert [record.text for record in log.read()] == ["(earlier messages were lost)", "after"]
        monkeypatch.setattr(os, "read", Feed(OSError(5, "broken")).read)
        with raises_errno(5):
            log.read()


def test_without_the_device(tmp_path: Path) -> None:
    log = KernelLog(str(tmp_path / "missing"))
    assert "No such file" in log.missing
    assert log.read() == []
    log.close()


def test_taint(tmp_path: Path) -> None:
    path = tmp_path / "tainted"
    assert Taint(str(path)).read() == 0
    path.touch()
    flags = Taint(str(path))
    assert flags.read() == 0
    path.write_text("12801\n")
    assert flags.read() == 12801
    flags.close()
    assert flags.read() == 0


def test_taint_in_words() -> None:
    assert taint_words(0b1000000000001) == ["P, a proprietary module", "O, an out-of-tree module"]
    assert taint_words(1 << 40) == ["bit 40"]
