#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# kernel-source.sh SUITE [whole]: prints the path of the kernel source of a Debian
# suite, as far as most of the kit's tests use it: checkpatch.pl on what is rendered,
# kunit_parser.py on what is reported; or the whole of it, 1.7 GB. Unpacked once into
# the cache, from the package linux-source; no package is configured.
#
# Exit status: 0, 2 bad usage, 4 the source cannot be had.
set -euo pipefail

suite=${1:?usage: kernel-source.sh SUITE [whole]}
extent=${2:-scripts}
cache=${VFIO_KIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vfio-migration-kit}/kernel-source
key=$(sha256sum <"${BASH_SOURCE[0]}")
folder=$cache/$suite-$extent-${key:0:12}
case $extent in
scripts) wanted=('*/scripts' '*/tools/testing/kunit') ;;
whole) wanted=() ;;
*)
	echo "usage: kernel-source.sh SUITE [whole]" >&2
	exit 2
	;;
esac

if [ ! -d "$folder" ]; then
	echo "unpacking the kernel source of $suite ($extent)" >&2
	mkdir -p "$cache"
	part=$(mktemp -d "$cache/.part.XXXXXX")
	trap 'rm -rf "$part"' EXIT
	# As a tar stream: its owners, mapped for an ordinary user, do not matter here.
	if ! mmdebstrap --quiet --variant=extract --include=linux-source --format=tar "$suite" - |
		tar --extract --to-stdout --wildcards './usr/src/linux-source-*.tar.xz' |
		tar --extract --xz --no-same-owner --directory="$part" --strip-components=1 \
			--wildcards --no-wildcards-match-slash "${wanted[@]}"; then
		echo "the kernel source of $suite cannot be had; see above" >&2
		exit 4
	fi
	chmod 755 "$part"
	mv --no-target-directory "$part" "$folder" || [ -d "$folder" ] # somebody was faster
fi
echo "$folder"
