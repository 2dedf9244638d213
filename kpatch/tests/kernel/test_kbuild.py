# SPDX-License-Identifier: GPL-2.0-only
"""Modules are built with the kbuild of their kernel, here with a make that only pretends."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from kpatch.errors import BuildFailed, KernelTreeError, ProgramMissing
from kpatch.kernel.features import Features, probe
from kpatch.kernel.kbuild import build, excerpt, warnings_in
from kpatch.kernel.tree import KernelTree
from kpatch.tests.kernel.fake_tree import CONFIG, make_tree

MAKE = """\
#!/bin/sh
# Says what it was asked, does what the test wants, and leaves what kbuild would.
echo "make: $*"
echo "$*" >>"$FAKE_MAKE_LOG"
case "$*" in *clean) rm -f "$FAKE_DIR"/*.o "$FAKE_DIR"/*.ko; exit 0 ;; esac
cat "$FAKE_OUTPUT"
[ -e "$FAKE_FAIL" ] && exit 2
touch "$FAKE_DIR/main.o" "$FAKE_DIR/test.ko"
printf '%s\\n' "deps := \\\\" "  $FAKE_HEADER \\\\" >"$FAKE_DIR/.main.o.cmd"
"""


class Kbuild:
    """A folder with a module, and a make which can be shown what to do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tree = KernelTree(make_tree(folder / "tree"))
        self.header = folder / "tree/include/vfio.h"
        self.header.write_text("/* one */\n")
        self.sources = folder / "src"
        self.sources.mkdir()
        (self.sources / "Kbuild").write_text("obj-m := test.o\ntest-y := main.o\n")
        (self.sources / "main.c").write_text("int x;\n")
        self.log = folder / "build.log"
        self.output = folder / "output"
        self.output.write_text("")
        self.fail = folder / "fail"
        self.calls_log = folder / "calls"
        (folder / "bin").mkdir()
        (folder / "bin/make").write_text(MAKE)
        (folder / "bin/make").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_MAKE_LOG", str(self.calls_log))
        monkeypatch.setenv("FAKE_DIR", str(self.sources))
        monkeypatch.setenv("FAKE_OUTPUT", str(self.output))
        monkeypatch.setenv("FAKE_FAIL", str(self.fail))
        monkeypatch.setenv("FAKE_HEADER", str(self.header))

    def build(self, *, warnings: bool = True) -> Path:
        """Build the module."""
        return build(self.sources, self.tree, warnings=warnings, log=self.log)

    def calls(self) -> list[str]:
        """What make was asked to make since the last look."""
        lines = self.calls_log.read_text().splitlines() if self.calls_log.exists() else []
        self.calls_log.unlink(missing_ok=True)
        return [line.split()[-1] for line in lines]


@pytest.fixture
def kbuild(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kbuild:
    return Kbuild(tmp_path, monkeypatch)


def test_module_is_built_once(kbuild: Kbuild) -> None:
    assert kbuild.build() == kbuild.sources / "test.ko"
    assert kbuild.calls() == ["modules"]
    assert kbuild.build() == kbuild.sources / "test.ko"
    assert kbuild.calls() == []


@pytest.mark.parametrize("what", ["source", "new source", "header", "module", "warnings"])
def test_module_is_built_again_when_something_changed(kbuild: Kbuild, what: str) -> None:
    kbuild.build()
    kbuild.calls()
    match what:
        case "source":
            (kbuild.sources / "main.c").write_text("int y;\n")
        case "new source":
            (kbuild.sources / "more.h").write_text("")
        case "header":
            kbuild.header.write_text("/* another */\n")
        case "module":
            (kbuild.sources / "test.ko").unlink()
    kbuild.build(warnings=what != "warnings")
    assert kbuild.calls() == ["modules"]


def test_objects_of_another_kernel_are_not_used(kbuild: Kbuild, tmp_path: Path) -> None:
    kbuild.build()
    kbuild.tree = KernelTree(make_tree(tmp_path / "other", release="6.12.10-other"))
    kbuild.calls()
    kbuild.build()
    assert kbuild.calls() == ["clean", "modules"]


def test_extra_warnings_are_asked_for(kbuild: Kbuild) -> None:
    kbuild.build()
    assert "W=1 modules" in kbuild.log.read_text()
    kbuild.build(warnings=False)
    assert "W=1" not in kbuild.log.read_text()


def test_warnings_are_reported_every_time(kbuild: Kbuild, caplog: pytest.LogCaptureFixture) -> None:
    kbuild.output.write_text("main.c:1:5: warning: unused variable 'x'\n")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            kbuild.build()
        assert caplog.messages == ["The compiler warns: main.c:1:5: warning: unused variable 'x'"]
    assert "unused variable" in kbuild.log.read_text()


def test_failure_shows_the_compilers_words_and_keeps_the_sources(kbuild: Kbuild) -> None:
    kbuild.fail.touch()
    kbuild.output.write_text("main.c:1:5: error: expected ';'\n    1 | int x\n")
    with pytest.raises(BuildFailed) as caught:
        kbuild.build()
    text = str(caught.value)
    assert "does not build for Linux 6.12.9-test" in text
    assert "main.c:1:5: error: expected ';'\n    1 | int x" in text
    assert f"The whole output is in {kbuild.log}, the sources are kept in" in text
    assert caught.value.sources == kbuild.sources
    assert (kbuild.sources / "main.c").read_text() == "int x;\n"
    kbuild.fail.unlink()
    assert kbuild.build().exists(), "a failure is not remembered"


def test_failure_after_a_success_is_a_failure(kbuild: Kbuild) -> None:
    kbuild.build()
    (kbuild.sources / "main.c").write_text("int\n")
    kbuild.fail.touch()
    for _ in range(2):
        with pytest.raises(BuildFailed):
            kbuild.build()


def test_folder_without_a_module(kbuild: Kbuild) -> None:
    (kbuild.sources / "Kbuild").write_text("obj-y := main.o\n")
    with pytest.raises(BuildFailed, match="has no Kbuild file with a line"):
        kbuild.build()


def test_missing_make_is_not_a_failed_build(
    kbuild: Kbuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ProgramMissing, match="Debian package make"):
        kbuild.build()


def test_probe_that_does_not_compile_says_so(kbuild: Kbuild, tmp_path: Path) -> None:
    kbuild.fail.touch()
    kbuild.output.write_text("probe.c:2:10: fatal error: linux/module.h: No such file\n")
    with pytest.raises(KernelTreeError, match=r"does not compile:[\s\S]*linux/module\.h"):
        probe(kbuild.tree, tmp_path / "work")


def test_tree_without_vfio_is_not_probed(tmp_path: Path) -> None:
    config = CONFIG.replace("CONFIG_VFIO_PCI_CORE=m\n", "")
    with pytest.raises(KernelTreeError, match="CONFIG_VFIO_PCI_CORE"):
        probe(KernelTree(make_tree(tmp_path / "t", config=config)), tmp_path)
    assert isinstance(Features.__doc__, str)


def test_warnings_of_compiler_and_modpost() -> None:
    output = """\
  CC [M]  /src/main.o
/src/main.c:3:5: warning: no previous prototype for 'f' [-Wmissing-prototypes]
WARNING: modpost: missing MODULE_DESCRIPTION() in test.o
warning: the compiler differs from the one used to build the kernel
"""
    assert len(warnings_in(output)) == 3


def test_excerpt_begins_where_the_compiler_does() -> None:
    lines = [f"  CC [M]  /src/{number}.o" for number in range(50)]
    lines += ["In file included from /src/main.c:3:", "/src/main.c: In function 'f':"]
    lines += ["/src/main.c:9:1: error: bad", "   9 | bad"]
    assert excerpt("\n".join(lines)).splitlines() == lines[50:]
    assert excerpt("\n".join(lines[:50])).splitlines() == lines[10:50]
