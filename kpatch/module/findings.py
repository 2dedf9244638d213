# SPDX-License-Identifier: GPL-2.0-only
"""Whether a kernel will load a module, in words: what was found, why it matters, what to do.

The kernel itself says little when it refuses a module, often only "Invalid argument".
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kpatch.kernel.tree import KernelTree
from kpatch.module import file_findings, vfio_findings
from kpatch.module.finding import Finding, Level

if TYPE_CHECKING:
    from kpatch.module.info import ModuleInfo

# kernel/module/main.c and include/linux/license.h: license_is_gpl_compatible()
_GPL = (
    "GPL",
    "GPL v2",
    "GPL and additional rights",
    "Dual BSD/GPL",
    "Dual MIT/GPL",
    "Dual MPL/GPL",
)
# include/linux/vermagic.h; what an architecture or a plugin adds is not in the configuration
_OPTIONS = ("SMP", "preempt", "preempt_rt", "mod_unload", "modversions")
# By option, what elf_check_arch() of the architecture takes; the first that is on.
_MACHINES = {
    "X86_64": "EM_X86_64",
    "X86_32": "EM_386",
    "ARM64": "EM_AARCH64",
    "ARM": "EM_ARM",
    "S390": "EM_S390",
    "PPC64": "EM_PPC64",
    "PPC32": "EM_PPC",
    "RISCV": "EM_RISCV",
    "LOONGARCH": "EM_LOONGARCH",
    "MIPS": "EM_MIPS",
}


def check(info: ModuleInfo, tree: KernelTree | None, release: str | None) -> list[Finding]:
    """Return all findings, see `kpatch.module.diagnosis.diagnose`."""
    found = [*file_findings.check(info, tree), *_machine(info, tree)]
    found += [*_vermagic(info, tree, release), *_license(info, tree)]
    if info.stripped:
        pass  # which symbols it imports is lost
    elif tree:
        found += [*_symbols(info, tree), *_versions(info, tree), *_namespaces(info, tree)]
        found += _dependencies(info, tree)
        found += _same_name(info, tree)
        found += _signature(info, tree)
    else:
        what = f"Its {len(info.imports)} imported symbols were not looked up."
        do = "Name the build tree of the kernel that is to load it (--kernel-tree or --root)."
        found.append(Finding("note", "symbols", what, "No kernel build tree is known.", do))
    return [*found, *vfio_findings.check(info, tree), *_debug(info)]


def _machine(info: ModuleInfo, tree: KernelTree | None) -> Iterator[Finding]:
    expected = next((em for key, em in _MACHINES.items() if tree and key in tree.config), "")
    if expected and expected != info.machine:
        what = f"It is for another processor: {info.machine}, the kernel is for {expected}."
        why = "The kernel refuses it (Exec format error)."
        yield Finding("problem", "machine", what, why, "Build it for the kernel's processor.")


def _vermagic(info: ModuleInfo, tree: KernelTree | None, release: str | None) -> Iterator[Finding]:
    if not info.vermagic:
        what, why = "It has no vermagic.", "The kernel refuses it unless it is forced."
        yield Finding("problem", "vermagic", what, why, "Build it with kbuild (make M=...).")
        return
    built, *options = info.vermagic.split()
    kernel = release or (tree.release if tree else "")
    if not kernel:
        yield Finding("note", "vermagic", f"It was built for Linux {built}.")
        return
    if built != kernel:
        yield _other_release(info, tree, built, kernel)
    if tree:
        expected = tree.vermagic.split()
        differ = [
            f"lacks {option}" for option in _OPTIONS if option in expected and option not in options
        ]
        differ += [
            f"has {option}" for option in _OPTIONS if option in options and option not in expected
        ]
        if differ:
            what = f"Its vermagic {' and '.join(differ)}, unlike the kernel's."
            why = "The kernel refuses it: structures are laid out differently (Exec format error)."
            do = f"Build it against the headers of {kernel}, with that configuration."
            yield Finding("problem", "vermagic", what, why, do)
            return
    if built == kernel:
        yield Finding("ok", "vermagic", f"It was built for this kernel, {info.vermagic}.")


def _other_release(info: ModuleInfo, tree: KernelTree | None, built: str, kernel: str) -> Finding:
    what = f"It was built for Linux {built}, the kernel is {kernel}."
    do = f"Build it against the headers of {kernel}."
    if info.versions and (not tree or "MODVERSIONS" in tree.config):
        why = (
            "With module versions the kernel goes by the versions of the symbols instead, "
            "so it may load; what is not in a version, it cannot know."
        )
        return Finding("warning", "vermagic", what, why, do)
    why = "The kernel refuses it (version magic; Exec format error)."
    return Finding("problem", "vermagic", what, why, do)


def _license(info: ModuleInfo, tree: KernelTree | None) -> Iterator[Finding]:
    if info.license in _GPL:
        yield Finding("ok", "license", f"The licence is {info.license}.")
        return
    what = f"The licence is {info.license}." if info.license else "It names no licence."
    symbols = tree.symbols if tree else {}
    locked = [
        import_.name
        for import_ in info.imports
        if import_.name in symbols and symbols[import_.name].gpl
    ]
    if locked:
        why = f"The kernel exports {_some(locked)} to GPL modules only."
        do = 'Give it a GPL-compatible licence, MODULE_LICENSE("GPL"), if you may.'
        yield Finding("problem", "license", what, why, do)
    else:
        why = "It taints the kernel, and reports from a tainted kernel are not accepted."
        yield Finding("warning", "license", what, why)


def _symbols(info: ModuleInfo, tree: KernelTree) -> Iterator[Finding]:
    known = tree.symbols
    missing = [
        import_.name for import_ in info.imports if import_.name not in known and not import_.weak
    ]
    if missing:
        what = f"It needs {_some(missing)}, which nothing in {tree.release} exports."
        why = "The kernel refuses it (Unknown symbol; No such file or directory)."
        do = (
            "Was it written for another kernel, or does another module, not of this tree, "
            "export them? Then that must be loaded first."
        )
        yield Finding("problem", "symbols", what, why, do)
        return
    count = Counter(
        _module(known[import_.name].module) for import_ in info.imports if import_.name in known
    )
    where = ", ".join(f"{number} in {name}" for name, number in sorted(count.items()))
    total = sum(count.values())
    yield Finding("ok", "symbols", f"All {total} imported symbols were found: {where or 'none'}.")


def _versions(info: ModuleInfo, tree: KernelTree) -> Iterator[Finding]:
    if "MODVERSIONS" not in tree.config or any(_machine(info, tree)):
        return  # of another processor no version is the same, which says nothing more
    if not info.versions and info.imports:
        what = "It records no versions of the symbols it imports, the kernel has them."
        why = "The kernel refuses it unless it is forced (no symbol version for module_layout)."
        do = "Build it with the kernel's Module.symvers in place."
        yield Finding("problem", "versions", what, why, do)
        return
    # A symbol that is exported without a version, 0, is not compared.
    kernel = {name: known.crc for name, known in tree.symbols.items() if known.crc}
    differ = [
        f"{name} ({crc:#010x}, kernel {kernel[name]:#010x})"
        for name, crc in sorted(info.versions.items())
        if name in kernel and kernel[name] != crc
    ]
    without = [
        import_.name
        for import_ in info.imports
        if import_.name in kernel and import_.name not in info.versions and not import_.weak
    ]
    if differ:
        what = f"The version of {_some(differ)} is not that of the kernel."
        why = "A type they use has changed; the kernel refuses it (disagrees about version)."
        do = f"Build it against exactly the headers of {tree.release}."
        yield Finding("problem", "versions", what, why, do)
    if without:
        what = f"It records no version of {_some(without)}."
        why = "The kernel refuses it unless it is forced (no symbol version)."
        do = "Build it again, and read modpost's warnings."
        yield Finding("problem", "versions", what, why, do)
    if not differ and not without:
        what = f"All {len(info.versions)} symbol versions are the kernel's."
        yield Finding("ok", "versions", what)


def _namespaces(info: ModuleInfo, tree: KernelTree) -> Iterator[Finding]:
    # Before 6.13 the name was written without quotes; some trees were patched in part.
    imported = {name.strip('"') for name in info.info.get("import_ns", ())}
    lenient = "MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS" in tree.config
    level: Level = "warning" if lenient else "problem"
    refused = "The kernel warns." if lenient else "The kernel refuses it (Invalid argument)."
    spaces = {
        tree.symbols[import_.name].namespace
        for import_ in info.imports
        if import_.name in tree.symbols
    }
    closed = {space for space in spaces if space.startswith("module:")}
    for space in sorted(closed):
        modules = space.removeprefix("module:").split(",")
        if not any(_is_one_of(info.name, pattern) for pattern in modules):
            what = f"It uses symbols that are exported for {_some(modules)} only."
            yield Finding(level, "symbols", what, refused, "Do without them.")
    for space in sorted(spaces - closed - imported - {""}):
        what = f"It uses symbols of the namespace {space} and does not import it."
        do = f'Add MODULE_IMPORT_NS("{space}"), without quotes before 6.13.'
        yield Finding(level, "symbols", what, refused, do)


def _is_one_of(name: str, pattern: str) -> bool:
    """Compare names as verify_module_namespace() in kernel/module/main.c does.

    >>> _is_one_of("kvm_intel", "kvm-intel"), _is_one_of("kvm_amd", "kvm*")
    (True, True)
    """
    name, pattern = name.replace("-", "_"), pattern.replace("-", "_")
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _dependencies(info: ModuleInfo, tree: KernelTree) -> Iterator[Finding]:
    needed = {
        _module(tree.symbols[import_.name].module)
        for import_ in info.imports
        if import_.name in tree.symbols
    }
    needed = (needed | {_module(name) for name in info.depends}) - {"vmlinux"}
    installed = _installed(tree)
    if installed is None:
        return
    missing = sorted(needed - installed.keys())
    if missing:
        what = f"It needs the module {_some(missing)}, which is not installed for {tree.release}."
        why = "modprobe finds no file for it, and without it the symbols are unknown."
        do = "Install the package with the rest of the kernel's modules, or build and install it."
        yield Finding("problem", "depends", what, why, do)
    elif needed:
        yield Finding("ok", "depends", f"It needs {', '.join(sorted(needed))}: installed.")


def _same_name(info: ModuleInfo, tree: KernelTree) -> Iterator[Finding]:
    place = (_installed(tree) or {}).get(info.name, "")
    if place.startswith("kernel/") and "intree" not in info.info:
        what = f"Linux has a module {info.name} of its own: {place}."
        why = "modprobe loads the one that depmod puts first, and the file's name does not matter."
        do = "Give it another name, or install it in updates/ and look with modinfo -n."
        yield Finding("warning", "name", what, why, do)


def _installed(tree: KernelTree) -> dict[str, str] | None:
    """Return the modules that are installed for the kernel with their files, None if not known."""
    folder = Path("/lib/modules", tree.release)
    folder = tree.sandbox.inside(folder) if tree.sandbox else folder
    found: dict[str, str] = {}
    for name in ("modules.dep", "modules.builtin"):
        with contextlib.suppress(OSError):
            lines = (folder / name).read_text("utf-8", errors="surrogateescape").splitlines()
            files = (line.partition(":")[0] for line in lines)
            found |= {_module(file): file for file in files}
    return found or None


def _signature(info: ModuleInfo, tree: KernelTree) -> Iterator[Finding]:
    if info.signed or "MODULE_SIG" not in tree.config:
        return
    if "MODULE_SIG_FORCE" in tree.config:
        why = "The kernel loads signed modules only (Key was rejected by service)."
        do = "Sign it with a key that the kernel trusts, or use a kernel that does not insist."
        yield Finding("problem", "signature", "It is not signed.", why, do)
    else:
        why = "It loads and taints the kernel (E), except where lockdown or secure boot forbid it."
        yield Finding("note", "signature", "It is not signed.", why)


def _debug(info: ModuleInfo) -> Iterator[Finding]:
    has = [name for name, there in (("DWARF", info.dwarf), ("BTF", info.btf)) if there]
    if has:
        yield Finding("ok", "debug", f"It has {' and '.join(has)}.")
        return
    what, why = "It has neither DWARF nor BTF.", "Traces of it have no lines and no types."
    yield Finding("note", "debug", what, why)


def _module(path: str) -> str:
    """Return the name of a module from its path: drivers/vfio/vfio-pci.ko.xz is vfio_pci."""
    return re.sub(r"\.ko(\.\w+)?$", "", path.rpartition("/")[2]).replace("-", "_")


def _some(names: Sequence[str]) -> str:
    """Return a list for a sentence, the first few of it."""
    shown = list(names[:6])
    if len(names) > len(shown):
        shown.append(f"{len(names) - len(shown)} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
