# SPDX-License-Identifier: GPL-2.0-only
"""Patches of kinds that people reported tools to trip over, through the whole gate."""

import base64
import re
from pathlib import Path

import pytest

from conformance.gate import report as gate_report
from conformance.tests.gate.kit import BETTER, FOLDER, MAIN, Kit, failures, reason
from kpatch.tests.series import fake_source

# A C compiler is no part of a fresh host; the slow tests have that of the image.
pytestmark = pytest.mark.slow

SEPARATE = re.compile(r"^diff --git .*\n(?:(?:new|deleted) file mode .*\n)?(?:index .*\n)?", re.M)


def without_diff_git(series: Path) -> Path:
    """Write the diffs as diff and quilt do."""
    for path in series.glob("*.patch"):
        path.write_text(SEPARATE.sub("", path.read_text()))
    return series


def test_diffs_without_diff_git(kit: Kit) -> None:
    assert failures(kit.judge(without_diff_git(kit.series()))) == []


def test_fault_in_a_diff_without_diff_git(kit: Kit) -> None:
    kit.changes[1][f"{FOLDER}/main.c"] = MAIN.replace("return 0", "return MISSING")
    report = kit.judge(without_diff_git(kit.series()))
    assert failures(report) == [(2, "build")]
    assert "MISSING" in reason(report, 2, "build")


def encoded(path: Path, how: str, ending: str = "\n") -> None:
    """Send a patch in base64, its text in another character set and with other line ends."""
    head, _, body = path.read_text().partition("\n\n")
    head = re.sub(r"\n(?:MIME|Content)-.*", "", head)
    head += f"\nMIME-Version: 1.0\nContent-Type: text/plain; charset={how}\n"
    data = base64.encodebytes(body.replace("\n", ending).encode(how)).decode()
    path.write_text(f"{head}Content-Transfer-Encoding: base64\n\n{data}")


def test_checkpatch_sees_decoded_text(kit: Kit) -> None:
    kit.messages[2] = "vfio/neu: Return more\n\nFür é.\n\nSigned-off-by: A <a@example.org>\n"
    kit.changes[2][f"{FOLDER}/main.c"] = BETTER + "/* BAD_STYLE too bad */\n"
    series = kit.series()
    encoded(next(series.glob("0003-*")), "iso-8859-1")
    report = kit.judge(series)
    assert failures(report) == [(3, "checkpatch")]
    assert "too bad" in reason(report, 3, "checkpatch")


def test_crlf_inside_base64(kit: Kit) -> None:
    series = kit.series()
    encoded(next(series.glob("0003-*")), "utf-8", "\r\n")
    report = kit.judge(series)
    assert failures(report) == [(3, "apply")]
    assert "its lines end in CRLF" in reason(report, 3, "apply")


def test_bytes_that_are_no_text(kit: Kit) -> None:
    series = kit.series()
    path = next(series.glob("0003-*"))
    path.write_bytes(path.read_bytes().replace(b"Return more", b"Return \xe9\xff more"))
    report = kit.judge(series)
    gate_report.write(report, kit.folder / "out")
    assert (kit.folder / "out/junit.xml").exists()
    assert "vfio/neu: Return" in report.patches[2].subject


def test_option_that_adds_no_module(kit: Kit) -> None:
    kit.changes[1] = {
        "drivers/vfio/pci/Kconfig": kit.text("drivers/vfio/pci/Kconfig")
        + 'config VFIO_TRACE\n\tbool "trace"\n',
        "drivers/vfio/core.c": kit.text("drivers/vfio/core.c")
        + "#ifdef CONFIG_VFIO_TRACE\nint trace(void);\nint trace(void) { return 1; }\n#endif\n",
    }
    kit.changes[2] = {"drivers/vfio/core.c": kit.changes[1]["drivers/vfio/core.c"] + "/* c */\n"}
    report = kit.judge(kit.series())
    assert failures(report) == []
    assert report.patches[1].verdict == "passed"


def test_file_that_a_pattern_of_names_covers(kit: Kit) -> None:
    maintainers = kit.text("MAINTAINERS").replace("WHATEVER\n", "WHATEVER\nN:\timx\nK:\tneu_key\n")
    kit.changes[0]["MAINTAINERS"] = maintainers
    kit.changes[2]["drivers/bus/imx-new.txt"] = "x\n"
    kit.changes[2]["drivers/bus/other.txt"] = "neu_key\n"
    assert failures(kit.judge(kit.series())) == []


def test_moved_file_is_asked_about_in_its_new_place(kit: Kit) -> None:
    fake_source.git(kit.work, "mv", "drivers/vfio/core.c", "nowhere.c")
    report = kit.judge(kit.series())
    assert (1, "maintainers") in failures(report)
    assert "nowhere.c is new" in reason(report, 1, "maintainers")


def test_moved_kconfig_adds_no_option(kit: Kit) -> None:
    report = kit.judge(kit.series())
    assert report.passed
    (kit.folder / "series").rename(kit.folder / "first")
    kit.tree = kit.work
    fake_source.git(kit.work, "mv", f"{FOLDER}/Kconfig", f"{FOLDER}/Kconfig.neu")
    fake_source.git(kit.work, "commit", "-q", "-m", "vfio/neu: Move it\n\nWhy.\n")
    report = kit.judge("HEAD~1..HEAD")
    assert failures(report) == [], "the option is not new, so nothing new must be built"


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("drivers/vfio/pci/zzz/new.c", "int x;\n", "no option of this kernel's configuration"),
        ("arch/s390/vfio.c", "int x;\n", "it is for the architecture s390"),
        ("arch/arm64/boot/dts/a.dts", "/ {};\n", "it is for the architecture arm64"),
        ("arch/s390/Kconfig", "config X\n\tbool\n", "it is for the architecture s390"),
        ("arch/s390/pci/Makefile", "obj-y += x.o\n", "it is for the architecture s390"),
        ("tools/testing/a.c", "int x;\n", "it is no part of the kernel"),
        ("mm/vma.c", "int x;\n", "it is not part of a module"),
        ("drivers/vfio/other.h", "#define X\n", "no option of this kernel's configuration"),
    ],
)
def test_not_built(kit: Kit, path: str, text: str, words: str) -> None:
    maintainers = kit.text("MAINTAINERS").replace("F:\twhatever/\n", f"F:\t{path}\n")
    kit.changes[0]["MAINTAINERS"] = maintainers
    kit.changes[2][path] = text
    kit.changes[2]["drivers/vfio/pci/zzz/Makefile"] = "obj-$(CONFIG_ZZZ) += new.o\n"
    report = kit.judge(kit.series())
    assert failures(report) == []
    assert report.patches[2].verdict == "not built"
    assert f"{path} was not compiled: {words}" in reason(report, 3, "build")
    assert "NOT BUILT, or not all of it: patch 3" in gate_report.verdict(report)
    assert "not built" in "\n".join(gate_report.table(report))


def test_lines_that_are_taken_out_where_nothing_is_built(kit: Kit) -> None:
    text = kit.text("drivers/vfio/core.c") + "#ifdef CONFIG_S390\nint a;\nint b;\n#endif\n"
    kit.changes[1] = {"drivers/vfio/core.c": text}
    kit.changes[2] = {"drivers/vfio/core.c": text.replace("int b;\n", "")}
    report = kit.judge(kit.series())
    assert reason(report, 3, "build").endswith("was not compiled: it is there for CONFIG_S390 only")


def test_lines_that_are_not_built(kit: Kit) -> None:
    text = kit.text("drivers/vfio/core.c") + "#ifdef CONFIG_S390\nint zdev;\n#endif\n"
    kit.changes[2] = {"drivers/vfio/core.c": text}
    report = kit.judge(kit.series())
    assert reason(report, 3, "build").endswith("was not compiled: it is there for CONFIG_S390 only")
    assert report.passed
