# SPDX-License-Identifier: GPL-2.0-only
"""Packets during a migration, with a guest and a peer that are made up."""

from __future__ import annotations

import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from conformance.vmm.inside import bench as benches
from conformance.vmm.inside import exchange, network
from conformance.vmm.inside.bench import ADDRESS, Bench, Unexpected
from conformance.vmm.inside.exchange import ROUND, Exchange
from conformance.vmm.inside.packets import Count, Tally
from conformance.vmm.inside.qmp import Lost
from conformance.vmm.inside.scenarios import PACKETS

GOOD = Count(9, 8, 0, 0)


class Guest:
    """Receives as many packets between two looks as it is told; the last is the final count."""

    def __init__(self, tally: Tally, step: int, *, doubled: int = 0, left: int = 0) -> None:
        self.guest = self
        self._tally, self._step, self._doubled, self._left = tally, step, doubled, left
        self._count, self._rests = 0, False
        self.asked: list[str] = []

    def ask(self, line: str) -> str:
        self.asked.append(line)
        if line.startswith("net start"):
            return ADDRESS.hex(":")
        self._rests |= line == "net rest"
        if line == "net count" and not self._rests:
            self._count += self._step
            self._tally.seen |= set(range(self._count))
        return f"{self._count + 1} {self._count} {self._doubled} 0 0 {self._left}"


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Replace the physical function and all waiting."""
    made = Mock(tally=Tally(), address=bytes(6), sent=10**6)
    monkeypatch.setattr(exchange, "Peer", lambda *_: made)
    monkeypatch.setattr(exchange, "physical_of", lambda _: Path("/net/eth0"))
    monkeypatch.setattr(exchange, "number_of", lambda path: int(path.name))
    monkeypatch.setattr(exchange, "set_address", made.set)
    monkeypatch.setattr(exchange, "_FLOW", 0.05)
    monkeypatch.setattr(exchange, "_STILL", 0.0)
    monkeypatch.setattr(exchange, "_PAUSE", 0.0)
    return made


def _exchange(guest: Guest) -> Exchange:
    made = Exchange([Path("/0"), Path("/1")], ADDRESS)
    made.begin(guest)  # type: ignore[arg-type]
    return made


def test_source_and_destination_get_the_address_of_the_guest(peer: Mock) -> None:
    _exchange(Guest(peer.tally, ROUND))
    assert [call.args for call in peer.set.call_args_list] == [
        ("eth0", 0, ADDRESS),
        ("eth0", 1, ADDRESS),
    ]


def test_the_counts_of_both_ends_are_returned(peer: Mock) -> None:
    guest: Any = Guest(peer.tally, ROUND, doubled=3)
    found = _exchange(guest).end(guest)
    assert found["to the guest"] == Count(10**6, 2 * ROUND, 3, 0)
    assert found["from the guest"] == Count(2 * ROUND + 1, 2 * ROUND, 0, 0)
    assert guest.asked[-1] == "net stop"


def test_packets_that_do_not_flow_are_noticed(peer: Mock) -> None:
    with pytest.raises(Lost, match="packets do not flow"):
        _exchange(Guest(peer.tally, 0))


def test_the_peer_is_closed_when_the_address_is_refused(peer: Mock) -> None:
    peer.set.side_effect = OSError
    with pytest.raises(OSError):  # noqa: PT011
        _exchange(Guest(peer.tally, ROUND))
    peer.close.assert_called_once_with()


def test_a_guest_that_never_began_is_noticed(peer: Mock) -> None:
    guest: Any = Guest(peer.tally, ROUND)
    with pytest.raises(Lost, match="no guest has exchanged packets"):
        Exchange([Path("/0"), Path("/1")], ADDRESS).end(guest)


def test_packets_that_the_guest_cannot_send_are_noticed(peer: Mock) -> None:
    guest: Any = Guest(peer.tally, ROUND, left=5)
    with pytest.raises(Lost, match="does not get rid of 5 packets"):
        _exchange(guest).end(guest)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((GOOD, GOOD), ""),
        ((GOOD, Count(9, 8, 1, 0)), "packets from the guest .9 sent, 1 lost, 1 doubled"),
        ((Count(9, 8, 0, 2), GOOD), "packets to the guest .* 2 corrupted"),
    ],
)
def test_the_verdict(
    counts: tuple[Count, Count], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = dict(zip(("to the guest", "from the guest"), counts, strict=True))
    made = Mock(end=Mock(return_value=ends))
    monkeypatch.setattr(benches, "Exchange", lambda *_: made)
    bench = Bench((Path(), Path()), "", [], Path(), Path(), Path(), Path())
    machine = Mock()
    monkeypatch.setattr(Bench, "_guest", lambda *_: machine)
    monkeypatch.setattr(bench, "_machines", {"monitor-1": machine})

    def run() -> None:
        with bench.exchanging():
            bench.guest()

    if said:
        with pytest.raises(Unexpected, match=said):
            run()
    else:
        run()
    made.flows.assert_called_once_with(machine)
    made.close.assert_called_once_with()
    assert bench.packets == ends


def test_a_scenario_without_a_guest_passes_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benches, "Exchange", Mock())
    bench = Bench((Path(), Path()), "", [], Path(), Path(), Path(), Path())
    with pytest.raises(Unexpected, match="guests that exchange packets"), bench.exchanging():
        pass


def test_scenarios_with_packets_have_their_names() -> None:
    assert all(name.startswith("packets.") for name in PACKETS)


def test_the_address_is_nested_as_the_kernel_wants_it() -> None:
    found = network._vf_address(3, ADDRESS)
    lengths = [struct.unpack_from("=HH", found, 4 * depth) for depth in range(3)]
    assert lengths == [(48, 22 | 0x8000), (44, 1 | 0x8000), (40, 1)]
    assert found[12:] == (3).to_bytes(4, "little") + ADDRESS + bytes(26)


def test_a_kernel_that_refuses_is_noticed() -> None:
    with pytest.raises(OSError, match="no interface with this name"):
        network.set_up("no-such-link", up=True)
    kernel = Mock(recv=lambda _: struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "if_nametoindex", lambda _: 1)
        patch.setattr(
            socket, "socket", lambda *_: Mock(__enter__=lambda _: kernel, __exit__=Mock())
        )
        with pytest.raises(PermissionError, match="eth0: the link cannot be set"):
            network.set_up("eth0", up=True)


def test_a_peer_whose_packet_leaves_late_goes_on() -> None:
    """Its wait for the next packet is short; that for room to send must not be."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    far.settimeout(5)
    peer = network.Peer.__new__(network.Peer)
    vars(peer).update(_sending=True, _ends=False, _failure=None, _socket=near, _to=bytes(6))
    vars(peer).update(address=bytes(6), sent=0, tally=Tally())
    thread = threading.Thread(target=peer._run)
    with near, far:
        thread.start()
        time.sleep(0.3)  # until there is no room
        for _ in range(5):
            far.recv(2048)
        peer._ends = True
        thread.join(5)
        peer.check()
        assert peer.sent >= 5


def test_a_function_is_found_at_its_physical_function(tmp_path: Path) -> None:
    physical = tmp_path / "pf"
    (physical / "net/eth7").mkdir(parents=True)
    for number in (0, 1):
        function = tmp_path / f"vf{number}"
        function.mkdir()
        (function / "physfn").symlink_to(physical)
        (physical / f"virtfn{number}").symlink_to(function)
    assert network.physical_of(tmp_path / "vf1").name == "eth7"
    assert network.number_of(tmp_path / "vf1") == 1
    with pytest.raises(Lost, match="no network interface"):
        network.physical_of(tmp_path)
    with pytest.raises(Lost, match="no virtual function"):
        network.number_of(tmp_path)
