# SPDX-License-Identifier: GPL-2.0-only
"""Whether the lab's virtual machines can be made and run here."""

from collections.abc import Iterator

from conformance.doctor.checks.finding import Finding, blocks, fine, warns
from conformance.doctor.facts.facts import Facts

GUEST = 1200 << 20
"""Bytes of memory for a guest and its QEMU."""

IMAGE = 3 << 30
"""Bytes on disk for making an image."""

_PACKAGE = {"bwrap": "bubblewrap", "mmdebstrap": "mmdebstrap"}


def machine(facts: Facts) -> Iterator[Finding]:
    """Whether it is a machine for which there are images, with a Python that is new enough."""
    lab = facts.lab
    if lab.machine != "x86_64":
        yield blocks(
            f"This is a {lab.machine} machine.", "The lab is amd64 only.", "Use an amd64 machine."
        )
    if lab.python < (3, 11):
        version = ".".join(map(str, lab.python))
        yield blocks(f"This Python is {version}.", "The kit needs 3.11.", "Use Debian 12 or later.")
    if lab.memory is not None and lab.memory < GUEST:
        yield blocks(
            f"{lab.memory >> 20} MiB of memory are free.",
            f"A guest takes {GUEST >> 20}.",
            "Free some memory, or use a larger machine.",
        )


def programs(facts: Facts) -> Iterator[Finding]:
    """Whether images can be made and entered."""
    lab = facts.lab
    if lab.missing:
        packages = " ".join(_PACKAGE[one] for one in lab.missing)
        yield blocks(
            f"{' and '.join(lab.missing)} cannot be found.",
            "Images are made with mmdebstrap and entered with bubblewrap.",
            f"`make setup` installs what is missing, or: apt-get install {packages}.",
        )
    else:
        yield fine("mmdebstrap and bubblewrap are installed.")
    if lab.packages and not lab.venv:
        yield warns(
            f"This Python lacks {', '.join(lab.packages)}, and there is no .venv.",
            "All commands but the doctor need them.",
            "`make setup` makes .venv, which has them.",
        )


def namespaces(facts: Facts) -> Iterator[Finding]:
    """Whether an ordinary user may make what bubblewrap and mmdebstrap need."""
    lab = facts.lab
    if lab.namespaces:
        yield blocks(
            "Ordinary users may not make user namespaces here.",
            "bubblewrap enters images by them.",
            f"As root: sysctl {lab.namespaces}.",
        )
    if lab.unmapped:
        yield blocks(
            f"This user has no ids in {' and '.join(lab.unmapped)}.",
            "mmdebstrap maps them.",
            "As root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER.",
        )


def space(facts: Facts) -> Iterator[Finding]:
    """Whether images have a place."""
    lab = facts.lab
    if lab.disk is not None and lab.disk < IMAGE:
        level = warns if lab.images else blocks
        yield level(
            f"{lab.disk >> 20} MiB are free in {lab.cache}.",
            f"Making an image takes {IMAGE >> 20}.",
            "Free some, or set VFIO_KIT_CACHE to another place.",
        )


def images(facts: Facts) -> Iterator[Finding]:
    """Which images there are, and whose QEMU runs."""
    listed = ", ".join(
        f"{name} (QEMU {version})" if version else name for name, version in facts.lab.images
    )
    if listed:
        yield fine(f"Images: {listed}.")
    else:
        yield fine("No image is made yet; the first `make check` makes one.")


def kvm(facts: Facts) -> Iterator[Finding]:
    """Whether guests run with KVM."""
    lab = facts.lab
    slow = "Guests are emulated: a run takes a minute instead of seconds, and is else the same."
    match lab.kvm, lab.kvm_works:
        case "missing", _:
            yield warns(
                "There is no /dev/kvm.",
                slow,
                "Switch virtualization on in the firmware's setup, or let the host of this "
                "machine pass it on (nested virtualization).",
            )
        case "forbidden", _:
            yield warns(
                "This user has no permission to open /dev/kvm.",
                slow,
                "Add the user to the group kvm.",
            )
        case _, False:
            yield warns(
                "/dev/kvm exists, but a kernel did not boot with it.",
                slow,
                "Nested virtualization may be broken on the host. No need to act.",
            )
        case _, True:
            yield fine("KVM works: a kernel booted with it.")
        case _:
            why = f" ({lab.left_out[0]})" if lab.left_out else ""
            yield fine(f"/dev/kvm exists; the first run probes it{why}.")
