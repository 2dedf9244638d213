# SPDX-License-Identifier: GPL-2.0-only
"""docs/describing.md is right about descriptions."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from kpatch.device import description, protocols, ring
from kpatch.device import load as device

PAGE = (Path(__file__).resolve().parents[3] / "docs/describing.md").read_text()

MODELS = (
    description.Device,
    description.Bar,
    description.Migration,
    protocols.Region,
    protocols.States,
    description.Register,
    description.Clear,
    description.Stop,
    description.Drained,
    description.Elsewhere,
    ring.Ring,
    ring.RingBuffer,
    ring.RingFormat,
    description.Emulated,
)


@pytest.mark.parametrize("model", MODELS)
def test_every_key_is_in_the_table(model: type[BaseModel]) -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    named = set(re.findall(r"[a-z0-9_]+", " ".join(row.split("|")[1] for row in rows)))
    keys = {field.alias or name for name, field in model.model_fields.items()}
    assert keys <= named | {"migration"}


def test_the_example_is_a_description(tmp_path: Path) -> None:
    example = PAGE.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "example.toml").write_text(example)
    assert device.load(tmp_path / "example.toml").name == "igb-vf"
