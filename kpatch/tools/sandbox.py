# SPDX-License-Identifier: GPL-2.0-only
"""Commands inside a root file system, by bubblewrap.

Works alike for root and for ordinary users. The command sees the root read-only, with a new
/proc, a minimal /dev, an empty /tmp and whatever the caller binds, at the same path as outside.
It ends with its parent, and with it all that it started.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",  # messages and sort orders that do not differ by host
}
# bubblewrap makes these itself; the image's own are not looked at.
_MADE = ("proc", "dev", "tmp")
# Root reads and writes files of other owners; it needs nothing that reaches beyond files.
_CAPABILITIES = ("CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_CHOWN")


@dataclass(frozen=True)
class Sandbox:
    """An unpacked root file system in which commands can be run.

    Attributes:
        root: Its top directory.
    """

    root: Path

    def argv(
        self,
        cmd: Sequence[str],
        *,
        ro_bind: Sequence[Path] = (),
        bind: Sequence[Path] = (),
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        devices: Sequence[Path] = (),
        at: Mapping[Path, Path] | None = None,
    ) -> list[str]:
        """Return the bubblewrap command that runs `cmd` inside the root as user 0.

        Args:
            cmd: The command, looked up in the PATH of the root.
            ro_bind: Absolute host paths to show read-only.
            bind: Absolute host paths to show writable.
            cwd: Directory to run it in, as seen inside; `/` without it.
            env: Variables besides PATH, HOME and LC_ALL. None of the caller's is passed on.
            devices: Device nodes to pass on, for instance /dev/kvm.
            at: Host paths to show writable at another place, each by that place; the rest of
                the folder of `/` which that is in is empty.
        """
        binds = [("--ro-bind", _absolute(path)) for path in ro_bind]
        binds += [("--bind", _absolute(path)) for path in bind]
        binds.sort(key=lambda item: len(item[1].parts))  # a bind inside a bind comes after it
        argv = ["bwrap", "--die-with-parent", "--unshare-pid", *_identity()]
        argv += ["--tmpfs", "/"]
        argv += _root_arguments(self.root.absolute(), Path(), [path for _, path in binds])
        argv += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp"]  # noqa: S108
        for device in devices:
            argv += ["--dev-bind", str(device), str(device)]
        for option, path in binds:
            argv += [option, str(path), str(path)]
        for place, path in (at or {}).items():
            argv += ["--tmpfs", f"/{place.parts[1]}", "--bind", str(path), str(place)]
        argv += ["--remount-ro", "/", "--chdir", str(cwd or "/"), "--clearenv"]
        for key, value in {**_ENVIRONMENT, **(env or {})}.items():
            argv += ["--setenv", key, value]
        return [*argv, "--", *cmd]

    def inside(self, path: Path) -> Path:
        """Return the host path of a path inside the root.

        Symbolic links are followed as a process inside would, so an absolute one never leads out.

        Raises:
            OSError: A loop of links.
        """
        todo = list(path.parts[::-1])
        seen = 0
        at: list[str] = []
        while todo:
            part = todo.pop()
            if part in ("/", "."):
                at = at if part == "." else []
                continue
            if part == "..":
                at = at[:-1]
                continue
            here = self.root.joinpath(*at, part)
            if here.is_symlink():
                seen += 1
                if seen > 40:  # the kernel's own limit
                    raise OSError(f"{path}: too many levels of symbolic links in {self.root}")
                todo += here.readlink().parts[::-1]
            else:
                at.append(part)
        return self.root.joinpath(*at)


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def _identity() -> Iterator[str]:
    """Become user 0 inside.

    Root is that already, and stays outside a user namespace, where it could no longer read what
    others own. Everybody else needs one.
    """
    if os.geteuid() == 0:
        yield from ("--cap-drop", "ALL")
        for capability in _CAPABILITIES:
            yield from ("--cap-add", capability)
    else:
        yield from ("--unshare-user", "--uid", "0", "--gid", "0")


def _root_arguments(root: Path, at: Path, wanted: Sequence[Path]) -> Iterator[str]:
    """Show the entries below `at` of the root, each read-only.

    No mount point can be made inside a read-only mount. So a directory that leads to a bind which
    the root does not have is built anew, entry by entry; all other entries are mounted whole.
    """
    for entry in sorted((root / at).iterdir()):
        path = at / entry.name
        inside = Path("/") / path
        if str(path) in _MADE:
            continue
        if entry.is_symlink():
            yield from ("--symlink", str(entry.readlink()), str(inside))
        elif entry.is_dir() and any(
            inside in target.parents and not (root / target.relative_to("/")).exists()
            for target in wanted
        ):
            yield from ("--dir", str(inside))
            yield from _root_arguments(root, path, wanted)
        elif entry.is_dir() or entry.is_file():
            yield from ("--ro-bind", str(entry), str(inside))
