# SPDX-License-Identifier: GPL-2.0-only
"""Options that several commands have, and what the lab makes of them. Standard library only."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.running.limits import QUIET

PROTOCOLS = ("v1", "v2")
"""Versions of the migration protocol, as in kpatch, which needs packages to be imported."""

if TYPE_CHECKING:
    from conformance.lab.check.prepare import LabRequest

Say = Callable[[str], None]
"""Prints a line for the user."""

DEVICE = "igb-vf"
"""The device that is judged if none is named."""


def lab(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what lab it shall be."""
    parser.add_argument(
        "device",
        nargs="?",
        metavar="DEVICE",
        help=f"a device of kpatch/devices, or the path of a description (default: {DEVICE})",
    )
    # The same, for those who expect an option. Had it the same name as the argument, the default
    # of that, which is seen later, would win.
    parser.add_argument("--device", dest="named", metavar="DEVICE", help=argparse.SUPPRESS)
    parser.add_argument(
        "--image", default="trixie", metavar="NAME", help="lab image (default: trixie)"
    )
    parser.add_argument(
        "--kernel-tree",
        type=Path,
        metavar="PATH",
        help="a built kernel tree, instead of the kernel of the image",
    )
    parser.add_argument(
        "--module",
        type=Path,
        metavar="FILE.ko",
        help="judge this module (.ko) instead of a rendered driver",
    )
    parser.add_argument(
        "--stranger",
        default="",
        metavar="NAME",
        help="judge a driver of the kernel's source that the lab builds, instead of a device's: "
        "a file of vm-images/strangers, such as mtty or qat",
    )
    parser.add_argument(
        "--modules-dir",
        type=Path,
        metavar="DIR",
        help="load the modules of this folder instead of the kernel's own, such as a patched "
        "vfio-pci-core.ko that FILE.ko was built with",
    )
    protocol(parser, "rendered and judged", "v1; of a module, what it offers")
    parser.add_argument(
        "--both",
        action="store_true",
        help="render a driver that speaks both versions, in one module; it is judged by that of "
        "--protocol, or by each in turn",
    )
    parser.add_argument("--cold", action="store_true", help="boot even if there is a snapshot")
    parser.add_argument(
        "--accel",
        choices=("kvm", "tcg"),
        default="",
        help="how QEMU runs the guest (default: KVM if a probe shows that it works)",
    )
    parser.add_argument(
        "--quiet",
        type=seconds,
        default=QUIET,
        metavar="SECONDS",
        help="seconds without an event after which the guest counts as hung (default: "
        "%(default)g); an image with a slow kernel, such as debug, multiplies them",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")


def protocol(parser: argparse.ArgumentParser, what: str, default: str) -> None:
    """Add the option that chooses the version of the protocol."""
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help=f"version of the migration protocol that is {what}: v1, the migration region; v2, "
        f"VFIO_DEVICE_FEATURE_MIGRATION (default: {default})",
    )


def named_device(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Settle which device was named, and whether that goes with the other options."""
    arguments.described = arguments.named or arguments.device
    arguments.device = arguments.described or DEVICE
    if arguments.stranger and arguments.described:
        parser.error("--stranger is judged instead of a device: name one of them")
    if arguments.stranger and getattr(arguments, "bdf", ""):
        parser.error("--stranger is judged in the lab's machine, not here: omit --bdf")
    for name in ("stranger", "module", "bdf"):
        if arguments.both and getattr(arguments, name, ""):
            parser.error(f"--both is about a driver that is rendered for the lab: omit --{name}")


def tests(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose tests."""
    parser.add_argument("-k", dest="keyword", metavar="EXPR", help="only matching tests")
    parser.add_argument(
        *("-x", "--exitfirst"), action="store_true", help="end the run at the first failed test"
    )
    parser.add_argument(
        "--walks",
        type=positive,
        metavar="N",
        help="number of random walks; thousands for a soak test",
    )
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="ID",
        help="only tests of this rule, or of all below it, such as `saving`; may be repeated",
    )


def guests(parser: argparse.ArgumentParser) -> None:
    """Add the option for the number of guests."""
    parser.add_argument(
        "--guests",
        type=positive,
        default=0,
        metavar="N",
        help="guests that share the tests (default: one for each processor, as far as memory and "
        "tests suffice; one with -x, and where the kernel looks for lost memory)",
    )


def positive(text: str) -> int:
    """Read a number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return number


def seconds(text: str) -> float:
    """Read a time: seconds, above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return number


def results(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the folder of the results."""
    parser.add_argument(
        *("--results", "-o"),
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="parent folder of the results (default: ./results)",
    )


def registers(parser: argparse._ActionsContainer) -> None:
    """Add the options that state what registers of a device do."""
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
    parser.add_argument(
        "--busy",
        action="append",
        default=[],
        metavar="BAR:OFFSET:VALUE",
        help="a write that keeps the device busy, so that it cannot be stopped in time; without "
        "one no timeout is judged; may be repeated",
    )
    parser.add_argument(
        "--packets",
        metavar="INTERFACE",
        help="a network interface that is up, from which frames reach the device, such as that of "
        "its physical function; for devices of which the suite knows how they receive",
    )


def sample(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a random sample."""
    parser.add_argument("--sample", type=positive, metavar="N", help="a random sample of this size")
    parser.add_argument(
        "--seed", type=int, metavar="S", help="seed of the sample (default: a new one each run)"
    )


def request(arguments: argparse.Namespace) -> LabRequest:
    """Return what the lab is asked for.

    Raises:
        UsageError: It does not exist, or does not go together.
        KpatchError: The description has mistakes, or the module is none.
    """
    from conformance.lab.check.prepare import Options, look_up
    from conformance.running import selection

    options = Options(
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
        guests=getattr(arguments, "guests", 1),
        both=arguments.both,
        tests=tuple(selection.of_rules(arguments.rule)) if arguments.rule else (),
        pytest_args=(
            *(["-k", arguments.keyword] if arguments.keyword else []),
            *(["--exitfirst"] if getattr(arguments, "exitfirst", False) else []),
            *(["--vfio-walks", str(arguments.walks)] if arguments.walks is not None else []),
            *arguments.pytest_arguments,
        ),
    )
    return look_up(options)


def dry(arguments: argparse.Namespace, say: Say) -> int:
    """Print the commands of a run of the lab, and run none."""
    from conformance.lab.check import dryrun
    from conformance.running.steps import Steps
    from kpatch.tools import programs

    # What is printed besides the commands must not hinder pasting.
    steps = Steps(lambda line: say(textwrap.indent(line, "# ")))
    with programs.dry_run(say):
        dryrun.commands(request(arguments), steps)
    return 0
