# SPDX-License-Identifier: GPL-2.0-only
"""GitHub's example for CI on a fresh Debian 13, with the real kit, up to the build of a kernel.

The runner is in a root that has nothing but what the image `debian:13` has. The kit is what is
committed, the cache of the forge is empty. Only the fork is small: it has no kernel to configure,
so that the gate makes its image, copies the tree, and ends there. Takes some minutes, and root.
"""

import os
import subprocess
from pathlib import Path

import pytest

from conformance.running import paths
from conformance.tests.labs.forges import TOOLS, Forge, repository
from kpatch.tests.series.fake_source import make_source

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TOOLS.exists(), reason="`tox -e labs` brings the runners"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a root that makes roots"),
]
OF_HOST = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/apt/apt.conf.d")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def debian(root: Path, shown: Path) -> list[str]:
    """Make a fresh Debian 13 and return the command that enters it, as its root."""
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", "trixie", str(root)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    inside = ["bwrap", "--bind", str(root), "/", "--dev", "/dev", "--proc", "/proc"]
    inside += ["--unshare-pid", "--die-with-parent", "--cap-add", "ALL", "--clearenv"]
    for folder in ("/tmp", "/var/tmp"):
        inside += ["--perms", "1777", "--tmpfs", folder]
    # What a machine needs to reach the network, if it needs anything.
    for path in OF_HOST:
        inside += ["--ro-bind-try", path, path]
    inside += ["--ro-bind-try", CERTIFICATES, "/run/host.crt"]
    inside += ["--bind", str(shown), str(shown), "--ro-bind", str(TOOLS), str(TOOLS)]
    names = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    if Path(CERTIFICATES).exists():
        names["PIP_CERT"] = "/run/host.crt"
    for name, value in names.items():
        inside += ["--setenv", name, value]
    return [*inside, "--chdir", str(shown / "work")]


def test_github(tmp_path: Path) -> None:
    kit, cache = tmp_path / "kit", tmp_path / "cache"
    subprocess.run(["git", "clone", "--quiet", "--no-local", paths.KIT, kit], check=True)
    cache.mkdir()
    fork = make_source(tmp_path / "fork")
    base = repository(fork)
    core = fork / "drivers/vfio/core.c"
    core.write_text(core.read_text() + "/* changed */\n")
    head = repository(fork)
    inside = debian(tmp_path / "root", tmp_path)
    done = Forge(tmp_path, kit, cache, lambda argv: [*inside, *argv]).github(fork, base, head)
    assert "Success - Main make -C kit setup" in done.stdout, done.stdout
    assert "1 patch on Linux 6.12.9, which is built" in done.stdout, done.stdout
    # All but the kernel is there; the results of the runs go into the cache of the forge.
    assert "No rule to make target 'allnoconfig'" in done.stdout, done.stdout
    assert list(cache.glob("images/kernel-build-*/root"))
    assert done.returncode == 1
