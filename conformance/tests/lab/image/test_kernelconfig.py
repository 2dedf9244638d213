# SPDX-License-Identifier: GPL-2.0-only
"""What a fragment asks for and did not get is named, with the reason."""

import pytest

from conformance.errors import KernelError
from conformance.lab.image import kernelconfig

KCONFIG = (
    "config KASAN\n\tbool\n\nmenuconfig MODULES\n\tbool\nconfig VT\n\tbool\nconfig BITS\n\tint\n"
)
CONFIG = (
    'CONFIG_KASAN=y\n# CONFIG_MODULES is not set\nCONFIG_VT=y\nCONFIG_BITS=14\nCONFIG_N="x y"\n'
)


def check(fragment: str) -> None:
    kernelconfig.check(fragment, CONFIG, [KCONFIG], "small.config")


def test_what_is_granted_passes() -> None:
    check(
        '# a remark\nCONFIG_KASAN=y\nCONFIG_MODULES=n\n# CONFIG_GONE is not set\nCONFIG_N="x y"\n'
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("CONFIG_MODULES=y", "CONFIG_MODULES=y: it is off: a symbol that it depends on is off"),
        ("CONFIG_KSAN=y", "CONFIG_KSAN=y: the kernel has no such symbol"),
        ("CONFIG_VT=n", "CONFIG_VT=n: it is y, because something else selects it"),
        ("CONFIG_BITS=20", "CONFIG_BITS=20: it is 14"),
    ],
)
def test_what_is_not_is_named(line: str, expected: str) -> None:
    with pytest.raises(KernelError) as caught:
        check(line)
    assert expected in str(caught.value)
    assert "small.config" in str(caught.value)


def test_all_are_named_at_once() -> None:
    with pytest.raises(KernelError, match="for 2 symbols") as caught:
        check("CONFIG_MODULES=y\nCONFIG_VT=n\n")
    assert caught.value.exit_code == 4


def test_kconfig_is_read_only_if_something_is_missing() -> None:
    kernelconfig.check("CONFIG_KASAN=y", CONFIG, (pytest.fail("read") for _ in "x"), "f")
