# SPDX-License-Identifier: GPL-2.0-only
"""A made module, and the findings on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kpatch.kernel.tree import KernelTree
from kpatch.module.diagnosis import diagnose
from kpatch.module.finding import Finding
from kpatch.tests.kernel.fake_tree import VERMAGIC
from kpatch.tests.kernel.tiny_elf import module

INFO = (
    "description=Test driver",
    "license=GPL",
    "alias=vfio_pci:v00008086d000010CAsv*sd*bc*sc*i*",
    "depends=vfio-pci-core",
    "name=test_vfio_pci",
    f"vermagic={VERMAGIC}",
    "parmtype=debug:int",
    "parm=debug:Say more",
)


IMPORTS = {
    "module_layout": 0x55555555,
    "kfree": 0x11111111,
    "vfio_pci_core_register_dev_region": 0x22222222,
    "__fentry__": 0,
}


def info_with(key: str, *values: str) -> tuple[str, ...]:
    """The module information with other values of a key."""
    kept = [text for text in INFO if not text.startswith(f"{key}=")]
    return (*kept, *(f"{key}={value}" for value in values))


def find_in(tmp_path: Path, tree: KernelTree | None, *args: Any, **kwargs: Any) -> list[Finding]:
    """What is found of a module that is made for it."""
    file = tmp_path / "test.ko"
    file.write_bytes(module(*args, **kwargs))
    return diagnose(file, tree)


def problems(findings: list[Finding], level: str = "problem") -> list[str]:
    """What is found to be wrong, by topic; each with reason and remedy."""
    bad = [finding for finding in findings if finding.level == level]
    assert all(one.why for one in bad)
    assert all(one.do for one in bad if level == "problem")
    return [f"{one.topic}: {one.what}" for one in bad]
