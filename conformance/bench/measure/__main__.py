# SPDX-License-Identifier: GPL-2.0-only
"""Measures a function and reports each ratio as an event ``measure``.

python3 -m conformance.bench.measure --device BDF --plain BDF --events PATH
"""

import argparse
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain

from conformance.bench.measure import mappings, states, stream, traps
from conformance.events.kinds import Ratio
from conformance.events.stream import EventWriter
from conformance.vfio.device import Device
from conformance.vfio.iommu.container import Container


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all there is. Raises what the kernel refuses."""
    parser = argparse.ArgumentParser(prog="python3 -m conformance.bench.measure")
    parser.add_argument("--device", required=True, metavar="BDF", help="the function to measure")
    parser.add_argument("--plain", required=True, metavar="BDF", help="another, of vfio-pci")
    parser.add_argument("--events", metavar="PATH", help="takes the rows, as JSON lines")
    parser.add_argument("--packets", metavar="INTERFACE", help="from where frames reach it")
    arguments = parser.parse_args(argv)
    gc.collect()
    gc.freeze()
    gc.disable()
    with EventWriter(arguments.events) as events:
        both = _both(arguments.device, arguments.plain)
        for row in chain(both, traps.measure(arguments.device, arguments.packets)):
            events.emit(row)
    return 0


def _both(device: str, plain: str) -> Iterator[Ratio]:
    """Yield what is measured with both functions in one container, and close them."""
    with ExitStack() as stack:
        container = stack.enter_context(Container())
        opened = [Device.open(bdf, container) for bdf in (device, plain)]
        for one in opened:
            stack.callback(one.group.close)
            stack.callback(one.close)
        yield from mappings.measure(*opened)
        yield from states.measure(opened[0])
        yield from stream.measure(opened[0])


if __name__ == "__main__":
    sys.exit(main())
