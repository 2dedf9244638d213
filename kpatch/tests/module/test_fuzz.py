# SPDX-License-Identifier: GPL-2.0-only
"""Modules that nobody has built: each is read or refused in words, and a planted fault is found."""

import contextlib
import gzip
import lzma
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.errors import KernelTreeError, ModuleFileError
from kpatch.kernel.tree import KernelTree, find
from kpatch.module.diagnosis import diagnose
from kpatch.tests.fuzzing import drawn
from kpatch.tests.kernel.fake_tree import CONFIG, RELEASE, VERMAGIC, make_root, make_tree
from kpatch.tests.kernel.tiny_elf import module
from kpatch.tests.module.modules import IMPORTS, INFO, info_with, problems

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def tree(place: Path) -> KernelTree:
    unpacks = "CONFIG_MODULE_DECOMPRESS=y\nCONFIG_MODULE_COMPRESS_XZ=y\n"
    return KernelTree(make_tree(place / "tree", config=CONFIG + unpacks))


INFOS = st.lists(
    st.sampled_from([*INFO, "import_ns=SPACE", "alias=pci:v*d*", "parm=", "=", "depends=", "a"])
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    max_size=12,
)
NAMES = st.sampled_from([*IMPORTS, "spaced", "closed", "unknown", "x" * 70]) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9
)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw the suffix and the content of a module's file: mostly one that could be, damaged."""
    imports = draw(st.dictionaries(NAMES.map(lambda text: text[:50]), st.integers(0, 2**32 - 1)))
    data = module(draw(INFOS), imports, extended=draw(st.booleans()))
    suffix = draw(st.sampled_from(sorted(PACK)))
    packed_first = draw(st.booleans())
    data = PACK[suffix](data) if packed_first else data
    for _ in range(draw(st.integers(0, 4))):
        at, junk = draw(st.integers(0, len(data))), draw(st.binary(max_size=8))
        data = data[:at] + junk + (b"" if draw(st.booleans()) else data[at + len(junk) :])
    return suffix, data if packed_first else PACK[suffix](data)


@drawn(50)
@given(files())
def test_any_module(place: Path, tree: KernelTree, made: tuple[str, bytes]) -> None:
    file = place / f"test.ko{made[0]}"
    file.write_bytes(made[1])
    with contextlib.suppress(ModuleFileError):
        for finding in diagnose(file, tree):
            assert finding.level != "problem" or (finding.why and finding.do)


_TREE = ["include/config/auto.conf", "include/generated/utsrelease.h", "Module.symvers", "vmlinux",
         "include/config/kernel.release"]  # fmt: skip
_INSTALLED = ["modules.dep", "modules.builtin"]


@drawn(50)
@given(
    st.sampled_from([f"usr/lib/modules/{RELEASE}/{name}" for name in _INSTALLED]
                    + [f"usr/src/headers-{RELEASE}/{name}" for name in _TREE]),
    st.integers(0, 400), st.binary(max_size=8), st.sampled_from(["junk", "cut", "folder", "none"]),
)  # fmt: skip
def test_any_tree(name: str, at: int, junk: bytes, how: str) -> None:
    """What a half installed package or a full disk leaves: judged, or refused in words."""
    with tempfile.TemporaryDirectory() as folder:
        root = make_root(Path(folder, "root"), RELEASE, installed="kernel/a.ko: kernel/b.ko\n")
        path, file = root / name, Path(folder, "test.ko")
        config = root / f"usr/src/headers-{RELEASE}/include/config/auto.conf"
        config.write_text(f"{CONFIG}CONFIG_DEBUG_INFO_BTF_MODULES=y\n")
        old = path.read_bytes() if path.exists() else module(INFO, IMPORTS)
        path.unlink(missing_ok=True)
        if how == "folder":
            path.mkdir()
        elif how != "none":
            at %= len(old)
            path.write_bytes(old[:at] + junk + (b"" if how == "cut" else old[at + len(junk) :]))
        file.write_bytes(module(INFO, IMPORTS, sections=(".gnu.linkonce.this_module", ".BTF")))
        with contextlib.suppress(KernelTreeError):
            diagnose(file, find(root))


WRONG = ["vermagic", "symbol", "version", "namespace", "processor", "stripped", "cut", "checksum"]


@st.composite
def wrong_files(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """Draw a fault, and the suffix and the content of a file that has it."""
    wrong, suffix = draw(st.sampled_from(WRONG)), draw(st.sampled_from(sorted(PACK)))
    more = draw(st.lists(st.sampled_from(["parm=a:b", "author=A", "version=1", "alias=pci:v*d*"])))
    number, extended = draw(st.integers(1, 2**32 - 2)), draw(st.booleans())
    info: tuple[str, ...] = INFO
    imports, machine = dict(IMPORTS), 62
    if wrong == "vermagic":
        info = info_with("vermagic", VERMAGIC.replace("preempt ", ""))
    elif wrong == "symbol":
        imports[f"unknown_{number}"] = number
    elif wrong == "version":
        imports["kfree"] = number ^ imports["kfree"]
    elif wrong == "namespace":
        imports["spaced"] = 0x44444444
    elif wrong == "processor":
        machine = 183  # arm64
    symbols = wrong != "stripped"
    data = module([*info, *more], imports, extended=extended, machine=machine, symbols=symbols)
    if wrong == "cut":
        data = data[: number % (len(data) - 64)]
    if wrong == "checksum":
        return wrong, ".xz", lzma.compress(data)
    return wrong, suffix, PACK[suffix](data)


@drawn(50)
@given(wrong_files())
def test_planted_fault(place: Path, tree: KernelTree, made: tuple[str, str, bytes]) -> None:
    wrong, suffix, data = made
    file = place / f"test.ko{suffix}"
    file.write_bytes(data)
    refused = pytest.raises(ModuleFileError) if wrong == "cut" else contextlib.nullcontext()
    with refused:
        assert problems(diagnose(file, tree)), wrong
