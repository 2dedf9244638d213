# SPDX-License-Identifier: GPL-2.0-only
"""The doctor as a command: exit code, output, and that it changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.doctor import command
from conformance.doctor.__main__ import main as doctor
from conformance.doctor.checks.checks import CHECKS, judge
from conformance.doctor.checks.finding import Level, Scope
from conformance.doctor.facts import lab
from conformance.doctor.facts.host import Host
from conformance.doctor.facts.lab import Lab
from conformance.errors import UsageError
from conformance.running import paths
from conformance.tests.doctor.machine import PF, VF, Machine, run

LAB = Lab(venv=True, memory=8 << 30, disk=50 << 30, kvm="there", kvm_works=True)


@pytest.mark.parametrize(
    ("host", "blocking", "warning"),
    [
        (LAB, [], []),
        (replace(LAB, machine="aarch64"), ["lab.machine"], []),
        (replace(LAB, python=(3, 9)), ["lab.machine"], []),
        (replace(LAB, memory=512 << 20), ["lab.machine"], []),
        (replace(LAB, missing=("bwrap",)), ["lab.programs"], []),
        (replace(LAB, packages=("pydantic",), venv=False), [], ["lab.programs"]),
        (replace(LAB, namespaces="user.max_user_namespaces=1"), ["lab.namespaces"], []),
        (replace(LAB, unmapped=("/etc/subuid",)), ["lab.namespaces"], []),
        (replace(LAB, disk=1 << 30), ["lab.space"], []),
        (replace(LAB, disk=1 << 30, images=(("trixie", "10"),)), [], ["lab.space"]),
        (replace(LAB, kvm="missing"), [], ["lab.kvm"]),
        (replace(LAB, kvm="forbidden"), [], ["lab.kvm"]),
        (replace(LAB, kvm_works=False), [], ["lab.kvm"]),
        (replace(LAB, kvm_works=None), [], []),
    ],
)
def test_the_host_of_the_lab(
    machine: Machine, host: Lab, blocking: list[str], warning: list[str]
) -> None:
    known = machine.facts("", lab=host)
    pairs = judge(known, frozenset({Scope.LAB}))
    assert [check.name for check, one in pairs if one.level is Level.BLOCKS] == blocking
    assert [check.name for check, one in pairs if one.level is Level.WARNS] == warning


def test_exit_code_and_lines(machine: Machine) -> None:
    status, said = run(machine)
    assert status == 0
    assert said.splitlines()[-1] == f"{VF}: nothing blocks"
    machine.bind(VF, None)
    status, said = run(machine, "01:10.0")
    assert status == 1
    assert said.startswith("blocks  driver.bound")
    assert said.splitlines()[-1] == f"{VF}: 1 in the way; begin with the first"


def test_json(machine: Machine) -> None:
    machine.bind(VF, "vfio-pci")
    status, said = run(machine, json=True)
    document = json.loads(said)
    assert status == 1
    assert document["blocks"] is True
    first = document["findings"][0]
    assert (first["level"], first["check"], first["scope"]) == (
        "blocks",
        "driver.bound",
        "function",
    )
    assert first["what"]
    assert first["why"]
    assert first["do"]


@pytest.mark.parametrize("bdf", ["nonsense", "0000:01:10.8", "1:2"])
def test_no_address(machine: Machine, bdf: str) -> None:
    with pytest.raises(UsageError, match="not a PCI address"):
        run(machine, bdf)


def test_no_such_function(machine: Machine) -> None:
    with pytest.raises(UsageError, match=r"no PCI function 0000:09:00.0 .*to ask about: "):
        run(machine, "09:00.0")
    machine.put(machine.devices / PF / "sriov_numvfs", "0")
    with pytest.raises(UsageError, match=f"{PF} can make virtual functions and has none"):
        run(machine, "09:00.0")


def test_no_such_module(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        run(machine, module=tmp_path / "none.ko")


def test_names_of_checks_are_unique() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)


RECORDER = """
import os, sys
seen = []
def hook(event, args):
    if event == "open":
        path, mode, flags = args
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
            seen.append((event, str(path)))
    elif event.startswith(("os.mkdir", "os.remove", "os.rename", "os.link", "os.symlink",
        "os.chmod", "os.chown", "os.truncate", "os.utime", "os.rmdir", "os.kill", "socket.",
        "fcntl.ioctl", "shutil.")):
        seen.append((event, str(args)))
    elif event == "subprocess.Popen" and args[1][1:] != ["--version"]:
        seen.append((event, str(args)))
sys.addaudithook(hook)
from conformance.doctor.__main__ import main
status = main(sys.argv[1:])
print(seen, file=sys.stderr)
sys.exit(9 if seen else status)
"""


@pytest.mark.parametrize("words", [[], ["-v"], ["--json", "--for", "lab"]])
def test_it_changes_nothing(words: list[str]) -> None:
    """Python tells of all that opens, makes, removes or starts something: here, this machine."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", RECORDER, *words],
        cwd=paths.KIT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr.strip() == "[]"


def test_it_needs_the_standard_library_only() -> None:
    """-S: without the packages of this Python; -I: without what else is in the way."""
    program = f"import sys; sys.path.insert(0, {str(paths.KIT)!r})\n"
    program += "from conformance.doctor.__main__ import main; sys.exit(main(['-v', '--json']))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    said = json.loads(done.stdout)
    assert (
        any(
            "whether KVM was tried is not known: this Python has no" in one["what"]
            for one in said["findings"]
        )
        or not Path("/dev/kvm").exists()
    )


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupt)
    assert doctor([]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("buffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "words",
    [["conformance.doctor", "-v"], ["conformance", "list"], ["kpatch", "devices"]],
    ids=" ".join,
)
def test_reader_that_has_gone(
    monkeypatch: pytest.MonkeyPatch, words: list[str], buffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", buffered)
    argv = [sys.executable, "-B", "-m", *words]
    with subprocess.Popen(
        argv, cwd=paths.KIT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_environment_that_cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user's is, whose Python is a link into a folder that is closed."""
    monkeypatch.setattr(lab, "KIT", Path("/", "x" * 300))
    assert not lab.gather(Host()).venv


@pytest.mark.parametrize("text", ["", "MemAvailable:", "MemAvailable: x kB", "MemFree: 1 kB\n"])
def test_memory_that_is_not_known(machine: Machine, text: str) -> None:
    machine.write("proc/meminfo", text)
    assert lab.gather(Host(machine.root)).memory is None
    machine.write("proc/meminfo", f"MemFree: 1 kB\nMemAvailable:       2 kB\n{text}")
    assert lab.gather(Host(machine.root)).memory == 2 << 10
