# SPDX-License-Identifier: GPL-2.0-only
"""The mirrored API against the header: a compiled program prints what the compiler thinks."""

import ctypes
import errno
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from conformance.tests.plugin.raising import raises_errno
from conformance.uapi import constants, ioctls, iommufd, mman, structs

_SAVING = "VFIO_REGION_INFO_CAP_SPARSE_MMAP_SAVING"
# The kernel then made its padding explicit; an older one takes the longer argsz as well.
_PADDED_SINCE = (6, 6)
_IOMMUFD_SINCE = (6, 2)
#: What came to the header later than with 6.1, the oldest that counts: name -> (version, sublevel).
_SINCE = {
    "VFIO_DEVICE_FEATURE_MIG_DATA_SIZE": (6, 2),
    "VFIO_DEVICE_FEATURE_BUS_MASTER": (6, 6),
    "VFIO_DEVICE_FEATURE_DMA_BUF": (6, 19),
    "VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2": (7, 1),
    "VFIO_DEVICE_BIND_IOMMUFD": (6, 6),
    "VFIO_DEVICE_ATTACH_IOMMUFD_PT": (6, 6),
    "VFIO_DEVICE_DETACH_IOMMUFD_PT": (6, 6),
    "VFIO_DEVICE_STATE_PRE_COPY": (6, 2),
    "VFIO_DEVICE_STATE_PRE_COPY_P2P": (6, 2),
    "VFIO_MIGRATION_PRE_COPY": (6, 2),
    "VFIO_MIG_GET_PRECOPY_INFO": (6, 2),
    "VFIO_PRECOPY_INFO_REINIT": (7, 1),
    "vfio_device_feature_mig_data_size": (6, 2),
    "vfio_precopy_info": (6, 2),
    "vfio_device_feature_dma_buf": (6, 19),
    "vfio_region_dma_range": (6, 19),
    "vfio_device_bind_iommufd": (6, 6),
    "vfio_device_attach_iommufd_pt": (6, 6),
    "vfio_device_detach_iommufd_pt": (6, 6),
}
#: Fields that came to the end of a struct later than the struct.
_FIELDS_SINCE = {
    "vfio_device_bind_iommufd.token_uuid_ptr": (6, 17),
    "vfio_device_attach_iommufd_pt.pasid": (6, 15),
    "vfio_device_detach_iommufd_pt.pasid": (6, 15),
}
_V1 = {name for name in dir(constants) if "_V1_" in name or "_DEPRECATED" in name}


def _values(module: ModuleType) -> dict[str, int]:
    # VFIO_TYPE1v2_IOMMU is the one name that is not all capitals.
    return {
        name: value
        for name, value in vars(module).items()
        if name[0] != "_" and isinstance(value, int)
    }


def _structs(module: ModuleType) -> dict[str, type[ctypes.Structure]]:
    return {
        name: struct
        for name, struct in vars(module).items()
        if isinstance(struct, type) and issubclass(struct, ctypes.Structure)
    }


_CONSTANTS = _values(constants) | _values(ioctls) | _values(mman) | _values(iommufd)
_STRUCTS = _structs(structs) | _structs(iommufd)
_SINCE |= dict.fromkeys([*_values(iommufd), *_structs(iommufd)], _IOMMUFD_SINCE)


def _guarded(name: str, lines: list[str]) -> list[str]:
    """Leave lines out where the header is older than the name, and may not have it."""
    return _since(_SINCE[name], lines) if name in _SINCE else lines


def _since(version: tuple[int, int], lines: list[str]) -> list[str]:
    words = "{}, {}, 0".format(*version)
    return [f"#if LINUX_VERSION_CODE >= KERNEL_VERSION({words})", *lines, "#endif"]


def _field_since(name: str, field: str) -> tuple[int, int] | None:
    return _PADDED_SINCE if field == "pad" else _FIELDS_SINCE.get(f"{name}.{field}")


def _program() -> str:
    lines = [
        "#define _GNU_SOURCE",
        "#include <stddef.h>",
        "#include <stdio.h>",
        "#include <sys/mman.h>",
        "#include <linux/version.h>",
        "#include <linux/vfio.h>",
        *_since(_IOMMUFD_SINCE, ["#include <linux/iommufd.h>"]),
        "int main(void) {",
        'printf("LINUX_VERSION_CODE %u\\n", LINUX_VERSION_CODE);',
    ]
    for name in sorted(_CONSTANTS):
        text = f'printf("{name} %llu\\n", (unsigned long long){name});'
        # An enumerator is no macro, so only names that may be missing are asked for.
        optional = name in _V1 or name == _SAVING
        lines += [f"#ifdef {name}", text, "#endif"] if optional else _guarded(name, [text])
    for name, struct in sorted(_STRUCTS.items()):
        lines += _guarded(name, _struct_lines(name, struct))
    return "\n".join([*lines, "return 0; }", ""])


def _struct_lines(name: str, struct: type[ctypes.Structure]) -> list[str]:
    lines = []
    size = [f'printf("{name} %zu\\n", sizeof(struct {name}));']
    since = _field_since(name, struct._fields_[-1][0])
    lines += _since(since, size) if since else size
    for field in struct._fields_:
        member = f"{name}.{field[0]}"
        line = (
            f'printf("{member} %zu\\n", offsetof(struct {name}, {field[0]}));'
            if ctypes.sizeof(field[1]) == 0
            else f'printf("{member} %zu %zu\\n", offsetof(struct {name}, {field[0]}), '
            f"sizeof(((struct {name} *)0)->{field[0]}));"
        )
        since = _field_since(name, field[0])
        lines += _since(since, [line]) if since else [line]
    return lines


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """What the compiler says: name -> values. VFIO_KIT_ROOT names the root whose header counts."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        pytest.skip("there is no C compiler; install gcc")
    root = os.environ.get("VFIO_KIT_ROOT") or "/"
    include = Path(root, "usr/include")
    if not (include / "linux/vfio.h").is_file():
        pytest.skip(f"there is no {include}/linux/vfio.h; install linux-libc-dev")
    directory = tmp_path_factory.mktemp("uapi")
    source, program = directory / "layout.c", directory / "layout"
    source.write_text(_program())
    # The kernel's own headers of the root; the C library's may be the host's.
    places = [f"-isystem{include}"] if root != "/" else []
    if places:
        # One package may bring the headers of every architecture.
        multiarch = subprocess.run(
            [compiler, "-print-multiarch"], capture_output=True, text=True, check=True
        )
        places.append(f"-isystem{include / multiarch.stdout.strip()}")
    done = subprocess.run(
        [compiler, *places, "-o", str(program), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    output = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    words = (line.split() for line in output.splitlines())
    return {name: [int(value) for value in values] for name, *values in words}


def _older(than: tuple[int, int], header: dict[str, list[int]]) -> bool:
    version, sublevel = than
    return header["LINUX_VERSION_CODE"][0] < version << 16 | sublevel << 8


def _skip_if_older(name: str, header: dict[str, list[int]]) -> None:
    if _older(_SINCE[name], header):
        version, sublevel = _SINCE[name]
        pytest.skip(f"the header is older than Linux {version}.{sublevel}, which has this name")


@pytest.mark.slow  # a C compiler is no part of a fresh host; these have that of the image
@pytest.mark.parametrize("name", sorted(_CONSTANTS))
def test_constant(name: str, header: dict[str, list[int]]) -> None:
    if name == _SAVING:
        # The day the id is in a header, it is to be this one.
        assert header.get(name, [6]) == [constants.VFIO_REGION_INFO_CAP_SPARSE_MMAP_SAVING]
        return
    if name in _V1 and name not in header:
        pytest.skip("the header is older than Linux 5.18, which has these names")
    if name in _SINCE and name not in header:
        _skip_if_older(name, header)
    assert header[name] == [_CONSTANTS[name]]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(_STRUCTS))
def test_struct(name: str, header: dict[str, list[int]]) -> None:
    struct = _STRUCTS[name]
    if name in _SINCE and name not in header:
        _skip_if_older(name, header)
    assert header.get(name, [ctypes.sizeof(struct)]) == [ctypes.sizeof(struct)]
    for field in struct._fields_:
        member = getattr(struct, field[0])
        ours = [member.offset] if member.size == 0 else [member.offset, member.size]
        since = _field_since(name, field[0])
        theirs = header.get(f"{name}.{field[0]}", ours if since and _older(since, header) else None)
        assert theirs == ours, field[0]


def test_ioctl_raises_the_errno() -> None:
    with open(os.devnull, "rb") as file, raises_errno(errno.ENOTTY):  # noqa: PTH123
        ioctls.ioctl(file.fileno(), ioctls.VFIO_GET_API_VERSION, 0)


def test_ioctl_changes_a_struct_in_place() -> None:
    # FIONREAD writes an int into what it is given.
    read, write = os.pipe()
    try:
        os.write(write, b"12345")
        buffer = ctypes.create_string_buffer(4)
        assert ioctls.ioctl(read, 0x541B, buffer) == 0
        assert int.from_bytes(buffer.raw, "little") == 5
    finally:
        os.close(read)
        os.close(write)
