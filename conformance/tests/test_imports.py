# SPDX-License-Identifier: GPL-2.0-only
"""Imports point one way: suite -> fixtures -> migration -> vfio -> uapi, lab -> kpatch.

The directions are read from the sources, so that one which is taken only in a function, or only
for types, is found as well.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import conformance

TREE = Path(conformance.__file__).parents[1]

#: A part of the tree, and prefixes of what it must not import.
FORBIDDEN = {
    "kpatch": ("conformance",),
    "conformance.uapi": ("conformance", "kpatch", "pytest"),
    "conformance.vfio": (
        "pytest",
        "kpatch",
        "conformance.migration",
        "conformance.model",
        "conformance.checks",
        "conformance.bench",
        "conformance.fixtures",
        "conformance.suite",
        "conformance.lab",
        "conformance.host",
    ),
    "conformance.migration": (
        "pytest",
        "kpatch",
        "conformance.model",
        "conformance.checks",
        "conformance.bench",
        "conformance.fixtures",
        "conformance.suite",
        "conformance.lab",
        "conformance.host",
    ),
    "conformance.model": (
        "pytest",
        "kpatch",
        "conformance.vfio",
        "conformance.migration",
        "conformance.uapi",
        "conformance.suite",
        "conformance.lab",
        "conformance.host",
    ),
    "conformance.suite": ("kpatch", "conformance.lab", "conformance.host", "conformance.report"),
    "conformance.fixtures": (
        "kpatch",
        "conformance.lab",
        "conformance.host",
        "conformance.suite",
        "conformance.model",
    ),
    "conformance.bench": (
        "kpatch",
        "conformance.lab",
        "conformance.host",
        "conformance.suite",
        "conformance.model",
    ),
    "conformance.measure": (
        "pytest",
        "kpatch",
        "conformance.lab",
        "conformance.host",
        "conformance.suite",
    ),
    "conformance.plugin": (
        "kpatch",
        "conformance.lab",
        "conformance.host",
        "conformance.suite",
        "conformance.report",
    ),
    "conformance.doctor": (
        "pytest",
        "conformance.fixtures",
        "conformance.suite",
        "conformance.plugin",
        "conformance.report",
        "conformance.host",
    ),
    "conformance.report": ("kpatch", "conformance.vfio", "conformance.suite", "pytest"),
    "conformance.lab": (
        "conformance.suite",
        "conformance.fixtures",
        "conformance.plugin",
        "conformance.host",
    ),
    "conformance.host": ("conformance.suite", "conformance.fixtures", "conformance.plugin"),
}
#: What a part may import in spite of the line above: itself.
GUEST = (
    "conformance.uapi",
    "conformance.vfio",
    "conformance.migration",
    "conformance.model",
    "conformance.suite",
    "conformance.requirements",
    "conformance.bench",
    "conformance.checks",
    "conformance.doctor",
    "conformance.events",
    "conformance.fixtures",
    "conformance.klog",
    "conformance.measure",
    "conformance.outcome",
    "conformance.plugin",
)


def _module(path: Path) -> str:
    parts = path.relative_to(TREE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _sources() -> dict[str, Path]:
    files = (path for top in ("kpatch", "conformance") for path in (TREE / top).rglob("*.py"))
    return {_module(path): path for path in files if "tests" not in path.parts}


def _imports(module: str, source: str, *, package: bool = False) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything which a module imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = module.split(".")[: -node.level + package or None]
                base = ".".join([*up, base] if base else up)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def _inside(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _breaches(module: str, source: str, *, package: bool = False) -> list[str]:
    found = []
    for line, name in _imports(module, source, package=package):
        for part, refused in FORBIDDEN.items():
            if not _inside(module, part) or _inside(name, part):
                continue
            if any(_inside(name, prefix) for prefix in refused):
                found.append(f"{module}:{line} imports {name}, which {part} must not")
    return found


SOURCES = _sources()


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_direction(module: str) -> None:
    path = SOURCES[module]
    assert _breaches(module, path.read_text("utf-8"), package=path.name == "__init__.py") == []


@pytest.mark.parametrize("module", sorted(name for name in SOURCES if name.startswith(GUEST)))
def test_the_guest_needs_the_standard_library_and_pytest_only(module: str) -> None:
    path = SOURCES[module]
    package = path.name == "__init__.py"
    # kmod and hypothesis are asked for where they are there, and missed in words.
    ours = {"pytest", "_pytest", "conformance", "kmod", "hypothesis"}
    if module == "conformance.doctor.optional":
        ours.add("kpatch")  # likewise
    allowed = sys.stdlib_module_names | ours
    names = {
        name.partition(".")[0] for _, name in _imports(module, path.read_text(), package=package)
    }
    assert names <= allowed


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("kpatch.render", "import conformance.uapi"),
        ("kpatch.render", "from conformance import lab"),
        ("conformance.uapi.ioctls", "from conformance.vfio import trace"),
        ("conformance.uapi.ioctls", "from ..vfio import trace"),
        ("conformance.vfio.device", "def f():\n    import pytest"),
        ("conformance.vfio.device", "if TYPE_CHECKING:\n    from ..migration.region import X"),
        ("conformance.model.states", "from conformance import vfio"),
        ("conformance.suite.test_state", "from conformance.lab.image import Image"),
        ("conformance.suite.test_state", "import kpatch.device as d"),
    ],
)
def test_a_breach_is_found(module: str, source: str) -> None:
    assert _breaches(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("conformance.uapi.ioctls", "from conformance.uapi import constants"),
        ("conformance.uapi.ioctls", "from . import constants"),
        ("conformance.lab.image", "from kpatch.sandbox import Sandbox"),
        ("conformance.suite.test_state", "from conformance.model import states"),
        ("conformance.vfio.device", "from conformance.uapi import ioctls"),
    ],
)
def test_what_is_allowed(module: str, source: str) -> None:
    assert _breaches(module, source) == []


def test_relative_imports_of_a_package() -> None:
    names = [name for _, name in _imports("a.b", "from . import c\nfrom .d import e", package=True)]
    assert names == ["a.b.c", "a.b.d.e"]
    names = [name for _, name in _imports("a.b.m", "from . import c\nfrom ..d import e")]
    assert names == ["a.b.c", "a.d.e"]
