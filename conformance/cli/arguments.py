# SPDX-License-Identifier: GPL-2.0-only
"""The command line: which commands there are, and what their options have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Protocol

from conformance.cli.commands import (
    bench,
    check,
    devices,
    doctor,
    gate,
    image,
    matrix,
    mutants,
    restore,
    rules,
    run,
    shell,
    variants,
    vmm,
    watch,
)
from conformance.cli.options import Say


class Command(Protocol):
    """The module of a command; some have a USAGE, and `settle` for options that must go together.

    It imports its worker when it runs, so that a command needs no package of others.

    Attributes:
        HELP: What the command does, in a line.
    """

    HELP: str

    def add(self, parser: argparse.ArgumentParser, /) -> None:
        """Add the options."""

    def run(self, arguments: argparse.Namespace, say: Say, /) -> int:
        """Do it, and return the exit code."""


_COMMANDS: dict[str, Command] = {
    "check": check,
    "watch": watch,
    "doctor": doctor,
    "run": run,
    "restore": restore,
    "matrix": matrix,
    "gate": gate,
    "bench": bench,
    "vmm": vmm,
    "shell": shell,
    "image": image,
    "mutants": mutants,
    "variants": variants,
    "list": rules,
    "devices": devices,
}

_PYTEST = ("check", "watch", "run")
"""Commands that pass arguments on to pytest."""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line. Ends the program, with status 2, if it makes no sense.

    What follows `--` becomes ``pytest_arguments``; ``words`` are those between command and `--`.
    """
    words = list(words)
    rest: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, rest = words[:at], words[at + 1 :]
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.command not in _PYTEST and rest:
        parser.error(
            f"the command {arguments.command} takes no arguments for pytest, so `--` has no meaning"
        )
    arguments.pytest_arguments = rest
    arguments.words = words[words.index(arguments.command) + 1 :]
    settle: Callable[..., None] | None
    if settle := getattr(_COMMANDS[arguments.command], "settle", None):
        settle(parser, arguments)
    return arguments


def execute(arguments: argparse.Namespace, say: Say) -> int:
    """Run the command and return its exit code."""
    return _COMMANDS[arguments.command].run(arguments, say)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m conformance",
        description="Judge a VFIO migration driver in a virtual machine, or on this machine.",
        epilog="Exit codes: 0 conforms, 1 a requirement failed, 2 usage, 3 the kernel died or "
        "hung, 4 the lab failed, 5 the device offers nothing to judge, 130 interrupted.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="log each command that is run")
    for name, module in _COMMANDS.items():
        usage = getattr(module, "USAGE", None)
        one = commands.add_parser(name, parents=[common], help=module.HELP, usage=usage)
        one.set_defaults(command=name)
        module.add(one)
    return parser
