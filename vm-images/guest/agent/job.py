# SPDX-License-Identifier: GPL-2.0-only
"""What the host wants done: the payload disk, and what is imported beforehand."""

import contextlib
import fcntl
import importlib
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

ROOT = Path("/run/kit")
"""Where the payload is unpacked."""

KIT = ROOT / "kit"
"""The suite and what it imports."""

_DISK = "/dev/vdb"
_BLKFLSBUF = 0x1261
"""From linux/fs.h."""

# What the suite and its fixtures use of the standard library.
_MODULES = """argparse array atexit bisect collections copy ctypes.util dataclasses difflib enum
    errno faulthandler functools hashlib heapq inspect itertools logging math mmap multiprocessing
    operator pathlib platform pprint queue random re resource shlex shutil socket statistics string
    subprocess tempfile textwrap threading tomllib types typing unittest uuid weakref zlib"""


def warm_up() -> None:
    """Import what a run of the suite will want, so that a snapshot has it."""
    for name in _MODULES.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    importlib.import_module("kmod")
    importlib.import_module("pytest")
    for name in importlib.import_module("_pytest.config").default_plugins:
        with contextlib.suppress(ImportError):
            importlib.import_module(f"_pytest.{name}")


def read() -> dict[str, Any]:
    """Unpack the payload, and return the job."""
    unpack()
    job: dict[str, Any] = json.loads((ROOT / "job.json").read_text())
    return job


def unpack() -> None:
    """Unpack the payload, so that the kit can be imported from it."""
    fd = os.open(_DISK, os.O_RDONLY)
    # The kernel looked for partitions when the disk came up, before the host wrote this payload.
    fcntl.ioctl(fd, _BLKFLSBUF)
    with os.fdopen(fd, "rb", 1 << 20) as disk, tarfile.open(fileobj=disk, mode="r|") as tar:
        if hasattr(tarfile, "fully_trusted_filter"):  # Python 3.11.4 and later
            tar.extraction_filter = tarfile.fully_trusted_filter
        tar.extractall(ROOT)  # noqa: S202 - the host made it
    if str(KIT) not in sys.path:
        sys.path.insert(0, str(KIT))
