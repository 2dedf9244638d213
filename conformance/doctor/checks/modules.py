# SPDX-License-Identifier: GPL-2.0-only
"""Whether the modules that are to drive a function fit the running kernel."""

from collections.abc import Iterator

from conformance.doctor.checks.finding import Finding, blocks, fine, warns
from conformance.doctor.facts.facts import Facts
from conformance.doctor.facts.modules import Module


def fit(facts: Facts) -> Iterator[Finding]:
    """Whether they were built for it."""
    release = facts.kernel.release
    for module in facts.modules:
        built = module.vermagic.partition(" ")[0]
        problems = [words for level, words in module.findings if level == "problem"]
        doubts = [words for level, words in module.findings if level == "warning"]
        if problems:
            more = f" There are {len(problems) - 1} more reasons." if len(problems) > 1 else ""
            yield blocks(
                f"The kernel {release} would refuse {module.name}, or crash with it.",
                f"{problems[0]}{more}",
                f"For details: python3 -m kpatch inspect {module.name}",
            )
        elif module.left_out and built and built != release:
            yield _by_release(module, built, release)
        elif doubts:
            yield warns(f"{module.name}: {doubts[0]}", "", "")
        elif built:
            yield fine(f"{module.name} was built for {built}.")
        else:
            yield warns(
                f"Cannot read for which kernel {module.name} was built.",
                "A module for another kernel is refused.",
                f"Try: modinfo {module.name}",
            )


def _by_release(module: Module, built: str, release: str) -> Finding:
    """Judge by the releases alone; symbol versions are not compared."""
    what = f"{module.name} was built for Linux {built}, and {release} is running."
    do = f"Build it against the headers of {release}."
    left_out = f"The versions of its symbols were not compared: {module.left_out}"
    # With module versions the release itself is not compared, and within a series they may agree.
    if "modversions" in module.vermagic and _series(built) == _series(release):
        return warns(what, "It may load, if nothing that it uses has changed.", f"{do} {left_out}")
    return blocks(what, "The kernel refuses it (Invalid module format).", f"{do} {left_out}")


def _series(release: str) -> list[str]:
    return release.split(".")[:2]


def elsewhere(facts: Facts) -> Iterator[Finding]:
    """Whether there is a driver for it, but for another kernel."""
    function = facts.function
    if not function or function.variants or function.vfio or not function.elsewhere:
        return
    release, module = function.elsewhere[-1]
    yield blocks(
        f"The module {module}, which is meant for {function.ids}, is installed for the kernel "
        f"{release} and not for {facts.kernel.release}, which is running.",
        "A kernel loads modules that were built for it.",
        f"Boot {release}, or build and install it for {facts.kernel.release} (with DKMS: "
        "dkms autoinstall).",
    )
