# SPDX-License-Identifier: GPL-2.0-only
"""The command line of kpatch: descriptions, drivers, modules.

Exit codes: 0 it worked, 1 `inspect` found a problem, 2 the input is wrong (a description, a name,
an option), 4 something on the way failed (no headers, a build, a missing program), 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

_EXIT_FAILED = 4
_EXIT_INTERRUPTED = 130

try:  # what takes its time, and packages that may be missing
    from kpatch.device import load as device
    from kpatch.device.description import Device
    from kpatch.device.protocols import PROTOCOLS, Protocol
    from kpatch.errors import KernelTreeError, KpatchError, OutputError, SeriesError
    from kpatch.kernel import features, kbuild
    from kpatch.kernel import tree as kernel
    from kpatch.kernel.tree import KernelTree
    from kpatch.module import diagnosis
    from kpatch.module import info as module
    from kpatch.module.finding import Finding
    from kpatch.render.form import Form
    from kpatch.render.render import render
    from kpatch.series import command as series_command
    from kpatch.series import make as series_make
    from kpatch.series.mail import Version
    from kpatch.tools import programs, streams
except KeyboardInterrupt:
    sys.exit(_EXIT_INTERRUPTED)
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] == "kpatch":
        raise
    print(
        f"kpatch: it needs the Python package {missing.name}, which this Python does not have. "
        "`make setup` makes .venv, which has all packages of the kit: use .venv/bin/python.",
        file=sys.stderr,
    )
    sys.exit(_EXIT_FAILED)

_EXIT_FOUND = 1
_WORK = ".kpatch"  # what is kept of a tree, next to the sources


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    streams.show_anything()
    arguments = _parser().parse_args(argv)
    try:
        code = _run(arguments)
        sys.stdout.flush()  # an error here is ours to handle, one at the end Python's
        return code
    except KpatchError as error:
        print(f"kpatch: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("kpatch: interrupted.", file=sys.stderr)
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        streams.reader_has_gone()
        return 0 if arguments.command is _devices else _EXIT_FAILED
    except OSError as error:  # a full disk, a folder that may not be written
        what = error.filename or "a file"
        print(f"kpatch: {what} cannot be read or written: {error.strerror}.", file=sys.stderr)
        return KpatchError.exit_code


def _run(arguments: argparse.Namespace) -> int:
    level = logging.DEBUG if arguments.verbose > 1 else logging.INFO
    logging.basicConfig(level=level if arguments.verbose else logging.WARNING, format="%(message)s")
    if arguments.dry_run:
        with programs.dry_run(print):
            return int(arguments.command(arguments))
    return int(arguments.command(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kpatch",
        description="Turn a device description into a VFIO driver with migration.",
        epilog="Exit codes: 0 ok, 1 inspect found a problem, 2 wrong input, 4 something failed.",
    )
    _common_arguments(parser, verbose=0, dry_run=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    # After the command as well; there the default must not undo what came before it.
    common = argparse.ArgumentParser(add_help=False)
    _common_arguments(common, verbose=argparse.SUPPRESS, dry_run=argparse.SUPPRESS)

    one = commands.add_parser(
        "devices", parents=[common], help="list the devices that have a description"
    )
    one.set_defaults(command=_devices)

    one = commands.add_parser("render", parents=[common], help="write the sources of a driver")
    _device_argument(one)
    _protocol_argument(one)
    one.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True, help="folder for the sources"
    )
    _tree_arguments(one)
    one.set_defaults(command=_render)

    one = commands.add_parser(
        "build", parents=[common], help="write the sources of a driver and build its module"
    )
    _device_argument(one)
    _protocol_argument(one)
    one.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        help="folder for the sources and the module (default: build/DEVICE/RELEASE)",
    )
    _tree_arguments(one)
    one.set_defaults(command=_build)

    one = commands.add_parser(
        "inspect", parents=[common], help="check whether a kernel will load a module"
    )
    one.add_argument("file", metavar="FILE.ko", type=Path, help="any kernel module")
    _tree_arguments(one)
    one.set_defaults(command=_inspect)

    series_command.add(commands, _series)
    return parser


def _common_arguments(
    parser: argparse.ArgumentParser, *, verbose: int | str, dry_run: bool | str
) -> None:
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=verbose,
        help="print each program that is run",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        default=dry_run,
        help="print the programs instead of running them",
    )


def _device_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "device", metavar="DEVICE", help="name of a known device, or the path of a description"
    )


def _protocol_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--protocol",
        choices=(*PROTOCOLS, "both"),
        help="version of the migration protocol: v1, the migration region; v2, "
        "VFIO_DEVICE_FEATURE_MIGRATION; both, in one module (default: what the description says, "
        "v1 if it leaves the choice)",
    )


def _tree_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root",
        metavar="IMAGE_ROOT",
        type=Path,
        help="unpacked root of an image whose kernel, compiler and tools to use",
    )
    parser.add_argument(
        "--kernel-tree",
        metavar="PATH",
        type=Path,
        help="kernel build tree, as seen inside IMAGE_ROOT if that is given (default: that of "
        "the running kernel, or of the newest kernel in IMAGE_ROOT)",
    )


def _devices(_arguments: argparse.Namespace) -> int:
    rows = [(name, device.load(name)) for name in device.names()]
    for name, one in rows:
        ids = " ".join(f"{pair.vendor:04x}:{pair.device:04x}" for pair in one.ids)
        print(f"{name:12} {ids:20} {one.summary}")
    return 0


def _render(arguments: argparse.Namespace) -> int:
    description, tree = device.load(arguments.device), _tree(arguments)
    if programs.dry():
        features.probe(tree, arguments.output / _WORK)
        return 0
    written = _sources(arguments, description, tree, arguments.output)
    print(f"{arguments.output}: {_count(len(written), 'file')} written for Linux {tree.release}.")
    return 0


def _build(arguments: argparse.Namespace) -> int:
    description, tree = device.load(arguments.device), _tree(arguments)
    output = arguments.output or Path("build", description.name, tree.release)
    if programs.dry():
        features.probe(tree, output / _WORK)
        tree.make(output, ["modules"], options=["W=1"])
        return 0
    _sources(arguments, description, tree, output)
    print(kbuild.build(output, tree, log=output / "build.log"))
    return 0


def _sources(
    arguments: argparse.Namespace, description: Device, tree: KernelTree, output: Path
) -> list[Path]:
    protocols = _protocols(arguments, description)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {output} cannot be made: {error.strerror}. Name another one with -o."
        ) from error
    found = features.probe(tree, output / _WORK)
    return render(description, found, output, form=Form(protocols=protocols))


def _protocols(arguments: argparse.Namespace, description: Device) -> tuple[Protocol, ...]:
    """Return the versions of the protocol that the driver is to speak."""
    if arguments.protocol == "both":
        return device.spoken(description, both=True)
    found = device.spoken(description, arguments.protocol)
    return tuple(one for one in found if arguments.protocol in {None, one})


def _inspect(arguments: argparse.Namespace) -> int:
    info = module.read(arguments.file)
    print(f"{info.name}: {' '.join(info.info.get('description', ('no description',)))}")
    for alias in info.aliases:
        print(f"  alias      {alias}")
    for name, words in info.parameters.items():
        print(f"  parameter  {name}: {words}")
    found = diagnosis.diagnose(info, _known_tree(arguments))
    for finding in found:
        print(_shown(finding))
    problems = sum(finding.level == "problem" for finding in found)
    if problems:
        print(f"{_count(problems, 'problem')}: this kernel will not run it as it is.")
        return _EXIT_FOUND
    print("No problem found.")
    return 0


def _series(arguments: argparse.Namespace) -> int:
    _refuse_dry()
    if arguments.project == "qemu":
        return _series_of_qemu(arguments)
    for path in series_make.make(series_command.request(arguments), arguments.output):
        print(path)
    send = arguments.output / "send.sh"
    print(f"Read them, judge them with `python -m conformance gate`, then run {send}.")
    return 0


def _series_of_qemu(arguments: argparse.Namespace) -> int:
    if arguments.device or arguments.tested or arguments.base != "HEAD":
        raise SeriesError("--for qemu takes no DEVICE, --tested or --base: it is of QEMU alone.")
    version = Version(arguments.reroll_count, arguments.previous, arguments.rfc)
    made = series_make.make_qemu(
        arguments.tree, arguments.output, version, signoff=arguments.signoff
    )
    for path in made:
        print(path)
    return 0


def _refuse_dry() -> None:
    """Refuse --dry-run where each program works on what the ones before it have written."""
    if programs.dry():
        raise SeriesError(
            "--dry-run does not apply to this command, which only writes its results. `kpatch -v "
            "COMMAND` prints the programs."
        )


def _known_tree(arguments: argparse.Namespace) -> KernelTree | None:
    """Return the tree to compare with; of what nobody asked for, it may be missing."""
    try:
        return _tree(arguments)
    except KernelTreeError:
        if arguments.root or arguments.kernel_tree:
            raise
        return None


def _tree(arguments: argparse.Namespace) -> KernelTree:
    tree = kernel.find(arguments.root, arguments.kernel_tree)
    _ = tree.release  # a wrong path is reported before anything is done
    return tree


def _shown(finding: Finding) -> str:
    lines = [f"  {finding.level:9} {finding.topic:10} {finding.what}"]
    for words in (finding.why, finding.do):
        lines += textwrap.wrap(words, 96, initial_indent=" " * 23, subsequent_indent=" " * 23)
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
