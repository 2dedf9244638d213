# SPDX-License-Identifier: GPL-2.0-only
"""What of a kernel's log is trouble: one table, for the suite, the agent, the console and the host.

The forms are those of Linux 6.1 to 7.3 on x86 and arm64. A line is judged by its text alone, as
/dev/kmsg has it; `text_of` takes from a line of a console what comes before that text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Weight(IntEnum):
    """What a line means for the driver, and for the kernel."""

    LIMIT = 0  # a check of the kernel has switched itself off; nobody's fault
    WARNING = 1  # a fault was reported; all goes on
    GRAVE = 2  # something is corrupt, or hangs
    OOPS = 3  # code of the kernel was ended where it stood


@dataclass(frozen=True)
class Kind:
    """A row of the table.

    Attributes:
        name: What it is, in words.
        weight: What it means.
        off: The check that is off from here on; empty if none.
        follows: Whether the line mostly is not the first of its report, but gives details of it.
    """

    name: str
    weight: Weight
    off: str = ""
    follows: bool = False


#: Reports after which lockdep checks nothing any more: debug_locks_off() in kernel/locking.
_LOCK_REPORTS: Final = (
    r"possible (?:circular locking|recursive locking|irq lock inversion)|inconsistent lock state"
    r"|\S+-safe -> \S+-unsafe lock order|bad (?:unlock balance|contention) detected"
    r"|held lock freed|Nested lock was not taken|lock held when returning to user space"
    r"|chain_key collision"
)
#: Warnings at boot about the processor, which are nobody's who writes a driver.
_MITIGATIONS: Final = r"(?:RETBleed|SRSO|Spectre V2|MDS|TAA|ITS|TSA|VMSCAPE) ?: WARNING: "

_AT: Final = r"(?:^|[]:] )"  # at the beginning, or behind the name of a subsystem or a device

#: The table. The first row that matches counts, so what is harmless comes before what it resembles.
_TABLE: Final = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        # Lockdep's tables are of fixed size; loading modules for long enough fills them.
        (
            r"^BUG: MAX_(?:LOCKDEP_\w+|STACK_TRACE_ENTRIES) too low!",
            Kind("a table of lockdep is full", Weight.LIMIT, off="lockdep"),
        ),
        (
            r"^Disabling lock debugging due to kernel taint|^INFO: lockdep is turned off",
            Kind("lockdep was switched off", Weight.LIMIT, off="lockdep"),
        ),
        (
            r"^kmemleak: (?:Kernel memory leak detector disabled|Memory pool empty"
            r"|Cannot allocate a kmemleak_object structure)",
            Kind("kmemleak ran out of memory", Weight.LIMIT, off="kmemleak"),
        ),
        (
            r"^ODEBUG: Out of memory",
            Kind("the tracking of objects ran out of memory", Weight.LIMIT, off="debug objects"),
        ),
        (
            r"^DMA-API: debugging out of memory",
            Kind("the check of DMA mappings ran out of memory", Weight.LIMIT, off="DMA mappings"),
        ),
        (rf"^{_MITIGATIONS}", Kind("a hint about the processor", Weight.LIMIT)),
        # A program of user space that faults, not the kernel: show_signal() in arch/x86/kernel.
        (
            r"\w\[\d+\] general protection fault ip:",
            Kind("a program that was killed", Weight.LIMIT),
        ),
        (
            r"^BUG: MAX_LOCK_DEPTH too low!",
            Kind("a task with too many locks", Weight.GRAVE, off="lockdep"),
        ),
        # Before WARNING in general.
        (
            rf"{_AT}(?:WARNING|INFO): (?:{_LOCK_REPORTS})"
            r"|^\[ BUG: |^INFO: trying to register non-static key|^DEBUG_LOCKS_WARN_ON",
            Kind("a report of lockdep", Weight.WARNING, off="lockdep"),
        ),
        (rf"{_AT}WARNING: ", Kind("a warning", Weight.WARNING)),
        (
            rf"{_AT}INFO: (?:suspicious|possible|inconsistent) ",
            Kind("a report of RCU or lockdep", Weight.WARNING),
        ),
        (rf"{_AT}UBSAN: ", Kind("undefined behaviour", Weight.WARNING)),
        (rf"{_AT}kmemleak: \d+ new ", Kind("lost memory", Weight.WARNING)),
        (r"^ODEBUG: \w+ (?:active|init|not)", Kind("a misused object", Weight.WARNING)),
        (rf"{_AT}refcount_t: ", Kind("a wrong reference count", Weight.WARNING)),
        (
            r"^sysfs: cannot create duplicate filename|^kobject: .* tried to init an initialized"
            r"|^debugfs: Directory .* already present!",
            Kind("an object that exists twice", Weight.WARNING),
        ),
        (
            rf"{_AT}Trying to free nonexistent resource",
            Kind("a range of addresses that is released twice", Weight.WARNING),
        ),
        (r"^irq \d+: nobody cared", Kind("an interrupt nobody handles", Weight.GRAVE)),
        (
            rf"{_AT}INFO: (?:task|rcu)|{_AT}INFO: \S+ (?:self-)?detected .*stall",
            Kind("a task or processor that hangs", Weight.GRAVE),
        ),
        (r"detected hard LOCKUP", Kind("a processor that hangs", Weight.GRAVE)),
        (
            rf"{_AT}KASAN: |{_AT}KCSAN: |{_AT}KFENCE: ",
            Kind("a wrong access to memory", Weight.GRAVE, follows=True),
        ),
        (
            rf"{_AT}list_(?:add|del) corruption|^usercopy: Kernel memory "
            r"|^Slab corruption |^slab error in ",  # SLAB, which 6.8 dropped
            Kind("corrupt memory", Weight.GRAVE),
        ),
        (
            r"^BUG: (?:kernel NULL pointer|unable to handle|stack guard page|TASK stack guard)",
            Kind("a fault of the kernel", Weight.OOPS),
        ),
        (rf"{_AT}Unable to handle kernel ", Kind("a fault of the kernel", Weight.OOPS)),
        (rf"{_AT}kernel BUG at ", Kind("a BUG", Weight.OOPS, follows=True)),
        (
            rf"{_AT}BUG: |^BUG \S+ \((?:Not t|T)ainted",
            Kind("a BUG", Weight.GRAVE),
        ),
        # die() of all architectures ends with the code and how many oopses there were.
        (
            r"^(?:Oops|Internal error): |: [0-9a-f]{4,16} \[#\d+\]",
            Kind("an oops", Weight.OOPS, follows=True),
        ),
        (r"^Oops - ", Kind("an oops", Weight.OOPS, follows=True)),
        (rf"{_AT}general protection fault", Kind("a fault of the kernel", Weight.OOPS)),
        (
            r"^Insufficient stack space to handle exception|^PANIC: double fault",
            Kind("a stack that overflowed", Weight.OOPS),
        ),
        (r"^NMI: Not continuing|^NMI received for unknown reason", Kind("an NMI", Weight.GRAVE)),
        (r"^Kernel panic", Kind("a panic", Weight.OOPS, follows=True)),
    )
)

#: Taint flags that stand for a fault, with words: include/linux/panic.h. A driver that is out of
#: the tree and unsigned sets others, rightly.
FAULT_TAINTS: Final = {5: "bad page", 7: "oops or BUG", 9: "warning", 14: "soft lockup"}

#: The flag of a kernel that has oopsed: it may go on, and nothing it does proves anything.
OOPSED: Final = 1 << 7

#: A level, perhaps a login prompt that was not ended, then the stamp, then who printed it.
_PREFIX: Final = re.compile(
    r"^.{0,200}?(?:<\d+>)?\[ *(?P<seconds>\d+\.\d{3,})\](?:\[ *[^]\s][^]]*\])? ?"
)


def text_of(line: str) -> str:
    """Return a line of a console without its level, time stamp, caller and what is before them.

    >>> text_of("login: [   12.345678][    T1] BUG: bad")
    'BUG: bad'
    """
    return _PREFIX.sub("", line, count=1)


def seconds_of(line: str) -> float | None:
    """Return the time stamp of a line of a console, None if it has none.

    >>> seconds_of("[   12.345678] BUG: bad"), seconds_of("debian login:")
    (12.345678, None)
    """
    found = _PREFIX.match(line)
    return float(found["seconds"]) if found else None


def kind_of(text: str) -> Kind | None:
    """Return what a message of the kernel is in the table; None if it is no trouble.

    >>> kind_of("[ BUG: Invalid wait context ]").off
    'lockdep'
    """
    return next((kind for pattern, kind in _TABLE if pattern.search(text)), None)


def faults(texts: Iterable[str]) -> list[str]:
    """Return the messages that report a fault."""
    return [text for text in texts if (kind := kind_of(text)) and kind.weight > Weight.LIMIT]


def switched_off(texts: Iterable[str]) -> dict[str, str]:
    """Return which checks of the kernel are off from here on, each with the first message of it."""
    found: dict[str, str] = {}
    for text in texts:
        if (kind := kind_of(text)) and kind.off:
            found.setdefault(kind.off, text)
    return found


def fault_words(flags: int) -> list[str]:
    """Say which taint flags mean a fault.

    >>> fault_words(1 << 9 | 1 << 12)
    ['warning']
    """
    return [words for bit, words in FAULT_TAINTS.items() if flags >> bit & 1]
