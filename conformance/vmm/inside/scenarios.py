# SPDX-License-Identifier: GPL-2.0-only
"""The scenarios: what the monitor is told, and what must have become of function and guest."""

from collections.abc import Callable
from typing import Final

from conformance.vmm.inside.bench import Bench, expect, mappings
from conformance.vmm.inside.machine import FAST, Machine
from conformance.vmm.inside.streams import (
    corrupt_stream,
    cut_stream,
    foreign_stream,
    other_driver,
)

Scenario = Callable[[Bench], None]
Enter = Callable[[Machine, str], None]
"""Begins a migration to a URI, and leaves it in some state."""


def refused_layout(bench: Bench) -> None:
    """Refuse a monitor that has mapped what the driver must see; the guest goes on.

    QEMU maps all of a function's registers and never unmaps them: this is how it is by default.
    """
    source = bench.guest(mapped=True)
    before = bench.fingerprint(source)
    source.send(bench.file("refused"))
    outcome = source.outcome()
    expect("the migration", outcome["status"], "failed")
    said = str(outcome.get("error-desc")) + source.log.read_text()
    expect("the driver's refusal is reported", "resource busy" in said, True)
    bench.went_on(source, before)
    bench.drop(source)


def dropped_layout(bench: Bench) -> None:
    """Have a monitor drop its mappings for saving, and restore them when it gives up."""
    source = bench.guest()
    before = bench.fingerprint(source)
    bench.enter_precopy(source, bench.file("given-up"))
    expect("the last that the monitor did to a mapping", mappings(source)[-1:], ["unmap"])
    source.cancel()
    expect("the migration", source.outcome()["status"], "cancelled")
    expect("the last that the monitor did to a mapping", mappings(source)[-1:], ["mmap"])
    bench.went_on(source, before)
    bench.through_file(source)


def file_and_back(bench: Bench) -> None:
    """Save a guest to a file, let it go on with the other function, and come back likewise."""
    there = bench.through_file(bench.guest())
    bench.through_file(there)


def live(bench: Bench) -> None:
    """Migrate a guest that runs, over a socket."""
    bench.over_socket(bench.guest())


def there_and_back(bench: Bench) -> None:
    """Migrate it over a socket, and back."""
    bench.over_socket(bench.over_socket(bench.guest()))


def working(bench: Bench) -> None:
    """Migrate a guest that rings doorbells all the time: none is lost, and none served wrongly."""
    source = bench.guest()
    bench.work(source)
    target = bench.over_socket(source, check=False)
    bench.worked(target)


def paused(bench: Bench) -> None:
    """Migrate a guest that stands: it stands at the destination, and goes on when told to."""
    source = bench.guest()
    before = bench.fingerprint(source)
    source.qmp.run("stop")
    target = bench.over_socket(source, check=False)
    expect("the run state at the destination", target.status, "paused")
    target.qmp.run("cont")
    bench.went_on(target, before)


def given_up(bench: Bench) -> None:
    """Give a migration up in pre-copy; the guest goes on, and can still migrate."""
    _give_up(bench, bench.enter_precopy)


def given_up_stopped(bench: Bench) -> None:
    """Give up the migration of a guest that stands, before the function's state was read."""
    source = bench.guest()
    before = bench.fingerprint(source)
    source.qmp.run("stop")
    source.send_slowly(bench.file("given-up-stopped"))
    source.cancel()
    expect("the migration", source.outcome()["status"], "cancelled")
    source.qmp.run("cont")
    bench.went_on(source, before)


def given_up_in_stop_copy(bench: Bench) -> None:
    """Give a migration up in STOP_COPY; the guest goes on, and can still migrate."""
    _give_up(bench, bench.enter_stop_copy)


def stopped_in_precopy(bench: Bench) -> None:
    """Stop and continue the guest in pre-copy: it goes on, and can migrate.

    QEMU 10 keeps the data_fd of the session that the stop has ended, and gives the migration up
    when it gets the next one. That is its own fault; the device must be well after it.
    """
    source = bench.guest()
    before = bench.fingerprint(source)
    bench.enter_precopy(source, bench.file("stopped"))
    source.qmp.run("stop")
    source.qmp.run("cont")
    source.qmp.run("migrate-set-parameters", max_bandwidth=FAST)
    if source.outcome()["status"] == "failed" and _OUT_OF_SYNC in source.log.read_text():
        bench.went_on(source, before)
        bench.through_file(source)
        return
    expect("the migration", source.outcome()["status"], "completed")
    bench.drop(source)
    bench.went_on(bench.from_file("stopped", source), before)


def reset_in_precopy(bench: Bench) -> None:
    """Reset the machine in pre-copy: its guest is gone, and another uses and migrates the function.

    The reset ends the session of the function, on which QEMU gives up when it reads on, or when
    it gets the next one.
    """
    source = bench.guest()
    bench.enter_precopy(source, bench.file("reset"))
    source.qmp.run("system_reset")
    source.qmp.run("migrate-set-parameters", max_bandwidth=FAST)
    if source.outcome()["status"] == "failed":
        said = source.log.read_text()
        expect("why it failed", _OUT_OF_SYNC in said or _ENDED in said, True)
    expect("the monitor runs", source.alive, True)
    bench.drop(source)
    bench.through_file(bench.guest())


def connection_lost(bench: Bench) -> None:
    """Break the connection in the middle of memory; the guest goes on."""
    source = bench.guest()
    before = bench.fingerprint(source)
    source.send("exec:head -c 4000000 > /dev/null")
    expect("the migration", source.outcome()["status"], "failed")
    bench.went_on(source, before)


def destination_killed(bench: Bench) -> None:
    """Kill the destination in pre-copy; the guest goes on at the source."""
    source = bench.guest()
    before = bench.fingerprint(source)
    target = bench.listening(source)
    bench.enter_precopy(source, bench.address)
    target.kill()
    bench.drop(target)
    expect("the migration", source.outcome()["status"], "failed")
    bench.went_on(source, before)


def destination_killed_stopped(bench: Bench) -> None:
    """Kill the destination in STOP_COPY; the guest goes on at the source, and can migrate."""
    source = bench.guest()
    before = bench.fingerprint(source)
    target = bench.listening(source)
    bench.enter_stop_copy(source, bench.address)
    target.kill()
    bench.drop(target)
    source.go_on()
    expect("the migration", source.outcome()["status"], "failed")
    bench.went_on(source, before)
    bench.through_file(source)


def source_killed(bench: Bench) -> None:
    """Kill the source in pre-copy: the destination gives up, and both functions can be used."""
    _kill_source(bench, bench.enter_precopy)


def source_killed_stopped(bench: Bench) -> None:
    """Kill the source in STOP_COPY: the destination gives up, and both functions can be used."""
    _kill_source(bench, bench.enter_stop_copy)


def two_functions(bench: Bench) -> None:
    """Migrate a guest with two functions over a socket, and back."""
    there = bench.over_socket(bench.guest(count=2))
    bench.drop(bench.over_socket(there))


def snapshot(bench: Bench) -> None:
    """Save a guest that stands and let it go on where it is; the file is good as well."""
    source = bench.guest()
    before = bench.fingerprint(source)
    source.qmp.run("stop")
    bench.save(source, "snapshot")
    source.qmp.run("cont")
    bench.went_on(source, before)
    bench.drop(source)
    target = bench.from_file("snapshot", source)
    target.qmp.run("cont")
    bench.went_on(target, before)


def _give_up(bench: Bench, enter: Enter) -> None:
    source = bench.guest()
    before = bench.fingerprint(source)
    enter(source, bench.file("given-up"))
    source.cancel()
    expect("the migration", source.outcome()["status"], "cancelled")
    bench.went_on(source, before)
    bench.through_file(source)


def _kill_source(bench: Bench, enter: Enter) -> None:
    source = bench.guest()
    target = bench.listening(source)
    enter(source, bench.address)
    source.kill()
    bench.drop(source)
    expect("the destination without its source ended", target.ended(), True)
    bench.drop(target)
    bench.through_file(bench.guest())


def _with_packets(scenario: Scenario) -> Scenario:
    """Return a scenario whose guest exchanges packets with the physical function meanwhile."""

    def run(bench: Bench) -> None:
        with bench.exchanging():
            scenario(bench)

    return run


_OUT_OF_SYNC: Final = "data_fd out of sync"
"""What QEMU says when it gets a data_fd and has one."""

_ENDED: Final = "Channel error: No such device"
"""What it says when it reads the data_fd of a session that has ended."""

_PLAIN: Final[dict[str, Scenario]] = {
    "layout.refused": refused_layout,
    "layout.dropped": dropped_layout,
    "file.and-back": file_and_back,
    "live": live,
    "live.and-back": there_and_back,
    "live.working": working,
    "paused": paused,
    "given-up.pre-copy": given_up,
    "given-up.stopped": given_up_stopped,
    "given-up.stop-copy": given_up_in_stop_copy,
    "pre-copy.reset": reset_in_precopy,
    "pre-copy.stop-and-cont": stopped_in_precopy,
    "connection.lost": connection_lost,
    "destination.killed": destination_killed,
    "destination.killed-stopped": destination_killed_stopped,
    "source.killed": source_killed,
    "source.killed-stopped": source_killed_stopped,
    "two-functions": two_functions,
    "snapshot": snapshot,
    "stream.cut": cut_stream,
    "stream.corrupt": corrupt_stream,
    "stream.foreign": foreign_stream,
    "driver.other": other_driver,
}

PACKETS: Final = {
    f"packets.{name}": _with_packets(_PLAIN[name])
    for name in (
        "live",
        "live.and-back",
        "file.and-back",
        "paused",
        "given-up.pre-copy",
        "given-up.stopped",
        "given-up.stop-copy",
        "connection.lost",
        "destination.killed",
        "destination.killed-stopped",
    )
}
"""Scenarios for functions that send and receive; in the end there is the one guest of the start."""

SCENARIOS: Final = _PLAIN | PACKETS

WORKING: Final = ("live.working",)
"""Scenarios for functions that have doorbells."""

UNAWARE: Final = ("layout.refused",)
"""Scenarios for a QEMU that knows nothing of the saving layout."""

AWARE: Final = ("layout.dropped",)
"""Scenarios for one that does."""

RENDERED: Final = ("driver.other",)
"""Scenarios for a driver of which another version can be built."""

SHORT: Final = ("layout.refused", "live")
"""A selection for every change."""
