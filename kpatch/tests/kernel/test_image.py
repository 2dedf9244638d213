# SPDX-License-Identifier: GPL-2.0-only
"""Drivers are built in a real image and are what its kernel takes.

VFIO_KIT_ROOT names the unpacked root of an image with compiler and headers.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from kpatch import __main__ as cli
from kpatch.device import load as device
from kpatch.errors import BuildFailed
from kpatch.kernel import elf, kbuild
from kpatch.kernel import tree as kernel
from kpatch.kernel.features import Features, probe
from kpatch.kernel.tree import KernelTree
from kpatch.module.diagnosis import diagnose
from kpatch.module.info import read
from kpatch.render.render import TEMPLATES, render

ROOT = os.environ.get("VFIO_KIT_ROOT", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ROOT, reason="VFIO_KIT_ROOT does not name the root of an image"),
]


@pytest.fixture(scope="module")
def tree() -> KernelTree:
    return kernel.find(Path(ROOT))


@pytest.fixture(scope="module")
def features(tree: KernelTree, tmp_path_factory: pytest.TempPathFactory) -> Features:
    return probe(tree, tmp_path_factory.mktemp("features"))


def build(name: str, tree: KernelTree, features: Features, folder: Path) -> Path:
    """Render and build a device's driver."""
    render(device.load(name), features, folder / name)
    return kbuild.build(folder / name, tree, log=folder / f"{name}.log")


@pytest.fixture(scope="module", params=device.names())
def built(
    request: pytest.FixtureRequest,
    tree: KernelTree,
    features: Features,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The module of each device, built without a warning."""
    folder = tmp_path_factory.mktemp("built")
    module = build(request.param, tree, features, folder)
    log = (folder / f"{request.param}.log").read_text()
    assert kbuild.warnings_in(log) == []
    return module


def test_probe_agrees_with_the_headers(tree: KernelTree, features: Features) -> None:
    """Each member that was found stands in the header, each that was not does not."""
    headers = [tree.host_path / "include/linux/vfio.h"]
    include = (tree.host_path / "Makefile").read_text().split("include ")[-1].strip()
    if tree.sandbox and include.startswith("/"):  # Debian: the sources are in another package
        common = tree.sandbox.inside(Path(include)).parent
        headers.append(common / "include/linux/vfio.h")
    text = "".join(header.read_text() for header in headers if header.exists())
    assert "struct vfio_device_ops {" in text
    for name in ("detach_ioas", "match_token_uuid", "get_region_info_caps"):
        assert getattr(features, name) == (f"(*{name})(" in text), name


def test_probe_is_kept(tree: KernelTree, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = probe(tree, tmp_path)
    with caplog.at_level(logging.INFO):
        assert probe(tree, tmp_path) == first
    assert caplog.messages == []


def test_kernel_takes_the_module(built: Path, tree: KernelTree) -> None:
    found = diagnose(built, tree)
    assert {one.level for one in found} <= {"ok", "note"}, found
    topics = {"symbols", "vermagic", "license", "depends"}
    if "emulated" not in built.name:  # which is for no PCI function
        topics.add("devices")
    assert {one.topic for one in found} >= topics
    assert [one.level for one in found if one.topic == "callbacks"] == ["ok"]


def test_debug_information_is_what_the_library_relocates(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = elf.callbacks(elf.read(built.read_bytes(), built.name), "vfio_device_ops")
    monkeypatch.setattr(elf, "_ABSOLUTE", {})
    assert quick
    assert quick == elf.callbacks(elf.read(built.read_bytes(), built.name), "vfio_device_ops")


def test_module_is_what_the_description_says(built: Path) -> None:
    info = read(built)
    one = next(
        device.load(name) for name in device.names() if device.load(name).prefix in built.name
    )
    assert info.name == one.module
    assert info.license == "GPL"
    functions = () if one.emulated else one.ids
    assert {alias.partition("sv")[0] for alias in info.aliases} == {
        f"vfio_pci:v{pair.vendor:08X}d{pair.device:08X}" for pair in functions
    }
    (members,) = info.vfio_ops.values()
    assert members["open_device"]
    assert members["dma_unmap"] == bool(one.migration.ring)


def test_unchanged_module_is_not_built_again(
    tree: KernelTree, features: Features, built: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = built.stat().st_mtime_ns
    name = built.parent.name
    with caplog.at_level(logging.INFO):
        assert build(name, tree, features, built.parent.parent) == built
    assert built.stat().st_mtime_ns == before
    assert not [line for line in caplog.messages if "make" in line]


def test_module_of_the_distribution_is_explained(tree: KernelTree) -> None:
    assert tree.sandbox
    modules = tree.sandbox.inside(Path("/lib/modules", tree.release))
    file = next(modules.rglob("vfio-pci.ko*"))
    found = diagnose(file, tree)
    assert {one.level for one in found} <= {"ok", "note"}, found


def edited(tmp_path: Path, name: str, old: str, new: str) -> Path:
    """A copy of the templates with one edit."""
    templates = tmp_path / "templates"
    shutil.copytree(TEMPLATES, templates)
    text = (templates / name).read_text()
    assert old in text
    (templates / name).write_text(text.replace(old, new, 1))
    return templates


def test_modules_of_a_distribution_give_no_alarm(tree: KernelTree) -> None:
    """Against their own kernel; VFIO_KIT_MODULES=1 has all of them looked at, which takes minutes.

    The first name of device_dax in its BTF is that of a type which is not there.
    """
    assert tree.sandbox
    folder = tree.sandbox.inside(Path("/lib/modules", tree.release))
    every = int(os.environ.get("VFIO_KIT_MODULES", "40"))
    modules = [*sorted(folder.rglob("*.ko*"))[::every], *folder.rglob("device_dax.ko*")]
    assert len(modules) > 50
    found = {path.name: diagnose(path, tree) for path in modules}
    alarms = {
        name: [str(one) for one in all_of if one.level in ("problem", "warning")]
        for name, all_of in found.items()
    }
    assert {name: lines for name, lines in alarms.items() if lines} == {}


def test_broken_template_is_the_compilers_to_explain(
    tree: KernelTree, features: Features, tmp_path: Path
) -> None:
    templates = edited(tmp_path, "driver/stream.c.j2", "#include <linux/slab.h>", "int int;")
    out = tmp_path / "out"
    render(device.load("igb-vf"), features, out, templates=templates)
    with pytest.raises(BuildFailed) as caught:
        kbuild.build(out, tree, log=tmp_path / "log")
    assert "stream.c:" in caught.value.log
    assert "error: " in caught.value.log
    assert "int int;" in (caught.value.sources / "stream.c").read_text()
    assert "error: " in caught.value.log_path.read_text()


def test_warning_is_reported(
    tree: KernelTree, features: Features, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = "#include <linux/slab.h>\n"
    new = f"{old}int kpatch_test_without_prototype(void)\n{{\n\treturn 0;\n}}\n"
    templates = edited(tmp_path, "driver/stream.c.j2", old, new)
    render(device.load("igb-vf"), features, tmp_path / "out", templates=templates)
    kbuild.build(tmp_path / "out", tree, log=tmp_path / "log")
    assert any("kpatch_test_without_prototype" in line for line in caplog.messages)


def test_mistake_which_compiles_is_found_in_the_module(
    tree: KernelTree, features: Features, tmp_path: Path
) -> None:
    old, new = "PCI_DRIVER_OVERRIDE_DEVICE_VFIO(", "PCI_DEVICE("
    templates = edited(tmp_path, "transport/pci/main.c.j2", old, new)
    render(device.load("igb-vf"), features, tmp_path / "out", templates=templates)
    module = kbuild.build(tmp_path / "out", tree, log=tmp_path / "log")
    found = [one for one in diagnose(module, tree) if one.level == "warning"]
    assert {one.topic for one in found} == {"devices"}
    assert "It takes every such device from the host's own driver" in found[-1].why


def test_command_line_builds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["build", "igb-vf", "-o", str(tmp_path / "out"), "--root", ROOT]
    assert cli.main(argv) == 0
    module = capsys.readouterr().out.strip()
    assert module == f"{tmp_path}/out/igb_vf_vfio_pci.ko"
    assert cli.main(["inspect", module, "--root", ROOT]) == 0
    assert "No problem found." in capsys.readouterr().out
