# SPDX-License-Identifier: GPL-2.0-only
"""Numbered packets are counted the same way at both ends, and each fault is told."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from conformance.running import paths
from conformance.vmm.inside.packets import NUMBERS, Count, Tally, packet

TO, FROM = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
GOOD = [packet(TO, FROM, number) for number in (0, 1, 255, 256, 4711, NUMBERS - 1)]
FLIPPED = GOOD[4][:30] + bytes([GOOD[4][30] ^ 1]) + GOOD[4][31:]
RENUMBERED = GOOD[0][:17] + b"\x05" + GOOD[0][18:]
MULTICAST = b"\x33\x33\0\0\0\x16" + GOOD[0][6:12] + b"\x86\xdd" + bytes(50)
OTHER = GOOD[0][:12] + b"\x86\xdd" + GOOD[0][14:]
TOO_HIGH = packet(TO, FROM, NUMBERS)
FRAMES = {
    "good": (GOOD, (6, 0, 0)),
    "doubled": ([*GOOD, GOOD[1], GOOD[1]], (6, 2, 0)),
    "flipped": ([*GOOD[:4], FLIPPED], (4, 0, 1)),
    "renumbered": ([RENUMBERED], (0, 0, 1)),
    "cut": ([GOOD[4][:-4], GOOD[4][:60]], (0, 0, 2)),
    "longer": ([GOOD[4] + bytes(4)], (0, 0, 1)),
    "number too high": ([TOO_HIGH], (0, 0, 1)),
    "to many": ([MULTICAST, b"\xff" * 14], (0, 0, 0)),
    "another protocol, to one": ([OTHER], (0, 0, 1)),
    "no data": ([*GOOD[2:4], bytes(64), b""], (2, 0, 2)),
}

_MAIN = """
#include <stdio.h>
#include <string.h>
#include "packet.h"

int main(int count, char **words)
{
	static struct tally tally;
	static uint8_t frame[PACKET_MOST + 100];
	size_t length;

	if (count > 1) {
		const uint8_t to[] = { 2, 0, 0, 0, 0, 1 }, from[] = { 2, 0, 0, 0, 0, 2 };
		uint32_t number;

		sscanf(words[1], "%u", &number);
		fwrite(frame, 1, packet_make(frame, to, from, number), stdout);
		return 0;
	}
	while (fread(&length, sizeof(length), 1, stdin) == 1) {
		if (fread(frame, 1, length, stdin) == length)
			tally_take(&tally, frame, length);
	}
	printf("%u %u %u", tally.received, tally.doubled, tally.corrupted);
}
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program with the guest's part."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder, sources = tmp_path_factory.mktemp("packet"), paths.DATA / "vmm"
    (folder / "main.c").write_text(_MAIN)
    argv = [compiler, "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", f"-I{sources}"]
    argv += [f"{folder}/main.c", f"{sources}/packet.c", "-o", f"{folder}/program"]
    subprocess.run(argv, check=True)
    return folder / "program"


@pytest.mark.parametrize("name", FRAMES)
def test_each_fault_is_counted(name: str) -> None:
    frames, wanted = FRAMES[name]
    tally = Tally()
    for frame in frames:
        tally.take(frame)
    assert (tally.received, tally.doubled, tally.corrupted) == wanted


@pytest.mark.parametrize("name", FRAMES)
def test_the_guest_counts_alike(guest: Path, name: str) -> None:
    frames, wanted = FRAMES[name]
    data = b"".join(len(frame).to_bytes(8, "little") + frame for frame in frames)
    said = subprocess.run([guest], input=data, capture_output=True, check=True).stdout
    assert tuple(int(word) for word in said.split()) == wanted


@pytest.mark.parametrize("number", [0, 1, 255, 256, 999, 4711, NUMBERS - 1])
def test_the_guest_makes_the_same_packets(guest: Path, number: int) -> None:
    made = subprocess.run([guest, str(number)], capture_output=True, check=True).stdout
    assert made == packet(TO, FROM, number)
    assert 64 <= len(made) <= 1100


@pytest.mark.parametrize(
    ("count", "good"),
    [
        (Count(10, 10, 0, 0), True),
        (Count(10, 7, 0, 0), True),  # lost, which a network may do
        (Count(10, 10, 1, 0), False),
        (Count(10, 9, 0, 1), False),
        (Count(10, 11, 0, 0), False),  # one that was never sent
    ],
)
def test_only_what_is_lost_is_forgiven(count: Count, *, good: bool) -> None:
    assert count.good is good
    assert str(count).startswith(f"10 sent, {10 - count.received} lost, {count.doubled} doubled")
