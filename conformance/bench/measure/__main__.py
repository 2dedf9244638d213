# SPDX-License-Identifier: GPL-2.0-only
"""Measures a function and reports each ratio as an event ``measure``.

python3 -m conformance.bench.measure --device BDF --plain BDF --events PATH
"""

import argparse
import gc
import sys
from collections.abc import Sequence
from itertools import chain

from conformance.bench.measure import mappings, states, stream
from conformance.events.stream import EventWriter
from conformance.vfio.container import Container
from conformance.vfio.device import Device


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all there is. Raises what the kernel refuses."""
    parser = argparse.ArgumentParser(prog="python3 -m conformance.bench.measure")
    parser.add_argument("--device", required=True, metavar="BDF", help="the function to measure")
    parser.add_argument("--plain", required=True, metavar="BDF", help="another, of vfio-pci")
    parser.add_argument("--events", metavar="PATH", help="takes the rows, as JSON lines")
    arguments = parser.parse_args(argv)
    with (
        EventWriter(arguments.events) as events,
        Container() as container,
        Device.open(arguments.device, container) as tested,
        Device.open(arguments.plain, container) as plain,
    ):
        gc.collect()
        gc.freeze()
        gc.disable()
        rows = chain(
            mappings.measure(tested, plain), states.measure(tested), stream.measure(tested)
        )
        for row in rows:
            events.emit(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
