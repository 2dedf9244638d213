# SPDX-License-Identifier: GPL-2.0-only
"""The driver as a patch series, against small trees."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kpatch.device import load as device
from kpatch.device.protocols import PROTOCOLS, Protocol
from kpatch.errors import OutputError, SeriesError, SourceTreeError
from kpatch.kernel import source
from kpatch.series import make as series_make
from kpatch.series import steps as series
from kpatch.series.mail import Version
from kpatch.series.make import SeriesRequest
from kpatch.tests.series import fake_source
from kpatch.tests.series.fake_source import make_git, make_source, snapshot

Made = Callable[..., Path]

SUBJECTS = [
    "vfio: Save the registers of igb-vf, with a saving layout",
    "vfio: Add a capability for what may be mapped while saving",
    "vfio/pci: Let a variant driver follow the mappings of the BARs",
    "vfio/igb-vf: Add a variant driver",
    "vfio/igb-vf: Add the migration region",
    "vfio/igb-vf: Refuse to save while trapped registers are mapped",
    "vfio/igb-vf: Report what the device writes while it is saved",
    "Documentation: vfio: Describe the migration of igb-vf",
]


@pytest.fixture(autouse=True)
def _user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(fake_source.config(tmp_path)))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_source(tmp_path / "linux")


def request(tree: Path, name: str = "igb-vf", protocol: Protocol = "v1") -> SeriesRequest:
    return SeriesRequest(device.load(name), tree, protocol)


def make(tree: Path, target: Path, name: str = "igb-vf", protocol: Protocol = "v1") -> str:
    wanted = request(tree, name, protocol)
    return "".join(path.read_text() for path in series_make.make(wanted, target))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the unchanged tree, and what `made` makes of it."""
    folder = tmp_path_factory.mktemp("series")
    make_source(folder / "linux")
    return folder


@pytest.fixture
def made(shelf: Path) -> Made:
    """Return what makes a series of the unchanged tree, each once; it is only read."""

    def make_once(name: str = "igb-vf", protocol: Protocol = "v1") -> Path:
        folder = shelf / f"{name}-{protocol}"
        if not folder.exists():
            make(shelf / "linux", folder, name, protocol)
        return folder

    return make_once


def patches_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.patch"))


def text_of(folder: Path) -> str:
    return "".join(path.read_text() for path in patches_in(folder))


def unfolded(text: str) -> str:
    return re.sub(r"\n (?=\S)", " ", text)


def test_order(made: Made) -> None:
    text = unfolded(text_of(made()))
    assert re.findall(r"^Subject: \[RFC PATCH \d/7\] (.*)$", text, re.M) == SUBJECTS


def test_order_of_version_2(made: Made) -> None:
    text = unfolded(text_of(made(protocol="v2")))
    wanted = list(SUBJECTS)
    wanted[4] = "vfio/igb-vf: Add migration support"
    del wanted[6]  # this tree has no pre-copy in version 2, where the rings would be followed
    assert re.findall(r"^Subject: \[RFC PATCH \d/6\] (.*)$", text, re.M) == wanted


@pytest.mark.parametrize("name", ["i40e-vf", "igb-vf"])
def test_version_2_says_nothing_of_the_region(made: Made, name: str) -> None:
    text = text_of(made(name, "v2"))
    added = [line for line in text.splitlines() if line.startswith("+")]
    assert not [
        line for line in added if re.search("V1|DEPRECATED|device_state|migration region", line)
    ]
    folder = f"drivers/vfio/pci/{name}"
    files = re.findall(rf"^\+\+\+ b/{folder}/(\S+)$", text, re.M)
    objects = re.findall(r"\S+(?=\.o)", max(re.findall(r"^\+.*-y := (.*)$", text, re.M), key=len))
    assert objects == ["main", "bus", "registers", "stream", "fsm", "session", "mappings"]
    assert {f"{one}.c" for one in objects} <= set(files)
    assert "region.c" not in files


def test_same_input_same_bytes_also_over_an_older_series(
    tree: Path, tmp_path: Path, made: Made
) -> None:
    before = snapshot(tree)
    shutil.copytree(made("i40e-vf"), tmp_path / "out")
    make(tree, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*i40e*"))
    assert snapshot(tmp_path / "out") == snapshot(made())
    assert snapshot(tree) == before, "a plain tree is only read"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["i40e-vf", "igb-vf"])
def test_git_am_takes_it(tree: Path, made: Made, name: str, protocol: Protocol) -> None:
    patches = patches_in(made(name, protocol))
    make_git(tree)
    fake_source.git(tree, "am", "-q", *(str(path) for path in patches[1:]))
    assert fake_source.git(tree, "rev-list", "--count", "main").strip() == (
        "8" if protocol == "v1" else "7"
    )
    assert (tree / f"drivers/vfio/pci/{name}/main.c").exists()


def test_git_tree_is_only_read_and_differs_in_the_base_only(
    tree: Path, tmp_path: Path, made: Made
) -> None:
    plain = text_of(made())
    make_git(tree)
    before = snapshot(tree)
    fromgit = make(tree, tmp_path / "git")
    assert snapshot(tree) == before
    head = fake_source.git(tree, "rev-parse", "HEAD").strip()
    assert f"base-commit: {head}" in fromgit
    patch = "0004-vfio-igb-vf-Add-the-migration-region.patch"
    differ = [
        (folder / patch).read_text().partition("\ndiff --git")[2].partition("\nbase-")[0]
        for folder in (made(), tmp_path / "git")
    ]
    assert differ[0] == differ[1] != ""
    assert "a source tree without history" in " ".join(plain.split())
    assert "without history" not in fromgit


def test_author_is_the_user(made: Made) -> None:
    text = text_of(made())
    assert set(re.findall(r"^From: (.*)$", text, re.M)) == {"Ada User <ada@example.org>"}
    assert "M:\tAda User <ada@example.org>" in text


def test_nobody_is_signed_off(made: Made) -> None:
    assert "Signed-off-by" not in text_of(made())


def test_signoff_is_the_users_own(tree: Path, tmp_path: Path) -> None:
    paths = series_make.make(replace(request(tree), signoff=True), tmp_path / "out")
    signed = [
        "Signed-off-by: Ada User <ada@example.org>\n---\n" in path.read_text() for path in paths
    ]
    assert signed == [False, *[True] * 7]


def test_without_a_name(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    with pytest.raises(SeriesError, match="git does not know your name"):
        make(tree, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_hooks_and_settings_of_the_user_change_nothing(
    tree: Path, tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = made()
    path = tmp_path / "gitconfig"
    path.write_text(path.read_text() + "[format]\n\tsignOff = true\n[commit]\n\tgpgSign = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(path))
    make(tree, tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(plain)


@pytest.mark.parametrize(
    ("protocol", "last", "words"), [("v1", 6, "follows the rings"), ("v2", 5, "no dirty tracking")]
)
def test_cover_says_what_is_written_to_memory(
    made: Made, protocol: str, last: int, words: str
) -> None:
    out = made(protocol=protocol)
    cover = " ".join((out / "0000-cover-letter.patch").read_text().split())
    assert f"patches 3 to {last} are the driver" in cover
    assert words in cover
    assert list(out.glob(f"000{last}-vfio-igb-vf-*.patch"))
    assert not list(out.glob(f"000{last + 1}-vfio-igb-vf-*.patch"))


def test_recipients(made: Made) -> None:
    out = made()
    cover = unfolded((out / "0000-cover-letter.patch").read_text())
    assert "\nTo: Vera Fio <vera@example.org>\n" in cover
    assert re.search(
        r"^Cc: kvm@example.org,\s+linux-api@vger.kernel.org,\s+linux-mm@kvack.org$", cover, re.M
    )
    assert "Ada <ada@example.org>" not in cover, "the author needs no copy"
    script = (out / "send.sh").read_text()
    assert "--to 'Vera Fio <vera@example.org>'" in script
    subprocess.run(["sh", "-n", out / "send.sh"], check=True)
    subprocess.run(["sh", "-n", out / "b4.sh"], check=True)
    letter = (out / "b4-cover.txt").read_text()
    assert letter.startswith(SUBJECTS[0] + "\n\n")
    assert letter.endswith("Cc: linux-api@vger.kernel.org\nCc: linux-mm@kvack.org\n")
    assert "files changed" not in letter


def test_second_version(tree: Path, tmp_path: Path, made: Made) -> None:
    changed = device.load("igb-vf")
    region = changed.migration.v1
    assert region
    larger = {"v1": region.model_copy(update={"data_size": 0x20000})}
    changed = changed.model_copy(update={"migration": changed.migration.model_copy(update=larger)})
    wanted = SeriesRequest(changed, tree, version=Version(2, made()))
    paths = series_make.make(wanted, tmp_path / "v2")
    cover = paths[0].read_text()
    assert paths[0].name == "v2-0000-cover-letter.patch"
    assert "- changed: vfio/igb-vf: Add the migration region\n" in cover
    assert "- changed: vfio: Add a capability" not in cover
    assert "Range-diff" in cover
    wanted = replace(wanted, version=Version(3, tmp_path / "v2"))
    cover = series_make.make(wanted, tmp_path / "v3")[0].read_text()
    assert "Changes since the previous version (range-diff below):\n- none\n" in cover
    assert "Changes between v1 and v2:\n- changed: vfio/igb-vf: Add the migration" in cover


@pytest.mark.parametrize("version", [Version(2), Version(1, Path("x")), Version(0)])
def test_version_and_previous_belong_together(tree: Path, tmp_path: Path, version: Version) -> None:
    with pytest.raises(SeriesError, match="belong together"):
        series_make.make(replace(request(tree), version=version), tmp_path / "out")


def test_newer_interfaces(tree: Path, tmp_path: Path) -> None:
    header = tree / "include/linux/vfio.h"
    text = header.read_text().replace(
        "};", "\tint (*get_region_info_caps)(void);\n\tint (*match_token_uuid)(void);\n};"
    )
    header.write_text(text)
    core = tree / "include/linux/vfio_pci_core.h"
    core.write_text(core.read_text().replace("setup_barmap", "get_iomap"))
    text = make(tree, tmp_path / "out")
    assert "+\t.get_region_info_caps = igb_vf_get_region_info," in text
    assert "+\t.match_token_uuid = vfio_pci_core_match_token_uuid," in text
    assert "vfio_pci_core_get_iomap(&xdev->core_device, 0)" in text
    assert "region_ioctl" not in text
    assert "setup_barmap" not in text.replace(" int vfio_pci_core_setup_barmap", "")


def test_operations_of_a_driver_for_core(tree: Path, tmp_path: Path, made: Made) -> None:
    assert "vfio_pci_mapping_ops igb_vf_mapping_ops = {" in text_of(made())
    core = tree / "include/linux/vfio_pci_core.h"
    ops = "struct vfio_pci_device_ops {\n\tint (*get_dmabuf_phys)(void);\n};\n\n"
    place = "struct vfio_pci_core_device {"
    core.write_text(core.read_text().replace(place, ops + place))
    text = make(tree, tmp_path / "out")
    assert "vfio_pci_device_ops igb_vf_pci_ops = {" in text
    assert "+\txdev->core_device.pci_ops = &igb_vf_pci_ops;" in text
    assert "mapping_ops" not in text


def test_no_layer_between_kernels(made: Made) -> None:
    text = text_of(made())
    assert "compat" not in text.lower()
    assert "Generated from" not in text


def test_selftest_where_there_are_some(tree: Path, tmp_path: Path) -> None:
    folder = tree / "tools/testing/selftests/vfio"
    folder.mkdir(parents=True)
    (folder / "Makefile").write_text("TEST_GEN_PROGS += vfio_pci_device_test\n")
    text = make(tree, tmp_path / "out")
    assert "+TEST_GEN_PROGS += vfio_pci_saving_layout_test\n" in text
    assert "selftests: vfio: Check the saving layout and the refusal" in text


def test_device_without_traps(tree: Path, tmp_path: Path) -> None:
    plain = device.load("igb-vf")
    bars = tuple(bar.model_copy(update={"trapped_while_saving": ()}) for bar in plain.bars)
    wanted = SeriesRequest(plain.model_copy(update={"bars": bars}), tree)
    names = [path.name[5:] for path in series_make.make(wanted, tmp_path / "out")]
    assert names[1:] == [
        "vfio-igb-vf-Add-a-variant-driver.patch",
        "vfio-igb-vf-Add-the-migration-region.patch",
        "Documentation-vfio-Describe-the-migration-of-igb-vf.patch",
    ]


def test_maintainers_by_alphabet(made: Made) -> None:
    text = text_of(made())
    assert re.search(
        r"F:\tinclude/uapi/linux/vfio.h\n \n\+VFIO IGB-VF PCI DRIVER\n(?:\+.*\n)+\+\n VFIO ZZZ",
        text,
    )


def test_messages_are_narrow(made: Made) -> None:
    for path in patches_in(made("i40e-vf"))[1:]:
        message = path.read_text().partition("\n---\n")[0]
        body = message.partition("\n\n")[2]
        assert max(len(line) for line in body.splitlines()) <= 75
        assert body.strip()


# Bad trees


def test_not_a_kernel(tmp_path: Path) -> None:
    (tmp_path / "linux").mkdir()
    with pytest.raises(SourceTreeError, match="not the top of a kernel source tree"):
        make(tmp_path / "linux", tmp_path / "out")


def test_too_old_for_the_vm_operations(tree: Path, tmp_path: Path) -> None:
    path = tree / source.CORE_SOURCE
    path.write_text(path.read_text().replace("{\n\t.fault", "{\n\t.open = old,\n\t.fault"))
    with pytest.raises(SourceTreeError, match=r"without open and close is not there.*too old"):
        make(tree, tmp_path / "out")


def test_too_old_for_the_core(tree: Path, tmp_path: Path) -> None:
    path = tree / source.CORE_HEADER
    path.write_text(path.read_text().replace("vfio_pci_core_register_dev_region", "other"))
    with pytest.raises(SourceTreeError, match="is too old"):
        make(tree, tmp_path / "out")


def test_capability_is_taken(tree: Path, tmp_path: Path) -> None:
    path = tree / source.UAPI_HEADER
    path.write_text(path.read_text() + "#define VFIO_REGION_INFO_CAP_OTHER\t6\n")
    with pytest.raises(SourceTreeError, match="already has a region capability with the id 6"):
        make(tree, tmp_path / "out")


def test_place_is_there_twice(tree: Path, tmp_path: Path) -> None:
    path = tree / "Documentation/driver-api/index.rst"
    path.write_text(path.read_text() * 2)
    with pytest.raises(SourceTreeError, match="is there 2 times"):
        make(tree, tmp_path / "out")


def test_dirty(tree: Path, tmp_path: Path) -> None:
    make_git(tree)
    (tree / "Makefile").write_text((tree / "Makefile").read_text() + "\n")
    with pytest.raises(SourceTreeError, match=r"not committed \(Makefile\)"):
        make(tree, tmp_path / "out")


def test_unknown_base(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match="has no commit 'nope'"):
        series_make.make(replace(request(make_git(tree)), base="nope"), tmp_path / "out")


def test_folder_with_other_things(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").touch()
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        make(tree, tmp_path / "out")
    assert (tmp_path / "out/thesis.tex").exists()


def test_nothing_is_left_behind(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def interrupt(*_arguments: object, **_options: object) -> None:
        assert list(scratch.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(series, "commit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(tree, tmp_path / "out")
    assert not list(scratch.iterdir())
