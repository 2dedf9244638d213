# SPDX-License-Identifier: GPL-2.0-only
"""Kernel modules, through python-kmod.

python-kmod finds a module by name in the running kernel's module tree: install the file there
and run depmod first. It loses the errno of a load that failed, so an error here carries what the
kernel log said meanwhile.
"""

from pathlib import Path
from typing import Any, Final

from conformance.klog import KernelLog
from conformance.vfio.errors import ModuleLoadError

#: Where the kernel lists its modules.
LOADED: Final = Path("/sys/module")


def is_loaded(name: str) -> bool:
    """Tell whether a module is there, loaded or built in."""
    return (LOADED / name.replace("-", "_")).is_dir()


def load(name: str) -> None:
    """Load a module with all it depends on; one that is there already is fine.

    Raises :class:`ModuleLoadError` with the kernel's own words.
    """
    if not is_loaded(name):
        _act("load", name, loaded=True)


def unload(name: str) -> None:
    """Unload a module. Raises :class:`ModuleLoadError`, for example while it is in use."""
    if is_loaded(name):
        _act("unload", name, loaded=False)


def _kmod() -> Any:
    try:
        import kmod  # type: ignore[import-not-found]  # noqa: PLC0415 - only the lab image has it
    except ImportError as error:
        raise ModuleLoadError(
            f"python-kmod cannot be imported ({error}); the lab image has it, elsewhere install "
            "the project's `kmod` extra"
        ) from error
    # The package hides a failed import of its extension: then Kmod is just not there.
    if not hasattr(kmod, "Kmod"):
        raise ModuleLoadError("python-kmod is there without its extension; it was built badly")
    return kmod


def _act(verb: str, name: str, *, loaded: bool) -> None:
    package = _kmod()
    with KernelLog() as log:
        try:
            handle = package.Kmod()
            if loaded:
                handle.modprobe(name)
            else:
                handle.rmmod(name)
        except Exception as error:
            said = tuple(record.text for record in log.read())
            raise ModuleLoadError(f"module {name} did not {verb}: {error}", said) from error
        said = tuple(record.text for record in log.read())
    if is_loaded(name) != loaded:
        raise ModuleLoadError(f"module {name} did not {verb}, and libkmod did not say why", said)
