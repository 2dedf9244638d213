#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# test-machine.sh ARGUMENT...: runs `python -m conformance` on a machine that has the device
# itself, with a Python that has what building and judging a driver needs: that of .venv, or
# the system's with packages of the distribution, so that no network is needed; else .venv is
# made.
#
# Exit status: that of the command; 4 if there is no such Python.
set -euo pipefail

kit=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$kit/.venv/bin/python

# Has a Python all packages, in versions that will do?
suits() {
	"$1" - <<-'EOF' 2>/dev/null
		import sys
		import elftools, jinja2, pydantic, pytest
		version = tuple(int(part) for part in pydantic.VERSION.split(".")[:2])
		sys.exit(sys.version_info < (3, 11) or version < (2, 7))
	EOF
}

pick() {
	local python
	for python in "$venv" python3; do
		if command -v "$python" >/dev/null && suits "$python"; then
			printf '%s\n' "$python"
			return
		fi
	done
	return 1
}

if ! python=$(pick); then
	"$kit/vm-images/host-setup.sh" --no-lab >&2 && suits "$venv" || {
		printf 'setup: %s\n' \
			"this machine has no Python with the packages of the kit. On Debian 13:" \
			"  apt-get install python3-pytest python3-jinja2 python3-junitparser \\" \
			"      python3-pydantic python3-pyelftools" \
			"elsewhere run vm-images/host-setup.sh --no-lab with a network; it makes .venv." >&2
		exit 4
	}
	python=$venv
fi
cd "$kit"
exec "$python" -m conformance "$@"
