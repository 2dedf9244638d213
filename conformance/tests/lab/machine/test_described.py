# SPDX-License-Identifier: GPL-2.0-only
"""What a model of the lab can hold is state of its description, or said not to be."""

from __future__ import annotations

import re

from conformance.lab.machine.vfio_user import i40e
from kpatch.device import load as device
from kpatch.device.description import Device


def unsaid(known: Device) -> list[str]:
    """Registers of the model that can be written, and of which the description says nothing."""
    migration = known.migration
    words = {register.name for register in migration.state}
    for entry in migration.elsewhere:
        words |= set(re.findall(r"\w+", entry.what))
    registers = (*i40e.REGISTERS, *i40e._TABLE)
    return sorted({one.name for one in registers if one.writable and one.name not in words})


def test_every_register_that_can_be_written_is_state_or_elsewhere() -> None:
    assert unsaid(device.load("i40e-vf")) == []


def test_one_that_was_forgotten_is_found() -> None:
    known = device.load("i40e-vf")
    less = [one for one in known.migration.state if one.name != "VFQF_HREGION"]
    migration = known.migration.model_copy(update={"state": tuple(less)})
    assert unsaid(known.model_copy(update={"migration": migration})) == ["VFQF_HREGION"]


def test_state_is_what_the_model_keeps() -> None:
    """A place that is described has a register of the model, with as many after it."""
    places = {(register.name, register.offset, register.count) for register in i40e.REGISTERS}
    state = device.load("i40e-vf").migration.state
    assert {(one.name, one.offset, one.count) for one in state} <= places
