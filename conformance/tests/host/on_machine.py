# SPDX-License-Identifier: GPL-2.0-only
"""Takes a real machine through everything that `check --bdf`, `run` and `restore` promise.

Not collected with the other tests: it needs root, a kernel's headers, and functions that may be
taken, their addresses in VFIO_KIT_FUNCTIONS. `test_vm.py` has the lab run it in a virtual
machine. The first test builds the driver, the others use it again.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.tests.host.real_machine import (
    DEVICE,
    FUNCTIONS,
    JOURNAL,
    KIT,
    PCI,
    PEER,
    bound,
    call,
    check,
    command,
    driver,
    loaded,
    machine,
    names,
    override,
    shown,
    some_ended,
    started,
    steps_noted,
    until,
)

OURS = "igb_vf_vfio_pci"
SCRATCH = "0:0x2800:0xffffff00"
SOME = ["-k", "test_state.py and arc"]  # enough to be a run, quick

pytestmark = pytest.mark.skipif(len(FUNCTIONS) < 2, reason="VFIO_KIT_FUNCTIONS names none")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Whatever a test does, the machine is as it was before, and nothing is noted."""
    before = machine()
    yield
    assert machine() == before
    assert not JOURNAL.exists()


@pytest.fixture
def plain() -> Iterator[None]:
    """Have both functions bound to plain vfio-pci, reserved for it."""
    with loaded("vfio_pci"), bound(DEVICE, "vfio-pci"), bound(PEER, "vfio-pci"):
        yield


def test_make_check_of_functions_without_a_driver(results: Path) -> None:
    """The whole suite, by make, as a user would."""
    argv = ["make", "check", f"BDF={DEVICE}", f"PEER={PEER}", f"SCRATCH={SCRATCH}"]
    argv += [f"ARGS=-o {results}", "VOLATILE=0:0x3804 0:0x3900:0xff"]
    ended = shown(results, argv)
    assert ended.status == 0, ended.said
    document = ended.document
    assert document["verdict"]["conclusion"] == "conforms"
    assert document["counts"]["tests"]["passed"] > 100
    assert document["volatile"] == ["0:0x3804:0xffffffff", "0:0x3900:0xff"]
    assert "IGNORED" in ended.said
    assert "This machine is as it was before." in ended.said
    (folder,) = results.glob("2*")
    assert {"junit.xml", "report.ktap", "pytest.log", "build.log"} <= names(folder)


def test_version_2_of_the_protocol(results: Path) -> None:
    """It is rendered, built, bound and judged; 7 arcs are of PRE_COPY, which Linux 6.2 brought."""
    release = tuple(map(int, os.uname().release.split(".")[:2]))
    arcs = 15 if release >= (6, 2) else 8
    ended = call(results, *check("--protocol", "v2", "--rule", "fsm.arc"))
    assert ended.status == 0, ended.said
    assert re.search(rf"^fsm +{arcs} +0 ", ended.said, re.MULTILINE), ended.said


def test_modules_which_were_not_loaded(results: Path) -> None:
    """All of VFIO is loaded for the run and removed after it."""
    names = ["vfio_iommu_type1", "vfio_pci_core", "vfio"]
    for name in names:
        subprocess.run(["rmmod", name], check=True)
    before = machine()
    try:
        ended = call(results, *check(*SOME))
        assert ended.status == 0, ended.said
        assert machine() == before
    finally:
        for name in reversed(names):
            subprocess.run(["modprobe", name], check=True)


@pytest.mark.usefixtures("plain")
def test_functions_of_plain_vfio_pci(results: Path) -> None:
    before = machine()
    ended = call(results, *check(*SOME))
    assert ended.status == 0, ended.said
    assert ended.document["device"]["driver"] == OURS
    assert machine() == before
    assert f"{DEVICE} is bound to vfio-pci again." in ended.said


def test_a_function_of_a_network_driver(results: Path) -> None:
    """Bound to igbvf with its interface up: only with consent, and back with its interface."""
    with loaded("igbvf"), bound(DEVICE, "igbvf"):
        net = PCI / "devices" / DEVICE / "net"
        (name,) = names(net)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        ended = call(results, *check(*SOME))
        assert ended.status == 2, ended.said
        assert "--unbind (UNBIND=1 for make)" in ended.said
        assert f"The network interface {name} of {DEVICE} is up" in ended.said
        assert driver(DEVICE) == "igbvf"
        ended = call(results, *check("--unbind", *SOME))
        assert ended.status == 0, ended.said
        assert driver(DEVICE) == "igbvf"
        assert override(DEVICE) == "igbvf"
        assert len(names(net)) == 1
        # As if it had been bound by its ids, which virtual functions here are not any more.
        (PCI / "devices" / DEVICE / "driver_override").write_text("\n")
        ended = call(results, *check("--unbind", *SOME))
        assert ended.status == 0, ended.said
        assert (driver(DEVICE), override(DEVICE)) == ("igbvf", "(null)")


def test_a_route_is_never_cut(results: Path) -> None:
    """The default route goes through the interface: no consent helps."""
    with loaded("igbvf"), bound(DEVICE, "igbvf"):
        (name,) = names(PCI / "devices" / DEVICE / "net")
        for words in (
            f"address add 192.0.2.2/24 dev {name}",
            f"link set {name} up",
            f"route add default via 192.0.2.1 dev {name} onlink",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        ended = call(results, *check("--unbind", *SOME))
        assert ended.status == 2, ended.said
        assert "default route" in ended.said


def test_a_driver_with_a_fault(results: Path, tmp_path: Path) -> None:
    """A requirement fails: the exit code is 1, and all is put back."""
    sources = tmp_path / "sources"
    render = [sys.executable, "-m", "kpatch", "render", "igb-vf", "-o", str(sources)]
    subprocess.run(render, cwd=KIT, check=True)
    mappings = sources / "mappings.c"
    assert "ret = -EBUSY;" in mappings.read_text()
    mappings.write_text(mappings.read_text().replace("-EBUSY", "-EPERM"))
    build = Path("/lib/modules", os.uname().release, "build")
    subprocess.run(["make", "-C", build, f"M={sources}", "modules"], check=True)
    (module,) = sources.glob("*.ko")
    ended = call(results, *check("--module", str(module), "--rule", "saving.refuse"))
    assert ended.status == 1, ended.said
    assert "FAILED  saving.refuse" in ended.said
    assert "This machine is as it was before." in ended.said


def test_a_module_that_is_no_driver_for_vfio(results: Path, tmp_path: Path) -> None:
    """The kernel's own igbvf takes the function, and does not offer it through VFIO."""
    found = next(Path("/lib/modules", os.uname().release).rglob("igbvf.ko*"))
    module = Path(shutil.copy(found, tmp_path / found.name))
    ended = call(results, *check("--module", str(module), "--rule", "region"))
    assert ended.status == 1, ended.said
    assert "does not offer it through VFIO" in ended.said
    assert machine()["functions"][DEVICE] == (None, "(null)")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(results: Path, number: int) -> None:
    with started(results, *check("--walks", "1000")) as process:
        until(lambda: some_ended(results), "a test")
        assert driver(DEVICE) == OURS
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "This machine is as it was before." in said


@pytest.mark.usefixtures("plain")
def test_killed_while_tests_run(results: Path) -> None:
    before = machine()
    with started(results, *check("--walks", "1000")) as process:
        until(lambda: some_ended(results), "a test")
        process.kill()
    assert driver(DEVICE) == OURS
    assert machine() != before
    ended = call(results / "next", *check(*SOME))
    assert ended.status == 0, ended.said
    assert f"An earlier run (process {process.pid}) was killed" in ended.said
    assert "All its changes are undone." in ended.said
    assert machine() == before


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_killed_after_so_many_steps(results: Path, steps: int) -> None:
    """Kill the run as soon as it has noted a step, at whatever it does then."""
    before = machine()
    with started(results, *check("--walks", "1000")) as process:
        until(lambda: steps_noted() >= steps, f"step {steps}")
        process.kill()
    assert JOURNAL.exists()
    done = subprocess.run(command("restore"), cwd=KIT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All its changes are undone." in done.stdout
    assert machine() == before


def test_restore_finds_nothing() -> None:
    done = subprocess.run(command("restore"), cwd=KIT, capture_output=True, text=True, check=False)
    assert (done.returncode, "Nothing to restore" in done.stdout) == (0, True)


@pytest.mark.usefixtures("plain")
def test_run_on_plain_vfio_pci(results: Path) -> None:
    """It offers nothing to judge, which is not to conform."""
    before = machine()
    ended = call(results, "run", "--device", DEVICE, "--peer", PEER)
    assert ended.status == 5, ended.said
    assert f"{DEVICE}, bound to vfio-pci: it offers no migration: " in ended.said
    assert "NOT APPLICABLE" in ended.said
    document = ended.document
    assert document["verdict"]["conclusion"] == "not-applicable"
    said = {rule["verdict"] for rule in document["rules"].values()}
    assert said <= {"skipped", "not-tested", "not-applicable"}
    assert document["counts"]["rules"]["passed"] == 0
    assert machine() == before


def test_run_on_a_driver_that_is_bound(results: Path) -> None:
    """A driver that somebody has loaded and bound is judged and stays."""
    ended = call(results / "first", *check(*SOME))  # builds the driver, if no test has
    assert ended.status == 0, ended.said
    built = Path.home() / ".cache/vfio-migration-kit/builds"
    (module,) = built.glob(f"igb-vf-v1-here-*/src/{OURS}.ko")
    subprocess.run(["insmod", module], check=True)
    try:
        with bound(DEVICE, OURS), bound(PEER, OURS):
            before = machine()
            ended = call(results, "run", "--device", DEVICE, "--peer", PEER)
            assert ended.status == 0, ended.said
            assert ended.document["counts"]["tests"]["passed"] > 100
            assert machine() == before
            # The same build, loaded by somebody else, is used and stays.
            ended = call(results / "check", *check(*SOME))
            assert ended.status == 0, ended.said
            assert machine() == before
    finally:
        subprocess.run(["rmmod", OURS], check=True)


@pytest.mark.usefixtures("plain")
def test_somebody_has_the_function_open(results: Path) -> None:
    group = (PCI / "devices" / DEVICE / "iommu_group").resolve().name
    with Path("/dev/vfio", group).open("r+b", buffering=0):
        for words in (["run", "--device", DEVICE], check()):
            ended = call(results, *words)
            assert ended.status == 2, ended.said
            assert f"(process {os.getpid()}) has /dev/vfio/{group} open" in ended.said


def test_the_physical_function(results: Path) -> None:
    physical = (PCI / "devices" / DEVICE / "physfn").resolve().name
    ended = call(results, "check", "--bdf", physical, "--unbind", "--physical")
    assert ended.status == 2, ended.said
    assert f"Name one of these instead: {DEVICE}" in ended.said


def test_another_description(results: Path) -> None:
    ended = call(results, "check", "i40e-vf", "--bdf", DEVICE)
    assert ended.status == 2, ended.said
    assert "is for 8086:154c" in ended.said


def test_no_driver_is_bound(results: Path) -> None:
    ended = call(results, "run", "--device", DEVICE)
    assert ended.status == 2, ended.said
    assert "is bound to no driver" in ended.said


def test_not_root(results: Path) -> None:
    argv = ["setpriv", "--reuid", "65534", "--clear-groups", *command(*check(), "-o", str(results))]
    done = subprocess.run(argv, cwd=KIT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "sudo" in done.stderr


def test_dry_run(results: Path) -> None:
    ended = call(results, *check("--dry-run"))
    assert ended.status == 0, ended.said
    assert re.search(r"Nothing prevents the run\. igb-vf would be built", ended.said)
    assert not results.exists()


@pytest.mark.usefixtures("plain")
def test_without_the_packages_of_the_kit(results: Path, tmp_path: Path) -> None:
    """`run` and `restore` need the standard library and pytest only."""
    for name in ("pydantic", "jinja2", "elftools", "junitparser", "hypothesis"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no', name='{name}')\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for words, status in ((["restore"], 0), (["run", "--device", DEVICE, "-o", str(results)], 5)):
        argv = command(*words)
        done = subprocess.run(argv, cwd=KIT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
