# SPDX-License-Identifier: GPL-2.0-only
"""What labs run: handed over rule by rule, with the exit code of the run.

`tox -e labs` brings the labs' own tools, which judge the files; without them those tests skip.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path

import pytest

KIT = Path(__file__).resolve().parents[3]
LABS = KIT / "vm-images" / "labs"
TOOLS = Path(os.environ.get("VFIO_KIT_LAB_TOOLS", "/nowhere"))
own_tools = [
    pytest.mark.slow,
    pytest.mark.skipif(not TOOLS.exists(), reason="`tox -e labs` brings the labs' own tools"),
]
WORDS = ("passed", "failed", "skipped", "not-applicable", "not-tested")
RULES = {
    "state.reset": ("passed", ["a"]),
    "state.default": ("failed", ["b"]),
    "save.fresh": ("skipped", ["c"]),
    "p2p.quiet": ("not-applicable", ["d"]),
    "save.stable": ("not-tested", ["e"]),
    "resume.abort": ("not-tested", []),  # no test of it was chosen
}


def results(folder: Path, code: int, verdicts: Container[str] = (*WORDS,)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rules = {
        name: {"verdict": said, "tests": tests}
        for name, (said, tests) in RULES.items()
        if said in verdicts
    }
    document = {"verdict": {"exit_code": code}, "rules": rules}
    (folder / "results.json").write_text(json.dumps(document))
    (folder / "report.html").write_text("a page")


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def called(tmp_path: Path) -> Iterator[Path]:
    """A file with what the programs of a lab were called with, all of which are on PATH."""
    log = tmp_path / "called"
    for name in ("lava-test-case", "tmt-report-result", "tmt-file-submit"):
        program(tmp_path / "bin", name, f'echo {name} "$@" >> {log}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        yield log


def hand_over(folder: Path) -> int:
    argv = [sys.executable, str(LABS / "hand_over.py"), str(folder)]
    return subprocess.run(argv, check=False, stderr=subprocess.DEVNULL).returncode


def test_rules_and_files_are_handed_over(tmp_path: Path, called: Path) -> None:
    results(tmp_path / "r", 1)
    assert hand_over(tmp_path / "r") == 0
    assert called.read_text().splitlines() == [
        "lava-test-case run --result fail",
        "lava-test-case state.reset --result pass",
        "lava-test-case state.default --result fail",
        "lava-test-case save.fresh --result skip",
        "lava-test-case p2p.quiet --result skip",
        "lava-test-case save.stable --result unknown",
        "tmt-report-result state.reset PASS",
        "tmt-report-result state.default FAIL",
        "tmt-report-result save.fresh SKIP",
        "tmt-report-result p2p.quiet SKIP",
        "tmt-report-result save.stable WARN",
        f"tmt-file-submit -l {tmp_path}/r/report.html",
        f"tmt-file-submit -l {tmp_path}/r/results.json",
    ]


@pytest.mark.parametrize(
    ("code", "word"),
    [(0, "pass"), (1, "fail"), (3, "fail"), (4, "unknown"), (5, "skip"), (130, "unknown")],
)
def test_the_run_itself_by_its_exit_code(
    tmp_path: Path, called: Path, code: int, word: str
) -> None:
    results(tmp_path / "r", code)
    assert hand_over(tmp_path / "r") == 0
    lines = called.read_text().splitlines()
    assert lines[0] == f"lava-test-case run --result {word}"
    assert any("tmt-report-result" in line for line in lines) is (code < 2)


def test_a_lab_that_takes_nothing_is_an_error(tmp_path: Path, called: Path) -> None:
    results(tmp_path / "r", 0)
    program(called.parent / "bin", "lava-test-case", "exit 3")
    assert hand_over(tmp_path / "r") != 0


@pytest.mark.parametrize("arguments", ["emulated", "--bdf 0000:01:00.0", "--bdf=0000:01:00.0"])
@pytest.mark.parametrize(("code", "left"), [(0, True), (3, True), (2, False)])
def test_the_runner_ends_with_the_exit_code_of_the_run(
    tmp_path: Path, called: Path, arguments: str, code: int, *, left: bool
) -> None:
    kit = tmp_path / "kit"
    shutil.copytree(LABS, kit / "vm-images" / "labs")
    results(tmp_path / "made", code)
    check = f"""echo check "$@" >> {called}
for last; do :; done
{f'cp -r {tmp_path}/made "$last/latest"' if left else ":"}
exit {code}"""
    program(kit / ".venv/bin", "python", check)
    program(kit / "vm-images", "test-machine.sh", check)
    program(kit / "vm-images", "host-setup.sh", "exit 0")
    argv = [str(kit / "vm-images/labs/run.sh"), *arguments.split(), "-k", "two words"]
    assert subprocess.run(argv, check=False).returncode == code
    first, *rest = called.read_text().splitlines()
    assert f"check {arguments} -k two words -o results/lab-" in first
    assert bool(rest) is left


class TestByTheirOwnTools:
    pytestmark = own_tools

    def test_tmt(self) -> None:
        argv = [str(TOOLS / "tmt/bin/tmt"), "lint", "--outcome-only", "fail"]
        done = subprocess.run(argv, cwd=KIT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        said = subprocess.run(
            [argv[0], "plan", "ls"], cwd=KIT, capture_output=True, text=True, check=True
        ).stdout
        assert said.splitlines() == ["/vm-images/labs/plans/hardware", "/vm-images/labs/plans/vm"]

    def test_tmt_finds_mistakes(self, tmp_path: Path) -> None:
        (tmp_path / ".fmf").mkdir()
        (tmp_path / ".fmf/version").write_text("1\n")
        text = (LABS / "plans.fmf").read_text()
        (tmp_path / "plans.fmf").write_text(text.replace("how: tmt", "how: tnt"))
        argv = [str(TOOLS / "tmt/bin/tmt"), "lint"]
        assert subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False).returncode

    @pytest.mark.parametrize(("code", "status"), [(0, 0), (1, 1), (3, 2), (4, 2)])
    def test_tmt_takes_exit_codes_as_the_kit_means_them(
        self, tmp_path: Path, code: int, status: int
    ) -> None:
        """1 is a failure of the driver, what is worse an error; each rule is a result below it."""
        kit = tmp_path / "kit"
        shutil.copytree(LABS, kit / "vm-images" / "labs")
        shutil.copytree(KIT / ".fmf", kit / ".fmf")
        there = [word for word in WORDS if code or word not in ("failed", "not-tested")]
        results(tmp_path / "made", code, there)
        check = f'for last; do :; done; cp -r {tmp_path}/made "$last/latest"; exit {code}'
        program(kit / ".venv/bin", "python", check)
        program(kit / "vm-images", "host-setup.sh", "exit 0")
        run = tmp_path / "run"
        words = f"--feeling-safe run --id {run} -a provision -h local plan -n /vm$ report -h junit"
        argv = [str(TOOLS / "tmt/bin/tmt"), *words.split(), "--file", str(tmp_path / "junit.xml")]
        done = subprocess.run(argv, cwd=kit, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        said = "".join(path.read_text() for path in run.rglob("results.yaml"))
        for name, (word, tests) in RULES.items():
            assert (f"/{name}" in said) is bool(tests and word in there and code < 2), said
        assert list(run.rglob("report.html"))

    def lava(self, *words: str) -> int:
        path = TOOLS / "lava/usr/lib/python3/dist-packages"
        argv = [str(TOOLS / "lava/bin/python"), *words]
        return subprocess.run(argv, env={"PYTHONPATH": str(path)}, check=False).returncode

    def definition(self, path: Path) -> int:
        check = "import sys, yaml; from lava_common.schemas.test import testdef; "
        check += "testdef.validate(yaml.safe_load(open(sys.argv[1])))"
        return self.lava("-c", check, str(path))

    def test_lava(self, tmp_path: Path) -> None:
        assert self.definition(LABS / "lava.yaml") == 0
        program = str(TOOLS / "lava/usr/share/lava-common/lava-schema.py")
        job = LABS / "lava-job.yaml"
        assert self.lava(program, "job", "--strict", str(job)) == 0
        for path, check in (
            (LABS / "lava.yaml", self.definition),
            (job, lambda path: self.lava(program, "job", "--strict", str(path))),
        ):
            wrong = tmp_path / path.name
            wrong.write_text(path.read_text().replace("name:", "called:"))
            assert check(wrong) != 0

    def test_labgrid_shares_the_machine_out(self, tmp_path: Path) -> None:
        """Its exporter takes the example, one user gets the place, the next one does not."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        env = {**os.environ, "LG_COORDINATOR": address, "LG_USERNAME": "one"}
        # Where it looks for programs that it exports by; none is used here.
        env["PATH"] += ":/usr/sbin:/sbin"

        def labgrid(*words: str, user: str = "one") -> subprocess.CompletedProcess[str]:
            argv = [str(TOOLS / "labgrid/bin/labgrid-client"), *words]
            own = {**env, "LG_USERNAME": user}
            return subprocess.run(argv, env=own, capture_output=True, text=True, check=False)

        def serve(name: str, *words: str) -> contextlib.AbstractContextManager[object]:
            argv = [str(TOOLS / "labgrid/bin" / f"labgrid-{name}"), *words]
            log = (tmp_path / name).open("w")
            return closing(subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=log, stderr=log))

        exporter = ("-n", "lab", str(LABS / "labgrid-exporter.yaml"))
        with contextlib.ExitStack() as stack:
            stack.enter_context(serve("coordinator", "-l", address))
            eventually(lambda: labgrid("places").returncode == 0)
            stack.enter_context(serve("exporter", *exporter))
            eventually(lambda: "vfio-nic-1" in labgrid("resources").stdout)
            assert labgrid("-p", "vfio-nic", "create").returncode == 0
            match = labgrid("-p", "vfio-nic", "add-match", "*/vfio-nic-1/*")
            assert match.returncode == 0, match.stderr
            assert labgrid("-p", "vfio-nic", "acquire").returncode == 0
            assert labgrid("-p", "vfio-nic", "acquire", user="two").returncode != 0
            check = "import sys; from labgrid import Environment; "
            check += "target = Environment(sys.argv[1]).get_target(); "
            check += "print(target.get_driver('SSHDriver', activate=False).networkservice.address)"
            argv = [str(TOOLS / "labgrid/bin/python"), "-c", check]
            argv.append(str(LABS / "labgrid-place.yaml"))
            done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
            assert done.stdout.strip() == "vfio-nic-1.lab.example.org", done.stderr
            assert labgrid("-p", "vfio-nic", "release").returncode == 0
            assert labgrid("-p", "vfio-nic", "acquire", user="two").returncode == 0


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@contextlib.contextmanager
def closing(process: subprocess.Popen[bytes]) -> Iterator[object]:
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
