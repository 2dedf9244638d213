# SPDX-License-Identifier: GPL-2.0-only
"""The innermost guest's driver with a model of its function: what a migration loses is found."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from conformance.running import paths
from conformance.vmm.inside.exchange import ROUND

SOURCE = Path(__file__).with_name("function.c")


_WHERE = """
#define main guest_main
#include "init.c"
#undef main
int main(void)
{
	uint8_t *page = memory(1);

	printf("%lu %lu", physical(page) % PAGE, physical(page + 2056) % PAGE);
	return !page;
}
"""


@dataclass(frozen=True)
class End:
    """What both ends have counted."""

    peer_received: int
    peer_doubled: int
    peer_corrupted: int
    sent: int
    received: int
    doubled: int
    corrupted: int
    announced: int
    left: int


def _build(source: Path, built: Path) -> Path:
    compiler, driver = shutil.which("cc"), paths.DATA / "vmm"
    if compiler is None:
        pytest.skip("there is no C compiler")
    argv = [compiler, "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", f"-I{driver}"]
    argv += [str(source), f"{driver}/net.c", f"{driver}/packet.c", "-o", str(built)]
    subprocess.run(argv, check=True)
    return built


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the driver with the model."""
    return _build(SOURCE, tmp_path_factory.mktemp("guest") / "program")


def _run(program: Path, fault: str) -> tuple[End, End]:
    said = subprocess.run([program, fault], capture_output=True, text=True, check=True, timeout=60)
    lines = [line.replace(" ok ", " ") for line in said.stdout.splitlines()]
    before, after = (
        End(*(int(word) for word in line.split())) for line in lines if line.count(" ") > 1
    )
    return before, after


def test_a_migration_loses_only_what_comes_meanwhile(program: Path) -> None:
    before, after = _run(program, "")
    assert (before.announced, after.announced) == (0, 1)  # RESET, once
    assert after.received > before.received + ROUND
    assert after.peer_received == after.sent > before.sent + ROUND
    assert (after.peer_doubled, after.peer_corrupted, after.doubled, after.corrupted) == (0,) * 4
    assert after.left == 0


@pytest.mark.parametrize("register", ["RDH", "RDT"])
def test_a_receive_ring_that_was_lost_stops_the_flow(program: Path, register: str) -> None:
    before, after = _run(program, register)
    assert after.received == before.received


def test_a_transmit_ring_that_was_lost_leaves_packets(program: Path) -> None:
    before, after = _run(program, "TDH")
    assert after.left > 0
    assert after.peer_received < before.peer_received + ROUND


def test_packets_that_are_sent_twice_are_counted(program: Path) -> None:
    _, after = _run(program, "twice")
    assert after.peer_doubled == after.sent


@pytest.mark.parametrize("fault", ["flip", "no data"])
def test_packets_that_change_in_memory_are_counted(program: Path, fault: str) -> None:
    _, after = _run(program, fault)
    assert after.corrupted == 3


def test_an_address_for_the_function_is_that_within_its_page(tmp_path: Path) -> None:
    (tmp_path / "where.c").write_text(_WHERE)
    built = _build(tmp_path / "where.c", tmp_path / "where")
    said = subprocess.run([built], capture_output=True, text=True, check=True)
    assert said.stdout == "0 2056"
