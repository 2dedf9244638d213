#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# kernel-source.sh SUITE [scripts|vfio|whole] [PACKAGE]: prints the path of the kernel
# source of a Debian suite, as far as most of the kit's tests use it: checkpatch.pl on
# what is rendered, kunit_parser.py on what is reported; or its VFIO drivers and samples;
# or the whole of it, 1.7 GB. Unpacked once into the cache, from the package linux-source
# or another; no package is configured. A SUITE that ends in -backports has the packages
# of the suite itself as well.
#
# Exit status: 0, 2 bad usage, 4 the source is not available.
set -euo pipefail

usage="usage: kernel-source.sh SUITE [scripts|vfio|whole] [PACKAGE]"
suite=${1:?$usage}
extent=${2:-scripts}
package=${3:-linux-source}
cache=${VFIO_KIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vfio-migration-kit}/kernel-source
key=$(sha256sum <"${BASH_SOURCE[0]}")
folder=$cache/$suite-$package-$extent-${key:0:12}
case $extent in
scripts) wanted=('*/scripts' '*/tools/testing/kunit') ;;
vfio) wanted=('*/drivers/vfio' '*/samples/vfio-mdev') ;;
whole) wanted=() ;;
*)
	echo "$usage" >&2
	exit 2
	;;
esac

# No mirror is named: that of the backports is the one of the suite itself.
base=${suite%-backports}
more=()
if [ "$base" != "$suite" ]; then
	more=("--setup-hook=sed -n 's/ $base / $suite /p' \"\$1/etc/apt/sources.list\" \
		>\"\$1/etc/apt/sources.list.d/$suite.list\"")
fi

if [ ! -d "$folder" ]; then
	echo "unpacking the kernel source of $suite ($package, $extent)" >&2
	mkdir -p "$cache"
	part=$(mktemp -d "$cache/.part.XXXXXX")
	trap 'rm -rf "$part"' EXIT
	# As a tar stream: its owners, mapped for an ordinary user, do not matter here.
	if ! mmdebstrap --quiet --variant=extract "${more[@]}" --include="$package" --format=tar \
		"$base" - |
		tar --extract --to-stdout --wildcards './usr/src/linux-source-*.tar.xz' |
		tar --extract --xz --no-same-owner --directory="$part" --strip-components=1 \
			--wildcards --no-wildcards-match-slash "${wanted[@]}"; then
		echo "cannot get the kernel source of $suite; see above" >&2
		exit 4
	fi
	chmod 755 "$part"
	mv --no-target-directory "$part" "$folder" || [ -d "$folder" ] # somebody was faster
fi
echo "$folder"
