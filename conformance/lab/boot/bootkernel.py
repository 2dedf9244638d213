# SPDX-License-Identifier: GPL-2.0-only
"""The kernel that a guest boots: that of an image, or of a built tree."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.errors import KernelError, UsageError
from conformance.lab.boot.modtree import ModuleTree, module_name
from conformance.lab.image.image import Image
from conformance.running import locked, paths
from kpatch.kernel.tree import KernelTree, find
from kpatch.tools import programs
from kpatch.tools.sandbox import Sandbox


@dataclass(frozen=True)
class BootKernel:
    """A kernel, its modules and the tree in which modules for it are built.

    Attributes:
        release: What ``uname -r`` prints.
        vmlinuz: The file to boot.
        modules: The folder with its modules and what depmod wrote.
        tree: Where modules are built.
        key: Identifies the kernel in names of the cache.
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
        do = (
            "Build it there with `make bzImage modules`."
            if (path / "init/main.c").exists()
            else "It has no sources either, as those of headers packages: name the tree in which "
            "the kernel was built, or an image that has that kernel (--image)."
        )
        raise KernelError(f"The kernel tree {path} has no arch/x86/boot/bzImage to boot. {do}")
    modules = list(_modules(path))
    stamps = [f"{module} {_stamp(path / module)}" for module in modules]
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


def with_modules(kernel: BootKernel, folder: Path, sandbox: Sandbox) -> BootKernel:
    """Return a kernel with some of its modules replaced, which has them from its boot on.

    Args:
        kernel: The kernel.
        folder: The folder with the modules, built for that kernel.
        sandbox: The image's root, which has depmod.

    Raises:
        UsageError: The folder has no modules.
        ProgramFailed: depmod failed.
    """
    replaced = {module_name(path): path.absolute() for path in sorted(folder.glob("*.ko"))}
    if not replaced:
        raise UsageError(f"The folder {folder} has no kernel modules (*.ko).")
    digest = hashlib.sha256(kernel.key.encode())
    for name, path in replaced.items():
        digest.update(f"\0{name}\0".encode() + path.read_bytes())
    key = digest.hexdigest()[:12]
    whole = paths.cache() / "kernels" / key
    place = whole / "lib/modules" / kernel.release
    with locked.lock(whole.parent / f"{key}.lock"):
        if programs.dry():
            depmod(sandbox, whole, kernel.release, show=[kernel.modules])
        elif not whole.exists():
            with locked.whole_folder(whole) as part:
                target = part / "lib/modules" / kernel.release
                for name in ModuleTree(kernel.modules).files():
                    if module_name(name) not in replaced:
                        link = target / name
                        link.parent.mkdir(parents=True, exist_ok=True)
                        link.symlink_to((kernel.modules / name).absolute())
                (target / "updates").mkdir(parents=True)
                for path in replaced.values():
                    shutil.copyfile(path, target / "updates" / path.name)
                for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
                    if (kernel.modules / name).exists():
                        shutil.copyfile(kernel.modules / name, target / name)
                depmod(sandbox, part, kernel.release, show=[kernel.modules.absolute()])
    return replace(kernel, modules=place, key=key)


def _modules(path: Path) -> Iterator[str]:
    """Yield the module files that a tree made, as its modules.order lists them."""
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
