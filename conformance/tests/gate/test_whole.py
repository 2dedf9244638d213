# SPDX-License-Identifier: GPL-2.0-only
"""What stays of a whole tree from run to run: its objects, and the warnings of their sources."""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.cli.arguments import parse
from conformance.errors import LabError, UsageError
from conformance.gate import command
from conformance.gate import run as gate
from conformance.gate import tree as gate_tree
from conformance.gate.building import boot as gate_boot
from conformance.gate.building import whole
from conformance.gate.results import Step
from conformance.gate.run import GateRequest
from conformance.lab.check.prepare import Options
from conformance.running.steps import Steps
from conformance.tests.gate.kit import FOLDER, Kit, failures, reason
from kpatch.kernel.tree import KernelTree
from kpatch.tests.series import fake_source
from kpatch.tests.series.fake_source import make_git, make_source
from kpatch.tools.git import Identity
from kpatch.tools.sandbox import Sandbox

WHO = Identity("Gate", "gate@example.org")


def test_a_warning_is_known_until_its_file_is_compiled_again(tmp_path: Path) -> None:
    first = "  CC      a.o\na.c:1:5: warning: x\n  CC [M]  b/c.o\nb/c.c:2:1: warning: y\n"
    assert whole.remember(tmp_path, first)[0] == {"a.c: x": 1, "b/c.c: y": 1}
    assert whole.remember(tmp_path, "  CC      d.o\n")[0] == {"a.c: x": 1, "b/c.c: y": 1}
    counts, lines = whole.remember(tmp_path, "  CC      a.o\n")
    assert (counts, lines) == ({"b/c.c: y": 1}, {"b/c.c: y": "b/c.c:2:1: warning: y"})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": ["b", "c"]}', "[" * 99999])
def test_damaged_memory_of_warnings(tmp_path: Path, text: str) -> None:
    (tmp_path / ".gate-warnings").write_text(text)
    with pytest.raises(LabError, match=f"Remove the folder {tmp_path}"):
        whole.remember(tmp_path, "")


@pytest.mark.parametrize(
    ("touched", "folders"),
    [
        (["mm/vma.c"], ["."]),
        (["include/linux/vfio.h", "MAINTAINERS"], ["."]),
        (["Documentation/driver-api/vfio.rst", "MAINTAINERS"], []),
        (["tools/testing/selftests/vfio/a.c"], []),
    ],
)
def test_what_is_built(tmp_path: Path, touched: list[str], folders: list[str]) -> None:
    builder = whole.builder(tmp_path, Sandbox(tmp_path), "key", Steps(print), sparse=False)
    assert builder.folders(touched) == folders


def test_iommufd_where_devices_have_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "run", lambda *_, **__: None)
    monkeypatch.setattr(whole.KernelBuilder, "_inside", lambda _self, argv: argv)
    builder = whole.builder(tmp_path, Sandbox(tmp_path), "key", Steps(print), sparse=False)
    cdev = tmp_path / "drivers/vfio/device_cdev.c"

    def options() -> set[str]:
        builder.configure({"VFIO_NEW": "m"}, tmp_path / "log")
        return set((tmp_path / ".gate-fragment").read_text("utf-8").split())

    wanted = {"CONFIG_IOMMUFD=m", "CONFIG_VFIO_DEVICE_CDEV=y"}
    assert "CONFIG_VFIO_NEW=m" in options()
    assert not wanted & options()
    cdev.parent.mkdir(parents=True)
    cdev.touch()
    assert {"CONFIG_VFIO_NEW=m", *wanted} <= options()


def test_a_plain_tree_is_followed(tmp_path: Path) -> None:
    tree, folder = make_source(tmp_path / "linux"), tmp_path / "place"
    repository = gate_tree.whole(tree, "", folder, WHO)
    (folder / "MAINTAINERS").write_text("patched")
    repository.commit("a patch", 0)
    (folder / "drivers/vfio/core.o").write_text("an object")
    (tree / "drivers/vfio/core.c").write_text("new\n")
    (tree / "added.txt").write_text("x\n")
    (tree / "scripts/headers_install.sh").unlink()
    before = (folder / "include/linux/vfio.h").stat().st_mtime_ns
    gate_tree.whole(tree, "", folder, WHO)
    files = {path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts}
    names = {str(path.relative_to(folder)) for path in files}
    names.remove("drivers/vfio/core.o")
    assert names == {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    assert all((folder / name).read_bytes() == (tree / name).read_bytes() for name in names)
    assert (folder / "include/linux/vfio.h").stat().st_mtime_ns == before, "not compiled again"


def test_a_git_tree_is_followed(tmp_path: Path) -> None:
    tree, folder = make_git(make_source(tmp_path / "linux")), tmp_path / "place"
    gate_tree.whole(tree, fake_source.git(tree, "rev-parse", "HEAD").strip(), folder, WHO)
    (folder / "core.o").write_text("an object")
    (tree / "MAINTAINERS").write_text("later\n")
    fake_source.git(tree, "commit", "-qam", "later")
    gate_tree.whole(tree, fake_source.git(tree, "rev-parse", "HEAD").strip(), folder, WHO)
    assert (folder / "MAINTAINERS").read_text() == "later\n"
    assert (folder / "core.o").exists()


def test_build_and_something_that_was_built(kit: Kit) -> None:
    arguments = argparse.Namespace(build=True, root=None, kernel_tree=kit.folder)
    with pytest.raises(UsageError, match="--build builds the kernel of --tree"):
        command.request(arguments, lambda _line: None)


# Stands in for the kernel's kbuild: an object is made again if its source or the options changed.
MAKE = """
allnoconfig:
	@mkdir -p include/config include/generated
	@cp $(KCONFIG_ALLCONFIG) .config
	@cp .config include/config/auto.conf
	@echo '#define UTS_RELEASE "6.12.9-gate"' > include/generated/utsrelease.h
prepare:
	@printf '0x1\\tkfree\\tvmlinux\\tEXPORT_SYMBOL\\t\\n' > Module.symvers
bzImage:
modules:
	@python3 kbuild.py
"""
KBUILD = r"""
import pathlib, re, subprocess, sys

options = set(pathlib.Path(".config").read_text().split())
status, order = 0, []
for source in sorted([*pathlib.Path("mm").glob("*.c"), *pathlib.Path("drivers").rglob("*.c")]):
    makefile = source.parent / "Makefile"
    wanted = re.findall(r"\$\((CONFIG_\w+)\)", makefile.read_text()) if makefile.exists() else []
    if source.name == "vfio_pci_core.c" or wanted and not {f"{wanted[0]}=m"} & options:
        continue
    target = source.with_suffix(".o")
    order += [target] * (source.parts[0] == "drivers")
    if target.exists() and target.stat().st_mtime_ns > source.stat().st_mtime_ns:
        continue
    print(f"  CC      {target}", flush=True)
    made_of = source.with_name(f".{target.name}.cmd")
    failed = subprocess.call(["gcc", "-Wall", "-MMD", "-MF", made_of, "-c", source, "-o", target])
    status |= failed
    if not failed:
        target.with_suffix(".ko").write_bytes(target.read_bytes())
pathlib.Path("modules.order").write_text("".join(f"{one}\n" for one in order))
sys.exit(status and 2)
"""


class WholeKit(Kit):
    """A kit whose tree can be built as a whole, on this host in place of an image."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for tree in (self.tree, self.work):
            (tree / "Makefile").write_text((tree / "Makefile").read_text() + MAKE)
            (tree / "kbuild.py").write_text(KBUILD)
            (tree / "mm").mkdir()
            (tree / "mm/vma.c").write_text("int vma;\n")
        fake_source.git(self.work, "add", "-A")
        fake_source.git(self.work, "commit", "-q", "-m", "mm")
        text = (self.tree / "MAINTAINERS").read_text()
        self.changes[0]["MAINTAINERS"] = text.replace("F:\twhatever/\n", "F:\tmm/\n")

    def request(self, what: str | Path) -> GateRequest:
        kernel = KernelTree(Path("/nonexistent"), Sandbox(Path("/")))
        return replace(super().request(what), kernel=kernel, whole="key")


@pytest.fixture
def whole_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WholeKit:
    monkeypatch.setenv("VFIO_KIT_CACHE", str(tmp_path / "cache"))
    return WholeKit(tmp_path)


def log(kit: Kit, number: int, name: str = "build") -> str:
    return (kit.folder / f"res/{number:04}/{name}.log").read_text()


@pytest.mark.slow
def test_core_code_is_compiled_and_costs_what_is_touched(whole_kit: WholeKit) -> None:
    whole_kit.changes[2]["mm/vma.c"] = "int vma = 1;\n"
    report = whole_kit.judge(whole_kit.series())
    assert failures(report) == []
    assert [patch.verdict for patch in report.patches][2] == "passed"
    assert "CC      drivers/vfio/core.o" in log(whole_kit, 1, "base")
    assert "CC      mm/vma.o" in log(whole_kit, 3)
    assert "CC      drivers/vfio/core.o" not in log(whole_kit, 3)


@pytest.mark.slow
def test_fault_in_core_code(whole_kit: WholeKit) -> None:
    whole_kit.changes[1]["mm/vma.c"] = "static int vma(void) { return 1; }\n"
    whole_kit.changes[2]["mm/vma.c"] = "int vma = MISSING;\n"
    report = whole_kit.judge(whole_kit.series())
    assert failures(report) == [(2, "build"), (3, "build")]
    assert "new warning: mm/vma.c:1:12: warning:" in reason(report, 2, "build")
    assert "MISSING" in reason(report, 3, "build")


@pytest.mark.slow
def test_warnings_of_what_was_compiled_for_another_series(whole_kit: WholeKit) -> None:
    whole_kit.judge(whole_kit.series())
    text = whole_kit.text("drivers/vfio/core.c")
    whole_kit.changes = [{"drivers/vfio/core.c": text + f"/* {number} */\n"} for number in range(3)]
    shutil.rmtree(whole_kit.folder / "series")
    fake_source.git(whole_kit.work, "reset", "--hard", "-q", "HEAD~3")
    report = whole_kit.judge(whole_kit.series())
    assert failures(report) == [], "the unused variable is not new, though it was compiled before"


@pytest.mark.slow
def test_the_kernel_of_the_tree_is_booted(
    whole_kit: WholeKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Options] = []

    def judged(_subject: object, options: Options, *_rest: object) -> tuple[Step, int]:
        asked.append(options)
        return Step("boot", "passed"), 0

    monkeypatch.setattr(gate_boot, "subject", lambda *_arguments: None)
    monkeypatch.setattr(gate_boot, "judge", judged)
    request = replace(whole_kit.request(whole_kit.series()), boot="tip")
    report = gate.judge(request, lambda _line: None)
    assert report.passed
    (options,) = asked
    assert options.kernel_tree
    assert options.module is None, "no driver is touched: the kit's own judges the kernel"
    assert "return 1" in (options.kernel_tree / FOLDER / "main.c").read_text()


def test_results_beside_the_checkout(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(kit.tree)
    monkeypatch.setattr("kpatch.kernel.tree.find", lambda *_arguments: kit.kernel)
    arguments = parse(["gate", "x", "--tree", ".", "--root", "/", "-o", "../gate"])
    asked = command.request(arguments, lambda _line: None)
    assert asked.results == (kit.folder / "gate").resolve()
