# SPDX-License-Identifier: GPL-2.0-only
"""The kernel that a guest boots: an image's own, or one of a tree that somebody built."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conformance.errors import KernelError
from conformance.lab import locked, paths
from conformance.lab.image import Image
from kpatch import programs
from kpatch.kernel import KernelTree, find
from kpatch.sandbox import Sandbox


@dataclass(frozen=True)
class BootKernel:
    """A kernel, its modules and the tree in which modules for it are built.

    Attributes:
        release: What ``uname -r`` prints.
        vmlinuz: The file to boot.
        modules: The folder with its modules and what depmod wrote.
        tree: Where modules are built.
        key: Tells it from all others.
    """

    release: str
    vmlinuz: Path
    modules: Path
    tree: KernelTree
    key: str


def of_image(image: Image) -> BootKernel:
    """Return the kernel of an image."""
    tree = find(image.root, Path("/lib/modules", image.release, "build"))
    return BootKernel(image.release, image.vmlinuz, image.modules, tree, image.key)


def of_tree(path: Path, image: Image) -> BootKernel:
    """Return the kernel of a tree that was built.

    Args:
        path: The tree, built with its modules.
        image: Where modules for it are built.

    Raises:
        KernelTreeError: It is no tree that can build modules.
        KernelError: It has no kernel to boot, or no modules.
    """
    path = path.absolute()
    tree = find(image.root, path)
    tree.check()
    vmlinuz = path / "arch/x86/boot/bzImage"
    if not vmlinuz.exists():
        raise KernelError(
            f"The kernel tree {path} has no arch/x86/boot/bzImage to boot. Build it there with "
            "`make bzImage modules`."
        )
    modules = list(_modules(path))
    stamps = [f"{one} {_stamp(path / one)}" for one in modules]
    stamps += [tree.identity, str(_stamp(vmlinuz))]
    key = hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:12]
    folder = paths.cache() / "kernels" / key
    with locked.lock(folder.parent / f"{key}.lock"):
        if programs.dry():
            depmod(image.sandbox, folder, tree.release, show=[path])
        elif not folder.exists():
            with locked.whole_folder(folder) as part:
                _install(path, modules, part / "lib/modules" / tree.release, image.sandbox, part)
    return BootKernel(tree.release, vmlinuz, folder / "lib/modules" / tree.release, tree, key)


def _modules(path: Path) -> Iterator[str]:
    """Yield the module files which a tree made, as its modules.order lists them."""
    try:
        order = (path / "modules.order").read_text(encoding="utf-8")
    except OSError as error:
        raise KernelError(
            f"The kernel tree {path} has no modules.order: build it with `make modules`."
        ) from error
    for line in order.split():
        name = f"{line.removesuffix('.o').removesuffix('.ko').removeprefix('kernel/')}.ko"
        if not (path / name).exists():
            raise KernelError(
                f"The kernel tree {path} has not built {name}: run `make modules` there."
            )
        yield name


def _install(path: Path, modules: list[str], target: Path, sandbox: Sandbox, base: Path) -> None:
    """Do what `make modules_install` does, by links, without touching the tree."""
    for name in modules:
        link = target / "kernel" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path / name)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        if (path / name).exists():
            (target / name).write_bytes((path / name).read_bytes())
    depmod(sandbox, base, target.name, show=[path])


def depmod(sandbox: Sandbox, base: Path, release: str, *, show: list[Path]) -> None:
    """Write the dependency data of the modules in `base`/lib/modules/`release`.

    Raises:
        ProgramFailed: depmod failed.
    """
    argv = ["depmod", "--basedir", str(base), release]
    programs.run(sandbox.argv(argv, bind=[base], ro_bind=show), timeout=300)


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns
