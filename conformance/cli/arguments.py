# SPDX-License-Identifier: GPL-2.0-only
"""The options of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from conformance.cli import gate as gate_arguments
from conformance.cli import host as host_arguments
from conformance.cli import matrix as matrix_arguments
from conformance.cli import proof as suite_arguments
from conformance.doctor import arguments as doctor_arguments
from conformance.running.limits import QUIET

_DEVICE = "igb-vf"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line. Ends the program, with status 2, if it makes no sense.

    What follows `--` becomes ``pytest_arguments``.
    """
    words = list(words)
    rest: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, rest = words[:at], words[at + 1 :]
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.command not in ("check", "run") and rest:
        parser.error(
            f"the command {arguments.command} takes no arguments for pytest, so `--` has no meaning"
        )
    arguments.pytest_arguments = rest
    if hasattr(arguments, "named"):
        arguments.described = arguments.named or arguments.device
        arguments.device = arguments.described or _DEVICE
        if arguments.stranger and arguments.described:
            parser.error("--stranger is judged instead of a device: name one of them")
        if arguments.stranger and getattr(arguments, "bdf", ""):
            parser.error("--stranger is judged in the lab's machine, not here: leave --bdf out")
    if arguments.command == "check":
        host_arguments.check_whole(parser, arguments)
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m conformance",
        description="Judge a VFIO migration driver in a virtual machine, or on this machine.",
        epilog="Exit codes: 0 conforms, 1 a requirement failed, 2 usage, 3 the kernel died or "
        "hung, 4 the lab failed, 5 the device offers nothing to judge.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="log each command that is run")
    one = commands.add_parser(
        "check",
        parents=[common],
        help="build a driver, run the suite against it, print a verdict",
        usage="%(prog)s [DEVICE] [OPTION ...] [-- PYTEST-ARGUMENT ...]",
    )
    _check(one)
    doctor_arguments.add(
        commands.add_parser(
            "doctor", parents=[common], help="say why a function cannot be migrated or tested here"
        )
    )
    one = commands.add_parser(
        "run",
        parents=[common],
        help="run the suite on this machine, against the driver that is bound",
        usage="%(prog)s --device BDF [--peer BDF] [OPTION ...] [-- PYTEST-ARGUMENT ...]",
    )
    one.set_defaults(command="run")
    host_arguments.run(one)
    _results(one)
    _tests(one)
    one = commands.add_parser(
        "restore", parents=[common], help="undo what a killed run has left on this machine"
    )
    one.set_defaults(command="restore")
    matrix_arguments.matrix(
        commands.add_parser(
            "matrix", parents=[common], help="judge all devices on all kernels: one table"
        )
    )
    gate_arguments.gate(
        commands.add_parser(
            "gate",
            parents=[common],
            help="judge a patch series for the kernel, patch by patch",
            description=gate_arguments.DESCRIPTION,
        )
    )
    _bench(commands.add_parser("bench", parents=[common], help="measure the cost of a driver"))
    _shell(
        commands.add_parser("shell", parents=[common], help="boot the same machine, with a prompt")
    )
    _image(commands.add_parser("image", parents=[common], help="make lab images"))
    suite_arguments.mutants(
        commands.add_parser(
            "mutants", parents=[common], help="judge the suite by faulty drivers that it must fail"
        )
    )
    suite_arguments.variants(
        commands.add_parser(
            "variants", parents=[common], help="judge the suite by good drivers that it must pass"
        )
    )
    one = commands.add_parser(
        "list", parents=[common], help="list the rules, their tests and mutants"
    )
    one.set_defaults(command="list")
    one = commands.add_parser("devices", parents=[common], help="list the devices")
    one.set_defaults(command="devices")
    return parser


def _check(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command="check")
    _lab(parser)
    _results(parser)
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="folder for the results, instead of a new one in --results",
    )
    _tests(parser)
    host_arguments.check(parser)


def _tests(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-k", dest="keyword", metavar="EXPR", help="only matching tests")
    parser.add_argument(
        "--walks", type=int, metavar="N", help="number of random walks; thousands for a soak test"
    )
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="ID",
        help="only tests of this rule, or of all below it, such as `saving`; may be repeated",
    )


def _bench(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command="bench", keyword="", rule=[], walks=None)
    _lab(parser)
    _results(parser)


def _results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        *("--results", "-o"),
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="parent folder of the results (default: ./results)",
    )


def _shell(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command="shell", keyword="", rule=[], walks=None)
    _lab(parser)
    parser.add_argument("--bare", action="store_true", help="load no driver")


def _image(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command="image")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="images (default: all that judge drivers)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    parser.add_argument(
        "--prune", action="store_true", help="remove images whose definition has changed"
    )


def _lab(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what lab it shall be."""
    parser.add_argument(
        "device",
        nargs="?",
        metavar="DEVICE",
        help=f"a device of kpatch/devices, or the path of a description (default: {_DEVICE})",
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
    parser.add_argument(
        "--protocol",
        choices=("v1", "v2"),
        help="version of the migration protocol that is rendered and judged: v1, the migration "
        "region; v2, VFIO_DEVICE_FEATURE_MIGRATION (default: v1; of a module, what it offers)",
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
        type=float,
        default=QUIET,
        metavar="SECONDS",
        help="seconds without an event after which the guest counts as hung (default: %(default)g)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
