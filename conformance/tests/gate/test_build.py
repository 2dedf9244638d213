# SPDX-License-Identifier: GPL-2.0-only
"""A build that failed is shown by its fault, not by what stands near it."""

from pathlib import Path

from conformance.gate.building.build import modules_in, without_warnings
from conformance.gate.building.built import telling
from kpatch.kernel import kbuild

STUB = """\
  CC [M]  drivers/vfio/pci/a.o
drivers/vfio/pci/priv.h:89:5: warning: no previous prototype for 'zdev_reset' [-Wmissing-prototypes]
   89 | int zdev_reset(struct device *dev)
      |     ^~~~~~~~~~
  LD [M]  drivers/vfio/pci/core.o
ld: drivers/vfio/pci/b.o: in function `zdev_reset':
b.c:(.text+0x0): multiple definition of `zdev_reset'; drivers/vfio/pci/a.o:a.c:(.text+0x0): first
make[3]: *** [scripts/Makefile.build:484: drivers/vfio/pci/core.o] Error 1
"""


def test_stub_without_static_inline() -> None:
    error = kbuild.excerpt(without_warnings(STUB, Path("/t")))
    assert "multiple definition of `zdev_reset'" in telling(error)
    assert "89 |" not in error


def test_first_error() -> None:
    text = "a.c: In function 'f':\na.c:3:2: error: 'x' undeclared\n    3 |  x;\n"
    assert telling(kbuild.excerpt(text)) == "a.c:3:2: error: 'x' undeclared"


def test_nothing_to_tell() -> None:
    assert telling("") == "make failed"


def test_module_whose_name_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "modules.order").write_bytes(b"a/\xff.o\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/\udcff.ko").touch()
    assert modules_in(tmp_path / "modules.order") == {"\udcff": tmp_path / "a/\udcff.ko"}
