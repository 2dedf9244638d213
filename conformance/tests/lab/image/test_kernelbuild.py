# SPDX-License-Identifier: GPL-2.0-only
"""An image whose kernel is built: its definition, its key, its commands."""

from pathlib import Path

import pytest

from conformance.errors import DefinitionError
from conformance.lab.image import definitions, image, kernelconfig
from conformance.lab.image.kernelbuild import KernelBuild
from conformance.running import paths

BUILT = 'schema = 1\nsuite = "trixie"\nsummary = "s"\npackages = ["gcc"]\n'


def load(folder: Path, lines: str) -> definitions.ImageDefinition:
    (folder / "mine.toml").write_text(BUILT + lines)
    return definitions.image("mine", folder)


def test_the_debug_image_is_whole() -> None:
    definition = definitions.image("debug")
    assert definition.fragment is not None
    wanted = kernelconfig.read(definition.fragment.read_text())
    for symbol in ("PROVE_LOCKING", "KASAN", "DEBUG_KMEMLEAK", "FAILSLAB", "GCOV_KERNEL", "UBSAN"):
        assert wanted[f"CONFIG_{symbol}"] == "y"
    assert wanted["CONFIG_VFIO_PCI"] == "m"


def test_no_symbol_is_there_twice() -> None:
    text = (paths.DATA / "images/debug.config").read_text()
    names = [line.partition("=")[0] for line in text.splitlines() if line.startswith("CONFIG_")]
    assert len(names) == len(set(names))


def test_the_source_is_installed_and_no_kernel(tmp_path: Path) -> None:
    definition = load(tmp_path, 'source = "linux-source-6.12"\nconfig = "debug.config"\n')
    argv = image.mmdebstrap_argv(definition, tmp_path / "tar")
    assert "--include=gcc,linux-source-6.12" in argv


def test_the_fragment_is_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = load(tmp_path, 'source = "linux-source-6.12"\nconfig = "own.config"\n')
    for name in ("images", "kmod"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(paths, "DATA", tmp_path)
    keys = set()
    for text in ("CONFIG_A=y", "CONFIG_A=n"):
        (tmp_path / "images/own.config").write_text(text)
        keys.add(image.key(definition))
    assert len(keys) == 2


def test_a_patch_is_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = 'source = "linux-source-6.12"\nconfig = "own.config"\npatches = ["a.patch"]\n'
    definition = load(tmp_path, lines)
    for name in ("images", "kmod"):
        (tmp_path / name).mkdir()
    (tmp_path / "images/own.config").write_text("")
    monkeypatch.setattr(paths, "DATA", tmp_path)
    keys = set()
    for text in ("--- a/x", "--- a/y"):
        (tmp_path / "images/a.patch").write_text(text)
        keys.add(image.key(definition))
    assert len(keys) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    definition = load(tmp_path, 'source = "linux-source-6.12"\nconfig = "nobody-has.config"\n')
    with pytest.raises(DefinitionError, match=r"nobody-has\.config"):
        image.key(definition)


def test_a_kernel_of_the_distribution_is_not_patched(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="name its `source`"):
        load(tmp_path, 'kernel = "k"\nheaders = "h"\npatches = ["a.patch"]\n')


@pytest.mark.parametrize(
    "lines",
    [
        "",
        'kernel = "k"\n',
        'source = "s"\n',
        'kernel = "k"\nheaders = "h"\nsource = "s"\nconfig = "c.config"\n',
    ],
)
def test_a_kernel_comes_from_one_place(tmp_path: Path, lines: str) -> None:
    with pytest.raises(DefinitionError, match="either a package"):
        load(tmp_path, lines)


def test_a_build_is_nice_to_others(tmp_path: Path) -> None:
    patches = (tmp_path / "first.patch", tmp_path / "second.patch")
    source, log = "linux-source-6.12", tmp_path / "log"
    build = KernelBuild(tmp_path, source, tmp_path / "f", patches, tmp_path, log)
    unpack, first, second, configure, make = build.commands()
    assert "/usr/src/linux-source-6.12.tar.xz" in unpack
    assert (first[-1], second[-1]) == ("first.patch", "second.patch")
    assert configure[-1] == "allnoconfig"
    assert make[:3] == ["nice", "-n", "19"]
