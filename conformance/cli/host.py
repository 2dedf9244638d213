# SPDX-License-Identifier: GPL-2.0-only
"""The options of the commands which judge devices of this machine."""

from __future__ import annotations

import argparse

from conformance.running.limits import QUIET


def check(parser: argparse.ArgumentParser) -> None:
    """Add the options with which ``check`` takes this machine instead of a virtual one."""
    group = parser.add_argument_group(
        "on this machine",
        "With --bdf the driver is built for the running kernel, bound to functions of this "
        "machine and judged there; then all changes are undone. --kernel-tree then names "
        "the build tree of the running kernel, if it is not in /lib/modules; options for images "
        "and virtual machines do not apply.",
    )
    group.add_argument("--bdf", metavar="BDF", help="the PCI function, such as 0000:3b:02.0")
    group.add_argument("--peer", metavar="BDF", help="a second one, as destination")
    group.add_argument(
        "--unbind",
        action="store_true",
        help="consent to unbind the functions from their drivers",
    )
    _common(group)


def run(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``run``."""
    parser.add_argument(
        "--device",
        dest="judged",
        required=True,
        metavar="BDF",
        help="the device, such as 0000:3b:02.0, bound to the driver to be judged",
    )
    parser.add_argument("--peer", metavar="BDF", help="a second one, as destination")
    parser.add_argument(
        "--quiet",
        type=float,
        default=QUIET,
        metavar="SECONDS",
        help="seconds without an event after which the suite counts as hung (default: %(default)g)",
    )
    parser.set_defaults(unbind=False)
    _common(parser)


def _common(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--physical", action="store_true", help="consent that this is a physical function"
    )
    parser.add_argument(
        "--scratch",
        action="append",
        default=[],
        metavar="BAR:OFFSET:MASK",
        help="bits of a 32-bit register that the suite may write; may be repeated",
    )
    parser.add_argument(
        "--volatile",
        action="append",
        default=[],
        metavar="BAR:OFFSET[:MASK]",
        help="bits of a 32-bit register that change by themselves even in a stopped device, such "
        "as a clock; comparisons ignore them, and the report says so; may be repeated",
    )
    parser.add_argument(
        "--doorbell",
        action="append",
        default=[],
        metavar="BAR:OFFSET:ADDRESS",
        help="a 32-bit register: a write makes the running device write to the IOVA in the two "
        "registers at ADDRESS; without one no dirty pages are judged; may be repeated",
    )
    parser.add_argument(
        "--enable",
        action="append",
        default=[],
        metavar="BAR:OFFSET:MASK",
        help="bits of a 32-bit register that start a part of the device, such as a queue; may be "
        "repeated",
    )
    parser.add_argument(
        "--kick",
        action="append",
        default=[],
        metavar="BAR:OFFSET:MOVES",
        help="a 32-bit register: a write makes the running device change the one at MOVES; may "
        "be repeated",
    )
    parser.add_argument(
        "--trigger",
        action="append",
        default=[],
        metavar="VECTOR,BAR:OFFSET:VALUE,...",
        help="writes, the last of which raises an interrupt on an MSI-X vector; without them no "
        "interrupts are judged; may be repeated",
    )


def check_whole(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program, with status 2, if options were given which go with --bdf only."""
    if arguments.bdf:
        if arguments.protocol and not arguments.module:
            parser.error(
                "--protocol chooses what is rendered for the VM; with --bdf name a module that was "
                "built by `python -m kpatch build --protocol`"
            )
        arguments.command = "check-here"
        return
    names = (
        "peer",
        "unbind",
        "physical",
        "scratch",
        "volatile",
        "doorbell",
        "enable",
        "kick",
        "trigger",
    )
    given = [f"--{name}" for name in names if getattr(arguments, name)]
    if given:
        parser.error(f"{given[0]} is for functions of this machine: name one with --bdf")
