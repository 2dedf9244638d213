# SPDX-License-Identifier: GPL-2.0-only
"""The command line of the lab: judge a driver, get a prompt, make images, list what there is.

Exit codes: 0 it conforms, 1 a requirement failed, 2 usage, 3 the kernel died or hung, 4 the lab
failed, 130 Ctrl-C.
"""

from __future__ import annotations

import logging
import signal
import sys
import textwrap
from argparse import Namespace
from collections.abc import Sequence

from conformance import requirements
from conformance.errors import ConformanceError, UnknownMachine
from conformance.lab import (
    bench_command,
    dryrun,
    image,
    mutants,
    mutants_command,
    paths,
    run,
    selection,
    shell,
    tracing,
    variants_command,
)
from conformance.lab.arguments import parse
from conformance.lab.definitions import image as image_definition
from conformance.lab.definitions import images, machine_for, machines
from conformance.lab.prepare import Options, look_up, pci_ids
from conformance.lab.steps import Steps
from conformance.report import ReportError
from conformance.requirements import CatalogueError
from kpatch import device as devices
from kpatch import programs
from kpatch.errors import KpatchError

_EXIT_LAB_FAILED = 4
_EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    commands = {
        "check": _check,
        "bench": _bench,
        "shell": _shell,
        "image": _image,
        "list": _list,
        "devices": _devices,
        "mutants": _mutants,
        "variants": _variants,
    }
    arguments = parse(sys.argv[1:] if argv is None else argv)
    level = logging.INFO if arguments.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s")
    for number in (signal.SIGTERM, signal.SIGHUP):  # end as tidily as on Ctrl-C
        signal.signal(number, signal.default_int_handler)
    try:
        return commands[arguments.command](arguments)
    except (ConformanceError, KpatchError, ReportError, CatalogueError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nothing more to say
        return 0
    except OSError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return _EXIT_LAB_FAILED
    except KeyboardInterrupt:
        print("conformance: interrupted, nothing is left running.", file=sys.stderr)
        return _EXIT_INTERRUPTED


def _options(arguments: Namespace) -> Options:
    return Options(
        device=arguments.device,
        image=arguments.image,
        kernel_tree=arguments.kernel_tree,
        module=arguments.module,
        modules_dir=arguments.modules_dir,
        bare=getattr(arguments, "bare", False),
        cold=arguments.cold,
        accelerator=arguments.accel,
        quiet=arguments.quiet,
        tests=tuple(selection.of_rules(arguments.rule)) if arguments.rule else (),
        pytest_args=(
            *(["-k", arguments.keyword] if arguments.keyword else []),
            *(["--vfio-walks", str(arguments.walks)] if arguments.walks is not None else []),
            *arguments.pytest_arguments,
        ),
    )


def _check(arguments: Namespace) -> int:
    request = look_up(_options(arguments))
    if arguments.dry_run:
        return _dry(arguments)
    name, picture = request.device.name, request.definition.name
    if request.options.module:
        name = request.options.module.name.partition(".")[0]
    results = paths.new_results(arguments.results, name, picture)
    return run.check(request, results, sys.stdout)


def _bench(arguments: Namespace) -> int:
    request = look_up(_options(arguments))
    if arguments.dry_run:
        return _dry(arguments)
    name = f"bench-{request.device.name}"
    results = paths.new_results(arguments.results, name, request.definition.name)
    bench_command.bench(request, results.absolute(), sys.stdout)
    return 0


def _shell(arguments: Namespace) -> int:
    request = look_up(_options(arguments))
    if arguments.dry_run:
        return _dry(arguments)
    logs = paths.logs() / "shell"
    logs.mkdir(parents=True, exist_ok=True)
    shell.shell(request, logs, Steps(lambda line: print(line, flush=True)))
    return 0


def _dry(arguments: Namespace) -> int:
    # What is said beside the commands must not hinder pasting.
    steps = Steps(lambda line: print(textwrap.indent(line, "# ")))
    with programs.dry_run(print):
        dryrun.commands(look_up(_options(arguments)), steps)
    return 0


def _image(arguments: Namespace) -> int:
    steps = Steps(lambda line: print(line, flush=True))
    definitions = [image_definition(name) for name in arguments.names or images()]
    if arguments.dry_run:
        with programs.dry_run(print):
            for definition in definitions:
                image.provide(definition, steps)
        return 0
    for definition in definitions:
        made = image.provide(definition, steps)
        manifest = made.manifest
        print(
            f"{definition.name}: {made.folder}\n"
            f"  {definition.summary}: Linux {made.release}, QEMU {manifest['qemu']}, "
            f"Python {manifest['python']}, pytest {manifest['pytest']}"
        )
    if arguments.prune:
        for path in image.prune([image_definition(name) for name in images()]):
            print(f"removed {path}")
    return 0


def _list(arguments: Namespace) -> int:
    rules = requirements.load()
    every, exempt = mutants.load(rules), mutants.load_exempt(rules)
    for one in tracing.trace(rules, selection.tests_by_rule(), every, exempt):
        rule = one.rule
        shown = ", ".join(one.mutants) or ("no mutant" if rule.level == "MUST" else "-")
        print(
            f"{rule.id}  {rule.level}  {','.join(rule.sources)}  tests: {len(one.tests)}  "
            f"mutants: {shown}"
        )
        if arguments.verbose:
            print(textwrap.fill(rule.text, 96, initial_indent="    ", subsequent_indent="    "))
            if one.exempt:
                print(textwrap.indent(textwrap.fill(f"No mutant: {one.exempt}", 92), "    "))
            for test in one.tests:
                print(f"    - {test}")
            for name in one.mutants:
                print(f"    * {name}: {every[name].defect}")
    return 0


def _mutants(arguments: Namespace) -> int:
    return mutants_command.run(arguments, lambda line: print(line, flush=True))


def _variants(arguments: Namespace) -> int:
    return variants_command.execute(arguments, sys.stdout, lambda line: print(line, flush=True))


def _devices(_arguments: Namespace) -> int:
    known = machines()
    for name in devices.names():
        device = devices.load(name)
        try:
            where = f"machine {machine_for(pci_ids(device), name, known).name}"
        except UnknownMachine:
            where = "no machine of the lab has it; on a host with the real function only"
        print(f"{name}  {', '.join(pci_ids(device))}  {device.summary} ({where})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
