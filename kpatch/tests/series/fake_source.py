# SPDX-License-Identifier: GPL-2.0-only
"""A kernel source tree with nothing in it but what a series and the gate look at, and one to build.

The build tree stands in for kbuild: it compiles the C files of a folder and lists them as modules.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

RELEASE = "6.12.9-test"
USER = ("Ada User", "ada@example.org")

_FILES = {
    "Makefile": "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 9\nEXTRAVERSION =\n",
    "MAINTAINERS": """\
List of maintainers

SOMETHING ELSE
M:	Else One <else@example.org>
F:	drivers/else/

VFIO DRIVER
M:	Vera Fio <vera@example.org>
L:	kvm@example.org
F:	drivers/vfio/
F:	include/uapi/linux/vfio.h

VFIO ZZZ PCI DRIVER
M:	Zoe <zoe@example.org>
F:	drivers/vfio/pci/zzz/

WHATEVER
M:	What Ever <what@example.org>
F:	whatever/

THE REST
M:	Rest <rest@example.org>
F:	*
F:	*/
""",
    "include/linux/kconfig.h": "#define KCONFIG\n",
    "include/linux/vfio.h": """\
struct vfio_device {
	struct device *dev;
};

struct vfio_migration_ops {
	int	(*migration_get_data_size)(struct vfio_device *device, unsigned long *length);
};

struct vfio_device_ops {
	char	*name;
	void	(*release)(struct vfio_device *vdev);
	int	(*bind_iommufd)(struct vfio_device *vdev);
	void	(*detach_ioas)(struct vfio_device *vdev);
};
""",
    "include/linux/vfio_pci_core.h": """\
struct vfio_pci_region {
	u32				type;
};

struct vfio_pci_core_device {
	struct vfio_device	vdev;
	struct pci_dev		*pdev;
	void __iomem		*barmap[6];
};

int vfio_pci_core_register_dev_region(struct vfio_pci_core_device *vdev);
int vfio_pci_core_setup_barmap(struct vfio_pci_core_device *vdev, int bar);
""",
    "include/uapi/linux/vfio.h": """\
#define VFIO_REGION_INFO_CAP_SPARSE_MMAP	1

struct vfio_region_info_cap_sparse_mmap {
	unsigned int nr_areas;
};

#define VFIO_REGION_INFO_CAP_TYPE	2
""",
    "drivers/vfio/Makefile": "obj-y += pci/\n",
    "drivers/vfio/core.c": "int core(void);\nint core(void)\n{\n\tint unused;\n\n\treturn 0;\n}\n",
    "drivers/vfio/pci/Kconfig": """\
menu "VFIO support for PCI devices"

source "drivers/vfio/pci/zzz/Kconfig"

endmenu
""",
    "drivers/vfio/pci/Makefile": "obj-$(CONFIG_ZZZ) += zzz/\n",
    "drivers/vfio/pci/vfio_pci_core.c": """\
static const struct vm_operations_struct vfio_pci_mmap_ops = {
	.fault = vfio_pci_mmap_page_fault,
};
""",
    "drivers/vfio/pci/zzz/Kconfig": "config ZZZ\n\ttristate\n",
    "Documentation/driver-api/index.rst": """\
   vfio
   vfio-pci-device-specific-driver-acceptance

""",
    "scripts/checkpatch.pl": """\
@ARGV = ($ARGV[-1]);
while (<>) { print "ERROR:ALMOST: $1\\n#1: FILE: a.c:1:\\n" if /^\\+.*BAD_STYLE (.*)/ }
""",
    "scripts/get_maintainer.pl": """\
if (grep { $_ eq "--sections" } @ARGV) {
	open(my $file, "<", (map { /^--mpath=(.*)/ } @ARGV)[0]) or die;
	local $/ = "";
	my ($path, $text) = ($ARGV[-1], "");
	if (open(my $content, "<", $path)) { local $/; $text = <$content> // ""; }
	while (my $entry = <$file>) {
		my @found = grep { index($path, $_) == 0 } $entry =~ /^F:\\t([^*\\n]+)$/mg;
		push @found, grep { $path =~ $_ } $entry =~ /^N:\\t(.+)$/mg;
		push @found, grep { $text =~ $_ } $entry =~ /^K:\\t(.+)$/mg;
		print $entry if @found or $entry =~ /^THE REST/;
	}
	exit;
}
my ($to) = grep { $_ eq "--no-l" } @ARGV;
print $to ? "Vera Fio <vera\\@example.org>\\nAda <ada\\@example.org>\\n" : "kvm\\@example.org\\n";
""",
    "scripts/headers_install.sh": 'grep -v __KERNEL_ONLY "$1" > "$2"\n',
}
# Stands in for kbuild: compiles what the Makefiles ask for, and fails as it does.
_MAKEFILE = "modules:\n\t@python3 $(CURDIR)/kbuild.py $(M) $(filter CONFIG_%,$(MAKEOVERRIDES))\n"
_KBUILD = """\
import pathlib, re, shutil, subprocess, sys

place, options = pathlib.Path(sys.argv[1]), sys.argv[2:]
order, status = [], 0
for source in sorted(place.rglob("*.c")):
    makefile = source.parent / "Makefile"
    text = makefile.read_text() if makefile.exists() else ""
    wanted = re.findall(r"^obj-\\$\\((CONFIG_\\w+)\\)", text, re.M)
    if source.parent.parent.name == "pci" and wanted and f"{wanted[0]}=m" not in options:
        continue
    if source.name == "vfio_pci_core.c":
        continue
    print("  CC [M] ", source, flush=True)
    target = source.with_suffix(".o")
    made_of = source.with_name(f".{target.name}.cmd")
    failed = subprocess.call(["gcc", "-Wall", "-MMD", "-MF", made_of, "-c", source, "-o", target])
    status |= failed
    if not failed:
        shutil.copyfile(target, source.with_suffix(".ko"))
    order.append(f"{source.with_suffix('.o')}")
(place / "modules.order").write_text("".join(f"{one}\\n" for one in order))
sys.exit(status and 2)
"""


def make_source(folder: Path) -> Path:
    """Write a source tree and return it."""
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def make_build(folder: Path) -> Path:
    """Write a build tree for it and return it."""
    (folder / "include/config").mkdir(parents=True)
    (folder / "include/generated").mkdir()
    release = f'#define UTS_RELEASE "{RELEASE}"\n'
    (folder / "include/generated/utsrelease.h").write_text(release)
    (folder / "include/config/kernel.release").write_text(f"{RELEASE}\n")
    (folder / "include/config/auto.conf").write_text("CONFIG_VFIO_PCI_CORE=m\n")
    (folder / "Module.symvers").write_text("0x1\tkfree\tvmlinux\tEXPORT_SYMBOL\t\n")
    (folder / "Makefile").write_text(_MAKEFILE)
    (folder / "kbuild.py").write_text(_KBUILD)
    return folder


def make_git(folder: Path) -> Path:
    """Make a source tree a git checkout with one commit."""
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "base")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git as a user would, and return what it prints."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": str(config(folder.parent))}
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=env, check=True, capture_output=True, text=True
    ).stdout


def config(folder: Path) -> Path:
    """Write a git configuration of a user and return it."""
    path = folder / "gitconfig"
    path.write_text(f"[user]\n\tname = {USER[0]}\n\temail = {USER[1]}\n")
    return path


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
