#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# with-browser.sh COMMAND...: runs a command with what the tests of pages need, each part
# installed if it is missing: Debian's Chromium, playwright in .venv, and from npm axe-core and
# html-validate, in the cache. In the environment of the command:
#
#   VFIO_KIT_BROWSER  the browser
#   VFIO_KIT_NODE     the folder with node_modules
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$here/../../../.venv/bin/python
tools=${VFIO_KIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vfio-migration-kit}/page-tools

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v npm >/dev/null || missing+=(npm)
if [ ${#missing[@]} -gt 0 ]; then
	echo "with-browser: installing ${missing[*]}"
	root=()
	[ "$(id -u)" -eq 0 ] || root=(sudo)
	"${root[@]}" apt-get update -qq
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get install --yes --no-install-recommends -qq "${missing[@]}" >/dev/null
fi
"$python" -c 'import playwright' 2>/dev/null ||
	"$python" -m pip install --quiet --disable-pip-version-check 'playwright>=1.50'
mkdir -p "$tools"
if ! cmp -s "$here/package.json" "$tools/package.json" || [ ! -d "$tools/node_modules" ]; then
	echo "with-browser: installing what $here/package.json names"
	rm -f "$tools/package.json"
	cp "$here/package.json" "$tools/package.json.new"
	(cd "$tools" && mv package.json.new package.json && npm install --silent --no-audit --no-fund) ||
		{ rm -f "$tools/package.json"; exit 4; }
fi

VFIO_KIT_BROWSER=$(command -v chromium)
VFIO_KIT_NODE=$tools
export VFIO_KIT_BROWSER VFIO_KIT_NODE
exec "$@"
