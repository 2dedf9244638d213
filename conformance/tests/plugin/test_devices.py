# SPDX-License-Identifier: GPL-2.0-only
"""The devices of a session: opened again, cleaned up, given to fixtures."""

import pytest

from conformance.tests.plugin.inner import NO_REGION, PEER, Inner
from conformance.vfio.memory import maps

pytest_plugins = ["pytester"]


def test_after_a_failure_the_device_is_opened_anew(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_one(device, migration):
    assert device.opens == 1
    migration.set_state(2)

@rule("state.default")
def test_given_up(device, migration):
    assert device.resets == 0
    assert migration.state == 1
    migration.set_state(4)

@rule("state.default")
def test_two(device, migration):
    assert device.opens == 1
    assert device.resets == 1
    assert migration.state == 1
    raise ValueError

@rule("state.default")
def test_three(device):
    assert device.opens == 2
"""
    )
    assert result.parseoutcomes() == {"passed": 3, "failed": 1}


def test_what_a_test_leaves_behind_is_taken_away(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "_FILES", ("fake-device",))
    monkeypatch.setattr(maps, "_MARK", "fake-device")
    result = inner.run(
        """
import os
from conformance.vfio.children.children import fork_child
from conformance.vfio.memory.maps import vmas

@rule("state.default")
def test_leaves_a_mapping(device):
    device.region(0).map()

@rule("state.default")
def test_leaves_a_child(device):
    assert (device.opens, vmas()) == (2, [])
    fork_child()

@rule("state.default")
def test_leaves_a_descriptor(device):
    assert device.opens == 3
    os.dup(device.fd)
    raise ValueError

@rule("state.default")
def test_finds_nothing(device):
    assert device.opens == 4
    names = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert sum("fake-device" in name for name in names) == 1
"""
    )
    assert result.parseoutcomes() == {"passed": 3, "failed": 1}


def test_a_device_that_cannot_be_brought_back(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_one(device):
    device.defects |= {"stuck", "opens resuming"}
    device.state = 4

@rule("state.default")
def test_two(device):
    pass

@rule("state.default")
def test_three(device):
    pass
"""
    )
    assert result.ret == 1
    one, two, three = inner.results
    assert one["outcome"] == "passed"
    assert two["outcome"] == "failed"
    assert two["failure"]["rule"] == "state.default"
    assert two["failure"]["actual"] == "4 (_RESUMING)"
    assert "VFIO" not in two["failure"]["message"]
    assert three["outcome"] == "skipped"
    assert three["skip"] == "the device cannot be brought to _RUNNING: 4 (_RESUMING)"


def test_what_a_new_open_finds_is_left_by_a_reset(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_one(device):
    device.defects.add("opens resuming")
    raise ValueError

@rule("state.default")
def test_two(device):
    assert (device.state, device.resets) == (1, 1)
    assert not [line for line in device.log if line.startswith("state <-")]
"""
    )
    assert result.parseoutcomes() == {"passed": 1, "failed": 1}


def test_a_state_that_cannot_be_read_is_for_the_tests_to_tell(inner: Inner) -> None:
    inner.run(
        """
@rule("state.default")
def test_one(device):
    device.defects.add("state unreadable")

@rule("state.default")
def test_two(device):
    pass
"""
    )
    assert [outcome["outcome"] for outcome in inner.results] == ["passed", "passed"]


def test_without_a_region(inner: Inner) -> None:
    inner.run(
        """
@rule("state.default")
def test_one(device):
    device.defects.add("no region")
    raise ValueError

@rule("state.default")
def test_two(migration):
    pass
"""
    )
    # The region was found before; a driver without one never gets that far.
    assert inner.results[1]["outcome"] == "passed"
    inner.pytester.makeconftest(NO_REGION)
    inner.run("@rule('state.default')\ndef test_two(migration):\n    pass\n")
    (outcome,) = inner.results
    assert outcome["outcome"] == "failed"
    assert outcome["failure"]["rule"] == "region.type"


def test_scratch_registers_get_their_values_back(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_one(scratch, device):
    device.region(0).write_int(8, 0x11)
    (place,) = scratch
    place.write(0xff22)
    assert place.read() == 0x22
    assert device.region(0).read_int(8) == 0x22

@rule("state.default")
def test_two(scratch, device):
    assert device.region(0).read_int(8) == 0
""",
        "--vfio-scratch=0:8:0xff",
    )
    assert result.parseoutcomes() == {"passed": 2}


def test_the_other_fixtures(inner: Inner) -> None:
    result = inner.run(
        """
import random

@rule("state.default")
def test_regions(mappable_regions, saving_regions, conflicting_regions, container):
    assert [r.index for r in mappable_regions] == [0]
    assert [r.index for r in saving_regions] == [0]
    assert [r.index for r in conflicting_regions] == [0]

@rule("state.default")
def test_sides(source, destination):
    destination.vmm().load(source.vmm().save())
    assert destination.migration.state == 1
    assert source.client().migration.state == 0

@rule("state.default")
def test_helpers(vmm, client, rng, seed):
    assert seed == 7
    assert rng.random() == random.Random("7 test_helpers").random()

@rule("state.default")
def test_child(child):
    assert child().call(abs, -1) == 1
""",
        f"--vfio-peer={PEER}",
        "--vfio-seed=7",
    )
    assert result.parseoutcomes() == {"passed": 4}


def test_bits_that_are_not_declared_keep_their_values(inner: Inner) -> None:
    result = inner.run(
        """
@rule("state.default")
def test_one(device, scratch):
    device.region(0).write_int(8, 0xabcd0011)
    device.region(0).write_int(12, 0x77)
    some, all_of_it = scratch
    some.write(0xff22)
    all_of_it.write(0x12345678)
    assert device.region(0).read_int(8) == 0xabcd0022
    assert device.region(0).read_int(12) == 0x12345678
""",
        "--vfio-scratch=0:8:0xff",
        "--vfio-scratch=0:12:0xffffffff",
    )
    assert result.parseoutcomes() == {"passed": 1}
