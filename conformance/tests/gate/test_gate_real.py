# SPDX-License-Identifier: GPL-2.0-only
"""The gate on the source of a distribution's kernel: our series passes, seeded faults do not.

VFIO_KIT_LINUX names the source and VFIO_KIT_ROOT the root of an image with the kernel of the same
version, a compiler and sparse. The case that boots needs the whole lab, and VFIO_KIT_BOOT=1.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from conformance.gate import run as gate
from conformance.gate.results import Report
from conformance.gate.run import GateRequest
from kpatch.device import load as device
from kpatch.kernel import tree as kernel
from kpatch.series import mail as series_mail
from kpatch.series import make as series_make
from kpatch.series import steps as series
from kpatch.series.mail import FIRST, Recipients
from kpatch.tests.series import fake_source
from kpatch.tools import git
from kpatch.tools.git import Identity, Repository

pytestmark = pytest.mark.slow

_FOLDER = "drivers/vfio/pci/igb-vf"
_CORE = "\tselect VFIO_PCI_CORE\n"
_LAST = "#endif /* "
_LOUD = "int igb_vf_forgotten(void)\n{\n\treturn 0;\n}\n\n"
_SIGNED = "Signed-off-by: Ada User <ada@example.org>\n"
_UNUSED = "static void igb_vf_forgotten(struct igb_vf_device *xdev)\n{\n}\n\n"


@dataclass(frozen=True)
class Fault:
    """A change of one file that a patch makes in addition to its own, and that goes with the next.

    Attributes:
        patch: The number of the patch.
        path: The file.
        old: What is replaced in it.
        new: What it is replaced by.
    """

    patch: int
    path: str
    old: str
    new: str


SEEDED = [
    pytest.param(
        Fault(4, f"{_FOLDER}/region.c", "mig->staged = 0;", "mig->stagged = 0;"),
        "build",
        "has no member named",
        id="build",
    ),
    pytest.param(
        Fault(4, f"{_FOLDER}/region.c", "mig->staged = 0;", "mig->staged=0 ;"),
        "checkpatch",
        "spaces required around that '='",
        id="style",
    ),
    pytest.param(
        Fault(3, f"{_FOLDER}/main.c", "static int igb_vf_open", f"{_UNUSED}static int igb_vf_open"),
        "build",
        "new warning: drivers/vfio/pci/igb-vf/main.c",
        id="unused",
    ),
    pytest.param(
        Fault(
            4,
            f"{_FOLDER}/bus.c",
            "\tiowrite32(value, xdev->bar[bar] + offset);",
            "\tvoid *addr = xdev->bar[bar] + offset;\n\n\tiowrite32(value, addr);",
        ),
        "build",
        "different address spaces",
        id="sparse",
    ),
    pytest.param(
        Fault(4, f"{_FOLDER}/Kconfig", "\tselect CRC32\n", ""),
        "build",
        "CONFIG_IGB_VF_VFIO_PCI lacks a dependency: crc32_le() is exported by lib/crc32",
        id="dependency",
    ),
    pytest.param(
        Fault(3, f"{_FOLDER}/Kconfig", "\tselect VFIO_PCI_CORE\n", "\tselect VFIO_PCI_CORES\n"),
        "build",
        "lacks a dependency: vfio_pci_core_",
        id="typo",
    ),
    pytest.param(
        Fault(3, f"{_FOLDER}/main.c", "static int igb_vf_open", f"{_LOUD}static int igb_vf_open"),
        "build",
        "no previous prototype for 'igb_vf_forgotten'",
        id="prototype",
    ),
    pytest.param(
        Fault(4, f"{_FOLDER}/igb_vf.h", _LAST, f"{_LOUD}{_LAST}"),
        "build",
        "multiple definition of `igb_vf_forgotten'",
        id="stub",
    ),
    pytest.param(
        Fault(3, f"{_FOLDER}/Kconfig", _CORE, f"{_CORE}\tselect IOMMU_IO_PGTABLE_LPAE\n"),
        "kconfig",
        "unmet direct dependencies for IOMMU_IO_PGTABLE_LPAE, which IGB_VF_VFIO_PCI selects",
        id="unmet",
    ),
]
# The state is stored although nobody looked at the mappings.
BREAKS = Fault(5, f"{_FOLDER}/mappings.c", "\tif (ledger->conflicts)\n", "\tif (false)\n")


@dataclass(frozen=True)
class Seeding(Repository):
    """A repository whose commits get faults."""

    faults: tuple[Fault, ...] = ()

    def commit(self, message: str, date: int, *, signoff: bool = False) -> None:
        number = int(self.out("rev-list", "--count", "HEAD"))
        for fault in self.faults:
            if fault.patch == number:
                path = self.path / fault.path
                text = path.read_text()
                assert fault.old in text
                path.write_text(text.replace(fault.old, fault.new, 1))
        super().commit(message, date, signoff=signoff)


@dataclass(frozen=True)
class Real:
    linux: Path
    root: Path
    store: Path
    folder: Path

    def seeded(self, faults: tuple[Fault, ...], count: int) -> Path:
        """Write the first patches of the series with faults and return their folder."""
        who = Identity("Ada User", "ada@example.org")
        names = [*series.NEEDED, *(one for one in series.OPTIONAL if (self.linux / one).is_file())]
        files = {name: self.linux / name for name in names}
        plain = git.adopt(files, self.folder / "tree", who, "base")
        base = plain.out("rev-parse", "HEAD")
        repository = Seeding(plain.path, who, faults=faults)
        chosen = device.load("igb-vf")
        words = series.context(chosen, plain.path, who, "v1")
        series.commit(repository, chosen, words, date=git.EPOCH, signoff=True)
        plain.run("reset", "--quiet", "--hard", f"HEAD~{7 - count}")
        target = self.folder / "series"
        series_mail.format_patches(plain, base, target, FIRST, Recipients((), ()))
        return target

    def judge(self, what: Path, boot: str = "") -> Report:
        wanted = GateRequest(
            str(what), self.linux, kernel.find(self.root), self.folder / "res", self.store, boot
        )
        return gate.judge(wanted, lambda _line: None)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def real(tmp_path: Path, store: Path) -> Real:
    linux, root = os.environ.get("VFIO_KIT_LINUX"), os.environ.get("VFIO_KIT_ROOT")
    if not linux or not root:
        pytest.skip("VFIO_KIT_LINUX and VFIO_KIT_ROOT do not name a kernel source and an image")
    if not (Path(linux) / "arch/x86/Kconfig").is_file():
        pytest.skip(f"{linux} is not the whole source: it has no arch/x86/Kconfig")
    if not (Path(root) / "usr/bin/sparse").exists():
        pytest.skip(f"{root} has no sparse")
    return Real(Path(linux), Path(root), store, tmp_path)


def found(report: Report) -> list[tuple[int, str]]:
    return [(patch.number, step.name) for patch in report.patches for step in patch.failures]


@pytest.mark.parametrize("name", ["i40e-vf", "igb-vf"])
def test_our_series(real: Real, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(fake_source.config(real.folder)))
    wanted = series_make.SeriesRequest(device.load(name), real.linux, signoff=True, ask=False)
    series_make.make(wanted, real.folder / "out")
    report = real.judge(real.folder / "out")
    assert found(report) == []
    assert all(patch.step("message").verdict == "passed" for patch in report.patches)  # type: ignore[union-attr]


@pytest.mark.parametrize(("fault", "step", "words"), SEEDED)
def test_seeded(real: Real, fault: Fault, step: str, words: str) -> None:
    report = real.judge(real.seeded((fault,), 5))
    first = next(patch for patch in report.patches if patch.failures)
    assert first.number == fault.patch
    assert [failure.name for failure in first.failures] == [step]
    assert words in "\n".join((first.failures[0].reason, *first.failures[0].details))


_OPTION = """\
config VFIO_LAB_TRACE
\tbool "Trace what user space does"
\thelp
\t  Print a line when the core of VFIO is loaded, so that a log shows
\t  from when on devices can be handed to user space. The lines of
\t  other options for tracing are not affected. There is no module
\t  of this name.

\t  If unsure, say N.

"""
_TRACE = '\tif (IS_ENABLED(CONFIG_VFIO_LAB_TRACE))\n\t\tpr_info("tracing\\n");\n\n'
_NEW = "// SPDX-License-Identifier: GPL-2.0-only\nstatic int x;\n"


def test_option_that_adds_no_module_and_file_of_a_pattern(real: Real) -> None:
    """Upstream has many such options; `N: imx` of MAINTAINERS alone covers the new file."""
    who = Identity("Ada User", "ada@example.org")
    kconfig, main = "drivers/vfio/Kconfig", "drivers/vfio/vfio_main.c"
    files = {name: real.linux / name for name in (kconfig, main)}
    tree = git.adopt(files, real.folder / "tree", who, "base")
    base = tree.out("rev-parse", "HEAD")
    for path, old, new in (
        (kconfig, 'source "drivers/vfio/pci/Kconfig"\n', _OPTION),
        (main, "\tida_init(&vfio.device_ida);\n", _TRACE),
    ):
        text = (tree.path / path).read_text("utf-8")
        assert text.count(old) == 1
        (tree.path / path).write_text(text.replace(old, new + old), "utf-8")
    tree.commit(f"vfio: Trace\n\nWhy.\n\n{_SIGNED}", git.EPOCH)
    for name in ("imx-new.c", "other-new.c"):
        (tree.path / "drivers/bus").mkdir(exist_ok=True)
        (tree.path / "drivers/bus" / name).write_text(_NEW)
        tree.commit(f"bus: {name}: Add it\n\nWhy.\n\n{_SIGNED}", git.EPOCH)
    target = real.folder / "series"
    series_mail.format_patches(tree, base, target, FIRST, Recipients((), ()))
    option, imx, other = real.judge(target).patches
    assert option.verdict == "passed"
    steps = [patch.step("maintainers") for patch in (option, imx, other)]
    assert [step and step.verdict for step in steps] == [None, "passed", "failed"]


def test_does_not_apply(real: Real) -> None:
    target = real.seeded((), 3)
    path = next(target.glob("0002-*"))
    path.write_text(path.read_text().replace(" static const struct vm_op", " static struct vm_op"))
    report = real.judge(target)
    assert found(report) == [(2, "apply")]


def test_breaks_the_protocol(real: Real) -> None:
    if not os.environ.get("VFIO_KIT_BOOT"):
        pytest.skip("VFIO_KIT_BOOT is not set: the case needs the lab's virtual machine")
    target = real.seeded((BREAKS,), 5)
    report = real.judge(target, "tip")
    assert found(report) == [(5, "boot")]
    boot = report.patches[4].step("boot")
    assert boot
    assert any("saving.refuse" in line for line in (boot.reason, *boot.details))
    assert replace(boot, log="").verdict == "failed"
