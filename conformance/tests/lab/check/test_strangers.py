# SPDX-License-Identifier: GPL-2.0-only
"""Drivers that are not ours: their definitions, and what is made of them before the build."""

from pathlib import Path

import pytest

from conformance.cli.arguments import parse
from conformance.errors import DefinitionError, LabError, UsageError
from conformance.lab.check.prepare import Options, look_up
from conformance.lab.strangers import build, definition

QAT = definition.load("qat")


FATAL = {"mtty": ["first-set"], "virtio": ["stale-write"]}


def test_each_has_its_files_and_machine() -> None:
    assert definition.names() == ["mtty", "qat", "virtio", "xe"]
    for name in definition.names():
        request = look_up(Options(stranger=name))
        assert request.name == name
        assert request.hints == [
            word for one in FATAL.get(name, []) for word in ("--vfio-fatal", one)
        ]
        assert request.machine.parameters == ()
        assert request.stranger is not None
        assert all(path.is_file() for path in request.stranger.own_sources)


@pytest.mark.parametrize("name", ["qat", "virtio", "xe"])
def test_a_stand_in_gives_all_functions_of_its_definition(name: str) -> None:
    stranger = definition.load(name)
    text = stranger.own_sources[0].read_text()
    exported = [line for line in text.splitlines() if line.startswith("EXPORT_SYMBOL_GPL(")]
    wanted = {f"EXPORT_SYMBOL_GPL({function});" for function in stranger.functions}
    assert set(exported) == wanted
    assert len(exported) == {"qat": 13, "xe": 14, "virtio": 7}[name]


def test_an_unknown_one_names_the_known() -> None:
    with pytest.raises(UsageError, match="no stranger 'mlx5'; there are: mtty, qat"):
        look_up(Options(stranger="mlx5"))


def test_a_module_is_built_not_given() -> None:
    with pytest.raises(UsageError, match="--module does not go with --stranger"):
        look_up(Options(stranger="mtty", module=Path("x.ko")))


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["i40e-vf"], "instead of a device"), (["--bdf", "0000:01:10.0"], "omit --bdf")],
)
def test_what_does_not_go_with_it(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["check", "--stranger", "mtty", *words])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err


def test_all_mistakes_of_a_definition_are_reported(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('schema = 1\nsummary = "x"\nsince = "six"\nmodle = "m"\n')
    with pytest.raises(DefinitionError) as raised:
        definition.load("bad", tmp_path)
    for key in ("since", "modle", "module", "sources", "machine"):
        assert key in str(raised.value)


@pytest.mark.parametrize("alone", ['parent = "/sys/x"', 'stand_in = "x"'])
def test_pairs_go_together(tmp_path: Path, alone: str) -> None:
    (tmp_path / "bad.toml").write_text(
        'schema = 1\nsummary = "x"\nsince = "6.1"\nmodule = "m"\nsources = ["m.c"]\n'
        f'machine = "igb"\n{alone}\n'
    )
    with pytest.raises(DefinitionError, match="go together"):
        definition.load("bad", tmp_path)


def test_a_kernel_may_be_too_old() -> None:
    with pytest.raises(UsageError, match=r"qat is in Linux 6\.10 and later.*6\.1\.0-38-amd64"):
        build.check_kernel(QAT, "6.1.0-38-amd64")
    build.check_kernel(QAT, "6.12.118+deb13-amd64")


def test_kbuild_makes_both_and_renames_what_the_kernel_has() -> None:
    lines = build.kbuild_file(QAT).splitlines()
    assert lines[:3] == [
        "obj-m := qat_vfio_pci.o",
        "qat_vfio_pci-y := main.o",
        "obj-m += lab_qat_pf.o",
    ]
    assert "ccflags-y += -Dqat_vfmig_open=lab_qat_vfmig_open" in lines
    assert build.kbuild_file(definition.load("mtty")) == "obj-m := mtty.o\n"


def test_what_has_not_changed_is_not_touched(tmp_path: Path) -> None:
    mtty = definition.load("mtty")
    source = tmp_path / "linux" / mtty.sources[0]
    source.parent.mkdir(parents=True)
    source.write_text("int mtty;\n")
    build.stage(mtty, tmp_path / "linux", tmp_path / "src")
    before = (tmp_path / "src/mtty.c").stat().st_mtime_ns
    build.stage(mtty, tmp_path / "linux", tmp_path / "src")
    assert (tmp_path / "src/mtty.c").stat().st_mtime_ns == before
    assert (tmp_path / "src/mtty.c").read_text() == "int mtty;\n"


def test_a_source_that_lacks_a_file(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"lacks .*samples/vfio-mdev/mtty\.c"):
        build.stage(definition.load("mtty"), tmp_path, tmp_path / "src")
