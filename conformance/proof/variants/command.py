# SPDX-License-Identifier: GPL-2.0-only
"""The command ``variants``: the suite must pass on each driver that conforms, whatever it does."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import replace
from typing import TextIO

from conformance.lab.check import run
from conformance.lab.check.prepare import Options, look_up
from conformance.proof.judging import pipeline
from conformance.proof.variants import variant as variants
from conformance.report.page import HTML_FILE
from conformance.report.verdict import Conclusion
from conformance.running import paths


def execute(arguments: argparse.Namespace, out: TextIO, say: Callable[[str], None]) -> int:
    """Do what the command says.

    Returns:
        0 if the suite passes on all; else the exit code of the first that it does not pass on.

    Raises:
        UsageError: There is no such variant.
        KpatchError: A variant has mistakes.
        ReportError: Results cannot be written.
    """
    every = {name: variants.load(name) for name in arguments.names or variants.names()}
    if arguments.sample:
        seed = random.randrange(1 << 31) if arguments.seed is None else arguments.seed  # noqa: S311
        every = pipeline.sample(every, arguments.sample, seed)
        say(f"variants: {', '.join(every)}; --seed {seed}")
    chosen = list(every.values())
    if arguments.list:
        for one in chosen:
            say(f"{one.name} ({', '.join(one.protocols)}): {one.why}")
        return 0
    options = Options(
        image=arguments.image,
        accelerator=arguments.accel,
        guests=0,
        pytest_args=("-k", arguments.keyword) if arguments.keyword else (),
    )
    asked = look_up(options)
    codes: dict[str, int] = {}
    pages: dict[str, str] = {}
    for one, protocol in [(each, version) for each in chosen for version in each.protocols]:
        say(f"== {one.name}, {protocol}: {one.why}")
        request = replace(asked, device=one.device, options=replace(options, protocol=protocol))
        if one.scratch:
            # Nor is what makes it raise interrupts, or receive: no stream brings that back.
            fewer = {"scratch": one.scratch, "triggers": (), "network": None}
            machine = request.machine.model_copy(update=fewer)
            request = replace(request, machine=machine)
        results = paths.new_results(arguments.results, one.device.name, arguments.image)
        name = f"{one.name}, {protocol}"
        codes[name] = run.check(request, results, out)
        pages[name] = (results.absolute() / HTML_FILE).as_uri()
        if codes[name] == Conclusion.INTERRUPTED.exit_code:
            break
    for name, code in codes.items():
        say(f"{name}: {'passes' if code == 0 else f'exit code {code}'}; report: {pages[name]}")
    return next((code for code in codes.values() if code), 0)
