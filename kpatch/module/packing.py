# SPDX-License-Identifier: GPL-2.0-only
"""Unpacks modules and names their compression. Standard library, and the program zstd."""

from __future__ import annotations

import gzip
import io
import itertools
import lzma
import signal
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kpatch.errors import ModuleFileError, ProgramFailed
from kpatch.tools import programs

_XZ, _GZIP, _ZSTD = b"\xfd7zXZ\0", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_LARGEST = 1 << 30
"""Bytes of an unpacked module; one with all debug information has a tenth of it."""

_PIECE = 1 << 20
"""Bytes that are read at once."""

_SHORT_FILES = 'ulimit -f "$0" && exec "$@"'
"""A shell command: a few bytes of zstd can unpack to more than a disk holds."""

_LZMA2 = 0x21
_CHECKS = {0: "none", 1: "CRC32", 4: "CRC64", 10: "SHA-256"}
"""The .xz file format, section 2.1.1.2."""

Packed = lzma.LZMAFile | gzip.GzipFile


@dataclass(frozen=True)
class Packing:
    """How a module was packed.

    Attributes:
        name: "xz", "gzip" or "zstd", as in CONFIG_MODULE_COMPRESS_*; empty if not at all.
        check: The checksum of an .xz file.
        filtered: Whether the .xz file uses more than LZMA2, such as a filter for x86 code.
    """

    name: str = ""
    check: str = ""
    filtered: bool = False


def load(path: Path) -> bytes:
    """Return the content of a file that may be a module, packed or not.

    Raises:
        ModuleFileError: It cannot be read, or is larger than any module: /dev/zero has no end.
    """
    try:
        with path.open("rb") as file:
            data = _all_of(file)
    except OSError as error:
        raise ModuleFileError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > _LARGEST:
        raise ModuleFileError(f"{path} has more than {_LARGEST >> 20} MiB: no module has.")
    return data


def _all_of(file: BinaryIO | Packed) -> bytes:
    """Return what a file has, or a little more than any module may have."""
    # In pieces: a read of so much reserves as much, and a test machine may not have it.
    pieces = iter(lambda: file.read(_PIECE), b"")
    return b"".join(itertools.islice(pieces, _LARGEST // _PIECE + 1))


def unpack(data: bytes, path: Path) -> tuple[bytes, Packing]:
    """Return what is in a file that may be compressed by xz, gzip or zstd.

    Args:
        data: What the file holds.
        path: Where it is, for the words.

    Raises:
        ModuleFileError: It is damaged, or there is no program to unpack it.
    """
    if data.startswith(_XZ):
        return _limited(data, path, "xz"), _xz(data)
    if data.startswith(_GZIP):
        return _limited(data, path, "gzip"), Packing("gzip")
    if data.startswith(_ZSTD):
        return _zstd(data, path), Packing("zstd")
    return data, Packing()


def _limited(data: bytes, path: Path, name: str) -> bytes:
    packed = io.BytesIO(data)
    try:
        with _opened(packed, name) as file:
            unpacked = _all_of(file)
    except (lzma.LZMAError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ModuleFileError(f"{path} is compressed by {name} and damaged: {error}.") from error
    if len(unpacked) > _LARGEST:
        raise _too_long(path)
    return unpacked


def _opened(packed: io.BytesIO, name: str) -> Packed:
    return lzma.LZMAFile(packed) if name == "xz" else gzip.GzipFile(fileobj=packed)


def _zstd(data: bytes, path: Path) -> bytes:
    with tempfile.TemporaryDirectory(prefix="kpatch-") as folder:
        packed, out = Path(folder, "module.ko.zst"), Path(folder, "module.ko")
        packed.write_bytes(data)
        argv = ["zstd", "-d", "-q", "-f", "-o", str(out), str(packed)]
        try:
            programs.run(["sh", "-c", _SHORT_FILES, str(_LARGEST // 512 + 1), *argv], timeout=60)
        except ProgramFailed as error:
            if error.status == 127:
                raise ModuleFileError(
                    f"{path} is compressed by zstd, and the program zstd is not installed. "
                    f"Install the Debian package zstd, or unpack it first: zstd -d {path}"
                ) from error
            if error.status == -signal.SIGXFSZ:
                raise _too_long(path) from error
            raise ModuleFileError(f"{path} is compressed by zstd and damaged.") from error
        return out.read_bytes()


def _too_long(path: Path) -> ModuleFileError:
    return ModuleFileError(f"{path} unpacks to more than {_LARGEST >> 20} MiB: no module does.")


def _xz(data: bytes) -> Packing:
    """Read stream header and first block header: the .xz file format, sections 2.1.1 and 3.1."""
    check = data[7] & 0x0F if len(data) > 7 else 0
    name = _CHECKS.get(check, f"number {check}")
    if len(data) < 14 or data[12] == 0:
        return Packing("xz", name)
    flags = data[13]
    at = 14
    for bit in (0x40, 0x80):  # the sizes, packed and unpacked, which may be given
        if flags & bit:
            while at < len(data) and data[at] & 0x80:
                at += 1
            at += 1
    first = data[at] if at < len(data) else _LZMA2
    return Packing("xz", name, bool(flags & 3) or first != _LZMA2)
