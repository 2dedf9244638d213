# SPDX-License-Identifier: GPL-2.0-only
"""What is known of the running kernel: its options, its modules, whom it lets load some."""

import contextlib
import gzip
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from conformance.doctor.facts.host import Host

_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""The variable of the UEFI specification: four bytes of attributes, then 0 or 1."""


@dataclass(frozen=True)
class Kernel:
    """The running kernel.

    Attributes:
        release: What ``uname -r`` prints.
        cmdline: The words it was started with.
        config: Its options, without ``CONFIG_``: y, m, n, or a value; None if not known.
        config_from: The file the options are from.
        folder: Whether ``/lib/modules/RELEASE`` is there, with what depmod writes.
        installed: The modules there, by name, with the path of each below that folder.
        builtin: The modules that are built in.
        loaded: The modules that are loaded, or built in with parameters.
        aliases: Lines of modules.alias: pattern and module.
        headers: Whether modules can be built for it: ``/lib/modules/RELEASE/build`` is there.
        packaged: Whether a Debian package that is installed has it; None on other distributions.
        others: Releases of other kernels whose modules are installed.
        enforces: Whether it loads signed modules only.
        lockdown: ``none``, ``integrity`` or ``confidentiality``; empty if not known.
        secure_boot: Whether the firmware started it by secure boot; None if not known.
    """

    release: str
    cmdline: tuple[str, ...] = ()
    config: Mapping[str, str] | None = None
    config_from: str = ""
    folder: bool = False
    installed: Mapping[str, str] | None = None
    builtin: frozenset[str] = frozenset()
    loaded: frozenset[str] = frozenset()
    aliases: tuple[tuple[str, str], ...] = ()
    headers: bool = False
    packaged: bool | None = None
    others: tuple[str, ...] = ()
    enforces: bool = False
    lockdown: str = ""
    secure_boot: bool | None = None

    def lacks(self, option: str) -> bool:
        """Whether it is known to be built without an option."""
        return self.config is not None and self.config.get(option, "n") == "n"

    def has(self, module: str) -> bool:
        """Whether a module is loaded, built in, or can be loaded."""
        return module in self.loaded | self.builtin or module in (self.installed or {})


def gather(host: Host) -> Kernel:
    """Read what is known of the running kernel."""
    release = host.text("/proc/sys/kernel/osrelease") or platform.release()
    modules = f"/lib/modules/{release}"
    config_from, config = next(_configs(host, release), ("", None))
    dep = host.text(f"{modules}/modules.dep")
    installed = {
        module_name(path): path for path in (line.partition(":")[0] for line in _lines(dep)) if path
    }
    return Kernel(
        release=release,
        cmdline=tuple((host.text("/proc/cmdline") or "").split()),
        config=config,
        config_from=config_from,
        folder=dep is not None,
        installed=installed,
        builtin=frozenset(map(module_name, _lines(host.text(f"{modules}/modules.builtin")))),
        loaded=frozenset(host.names("/sys/module")),
        aliases=aliases(host, release),
        headers=host.exists(f"{modules}/build/Makefile"),
        packaged=_packaged(host, release),
        others=tuple(name for name in host.names("/lib/modules") if name != release),
        enforces=host.text("/sys/module/module/parameters/sig_enforce") == "Y",
        lockdown=_chosen(host.text("/sys/kernel/security/lockdown") or ""),
        secure_boot=_secure_boot(host),
    )


def aliases(host: Host, release: str) -> tuple[tuple[str, str], ...]:
    """Return the lines of a kernel's modules.alias: pattern and module."""
    words = (line.split() for line in _lines(host.text(f"/lib/modules/{release}/modules.alias")))
    return tuple((word[1], word[2]) for word in words if len(word) == 3 and word[0] == "alias")


def module_name(path: str) -> str:
    """Return the name by which the kernel knows the module in a file.

    >>> module_name("kernel/drivers/vfio/pci/vfio-pci-core.ko.xz")
    'vfio_pci_core'
    """
    return path.rpartition("/")[2].split(".ko")[0].replace("-", "_")


def _lines(text: str | None) -> list[str]:
    return (text or "").splitlines()


def _packaged(host: Host, release: str) -> bool | None:
    """Return whether dpkg knows an installed package with a kernel; None without dpkg."""
    folder = "/var/lib/dpkg/info"
    if not host.exists(folder):
        return None
    names = ("linux-image", "linux-image-unsigned")  # the second is Ubuntu's
    return any(host.exists(f"{folder}/{name}-{release}.list") for name in names)


def _chosen(text: str) -> str:
    """Return the word in brackets."""
    found = re.search(r"\[(\w+)\]", text)
    return found[1] if found else ""


def _secure_boot(host: Host) -> bool | None:
    data = host.bytes(_SECURE_BOOT)
    if data is None or len(data) < 5:
        return None
    return data[4] == 1


def _configs(host: Host, release: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield where the kernel's options are, and what they are, the surest place first."""
    packed = host.bytes("/proc/config.gz")
    if packed is not None:
        with contextlib.suppress(OSError, EOFError):
            yield "/proc/config.gz", _options(gzip.decompress(packed).decode(errors="replace"))
    folder = f"/lib/modules/{release}"
    for name in (f"/boot/config-{release}", f"{folder}/config", f"{folder}/build/.config"):
        if text := host.text(name):
            yield name, _options(text)


def _options(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        if match := re.match(r"CONFIG_(\w+)=(.*)", line):
            found[match[1]] = match[2].strip('"')
        elif match := re.match(r"# CONFIG_(\w+) is not set", line):
            found[match[1]] = "n"
    return found
