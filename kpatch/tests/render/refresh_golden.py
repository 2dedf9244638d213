# SPDX-License-Identifier: GPL-2.0-only
"""Write the golden trees anew, after a wanted change of a template or a description.

`python -m kpatch.tests.render.refresh_golden`; then `git diff kpatch/tests/render/golden` shows
what the change does to the drivers, and is part of the review.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from kpatch.device import load as device
from kpatch.device.protocols import PROTOCOLS
from kpatch.render.form import Form
from kpatch.render.render import render
from kpatch.tests.render.pinned import LINUX_6_12

GOLDEN = Path(__file__).parent / "golden"
BOTH = Form(protocols=PROTOCOLS)
FORMS = (*(Form(protocols=(protocol,)) for protocol in PROTOCOLS), BOTH)
TREES = [(name, form) for form in FORMS[:-1] for name in device.names()] + [("igb-vf", BOTH)]
"""Each device with each version; both in one module differ by little, so one device shows it."""


def folder(name: str, form: Form) -> str:
    """Return the name of a golden tree: igb-vf-v2."""
    return f"{name}-{form.name}"


def refresh(golden: Path = GOLDEN) -> None:
    """Replace all golden trees."""
    shutil.rmtree(golden, ignore_errors=True)
    for name, form in TREES:
        render(device.load(name), LINUX_6_12, golden / folder(name, form), form=form)


if __name__ == "__main__":
    refresh()
