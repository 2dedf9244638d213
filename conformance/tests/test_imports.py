# SPDX-License-Identifier: GPL-2.0-only
"""Imports point one way. `ALLOWED` is the whole truth: what is not in it is a breach.

The directions are read from the sources, so that one that is taken only in a function, or only
for types, is found as well.
"""

import ast
import functools
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import conformance

TREE = Path(conformance.__file__).parents[1]

#: A room, and the rooms of the same package that it may import; `kpatch` is all of that package.
ALLOWED: dict[str, str] = {
    "conformance.__main__": "cli requirements report events errors kpatch",
    "conformance.cli": "gate proof proof.mutants proof.variants matrix bench vmm doctor host "
    "lab.check running requirements errors lab.image kpatch",
    "conformance.gate": "lab.check lab.image running report errors kpatch",
    "conformance.proof": "proof.variants proof.operators proof.output proof.judging proof.mutants "
    "lab.guest running requirements kpatch",
    "conformance.proof.variants": "proof.judging lab.check running report errors kpatch",
    "conformance.proof.operators": "proof.judging proof.mutants lab.guest running report errors "
    "kpatch",
    "conformance.proof.output": "proof.judging report",
    "conformance.proof.judging": "proof.mutants lab.check lab.strangers lab.guest lab.machine "
    "lab.boot running events errors kpatch",
    "conformance.proof.mutants": "running requirements errors kpatch",
    "conformance.matrix": "lab.check lab.image running report events errors kpatch",
    "conformance.bench": "bench.measure lab.check lab.guest running events errors kpatch",
    "conformance.vmm": "lab.check lab.guest lab.machine lab.boot lab.image running events errors "
    "kpatch",
    "conformance.vmm.inside": "kernel",
    "conformance.host": "running report events requirements vfio kernel errors kpatch",
    "conformance.doctor": "lab.machine vfio kernel errors kpatch",
    "conformance.lab": "",
    "conformance.lab.check": "lab.strangers lab.guest lab.machine lab.boot lab.image running "
    "report events requirements errors kpatch",
    "conformance.lab.strangers": "lab.boot lab.image running errors kpatch",
    "conformance.lab.guest": "lab.machine lab.boot lab.image running report events kernel errors "
    "kpatch",
    "conformance.lab.machine": "lab.boot lab.image running uapi errors kpatch",
    "conformance.lab.boot": "lab.image running errors kpatch",
    "conformance.lab.image": "running errors kpatch",
    "conformance.running": "report events requirements errors kpatch",
    "conformance.report": "events requirements",
    "conformance.suite": "suite.support plugin migration model vfio kernel uapi closing",
    "conformance.bench.measure": "migration vfio uapi events closing",
    "conformance.plugin": "migration vfio kernel events requirements",
    "conformance.migration": "vfio uapi closing",
    "conformance.vfio": "uapi kernel closing",
    "conformance.model": "",
    "conformance.kernel": "closing",
    "conformance.events": "closing",
    "conformance.requirements": "",
    "conformance.uapi": "",
    "conformance.closing": "",
    "conformance.errors": "",
    "kpatch": "kpatch",
    "kpatch.series": "render device kernel tools errors",
    "kpatch.render": "device kernel errors",
    "kpatch.device": "errors",
    "kpatch.module": "kernel tools errors",
    "kpatch.kernel": "tools errors",
    "kpatch.tools": "errors",
    "kpatch.errors": "",
}

#: Rooms of one protocol, which know nothing of the other; what both share knows neither.
APART = (
    ("conformance.suite.v1", "conformance.suite.v2"),
    ("conformance.migration.v1", "conformance.migration.v2"),
    ("conformance.model.v1", "conformance.model.v2"),
)

#: What both protocols share: it knows neither, or the next version could not use it.
SHARED = (
    "conformance.suite.saving",
    "conformance.suite.support",
    "conformance.suite.kernel",
    "conformance.suite.conftest",
    "conformance.migration.saver",
    "conformance.migration.stream",
)

#: What runs in the guest: the standard library and pytest are all that is there.
GUEST = (
    "conformance.closing",
    "conformance.uapi",
    "conformance.vfio",
    "conformance.kernel",
    "conformance.migration",
    "conformance.model",
    "conformance.suite",
    "conformance.requirements",
    "conformance.events",
    "conformance.plugin",
    "conformance.bench.measure",
)
#: What runs on a machine where nothing is installed.
BARE = ("conformance.doctor", "conformance.cli.arguments", "conformance.cli.commands.doctor")


def _module(path: Path) -> str:
    parts = path.relative_to(TREE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _sources() -> dict[str, Path]:
    files = (path for top in ("kpatch", "conformance") for path in (TREE / top).rglob("*.py"))
    return {_module(path): path for path in files if "tests" not in path.parts}


SOURCES = _sources()


@functools.cache  # three tests ask for those of each module
def _imports(module: str, source: str, *, package: bool = False) -> tuple[tuple[int, str], ...]:
    """Return line and full name of everything that a module imports."""
    return tuple(_found(module, source, package=package))


def _found(module: str, source: str, *, package: bool) -> Iterator[tuple[int, str]]:
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


def _room(name: str) -> str:
    """Return the innermost room of a module, or of a name in it; the name itself if it has none."""
    return max((room for room in ALLOWED if _inside(name, room)), key=len, default=name)


def _allowed(room: str) -> tuple[str, ...]:
    top = room.partition(".")[0]
    names = ALLOWED[room].split()
    return tuple(name if name == "kpatch" else f"{top}.{name}" for name in names)


def _breaches(module: str, source: str, *, package: bool = False) -> list[str]:
    room = _room(module)
    allowed = [room, *_allowed(room), "conformance.__version__"]
    return [
        f"{module}:{line} imports {name}; {room} may import: {ALLOWED[room]}"
        for line, name in _imports(module, source, package=package)
        if name.partition(".")[0] in ("kpatch", "conformance")
        and not any(_inside(_room(name), each) for each in allowed)
    ]


def _apart(module: str, source: str, *, package: bool = False) -> list[str]:
    rooms = [room for pair in APART for room in pair]
    return [
        f"{module}:{line} imports {name}: what both protocols share knows neither"
        for line, name in _imports(module, source, package=package)
        if any(_inside(module, each) for each in SHARED)
        and any(_inside(name, room) for room in rooms)
    ] + [
        f"{module}:{line} imports {name}: one protocol knows nothing of the other"
        for line, name in _imports(module, source, package=package)
        for pair in APART
        for mine, other in (pair, pair[::-1])
        if _inside(module, mine) and _inside(name, other)
    ]


def test_direction() -> None:
    found = []
    for module, path in sorted(SOURCES.items()):
        source, package = path.read_text("utf-8"), path.name == "__init__.py"
        if module != "conformance":
            found += _breaches(module, source, package=package)
            found += _apart(module, source, package=package)
    assert found == []


def test_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module, path in SOURCES.items():
        names = _imports(module, path.read_text("utf-8"), package=path.name == "__init__.py")
        graph[module] = {_known(name) for _, name in names} - {module}
    assert list(TopologicalSorter(graph).static_order())


def _known(name: str) -> str:
    """Return the module that a name is in; the name itself if it is not one of ours."""
    end = name
    while end and end not in SOURCES:
        end = end.rpartition(".")[0]
    return end or name


def test_the_table_has_no_circle() -> None:
    graph = {room: _allowed(room) for room in ALLOWED}
    # A room stands for those inside it, where only the outer one is named.
    flat = {room: {each for each in names if each != room} for room, names in graph.items()}
    assert list(TopologicalSorter(flat).static_order())


def test_every_room_of_the_table_is_there() -> None:
    assert [room for room in ALLOWED if not any(_inside(name, room) for name in SOURCES)] == []


def test_the_guest_needs_the_standard_library_and_pytest_only() -> None:
    # kmod is asked for where it is there, and missed in words.
    there = {"pytest", "_pytest", "conformance", "kmod"}
    guest = [name for name in SOURCES if name.startswith(GUEST)]
    assert len(guest) > 200
    assert {name: _tops(name) - there for name in guest if _tops(name) - there} == {}


def test_the_doctor_needs_the_standard_library_only() -> None:
    bare = [name for name in SOURCES if name.startswith(BARE)]
    assert len(bare) > 20
    more = {name: _tops(name) - {"conformance"} for name in bare}
    # One asks for kpatch, and misses it in words.
    assert {name: some for name, some in more.items() if some} == {
        "conformance.doctor.facts.optional": {"kpatch"}
    }


def _tops(module: str) -> set[str]:
    """Return the packages outside the standard library that a module imports."""
    path = SOURCES[module]
    found = _imports(module, path.read_text(), package=path.name == "__init__.py")
    return {name.partition(".")[0] for _, name in found} - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("kpatch.render.render", "import conformance.uapi"),
        ("kpatch.render.render", "from conformance import lab"),
        ("kpatch.tools.git", "from kpatch.kernel import tree"),
        ("conformance.uapi.ioctls", "from conformance.vfio import trace"),
        ("conformance.uapi.ioctls", "from ..vfio import trace"),
        ("conformance.vfio.device", "from conformance.plugin import checks"),
        ("conformance.vfio.device", "if TYPE_CHECKING:\n    from ..migration.v1.region import X"),
        ("conformance.model.v1.states", "from conformance import vfio"),
        ("conformance.suite.v1.states.test_state", "from conformance.lab.image.image import Image"),
        ("conformance.suite.v1.states.test_state", "import kpatch.device.load as d"),
        ("conformance.gate.run", "from conformance.matrix import cells"),
        ("conformance.lab.boot.cpio", "from conformance.lab.machine import argv"),
        ("conformance.host.judge", "from conformance.lab.image.image import place"),
    ],
)
def test_a_breach_is_found(module: str, source: str) -> None:
    assert _breaches(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("conformance.uapi.ioctls", "from conformance.uapi import constants"),
        ("conformance.uapi.ioctls", "from . import constants"),
        ("conformance.lab.image.image", "from kpatch.tools.sandbox import Sandbox"),
        ("conformance.suite.v1.states.test_state", "from conformance.model.v1 import states"),
        ("conformance.vfio.device", "from conformance.uapi import ioctls"),
        ("conformance.host.judge", "from conformance import __version__"),
        ("kpatch.tools.git", "from kpatch.errors import GitError"),
    ],
)
def test_what_is_allowed(module: str, source: str) -> None:
    assert _breaches(module, source) == []


def test_protocols_stay_apart() -> None:
    assert _apart("conformance.model.v1.walk", "from conformance.model.v2 import fsm")
    assert not _apart("conformance.model.v1.walk", "from conformance.model import ledger")
    assert _apart("conformance.suite.saving.test_x", "from conformance.migration.v1 import region")
    assert not _apart("conformance.suite.saving.test_x", "from conformance.migration import saver")


def test_relative_imports_of_a_package() -> None:
    names = [name for _, name in _imports("a.b", "from . import c\nfrom .d import e", package=True)]
    assert names == ["a.b.c", "a.b.d.e"]
    names = [name for _, name in _imports("a.b.m", "from . import c\nfrom ..d import e")]
    assert names == ["a.b.c", "a.d.e"]
