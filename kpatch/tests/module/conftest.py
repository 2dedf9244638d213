# SPDX-License-Identifier: GPL-2.0-only
"""The kernel tree that the made module fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpatch.kernel.tree import KernelTree
from kpatch.tests.kernel.fake_tree import make_tree


@pytest.fixture
def tree(tmp_path: Path) -> KernelTree:
    return KernelTree(make_tree(tmp_path / "tree"))
