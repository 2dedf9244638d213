# SPDX-License-Identifier: GPL-2.0-only
"""Commit messages: what git and the kernel's own documentation write is accepted."""

from pathlib import Path

import pytest

from conformance.gate import patch as gate_patch
from conformance.gate.checks import message
from conformance.gate.input.commit import Patch

SIGNED = "Signed-off-by: Ada User <ada@example.org>"


def judge(folder: Path, subject: str, body: str) -> tuple[str, str]:
    patch = Patch(folder / "a.patch", subject, body, "", (("a.c", "M"),))
    step = message(patch, signoff=True)
    return step.verdict, step.reason


@pytest.mark.parametrize(
    "subject",
    [
        'Revert "vfio/pci: Add d"',
        'Reapply "vfio/pci: Add d"',
        'Revert "Revert "vfio/pci: Add d""',
        'Revert "vfio/pci: ' + "a" * 80 + '"',
    ],
)
def test_subjects_that_git_writes(tmp_path: Path, subject: str) -> None:
    assert judge(tmp_path, subject, f"Why.\n\n{SIGNED}") == ("passed", "")


@pytest.mark.parametrize(
    "trailer",
    [
        "Cc: stable@vger.kernel.org # v5.10+",
        "Cc: <stable@vger.kernel.org> # 6.1.x: 0123456789ab: vfio: Other",
        "Cc: stable@vger.kernel.org",
        "Cc: a@example.org, b@example.org",
        "Assisted-by: Agent:model-1 coccinelle sparse",
        "Reported-by: syzbot+0123456789@syzkaller.appspotmail.com",
        'Reviewed-by: "Doe, Jo" <jo@example.org> # core',
        "Fixes: 0123456789ab (\"vfio: Other\")",
        "Link: https://example.org/r/1",
        "Closes: https://example.org/r/1",
        "[ada: mended the comment]",
        "Co-developed-by: Bo <bo@example.org>\nSigned-off-by: Bo <bo@example.org>",
    ],
)  # fmt: skip
def test_trailers(tmp_path: Path, trailer: str) -> None:
    assert judge(tmp_path, "vfio: Add it", f"Why.\n\n{trailer}\n{SIGNED}") == ("passed", "")


@pytest.mark.parametrize("trailer", ["Tested-by: Ada", "Cc: stable # v5.10+", "Cc: # a@b"])
def test_trailers_without_an_address(tmp_path: Path, trailer: str) -> None:
    verdict, reason = judge(tmp_path, "vfio: Add it", f"Why.\n\n{trailer}\n{SIGNED}")
    assert (verdict, trailer in reason) == ("failed", True)


@pytest.mark.parametrize("body", ["", SIGNED, f"[ada: mended]\n{SIGNED}"])
def test_no_text(tmp_path: Path, body: str) -> None:
    verdict, reason = judge(tmp_path, "vfio: Add it", body)
    assert (verdict, "there is no text" in reason) == ("failed", True)


def test_the_complaint_that_names_the_fault() -> None:
    said = (
        "WARNING: unmet direct dependencies detected for IOMMU_IO_PGTABLE_LPAE",
        "Depends on [n]: IOMMU_SUPPORT [=y] && (ARM || ARM64)",
        "Selected by [m]:",
        "- VFIO_NEU [=m] && VFIO [=m]",
    )
    reason = gate_patch.first_complaint(said, "VFIO_NEU")
    assert reason == "unmet direct dependencies for IOMMU_IO_PGTABLE_LPAE, which VFIO_NEU selects"
