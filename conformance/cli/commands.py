# SPDX-License-Identifier: GPL-2.0-only
"""What the commands of the lab do, once their options are read."""

from __future__ import annotations

import sys
import textwrap
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from conformance import requirements
from conformance.bench import command as bench_command
from conformance.errors import UnknownMachine, UsageError
from conformance.lab.check import dryrun, run
from conformance.lab.check import shell as prompt
from conformance.lab.check.prepare import Options, look_up, pci_ids
from conformance.lab.image import image as images
from conformance.lab.image.definitions import image as image_definition
from conformance.lab.image.definitions import images as image_names
from conformance.lab.image.definitions import machine_for, machines
from conformance.proof import command as mutants_command
from conformance.proof import mutant as mutants
from conformance.proof import tracing, variants_command
from conformance.running import paths, selection
from conformance.running.steps import Steps
from kpatch.device import load as descriptions
from kpatch.tools import programs

Say = Callable[[str], None]
"""Prints a line for the user."""


def _options(arguments: Namespace) -> Options:
    return Options(
        device=arguments.device,
        image=arguments.image,
        kernel_tree=arguments.kernel_tree,
        module=arguments.module,
        stranger=arguments.stranger,
        modules_dir=arguments.modules_dir,
        bare=getattr(arguments, "bare", False),
        cold=arguments.cold,
        accelerator=arguments.accel,
        quiet=arguments.quiet,
        protocol=arguments.protocol,
        tests=tuple(selection.of_rules(arguments.rule)) if arguments.rule else (),
        pytest_args=(
            *(["-k", arguments.keyword] if arguments.keyword else []),
            *(["--vfio-walks", str(arguments.walks)] if arguments.walks is not None else []),
            *arguments.pytest_arguments,
        ),
    )


def check(arguments: Namespace, say: Say) -> int:
    """Judge a driver in the lab, and return the exit code."""
    request = look_up(_options(arguments))
    if arguments.dry_run:
        return _dry(arguments, say)
    name, image = request.name, request.definition.name
    if request.options.module:
        name = request.options.module.name.partition(".")[0]
    results: Path = arguments.into or paths.new_results(arguments.results, name, image)
    return run.check(request, results, sys.stdout)


def bench(arguments: Namespace, say: Say) -> int:
    """Measure what a driver costs."""
    request = look_up(_options(arguments))
    if request.stranger:
        raise UsageError(
            "bench measures version 1 of the protocol, which no stranger speaks. Name a device."
        )
    if request.machine.software:
        raise UsageError(
            f"{request.name} cannot be compared with plain vfio-pci: it is a software "
            "device. Name one that is a PCI function."
        )
    if arguments.dry_run:
        return _dry(arguments, say)
    name = f"bench-{request.name}"
    results = paths.new_results(arguments.results, name, request.definition.name)
    bench_command.bench(request, results.absolute(), sys.stdout)
    return 0


def shell(arguments: Namespace, say: Say) -> int:
    """Give the user a prompt in the machine."""
    request = look_up(_options(arguments))
    if arguments.dry_run:
        return _dry(arguments, say)
    logs = paths.logs() / "shell"
    logs.mkdir(parents=True, exist_ok=True)
    prompt.shell(request, logs, Steps(say))
    return 0


def _dry(arguments: Namespace, say: Say) -> int:
    # What is said beside the commands must not hinder pasting.
    steps = Steps(lambda line: say(textwrap.indent(line, "# ")))
    with programs.dry_run(say):
        dryrun.commands(look_up(_options(arguments)), steps)
    return 0


def image(arguments: Namespace, say: Say) -> int:
    """Make images."""
    steps = Steps(say)
    definitions = [image_definition(name) for name in arguments.names or image_names()]
    definitions = [one for one in definitions if arguments.names or not one.for_tests]
    if arguments.dry_run:
        with programs.dry_run(say):
            for definition in definitions:
                images.provide(definition, steps)
        return 0
    for definition in definitions:
        made = images.provide(definition, steps)
        manifest = made.manifest
        say(
            f"{definition.name}: {made.folder}\n"
            f"  {definition.summary}: Linux {made.release}, QEMU {manifest['qemu']}, "
            f"Python {manifest['python']}, pytest {manifest['pytest']}"
        )
    if arguments.prune:
        for path in images.prune([image_definition(name) for name in image_names()]):
            say(f"removed {path}")
    return 0


def rules(arguments: Namespace, say: Say) -> int:
    """List the rules, their tests and mutants."""
    catalogue = requirements.load()
    every, exempt = mutants.load(catalogue), mutants.load_exempt(catalogue)
    for one in tracing.trace(catalogue, selection.tests_by_rule(), every, exempt):
        rule = one.rule
        shown = ", ".join(one.mutants) or ("no mutant" if rule.level == "MUST" else "-")
        say(
            f"{rule.id}  {rule.level}  {','.join(rule.sources)}  tests: {len(one.tests)}  "
            f"mutants: {shown}"
        )
        if arguments.verbose:
            say(textwrap.fill(rule.text, 96, initial_indent="    ", subsequent_indent="    "))
            if one.exempt:
                say(textwrap.indent(textwrap.fill(f"No mutant: {one.exempt}", 92), "    "))
            for test in one.tests:
                say(f"    - {test}")
            for name in one.mutants:
                say(f"    * {name}: {every[name].defect}")
    return 0


def judge_mutants(arguments: Namespace, say: Say) -> int:
    """Judge the suite by faulty drivers."""
    return mutants_command.run(arguments, say)


def judge_variants(arguments: Namespace, say: Say) -> int:
    """Judge the suite by good drivers."""
    return variants_command.execute(arguments, sys.stdout, say)


def devices(_arguments: Namespace, say: Say) -> int:
    """List the devices, and which machine has them."""
    known = machines()
    for name in descriptions.names():
        device = descriptions.load(name)
        try:
            where = f"machine {machine_for(pci_ids(device), name, known).name}"
        except UnknownMachine:
            where = "no machine of the lab has it: needs a host with the real function"
        say(f"{name}  {', '.join(pci_ids(device)) or 'software'}  {device.summary} ({where})")
    return 0
