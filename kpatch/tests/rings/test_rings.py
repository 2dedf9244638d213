# SPDX-License-Identifier: GPL-2.0-only
"""The part of the driver that follows rings, run in user space against a machine made of chance.

It is the very C of the driver, with the kernel's functions replaced (``shim.h``) and a guest, a
device and a monitor around it (``machine.c``). The guest of the lab cannot be as wild.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kpatch.device import load as device
from kpatch.render.form import Form
from kpatch.render.render import texts
from kpatch.tests.render.pinned import LINUX_6_12

HERE = Path(__file__).parent
SANITIZE = "-fsanitize=address,undefined"


PINS, LOG = "pins", "log"
"""By what memory is copied: by what version 1 pins, or by the log of version 2."""


@pytest.fixture(scope="module", params=[PINS, LOG])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("rings")
    logged = request.param == LOG
    form = Form(protocols=("v2",) if logged else ("v1",))
    sources = texts(device.load("i40e-vf"), LINUX_6_12, form=form)
    parts = ["rings.c", "pins.c", *(["dma_log.c"] if logged else [])]
    for name in (*parts, "rings.h", "i40e_vf.h"):
        (folder / name).write_text(sources[name])
    (folder / "compat.h").write_text("")
    (folder / "linux").mkdir()
    included = {
        line.removeprefix("#include <linux/").rstrip(">")
        for name in (*parts, "i40e_vf.h")
        for line in sources[name].splitlines()
        if line.startswith("#include <linux/")
    }
    for name in included:
        (folder / "linux" / name).write_text('#include "shim.h"\n')
    built = folder / "machine"
    files = [*(folder / name for name in parts), HERE / "machine.c"]
    flags = ["-g", "-O1", "-Wall", "-Wno-format", SANITIZE, f"-I{folder}", f"-I{HERE}"]
    flags += ["-DLOGGED"] if logged else []
    command = [compiler, *flags, *map(str, files), "-o", str(built)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in done.stderr and "san" in done.stderr:
        pytest.skip("the C compiler has no sanitizers")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return built


def _run(program: Path, turns: int, mode: str) -> tuple[int, int, int, int]:
    """Return pages missing or different, turns unsure and without memory, buffers filled."""
    command = [str(program), str(turns), mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    wrong, unsure, starved, filled = map(int, done.stdout.split())
    return wrong, unsure, starved, filled


@pytest.mark.parametrize("turns", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_a_plain_guest_is_followed(program: Path, turns: int) -> None:
    wrong, unsure, starved, filled = _run(program, turns, "plain")
    assert (wrong, unsure, starved) == (0, 0, 0)
    assert filled > 20 * turns


@pytest.mark.parametrize("turns", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_wild_guest_is_never_clean_and_wrong(program: Path, turns: int) -> None:
    wrong, unsure, starved, filled = _run(program, turns, "wild")
    assert wrong == 0
    assert min(unsure, starved) > turns / 20
    assert unsure < turns, "some are followed to the end"
    assert filled > 10 * turns


def test_a_driver_that_does_not_look_is_wrong(program: Path) -> None:
    wrong, *_ = _run(program, 50, "blind")
    assert wrong > 100
