# SPDX-License-Identifier: GPL-2.0-only
"""An image whose kernel is built: its definition, its key, its commands."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from conformance.errors import DefinitionError
from conformance.lab.image import definitions, image, kernelconfig
from conformance.lab.image.kernelbuild import KernelBuild
from conformance.running import paths

BY_FRAGMENT = 'source = "linux-source-6.12"\nconfig = "own.config"\n'
BUILT = 'schema = 1\nsuite = "trixie"\nsummary = "s"\npackages = ["gcc"]\n'


def load(folder: Path, lines: str) -> definitions.ImageDefinition:
    (folder / "mine.toml").write_text(BUILT + lines)
    return definitions.image("mine", folder)


def keys(
    definition: definitions.ImageDefinition, data: Path, name: str, texts: Sequence[str]
) -> set[str]:
    """Return the keys of an image for different texts of one of its files."""
    for folder in ("images", "kmod"):
        (data / folder).mkdir()
    (data / "images/own.config").write_text("")
    found = set()
    for text in texts:
        (data / "images" / name).write_text(text)
        found.add(image.key(definition))
    return found


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
    definition = load(tmp_path, BY_FRAGMENT)
    monkeypatch.setattr(paths, "DATA", tmp_path)
    assert len(keys(definition, tmp_path, "own.config", ("CONFIG_A=y", "CONFIG_A=n"))) == 2


def test_a_patch_is_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = load(tmp_path, BY_FRAGMENT + 'patches = ["a.patch"]\n')
    monkeypatch.setattr(paths, "DATA", tmp_path)
    assert len(keys(definition, tmp_path, "a.patch", ("--- a/x", "--- a/y"))) == 2


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
