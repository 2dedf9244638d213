# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's checkpatch.pl, at its strictest, has nothing to say about what is rendered."""

import os
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from kpatch.device import load as device
from kpatch.kernel.features import Features
from kpatch.render.form import Form
from kpatch.render.render import render
from kpatch.tests.render.refresh_golden import FORMS
from kpatch.tools.sandbox import Sandbox

pytestmark = pytest.mark.slow


class Checkpatch:
    """The script, run with the perl of an image."""

    def __init__(self, root: Path, linux: Path) -> None:
        self._sandbox = Sandbox(root)
        self._script = linux / "scripts/checkpatch.pl"

    def __call__(self, folder: Path) -> str:
        """Return what it says about the C sources in a folder."""
        sources = [str(path) for path in sorted(folder.glob("*.[ch]"))]
        # Without a tree it cannot know the maintainers, and a file is no commit with a message.
        options = ["--strict", "--no-tree", "--no-summary", "--terse", "--file"]
        argv = self._sandbox.argv(
            ["perl", str(self._script), *options, *sources],
            ro_bind=[self._script.parent, folder],
        )
        result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        assert result.stderr == ""
        assert bool(result.stdout) == bool(result.returncode)
        return result.stdout


@pytest.fixture
def checkpatch() -> Checkpatch:
    root, linux = os.environ.get("VFIO_KIT_ROOT"), os.environ.get("VFIO_KIT_LINUX")
    if not root or not linux:
        pytest.skip("VFIO_KIT_ROOT and VFIO_KIT_LINUX do not name an image and a kernel source")
    return Checkpatch(Path(root), Path(linux))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("has", [False, True], ids=["oldest", "newest"])
@pytest.mark.parametrize("name", device.names())
def test_checkpatch_is_silent(
    tmp_path: Path, checkpatch: Checkpatch, name: str, has: bool, form: Form
) -> None:
    features = Features(**{field.name: has for field in fields(Features)})
    render(device.load(name), features, tmp_path, form=form)
    assert checkpatch(tmp_path) == ""


def test_checkpatch_is_silent_of_the_stand_ins(checkpatch: Checkpatch) -> None:
    assert checkpatch(Path(__file__).parents[3] / "vm-images/strangers") == ""


def test_checkpatch_would_speak(tmp_path: Path, checkpatch: Checkpatch) -> None:
    (tmp_path / "a.c").write_text("// SPDX-License-Identifier: GPL-2.0-only\nint f(int *a){}\n")
    assert "ERROR: space required before the open brace" in checkpatch(tmp_path)
