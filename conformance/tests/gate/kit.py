# SPDX-License-Identifier: GPL-2.0-only
"""A small tree, a kernel for it, and a series: what the tests of the gate judge."""

from pathlib import Path

from conformance.gate import run as gate
from conformance.gate.results import Report
from conformance.gate.run import GateRequest
from kpatch.kernel.tree import KernelTree
from kpatch.tests.series import fake_source
from kpatch.tests.series.fake_source import make_build, make_git, make_source

MAIN = "int neu(void);\nint neu(void)\n{\n\treturn 0;\n}\n"
BETTER = MAIN.replace("return 0", "return 1")
FOLDER = "drivers/vfio/pci/neu"
SIGNED = "Signed-off-by: Ada User <ada@example.org>\n"


class Kit:
    """A tree, a kernel for it, and a series of three patches on a branch of a copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = make_source(folder / "linux")
        self.kernel = KernelTree(make_build(folder / "build"))
        self.work = make_git(make_source(folder / "work"))
        self.messages = [
            "vfio: Add a constant\n\nThe next patch needs it.\n\n" + SIGNED,
            "vfio/neu: Add a driver\n\nFor the new device.\n\n" + SIGNED,
            "vfio/neu: Return more\n\nZero is too little.\n\n" + SIGNED,
        ]
        self.changes: list[dict[str, str]] = [
            {"include/uapi/linux/vfio.h": self.text("include/uapi/linux/vfio.h") + "#define N 1\n"},
            {
                f"{FOLDER}/main.c": MAIN,
                f"{FOLDER}/Makefile": "obj-$(CONFIG_NEU) += main.o\n",
                f"{FOLDER}/Kconfig": 'config NEU\n\ttristate "new"\n',
            },
            {f"{FOLDER}/main.c": BETTER},
        ]

    def text(self, name: str) -> str:
        return (self.tree / name).read_text()

    def series(self) -> Path:
        """Write the series as it is now and return its folder."""
        for message, change in zip(self.messages, self.changes, strict=True):
            for name, text in change.items():
                path = self.work / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            fake_source.git(self.work, "add", "-A")
            fake_source.git(
                self.work, "commit", "-q", "--allow-empty", "--allow-empty-message", "-m", message
            )
        target = self.folder / "series"
        fake_source.git(
            self.work, "format-patch", "-q", "--always", "--cover-letter", "-o", str(target), "-3"
        )
        return target

    def request(self, what: str | Path) -> GateRequest:
        return GateRequest(
            str(what), self.tree, self.kernel, self.folder / "res", self.folder / "s", sparse=False
        )

    def judge(self, what: str | Path) -> Report:
        return gate.judge(self.request(what), lambda _line: None)


def failures(report: Report) -> list[tuple[int, str]]:
    return [(patch.number, step.name) for patch in report.patches for step in patch.failures]


def reason(report: Report, number: int, name: str) -> str:
    step = report.patches[number - 1].step(name)
    assert step
    return step.reason
