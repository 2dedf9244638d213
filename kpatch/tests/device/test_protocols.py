# SPDX-License-Identifier: GPL-2.0-only
"""Which versions of the protocol a driver speaks, as schema 2 of a description says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpatch import __main__ as cli
from kpatch.device import load as device
from kpatch.device.protocols import Protocol, States
from kpatch.errors import ProtocolError
from kpatch.tests.device.good import GOOD, complaints

V1 = "[migration.v1]\ndata_size = 0x2000\n"
V2 = "[migration.v2]\n"
BOTH = V1 + V2


def described(tables: str, protocols: str = "") -> str:
    """Return the good description in schema 2, with these tables of the protocols."""
    listed = f"protocols = {protocols}\n" if protocols else ""
    text = GOOD.replace("schema = 1", "schema = 2")
    return text.replace("[migration]\ndata_size = 0x2000\n", f"[migration]\n{listed}{tables}")


def load(tables: str, protocols: str = "") -> device.Device:
    return device.parse(described(tables, protocols), "test.toml")


def test_schema_1_is_for_one_of_both_versions() -> None:
    old = device.parse(GOOD, "test.toml")
    assert old == load(BOTH).model_copy(update={"schema_version": 1})
    text = GOOD.replace("data_size", "precopy = true\ndata_size", 1)
    assert device.parse(text, "test.toml").migration.v2 == States(precopy=True)


@pytest.mark.parametrize(
    ("tables", "listed", "wanted", "both", "spoken"),
    [
        (BOTH, "", None, False, ("v1",)),
        (BOTH, "", "v2", False, ("v2",)),
        (BOTH, "", None, True, ("v1", "v2")),
        (BOTH, "", "v1", True, ("v1", "v2")),
        (BOTH, '["v2", "v1"]', None, False, ("v1", "v2")),
        (BOTH, '["v1", "v2"]', "v2", False, ("v1", "v2")),
        (V2, "", None, False, ("v2",)),
        (V2, '["v2"]', "v2", False, ("v2",)),
        (V1, "", None, False, ("v1",)),
    ],
)
def test_what_the_driver_speaks(
    tables: str, listed: str, wanted: Protocol | None, both: bool, spoken: tuple[Protocol, ...]
) -> None:
    assert device.spoken(load(tables, listed), wanted, both=both) == spoken


@pytest.mark.parametrize(
    ("tables", "wanted", "both"), [(V2, "v1", False), (V1, "v2", False), (V1, None, True)]
)
def test_what_it_cannot_speak(tables: str, wanted: Protocol | None, both: bool) -> None:
    with pytest.raises(ProtocolError, match=r"test-vf is for v. of .* \[migration\.v.\]") as one:
        device.spoken(load(tables), wanted, both=both)
    assert one.value.exit_code == 2


@pytest.mark.parametrize(
    ("tables", "listed", "complaint"),
    [
        ("", "", "migration: neither [migration.v1] nor [migration.v2] is there"),
        ("", "[]", "migration.protocols = an array: must not be empty"),
        (V1, '["v1", "v3"]', 'migration.protocols[1] = "v3": must be "v1" or "v2"'),
        (V1, '["v1", "v2"]', 'migration.protocols[1] = "v2": there is no table [migration.v2]'),
        (V2, '["v2", "v2"]', 'migration.protocols[1] = "v2": is listed already as'),
        (BOTH, '["v2"]', "migration.v1 = a table: is not one of the protocols"),
        (V1, '"v1"', 'migration.protocols = "v1": must be an array'),
        ("[migration.v1]\n", "", "migration.v1.data_size: missing"),
        ("data_size = 0x2000\n" + V2, "", "migration.data_size = 0x2000: unknown key"),
        (V2 + "p2p = 1\n", "", "migration.v2.p2p = 0x1: must be true or false"),
        (V2 + "data_size = 4096\n", "", "migration.v2.data_size = 0x1000: unknown key"),
        (
            V1 + "chunk_size = 0x2001\n",
            "",
            "migration.v1.chunk_size = 0x2001: must not be larger than data_size",
        ),
        (
            V1 + 'accept_free_arcs = ["2->3", "2->3"]\n',
            "",
            'migration.v1.accept_free_arcs[1] = "2->3": is listed already',
        ),
    ],
)
def test_each_mistake_is_reported(tables: str, listed: str, complaint: str) -> None:
    found = complaints(described(tables, listed))
    assert [one for one in found if complaint in one], found
    assert len(found) == 1


def test_a_wrong_version_ends_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(described(V2))
    words = ["--tree", str(tmp_path), "-o", str(tmp_path / "out")]
    assert cli.main(["series", str(path), "--protocol", "v1", *words]) == 2
    assert "is for v2 of the migration protocol, not for v1" in capsys.readouterr().err
