# SPDX-License-Identifier: GPL-2.0-only
"""Programs are started in one place and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kpatch.errors import ProgramFailed, ProgramMissing, ProgramTimeout
from kpatch.tools import programs


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def gone(pid: int, within: float = 5.0) -> bool:
    """Whether a process disappears in time."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not alive(pid):
            return True
        time.sleep(0.02)
    return False


def pid_in(path: Path) -> int:
    """The process id that a child writes to a file, once it is there."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if path.exists() and (text := path.read_text().strip()):
            return int(text)
        time.sleep(0.02)
    raise AssertionError(f"{path} was never written")


def test_output_comes_back_by_stream() -> None:
    done = programs.run(["sh", "-c", "echo out; echo err >&2"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")


def test_input_is_passed_and_otherwise_empty() -> None:
    assert programs.run(["cat"], input="text").stdout == "text"
    assert programs.run(["cat"]).stdout == ""


def test_much_output_does_not_block() -> None:
    done = programs.run(["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"])
    assert len(done.stdout) == 3000000


def test_broken_utf8_is_shown_not_raised() -> None:
    assert programs.run(["printf", "a\\377b"]).stdout == r"a\xffb"


def test_env_adds_to_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    assert programs.run(["sh", "-c", "echo $OURS$MORE"], env={"MORE": "2"}).stdout == "12\n"


def test_failure_carries_command_status_output_and_hint() -> None:
    with pytest.raises(ProgramFailed) as caught:
        programs.run(["sh", "-c", "echo no good >&2; exit 3"], hint="Try again.")
    assert caught.value.status == 3
    text = str(caught.value)
    assert "sh ended with status 3." in text
    assert "sh -c 'echo no good >&2; exit 3'" in text
    assert "  no good" in text
    assert text.endswith("Try again.")


def test_failure_may_be_the_callers_business() -> None:
    assert programs.run(["false"], check=False).returncode == 1


def test_missing_program_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ProgramMissing, match="Debian package mmdebstrap") as caught:
        programs.run(["mmdebstrap", "trixie"])
    assert caught.value.package == "mmdebstrap"


def test_missing_directory_is_not_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match=r"cannot be run in .*nowhere: No such file"):
        programs.run(["true"], cwd=tmp_path / "nowhere")


def test_file_that_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(ProgramFailed, match="Permission denied"):
        programs.run([str(tmp_path / "data")])


def test_log_has_the_command_and_its_output(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log"
    programs.run(["sh", "-c", "echo one; echo two >&2"], log=log, cwd=tmp_path)
    programs.run(["echo", "three"], log=log)
    lines = log.read_text().splitlines()
    assert lines[0] == f"$ cd {tmp_path} && sh -c 'echo one; echo two >&2'"
    assert sorted(lines[1:3]) == ["one", "two"]
    assert lines[3:] == ["$ echo three", "three"]


def test_timeout_ends_the_whole_family(tmp_path: Path) -> None:
    script = f"trap '' TERM; (trap '' TERM; sleep 60) & echo $! >{tmp_path}/pid; echo hi; wait"
    begin = time.monotonic()
    with pytest.raises(ProgramTimeout, match=r"still running after 0\.5 s") as caught:
        programs.run(["sh", "-c", script], timeout=0.5)
    assert time.monotonic() - begin < 10
    assert "  hi" in str(caught.value)
    assert gone(pid_in(tmp_path / "pid"))


def test_grandchild_is_neither_waited_for_nor_left(tmp_path: Path) -> None:
    begin = time.monotonic()
    programs.run(["sh", "-c", f"sleep 60 & echo $! >{tmp_path}/pid"])
    assert time.monotonic() - begin < 5
    assert gone(pid_in(tmp_path / "pid"))


PARENT = """
import sys
from kpatch.tools import programs
programs.run(["sh", "-c", "echo $$ >" + sys.argv[1] + "; exec sleep 60"])
"""


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name
)
def test_no_child_outlives_us(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C raises and cleans up; an end without cleaning up takes the child along."""
    root = Path(programs.__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "pid")], cwd=root, stderr=subprocess.PIPE
    ) as parent:
        child = pid_in(tmp_path / "pid")
        os.kill(parent.pid, number)
        assert parent.wait(10) != 0
        assert gone(child)
        assert parent.stderr
        assert (b"KeyboardInterrupt" in parent.stderr.read()) == (number == signal.SIGINT)


def test_interrupt_amid_a_fork_ends_the_child(tmp_path: Path) -> None:
    """Python drops what a handler raises in the hooks of a fork."""

    def interrupt() -> None:
        if forking:
            os.kill(os.getpid(), signal.SIGINT)

    forking = True
    os.register_at_fork(after_in_parent=interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            programs.run(["sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 60"])
    finally:
        forking = False
    # The shell may have been ended before it began, or between opening the file and writing to it.
    if (tmp_path / "pid").exists() and (pid := (tmp_path / "pid").read_text().strip()):
        assert gone(int(pid))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_background_program_ends_with_its_block(tmp_path: Path) -> None:
    with programs.start(["sh", "-c", "echo up; exec sleep 60"], log=tmp_path / "log") as running:
        assert alive(running.pid)
        assert running.poll() is None
        assert running.wait(0.01) is None
        # A busy machine may end the program before it has printed anything.
        while not (tmp_path / "log").read_text().endswith("\nup\n"):
            assert running.wait(0.02) is None
    assert gone(running.pid)
    assert running.poll() == -signal.SIGTERM
    assert (tmp_path / "log").read_text().endswith("sleep 60'\nup\n")


def test_background_program_ends_when_the_block_raises(tmp_path: Path) -> None:
    script = f"trap '' TERM; echo $$ >{tmp_path}/pid; sleep 60 & wait; wait"
    ended: list[programs.Running] = []

    def fail() -> None:
        with programs.start(["sh", "-c", script], grace=0.2) as running:
            ended.append(running)
            assert pid_in(tmp_path / "pid") == running.pid
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert ended[0].poll() == -signal.SIGKILL


def test_background_program_may_end_by_itself() -> None:
    with programs.start(["sh", "-c", "exit 7"]) as running:
        assert running.wait(10) == 7


def test_background_program_that_is_missing() -> None:
    with pytest.raises(ProgramMissing), programs.start(["no-such-program"]):
        pass


def test_background_program_inherits_descriptors() -> None:
    reader, writer = os.pipe()
    with programs.start(
        ["sh", "-c", f"echo hello >/dev/fd/{writer}"], pass_fds=[writer]
    ) as running:
        os.close(writer)
        assert running.wait(10) == 0
    with os.fdopen(reader) as file:
        assert file.read() == "hello\n"


def test_dry_run_prints_and_does_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    with programs.dry_run(lines.append):
        assert programs.dry()
        done = programs.run(["touch", "a b"], cwd=tmp_path, env={"X": "1 2"}, log=tmp_path / "log")
        with programs.start(["no-such-program"]) as running:
            assert running.poll() == 0
            running.stop()
        assert programs.interact(["no-such-shell"]) == 0
    assert not programs.dry()
    assert (done.returncode, done.stdout) == (0, "")
    assert lines == [
        f"cd {tmp_path} && X='1 2' touch 'a b'",
        "no-such-program",
        "no-such-shell",
    ]
    assert not list(tmp_path.iterdir())


def test_interactive_program_returns_its_status() -> None:
    assert programs.interact(["sh", "-c", "exit 4"]) == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interactive_program_that_is_missing() -> None:
    with pytest.raises(ProgramMissing):
        programs.interact(["no-such-program"])
