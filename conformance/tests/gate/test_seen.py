# SPDX-License-Identifier: GPL-2.0-only
"""Which lines of a file the preprocessor leaves out, as far as conditions on options tell."""

from pathlib import Path

import pytest

from conformance.gate.seen import compiled, skipped

CONFIG = {"PCI": "y", "VFIO": "m"}


@pytest.mark.parametrize(
    ("text", "line", "option"),
    [
        ("#ifdef CONFIG_S390\nX\n#endif\n", 2, "CONFIG_S390"),
        ("#if IS_ENABLED(CONFIG_S390)\nX\n#endif\n", 2, "CONFIG_S390"),
        ("#if defined(CONFIG_S390)\nX\n#endif\n", 2, "CONFIG_S390"),
        ("#if !defined(CONFIG_PCI)\nX\n#endif\n", 2, "!CONFIG_PCI"),
        ("#ifndef CONFIG_PCI\nX\n#endif\n", 2, "!CONFIG_PCI"),
        ("#ifdef CONFIG_PCI\n#else\nX\n#endif\n", 3, "!CONFIG_PCI"),
        ("#ifdef CONFIG_S390 /* zdev */\n#ifdef CONFIG_PCI\nX\n#endif\n#endif\n", 3, "CONFIG_S390"),
    ],
)
def test_left_out(text: str, line: int, option: str) -> None:
    assert skipped(text, {line}, set(), CONFIG) == (line, option)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("#ifdef CONFIG_PCI\nX\n#endif\n", 2),
        ("#if IS_ENABLED(CONFIG_VFIO)\nX\n#endif\n", 2),
        ("#ifdef CONFIG_S390\n#else\nX\n#endif\n", 3),
        ("#ifdef CONFIG_S390\n#endif\nX\n", 3),
        ("#ifndef HEADER_H\nX\n#endif\n", 2),
        ("#if CONFIG_NR_CPUS > 8\nX\n#endif\n", 2),  # not judged
        ("#ifdef CONFIG_S390\n#elif defined(CONFIG_PCI)\nX\n#endif\n", 3),
        ("#endif\n#else\nX\n", 3),
        ("#ifdef CONFIG_S390\n\n#endif\n", 2),
    ],
)
def test_seen(text: str, line: int) -> None:
    assert skipped(text, {line}, set(), CONFIG) is None


@pytest.mark.parametrize(
    ("gap", "option"),
    [(1, ""), (2, "CONFIG_S390"), (3, "CONFIG_S390"), (4, ""), (5, ""), (6, "")],
)
def test_what_was_taken_out(gap: int, option: str) -> None:
    text = "#ifdef CONFIG_S390\nX\n#else\nY\n#endif\nZ\n"
    found = skipped(text, set(), {gap}, CONFIG)
    assert found == ((gap, option) if option else None)


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ("drivers/vfio/pci/x/main.o", "drivers/vfio/pci/x/main.c"),  # from the top of the tree
        ("pci/x/main.o", "pci/x/main.c"),  # M=drivers/vfio since Linux 6.13
        ("{place}/drivers/vfio/pci/x/main.o", "{place}/drivers/vfio/pci/x/main.c"),  # before
        ("main.o", "main.c"),
        ("pci/x/main.o", "pci/x/../x/main.c"),
    ],
)
def test_names_of_sources_are_relative_to_where_make_ran(
    tmp_path: Path, target: str, source: str
) -> None:
    folder = tmp_path / "drivers/vfio/pci/x"
    folder.mkdir(parents=True)
    (folder / "main.o").touch()
    text = f"savedcmd_{target} := gcc -c\n\nsource_{target} := {source}\n"
    (folder / ".main.o.cmd").write_text(text.format(place=tmp_path))
    alike = ["drivers/vfio/pci/main.c", "drivers/main.c", "main.c"]
    main = "drivers/vfio/pci/x/main.c"
    assert compiled(tmp_path, [*alike, main]) == {main}
