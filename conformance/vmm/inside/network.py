# SPDX-License-Identifier: GPL-2.0-only
"""The physical function: what an administrator sets there, and a peer that sends from there."""

import contextlib
import os
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Final

from conformance.vmm.inside.packets import NUMBERS, PROTOCOL, Tally, packet
from conformance.vmm.inside.qmp import Lost

PACE: Final = 0.02
"""Seconds between two packets."""

_LINK: Final = 30.0
_ACKNOWLEDGE: Final = 5.0
"""Seconds for the link to come up, and for the kernel to answer."""

# linux/netlink.h, rtnetlink.h and if_link.h
_RTM_SETLINK: Final = 19
_REQUEST_WITH_ACK: Final = 0x1 | 0x4
_NLMSG_ERROR: Final = 2
_IFLA_VFINFO_LIST: Final = 22 | 0x8000
_IFLA_VF_INFO: Final = 1 | 0x8000
_IFLA_VF_MAC: Final = 1
_IFF_UP: Final = 0x1
_MESSAGE: Final = struct.Struct("=IHHII")
_INTERFACE: Final = struct.Struct("=BxHiII")
_ATTRIBUTE: Final = struct.Struct("=HH")


def physical_of(function: Path) -> Path:
    """Return the folder of the network interface of a function's physical function.

    Raises:
        Lost: There is none.
    """
    for folder in (function / "physfn/net").glob("*"):
        return folder
    raise Lost(f"the physical function of {function.name} has no network interface")


def number_of(function: Path) -> int:
    """Return which virtual function of its physical function it is.

    Raises:
        Lost: It is none.
    """
    for link in (function / "physfn").glob("virtfn*"):
        if link.resolve() == function.resolve():
            return int(link.name.removeprefix("virtfn"))
    raise Lost(f"{function.name} is no virtual function of its physical function")


def set_address(interface: str, number: int, address: bytes) -> None:
    """Give a virtual function its address, as `ip link set INTERFACE vf NUMBER mac ADDRESS`.

    Raises:
        OSError: The kernel or the driver of the physical function refuses.
    """
    _set_link(interface, _vf_address(number, address))


def set_up(interface: str, *, up: bool) -> None:
    """Do as `ip link set INTERFACE up`, or down.

    Raises:
        OSError: The kernel refuses.
    """
    _set_link(interface, b"", flags=_IFF_UP if up else 0, change=_IFF_UP)


def _vf_address(number: int, address: bytes) -> bytes:
    found = _attribute(_IFLA_VF_MAC, struct.pack("=I32s", number, address))
    for kind in (_IFLA_VF_INFO, _IFLA_VFINFO_LIST):
        found = _attribute(kind, found)
    return found


def _attribute(kind: int, content: bytes) -> bytes:
    return (
        _ATTRIBUTE.pack(_ATTRIBUTE.size + len(content), kind) + content + bytes(-len(content) % 4)
    )


def _set_link(interface: str, attributes: bytes, flags: int = 0, change: int = 0) -> None:
    index = socket.if_nametoindex(interface)
    body = _INTERFACE.pack(socket.AF_UNSPEC, 0, index, flags, change) + attributes
    head = _MESSAGE.pack(_MESSAGE.size + len(body), _RTM_SETLINK, _REQUEST_WITH_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.settimeout(_ACKNOWLEDGE)
        kernel.send(head + body)
        answer = kernel.recv(8192)
    kind = _MESSAGE.unpack_from(answer)[1]
    (code,) = struct.unpack_from("=i", answer, _MESSAGE.size)
    if kind != _NLMSG_ERROR or code:
        raise OSError(-code, f"{interface}: the link cannot be set: {os.strerror(-code)}")


class Peer:
    """Sends numbered packets from the physical function, and counts those that come.

    Args:
        interface: The folder of its network interface, which is set up.
        to: The address that it sends to.

    Raises:
        Lost: The link does not come up.
        OSError: The interface cannot be used.
    """

    def __init__(self, interface: Path, to: bytes) -> None:
        self._interface = interface.name
        self._to = to
        self._sending, self._ends = False, False
        self.sent = 0
        self.tally = Tally()
        self._failure: OSError | None = None
        set_up(self._interface, up=True)
        deadline = time.monotonic() + _LINK
        while (interface / "carrier").read_text().strip() != "1":
            if time.monotonic() > deadline:
                raise Lost(f"the link of {interface.name} does not come up")
            time.sleep(0.1)
        self.address = bytes.fromhex((interface / "address").read_text().strip().replace(":", ""))
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(PROTOCOL))
        self._socket.bind((self._interface, PROTOCOL))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send(self) -> None:
        """Begin to send."""
        self._sending = True

    def rest(self) -> None:
        """Send no more; what comes is still counted."""
        self._sending = False

    def close(self) -> None:
        """End it, and take the interface down."""
        self._ends = True
        self._thread.join()
        self._socket.close()
        set_up(self._interface, up=False)

    def check(self) -> None:
        """Demand that it still sends and receives.

        Raises:
            OSError: Why it does not.
        """
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._ends:
                self._socket.settimeout(max(due - time.monotonic(), 0.001))
                with contextlib.suppress(TimeoutError):
                    self.tally.take(self._socket.recv(2048))
                if time.monotonic() < due:
                    continue
                due = time.monotonic() + PACE
                if self._sending and self.sent < NUMBERS:
                    self._socket.settimeout(_LINK)  # the wait for a packet is too short for it
                    self._socket.send(packet(self._to, self.address, self.sent))
                    self.sent += 1
        except OSError as error:
            self._failure = error
