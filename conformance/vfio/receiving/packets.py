# SPDX-License-Identifier: GPL-2.0-only
"""Ethernet frames for a virtual function, sent from another interface of its card."""

import errno
import itertools
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from conformance.vfio import trace
from conformance.vfio.device import Device
from conformance.vfio.errors import VfioError
from conformance.vfio.receiving.traffic import Traffic

RECEIVED: Final = 0xF10
"""VFGPRC: frames that the function has written to buffers, modulo 2^32."""

HEADER: Final = 14
"""Bytes before the number of a frame (u64, little-endian)."""

ETHERTYPE: Final = b"\x88\xb5"
"""Of frames here: for experiments (IEEE 802)."""

SMALLEST: Final = 60
"""Bytes of the shortest frame, without its checksum."""

_LARGEST = 1500
_PATIENCE: Final = 10.0  # seconds for the first frame
_DEBT: Final = 0.05  # seconds that the sender may be late before it forgets frames
_NAP: Final = 0.005  # seconds that it sleeps at most, so that it ends soon


def address_of(bdf: str) -> bytes:
    """Return the MAC address that a function of this name has here: a local one of its own.

    >>> address_of("0000:01:10.4").hex(":")
    '02:76:00:00:01:84'
    """
    domain, bus, rest = bdf.split(":")
    slot, _, number = rest.partition(".")
    devfn = int(slot, 16) << 3 | int(number)
    return bytes([0x02, 0x76]) + int(domain, 16).to_bytes(2, "big") + bytes([int(bus, 16), devfn])


def can_be_sent() -> bool:
    """Return whether the kernel has the sockets that send frames."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return False
        raise
    return True


class NotSent(VfioError):
    """Frames cannot be sent."""


class Packets(Traffic):
    """A thread that sends frames to one function: each has a number, then random bytes.

    Args:
        device: The function.
        interface: Where they are sent.
        numbers: Those of the frames, which no other sender uses.
    """

    def __init__(
        self, device: Device, interface: str, numbers: Iterator[int] | None = None
    ) -> None:
        self._numbers = itertools.count() if numbers is None else numbers
        self._bar = device.region(0)
        self._interface = interface
        own = Path("/sys/class/net", interface, "address").read_text()
        self._head = address_of(device.bdf) + bytes.fromhex(own.replace(":", "")) + ETHERTYPE
        self._thread: threading.Thread | None = None
        self._begun = threading.Event()
        self._end = threading.Event()
        self._sent = 0
        self._error: OSError | None = None

    def there(self, device: Device) -> Self:
        """Return a sender to another function, whose frames go on with the numbers."""
        return type(self)(device, self._interface, self._numbers)

    def set_rate(self, rate: int) -> None:
        """Send so many frames a second, as far as the machine can; none with 0.

        The first one has been sent when this returns. A frame that finds no buffer is lost, as on
        any network.

        Raises:
            NotSent: None is sent in time.
            OSError: Frames could not be sent since the last call.
        """
        if self._thread:
            self._end.set()
            self._thread.join()
            self._thread = None
        if self._error:
            error, self._error = self._error, None
            raise error
        trace.note(f"{rate} frames a second are to be sent from {self._interface}")
        if rate:
            self._begun.clear()
            self._end.clear()
            self._thread = threading.Thread(target=self._send, args=(rate,), daemon=True)
            self._thread.start()
            if not self._begun.wait(_PATIENCE):
                raise NotSent(
                    f"no frame is sent from {self._interface} in {_PATIENCE:g} s; it must be up"
                )

    def count(self) -> int:
        """Return how many frames the function has received."""
        with trace.quiet():
            return self._bar.read_int(RECEIVED)

    def effort(self) -> str:
        """Return what was done so that the device receives."""
        return f"{self._sent} frames were sent from {self._interface}"

    def _send(self, rate: int) -> None:
        # Whoever drives the device waits for this thread at each of its calls, so little is done
        # for a frame: what is random in it is a piece of these bytes.
        rng = random.Random(rate)  # noqa: S311 - repeatable on purpose
        noise = rng.randbytes(2 * _LARGEST)
        try:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind((self._interface, 0))
                due = time.monotonic()
                while not self._end.is_set():
                    early = due - time.monotonic()
                    if early > 0:
                        time.sleep(min(early, _NAP))
                        continue
                    self._send_one(raw, self._frame(rng, noise))
                    due = max(due + 1 / rate, time.monotonic() - _DEBT)
        except OSError as error:
            self._error = error
        finally:
            self._begun.set()

    def _frame(self, rng: random.Random, noise: bytes) -> bytes:
        head = self._head + next(self._numbers).to_bytes(8, "little")
        length = SMALLEST + int(rng.random() * (_LARGEST - SMALLEST)) - len(head)
        begin = int(rng.random() * _LARGEST)
        return head + noise[begin : begin + length]

    def _send_one(self, raw: socket.socket, frame: bytes) -> None:
        try:
            raw.send(frame)
            self._sent += 1
            if not self._begun.is_set():
                self._begun.set()
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # the interface's queue is full: the frame is lost
                raise
