# SPDX-License-Identifier: GPL-2.0-only
"""Makes lab images: a Debian root by mmdebstrap, python-kmod in it, and the guest's disk.

An image lies in the cache under the hash of its inputs, is renamed into place when complete, and
never changes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.errors import DefinitionError, ImageError
from conformance.lab.image import kernelbuild, kmod
from conformance.lab.image.definitions import ImageDefinition
from conformance.running import locked, paths
from conformance.running.steps import Steps
from kpatch.errors import KernelTreeError, ProgramFailed, ProgramTimeout
from kpatch.kernel import tree as kernel
from kpatch.tools import programs
from kpatch.tools.sandbox import Sandbox

_RECIPE = 1
"""Raised when this module makes a different image of the same definition."""

_NEEDED = 3 << 30
"""Bytes that must be free: the packages, the archive and the unpacked root."""

_TIMEOUT = 1800.0
_TIDY_UP = 60.0

_MANIFEST = "manifest.json"

_ENVIRONMENT = {"INITRD": "No"}
"""For the kernel package: its initial RAM disk is never booted."""


@dataclass(frozen=True)
class Image:
    """A complete image.

    Attributes:
        definition: What it was made of.
        folder: Where it is.
    """

    definition: ImageDefinition
    folder: Path

    def exists(self) -> bool:
        """Whether it is there; it may not be in a dry run."""
        return (self.folder / _MANIFEST).exists()

    @property
    def key(self) -> str:
        """The hash of everything that went into it."""
        return self.folder.name.rpartition("-")[2]

    @property
    def root(self) -> Path:
        """The unpacked root."""
        return self.folder / "root"

    @property
    def sandbox(self) -> Sandbox:
        """Runs commands in the root."""
        return Sandbox(self.root)

    @property
    def disk(self) -> Path:
        """The guest's disk."""
        return self.folder / "root.erofs"

    @property
    def release(self) -> str:
        """The release of its kernel."""
        return str(self.manifest["kernel"])

    @property
    def modules(self) -> Path:
        """The modules of its kernel."""
        return self.root / "lib/modules" / self.release

    @property
    def vmlinuz(self) -> Path:
        """Its kernel."""
        return self.root / f"boot/vmlinuz-{self.release}"

    @property
    def manifest(self) -> dict[str, Any]:
        """What is in it: versions of what matters, and of all packages."""
        found: dict[str, Any] = json.loads((self.folder / _MANIFEST).read_text())
        return found


_NOT_CONTENT = {"name", "summary", "cmdline", "qemu", "for_tests", "patience"}
"""What does not change the contents of an image."""


def key(definition: ImageDefinition) -> str:
    """Return the hash of everything that goes into an image.

    Raises:
        DefinitionError: A file that the definition names cannot be read.
    """
    content = definition.model_dump(mode="json", exclude=_NOT_CONTENT)
    digest = hashlib.sha256(json.dumps([_RECIPE, content], sort_keys=True).encode())
    for path in sorted((paths.DATA / "kmod").iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    try:
        for path in definition.kernel_files:
            digest.update(path.read_bytes())
    except OSError as error:
        raise DefinitionError(definition.name, [str(error)]) from error
    return digest.hexdigest()[:12]


def place(definition: ImageDefinition) -> Path:
    """Return where the image is, or will be."""
    return paths.cache() / "images" / f"{definition.name}-{key(definition)}"


def provide(definition: ImageDefinition, steps: Steps) -> Image:
    """Return the image; make it if it is not in the cache.

    Raises:
        ImageError: It cannot be made.
    """
    folder = place(definition)
    image = Image(definition, folder)
    if image.exists():
        return image
    if programs.dry():
        _print(definition, folder)
        return image
    log = paths.logs() / f"image-{definition.name}.log"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)

        def waiting() -> None:
            steps.say(f"Another run is making the image {definition.name}; waiting for it.")

        with steps.step("image"), locked.lock(folder.parent / f"{definition.name}.lock", waiting):
            if not image.exists():
                _make(definition, folder, log, steps)
    except OSError as error:
        raise ImageError(
            f"The image {definition.name} cannot be made: {error}. "
            f"It needs {_needed(definition) >> 30} GiB in {paths.cache()} (VFIO_KIT_CACHE chooses "
            f"another place) and in the temporary folder. The log is {log}."
        ) from error
    return image


def prune(known: Iterable[ImageDefinition]) -> Iterator[Path]:
    """Remove, and yield, all images but those of the known definitions as they are now."""
    keep = {place(definition) for definition in known}
    for path in sorted((paths.cache() / "images").glob("*-*")):
        if path.is_dir() and path not in keep:
            with locked.lock(path.parent / f"{path.name.rpartition('-')[0]}.lock"):
                locked.remove(path)
            yield path


def mmdebstrap_argv(definition: ImageDefinition, tar: Path) -> list[str]:
    """Return the command that makes the archive of a root.

    No mirror is named: mmdebstrap takes the host's apt settings, or Debian's default.
    """
    kernels = (definition.kernel, definition.headers, definition.source)
    wanted = {*definition.packages, *(package for package in kernels if package)}
    now = sorted(wanted - set(definition.backports))
    argv = ["mmdebstrap", "--mode=auto", "--variant=apt", "--format=tar"]
    argv += ['--aptopt=APT::Install-Recommends "false"', '--aptopt=Acquire::Retries "3"']
    argv += ["--dpkgopt=force-unsafe-io"]  # after a power failure the image is made again
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in definition.path_exclude]
    argv += [f"--dpkgopt=path-include={pattern}" for pattern in definition.path_include]
    argv += [f"--include={','.join(now)}"]
    if later := sorted(definition.backports):
        argv += _backports_hooks(definition.suite, later)
    return [*argv, definition.suite, str(tar)]


def _backports_hooks(suite: str, packages: list[str]) -> Iterator[str]:
    """Return the options that install packages from backports, at the mirror of the rest."""
    name = f"{suite}-backports"
    sources = '"$1/etc/apt/sources.list"'
    lines = f"sed -n 's/ {suite} / {name} /p' {sources} >\"$1/etc/apt/sources.list.d/{name}.list\""
    yield f"--customize-hook={lines}"
    apt = 'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes'
    yield f"--customize-hook={apt} update"
    # Through the chroot's own dpkg, as mmdebstrap itself does it.
    chroot = '-oDPkg::Chroot-Directory="$1"'
    yield f"--customize-hook={apt} {chroot} install --target-release {name} {' '.join(packages)}"


def _make(definition: ImageDefinition, folder: Path, log: Path, steps: Steps) -> None:
    _check_space(folder.parent, _needed(definition))
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("", encoding="utf-8")
    minutes = "ten minutes, it builds a kernel" if definition.source else "two minutes"
    steps.say(f"Making the lab image {definition.name} (once; about {minutes}), log: {log}")
    try:
        with locked.whole_folder(folder) as part:
            _make_root(definition, part, log, steps)
            if definition.source:
                _make_kernel(definition, part, log, steps)
            steps.say("  building python-kmod")
            work = part / "kmod"
            work.mkdir()
            kmod.install(part / "root", work, log)
            locked.remove(work)
            steps.say("  making the guest's disk")
            _make_disk(definition, part, log)
            (part / _MANIFEST).write_text(
                json.dumps(_manifest(definition, part / "root"), indent=1), encoding="utf-8"
            )
    except ProgramFailed as error:
        raise ImageError(
            f"The image {definition.name} cannot be made.\n{error}\nThe whole log is {log}."
        ) from error


def _needed(definition: ImageDefinition) -> int:
    return _NEEDED + (kernelbuild.SPACE if definition.source else 0)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ImageError(
            f"There is too little space for an image in {folder}: {free >> 20} MiB are free, "
            f"{needed >> 20} MiB are needed. Free some, or set VFIO_KIT_CACHE to another place."
        )


def _make_root(definition: ImageDefinition, part: Path, log: Path, steps: Steps) -> None:
    tar, root = part / "root.tar", part / "root"
    hint = (
        "It needs network access and space in the temporary folder. What it fetches from where is "
        "decided by the apt settings of this host."
    )
    argv = mmdebstrap_argv(definition, tar)
    # When interrupted it removes what it has unpacked, which takes longer than most programs get.
    with (
        steps.follow(log, "I: "),
        programs.start(argv, env=_ENVIRONMENT, log=log, grace=_TIDY_UP, hint=hint) as process,
    ):
        status = process.wait(_TIMEOUT)
    if "unable to pick chroot mode" in _tail(log):
        hint = (
            "An ordinary user needs the Debian package uidmap, and lines of their own in "
            "/etc/subuid and /etc/subgid (usermod --add-subuids 100000-165535 "
            "--add-subgids 100000-165535 USER)."
        )
    if status is None:
        raise ProgramTimeout(argv, _TIMEOUT, _tail(log), hint)
    if status:
        raise ProgramFailed(argv, status, _tail(log), hint)
    steps.say("  unpacking")
    root.mkdir()
    programs.run(tar_argv(tar, root), log=log, timeout=_TIMEOUT)
    tar.unlink()


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-programs.TAIL_LINES :])


def _make_kernel(definition: ImageDefinition, part: Path, log: Path, steps: Steps) -> None:
    build = _kernel_build(definition, part, log)
    build.work.mkdir()
    build.install(steps)
    locked.remove(build.work)


def _kernel_build(definition: ImageDefinition, part: Path, log: Path) -> kernelbuild.KernelBuild:
    if not definition.source or not definition.fragment:
        raise AssertionError(f"the kernel of {definition.name} is not built")
    return kernelbuild.KernelBuild(
        part / "root",
        definition.source,
        definition.fragment,
        definition.kernel_patches,
        part / "linux",
        log,
    )


def tar_argv(tar: Path, root: Path) -> list[str]:
    """Return the command that unpacks the archive of a root."""
    # Device nodes cannot be made by everybody, and nobody needs them: /dev is made anew.
    argv = ["tar", "--extract", "--no-same-owner", "--exclude=./dev/*"]
    return [*argv, "--directory", str(root), "--file", str(tar)]


def disk_argv(definition: ImageDefinition, root: Path, disk: Path) -> list[str]:
    """Return the command, to be run in the root, which makes the guest's disk."""
    # The times of files are kept: Python would not trust its compiled files otherwise.
    argv = ["mkfs.erofs", "--quiet", "--all-root", "-zlz4"]
    argv += [f"--exclude-regex={pattern}" for pattern in definition.guest_exclude]
    return [*argv, str(disk), str(root)]


def _make_disk(definition: ImageDefinition, part: Path, log: Path) -> None:
    root = part / "root"
    argv = disk_argv(definition, root, part / "root.erofs")
    programs.run(Sandbox(root).argv(argv, ro_bind=[root], bind=[part]), log=log, timeout=_TIMEOUT)


def _print(definition: ImageDefinition, folder: Path) -> None:
    """Print the commands that would make the image, as far as they are known in advance."""
    root, tar = folder / "root", folder / "root.tar"
    programs.run(["mkdir", "-p", str(root)])
    programs.run(mmdebstrap_argv(definition, tar), env=_ENVIRONMENT)
    programs.run(tar_argv(tar, root))
    # Inside the root, which does not exist yet.
    if definition.source:
        for argv in _kernel_build(definition, folder, folder).commands():
            programs.run(argv)
    programs.run(disk_argv(definition, root, folder / "root.erofs"))


def _manifest(definition: ImageDefinition, root: Path) -> dict[str, Any]:
    argv = ["dpkg-query", "--show", "--showformat", r"${Package} ${Version}\n"]
    listed = programs.run(Sandbox(root).argv(argv)).stdout.splitlines()
    packages = dict(line.split(" ", 1) for line in listed)
    release = _release(root)
    return {
        "kernel": release,
        "kernel-package": packages.get(definition.source or f"linux-image-{release}", ""),
        "qemu": packages.get("qemu-system-x86", ""),
        "python": packages.get("python3", ""),
        "pytest": packages.get("python3-pytest", ""),
        "gcc": packages.get("gcc", ""),
        "packages": packages,
    }


def _release(root: Path) -> str:
    """Return the release of the newest kernel whose headers are there."""
    try:
        release = kernel.find(root).release
    except KernelTreeError as error:
        raise ImageError(f"No module can be built in the image: {error}") from error
    if not (root / f"boot/vmlinuz-{release}").exists():
        raise ImageError(
            f"The image has the headers of the kernel {release} and not the kernel. "
            "Its packages `kernel` and `headers` must belong to each other."
        )
    return release
