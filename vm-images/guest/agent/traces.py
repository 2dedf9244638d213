# SPDX-License-Identifier: GPL-2.0-only
"""What a driver leaves behind on a kernel that keeps books: lost memory, counts of its lines."""

import base64
import importlib
from pathlib import Path

from agent.errors import Failure
from agent.port import Port

_COVERAGE = Path("/sys/kernel/debug/gcov")
_SHOWN = 20


def send_coverage(port: Port) -> None:
    """Send what a module that was built for it has counted of its own execution."""
    for path in sorted(_COVERAGE.rglob("*.gcda")):
        data = base64.b64encode(path.read_bytes()).decode()
        port.coverage(f"/{path.relative_to(_COVERAGE)}", data)


def look_for_leaks() -> None:
    """Fail if the kernel has lost memory, on a kernel with kmemleak.

    Raises:
        Failure: It has.
    """
    leaks = importlib.import_module("conformance.kernel.leaks")
    if not leaks.missing() and (found := leaks.scan()):
        shown = "\n".join(f"  {leak}" for leak in found[:_SHOWN])
        raise Failure(f"kmemleak found {len(found)} allocations nobody points to:\n{shown}")
