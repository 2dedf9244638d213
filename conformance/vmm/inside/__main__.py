# SPDX-License-Identifier: GPL-2.0-only
"""Runs the scenarios, one after another, and prints a line of JSON about each."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from conformance.kernel.log import KernelLog, Taint, reports
from conformance.vmm.inside.bench import Bench, Doorbell, Register, Unexpected
from conformance.vmm.inside.driver import Driver
from conformance.vmm.inside.order import by_function, foreign, unknown
from conformance.vmm.inside.qmp import Lost, Refused
from conformance.vmm.inside.scenarios import SCENARIOS, Scenario

_LAST = 100
"""Lines of a monitor's output that go with a scenario."""


def main(words: Sequence[str]) -> int:
    """Run what is asked for; 0 if all was as it must be."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--ids", required=True)
    parser.add_argument("--protocol", required=True)
    parser.add_argument("--aware", action="store_true")
    parser.add_argument("--register", action="append", default=[])
    parser.add_argument("--doorbell", default="")
    parser.add_argument("--parameter", action="append", default=[])
    parser.add_argument("--scenario", action="append", default=[])
    arguments = parser.parse_args(words)
    folder = Path("/run/vmm")
    folder.mkdir(exist_ok=True)
    functions = [_folder(name) for name in os.environ["VFIO_KIT_FUNCTIONS"].split()]
    bench = Bench(
        functions=functions[: len(functions) // 2 * 2],
        ids=arguments.ids,
        protocol=arguments.protocol,
        aware=arguments.aware,
        registers=[
            Register(*(int(part, 0) for part in text.split(":"))) for text in arguments.register
        ],
        qemu=arguments.programs / "qemu-system-x86_64",
        firmware=arguments.programs,
        state=arguments.programs / "state",
        folder=folder,
        doorbell=Doorbell(*(int(part, 0) for part in arguments.doorbell.split(":")))
        if arguments.doorbell
        else None,
        driver=_driver(arguments.programs, functions, arguments.parameter),
    )
    failed = 0
    try:
        for name in arguments.scenario or SCENARIOS:
            found = _run(name, SCENARIOS[name], bench)
            failed += found["failure"] != ""
            print(json.dumps(found), flush=True)
    finally:
        bench.clear()
    return int(failed > 0)


def _driver(programs: Path, functions: Sequence[Path], parameters: list[str]) -> Driver | None:
    module, other = (programs / name for name in ("driver.ko", "other.ko"))
    return Driver(functions, module, other, parameters) if other.exists() else None


def _folder(name: str) -> Path:
    bus = "platform" if name.rpartition(".")[0].isidentifier() else "pci"
    return Path("/sys/bus", bus, "devices", name).resolve()


def _run(name: str, scenario: Scenario, bench: Bench) -> dict[str, object]:
    """Run a scenario; return its verdict and what the monitors said meanwhile."""
    begun, failure = time.monotonic(), ""
    bench.packets = {}
    seen = {path: path.stat().st_size for path in bench.logs()}
    with KernelLog() as log, Taint() as taint:
        flags = taint.read()
        try:
            scenario(bench)
        except (Unexpected, Lost, Refused, OSError, subprocess.CalledProcessError) as error:
            failure = f"{type(error).__name__}: {error}"
        faults = reports(log.read())
        if not failure and (faults or taint.read() & ~flags):
            failure = f"the kernel reported: {'; '.join(faults) or 'new taint'}"
    said = {
        path.stem: path.read_text(errors="replace")[seen.get(path, 0) :] for path in bench.logs()
    }
    states = {
        f"{who} {function}": found
        for who, text in said.items()
        for function, found in by_function(text).items()
    }
    others = [step for found in states.values() for step in unknown(found, bench.protocol)]
    for text in said.values():
        others += foreign(text, bench.protocol)
    if not failure and others:
        failure = f"steps that the model of a monitor does not have: {', '.join(others)}"
    if failure:
        bench.clear()  # the next one begins anew
    return {
        "id": name,
        "failure": failure,
        "seconds": round(time.monotonic() - begun, 1),
        "states": states,
        "packets": {way: str(count) for way, count in bench.packets.items()},
        "output": {who: text.splitlines()[-_LAST:] for who, text in said.items() if text},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
