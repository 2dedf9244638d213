# SPDX-License-Identifier: GPL-2.0-only
"""The README tells what is so about descriptions."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from kpatch.device import description
from kpatch.device import load as device

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
SECTION = README.partition("## Describing a device")[2].partition("\n## ")[0]
MODELS = (
    description.Device,
    description.Bar,
    description.Migration,
    description.Register,
    description.Stop,
    description.Emulated,
)


@pytest.mark.parametrize("model", MODELS)
def test_every_key_is_in_the_table(model: type[BaseModel]) -> None:
    rows = [line for line in SECTION.splitlines() if line.startswith("| ")]
    named = set(re.findall(r"[a-z_]+", " ".join(row.split("|")[1] for row in rows)))
    keys = {field.alias or name for name, field in model.model_fields.items()}
    assert keys <= named | {"migration"}


def test_the_example_is_a_description(tmp_path: Path) -> None:
    example = SECTION.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "example.toml").write_text(example)
    assert device.load(tmp_path / "example.toml").name == "igb-vf"
