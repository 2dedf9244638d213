# SPDX-License-Identifier: GPL-2.0-only
"""The driver of a device as a patch series for a kernel tree.

Patch N is the render of feature set N: there are no templates of differences. A patch of the
driver's own folder renders it anew with one feature more, and what changes in files that the tree
already has are `kpatch.series.edits`. Git makes the patches of it in a scratch repository.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kpatch.device.description import Device
from kpatch.device.protocols import Protocol
from kpatch.kernel import source
from kpatch.kernel.features import Features
from kpatch.render.context import variables
from kpatch.render.form import MODULE, Form, follows, restricts, sources
from kpatch.render.render import fill
from kpatch.series import edits
from kpatch.series.edits import Edit
from kpatch.tools.git import Identity, Repository

_KCONFIG = "drivers/vfio/pci/Kconfig"
_MAKEFILE = "drivers/vfio/pci/Makefile"
_INDEX = "Documentation/driver-api/index.rst"
_SELFTESTS = "tools/testing/selftests/vfio"
_SELFTEST = "vfio_pci_saving_layout_test"
_MINUTE = 60

NEEDED = (
    "Makefile",
    "MAINTAINERS",
    source.CORE_HEADER,
    source.CORE_SOURCE,
    source.DEVICE_HEADER,
    source.UAPI_HEADER,
    _KCONFIG,
    _MAKEFILE,
    _INDEX,
)
"""What a tree must have for the series."""

OPTIONAL = (f"{_SELFTESTS}/Makefile",)
"""What is made use of where it is there."""


@dataclass(frozen=True)
class Step:
    """What a patch does.

    Attributes:
        name: That of its message's template.
        form: With which the driver's folder is rendered from this patch on; None for no folder yet.
        edits: Changes to files that the tree has, in order.
        files: New files of the series with their templates.
        saving: Whether it is for devices with a saving layout only.
        maintained: Whether it adds the driver's MAINTAINERS entry.
    """

    name: str
    form: Form | None = None
    edits: tuple[Edit, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    saving: bool = False
    maintained: bool = False


def steps(device: Device, tree: Path, features: Features, protocol: Protocol) -> list[Step]:
    """Return what the patches of a series do, in order, without those of no use.

    `tree` and its `features` say what differs between kernels, and `protocol` is what the driver
    speaks.
    """
    document = _document(device)
    whole = _whole(device, protocol)
    found = [
        Step("uapi", edits=_UAPI, saving=True),
        Step("core", edits=_CORE_OPS if source.has_pci_ops(tree) else _CORE, saving=True),
        Step(
            "driver",
            replace(whole, migration=False, saving=False),
            edits=_REGISTER,
            maintained=True,
        ),
        Step("migration", replace(whole, saving=False)),
        Step("saving", replace(whole, rings=False), saving=True),
        *([Step("rings", whole)] if follows(device, features, whole) else []),
        *([_SELFTEST_STEP] if _selftest(tree) else []),
        Step(
            "documentation",
            whole,
            edits=(_INDEX_EDIT, _owned(device)),
            files=((document, "series/documentation/driver.rst.j2"),),
        ),
    ]
    return [step for step in found if whole.saving or not step.saving]


def context(device: Device, tree: Path, who: Identity, protocol: Protocol) -> dict[str, Any]:
    """Return the variables of messages, edits and documents: those of the whole driver, and more.

    Beside those of `kpatch.render.context.variables`: `maintainer`, `document` (path),
    `document_name` (as in a toctree), `selftest` (name, or empty), `pci_ops` (whether drivers have
    operations for vfio-pci-core), `version` (of the tree),
    `in_qemu` (whether the device is one that QEMU has), `speaks` (`protocol`).
    """
    whole = _whole(device, protocol)
    document = _document(device)
    return {
        **variables(device, source.features(tree), whole),
        "maintainer": str(who),
        "document": document,
        "document_name": Path(document).stem,
        "selftest": _selftest(tree) if whole.saving else "",
        "pci_ops": source.has_pci_ops(tree),
        "version": source.version(tree),
        "speaks": protocol,
        "in_qemu": any(one.vendor == 0x8086 and one.device == 0x10CA for one in device.ids),
    }


def commit(
    repository: Repository, device: Device, words: Mapping[str, Any], *, date: int, signoff: bool
) -> list[str]:
    """Make the commits of a series on top of what a repository has, and return their subjects.

    Args:
        repository: A scratch repository of the tree.
        device: What the driver is for.
        words: What `context` returned.
        date: That of the first commit, in seconds; each further one is a minute later.
        signoff: Whether to add the Signed-off-by of the repository's identity.

    Raises:
        SourceTreeError: A place that is to be changed is not there.
        SeriesError: A patch would be empty.
        TemplateError: A template is broken.
    """
    tree = repository.path
    features = source.features(tree)
    subjects = []
    for number, step in enumerate(steps(device, tree, features, words["speaks"])):
        values = {**words, **(variables(device, features, step.form) if step.form else {})}
        if step.form:
            texts = fill(_driver_files(device, features, step.form), values)
            edits.create(tree, texts.items())
        edits.create(tree, fill(dict(step.files), values).items())
        for edit in step.edits:
            edits.insert(tree, edit, _text(edit.template, values))
        if step.maintained:
            edits.maintain(tree, _text("series/driver/MAINTAINERS.j2", values))
        message = wrap(_text(f"series/messages/{step.name}.j2", values))
        repository.commit(message, date + number * _MINUTE, signoff=signoff)
        subjects.append(message.partition("\n")[0])
    return subjects


def wrap(message: str) -> str:
    r"""Fill the paragraphs of a message to 72 columns; subject, lists and trailers stay.

    >>> wrap("s: t\n\na\nb\n\n - c\n\nLink: d\n")
    's: t\n\na b\n\n - c\n\nLink: d\n'
    """
    subject, *paragraphs = message.strip("\n").split("\n\n")
    kept = (" ", "[", "Link: ")
    filled = [
        one if one.startswith(kept) else textwrap.fill(one, 72, break_on_hyphens=False)
        for one in (paragraph.strip("\n") for paragraph in paragraphs)
        if one
    ]
    return "\n\n".join([subject, *filled]) + "\n"


def _text(template: str, values: Mapping[str, Any]) -> str:
    return fill({"": template}, values)[""]


def _driver_files(device: Device, features: Features, form: Form) -> dict[str, str]:
    """Return the files of the driver's folder at a stage, with their templates."""
    found = {
        "Kconfig": "series/driver/Kconfig.j2",
        "Makefile": "series/driver/Makefile.j2",
        f"{device.prefix}.h": "driver/driver.h.j2",
        **sources(device, features, form),
    }
    return {f"drivers/vfio/pci/{device.name}/{name}": one for name, one in found.items()}


def _whole(device: Device, protocol: Protocol) -> Form:
    """Return the form that the driver has in the tree in the end."""
    return Form(intree=True, saving=restricts(device, MODULE), protocols=(protocol,))


def _document(device: Device) -> str:
    return f"Documentation/driver-api/vfio-pci-{device.name}.rst"


def _selftest(tree: Path) -> str:
    """Return the name of the selftest, empty in a tree without selftests of VFIO."""
    return f"{_SELFTEST}.c" if (tree / _SELFTESTS / "Makefile").is_file() else ""


def _owned(device: Device) -> Edit:
    folder = f"drivers/vfio/pci/{device.name}/"
    return Edit(
        "MAINTAINERS",
        "series/driver/MAINTAINERS-document.j2",
        after=rf"^VFIO {device.name.upper()} PCI DRIVER\n(?:[A-EG-Z]:.*\n)*(?=F:\t{folder}$)",
        what="the entry of the driver",
    )


_UAPI = (edits.saving_capability(source.UAPI_HEADER),)
_MEMBER = (
    r"^struct vfio_pci_core_device \{\n\tstruct vfio_device\s+vdev;\n\tstruct pci_dev\s+\*pdev;\n"
)
_VM_OPS = r"^static const struct vm_operations_struct vfio_pci_mmap_ops = \{\n(?=\t\.fault)"
_CALLBACKS = (
    Edit(
        source.CORE_SOURCE,
        "series/core/entries.c.j2",
        after=_VM_OPS,
        what="a vfio_pci_mmap_ops without open and close",
    ),
    Edit(
        source.CORE_SOURCE,
        "series/core/functions.c.j2",
        after=r"^(?=static const struct vm_operations_struct vfio_pci_mmap_ops = \{$)",
        what="vfio_pci_mmap_ops",
    ),
)
_CORE_OPS = (
    Edit(
        source.CORE_HEADER,
        "series/core/members.h.j2",
        after=r"^struct vfio_pci_device_ops \{\n(?:\t.*\n)*",
        what="struct vfio_pci_device_ops",
    ),
    *_CALLBACKS,
)
_CORE = (
    Edit(
        source.CORE_HEADER,
        "series/core/member.h.j2",
        after=_MEMBER,
        what="the beginning of struct vfio_pci_core_device",
    ),
    Edit(
        source.CORE_HEADER,
        "series/core/ops.h.j2",
        after=r"^(?=struct vfio_pci_core_device \{$)",
        what="struct vfio_pci_core_device",
    ),
    *_CALLBACKS,
)
_REGISTER = (
    Edit(
        _KCONFIG,
        "series/driver/Kconfig-source.j2",
        after=r'^source "drivers/vfio/pci/[^"]+/Kconfig"\n(?=\nendmenu\n\Z)',
        what="the last of the variant drivers",
    ),
    Edit(
        _MAKEFILE,
        "series/driver/Makefile-line.j2",
        after=r"^obj-\$\(CONFIG_\w+\)\s*\+= [\w-]+/\n\Z",
        what="the last of the variant drivers",
    ),
)
_INDEX_EDIT = Edit(
    _INDEX,
    "series/documentation/index.j2",
    after=r"^   vfio-pci-device-specific-driver-acceptance\n",
    what="the list of the documents of VFIO",
)
_SELFTEST_FILES = ((f"{_SELFTESTS}/{_SELFTEST}.c", "series/selftest/layout_test.c.j2"),)
_SELFTEST_EDITS = (
    Edit(
        f"{_SELFTESTS}/Makefile",
        "series/selftest/Makefile.j2",
        after=r"^TEST_GEN_PROGS \+= vfio_pci_device_test\n",
        what="vfio_pci_device_test",
    ),
)
_SELFTEST_STEP = Step("selftest", edits=_SELFTEST_EDITS, files=_SELFTEST_FILES, saving=True)
