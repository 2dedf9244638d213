#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Brings a host to the point where the lab can be built: the programs that make and
# enter images, and a virtual environment with the kit in .venv. Says what it installs
# and why, asks for root only if a package is missing, and does nothing, in a tenth
# of a second, where nothing is missing.
#
#   --no-lab  the virtual environment only, for a machine that has the device itself
#   --tools   what develops and tests the kit as well, which takes longest to install
#
# Exit status: 0 the host is ready, 4 it is not, and the last lines say what to do.
set -euo pipefail

kit=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$kit/.venv
lab=yes
tools=
missing=() # Debian packages

say() { printf 'setup: %s\n' "$*"; }

fail() {
	printf 'setup: %s\n' "$@" >&2
	exit 4
}

# Run a command that says nothing unless it fails.
silent() {
	local output
	output=$("$@" </dev/null 2>&1) || {
		printf '%s\n' "$output" >&2
		return 1
	}
}

# need PACKAGE REASON COMMAND...: note the package unless the command succeeds.
need() {
	local package=$1 reason=$2
	shift 2
	if ! "$@" >/dev/null 2>&1; then
		say "package $package is missing: $reason"
		missing+=("$package")
	fi
}

check_python() {
	command -v python3 >/dev/null || fail "python3 is missing; it needs version 3.11 or later"
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
		fail "$(python3 --version) is too old; the kit needs 3.11 (Debian 12) or later"
}

check_packages() {
	need mmdebstrap "it makes the lab's images" command -v mmdebstrap
	need bubblewrap "images are entered with it" command -v bwrap
	need debian-archive-keyring "Debian's packages are checked against it" \
		test -e /usr/share/keyrings/debian-archive-keyring.gpg
	need xz-utils "the kernel source, for the kit's own tests, is packed with it" command -v xz
	if [ "$(id -u)" -ne 0 ]; then
		need uidmap "mmdebstrap needs newuidmap for an ordinary user" command -v newuidmap
	fi
	if [ ! -x "$venv/bin/python" ]; then
		need python3-venv "the kit runs in a virtual environment" python3 -c 'import ensurepip'
	fi
}

# The command prefix that makes a command run as root, or failure.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		echo env # that changes nothing
	elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
		echo sudo
	else
		return 1
	fi
}

install_packages() {
	local root install=(apt-get install --yes --no-install-recommends "${missing[@]}")
	command -v apt-get >/dev/null ||
		fail "this host has no apt-get; install by its own means: ${missing[*]}"
	root=$(as_root) ||
		fail "cannot become root here; run this, then try again:" "  ${install[*]}"
	say "installing ${missing[*]}"
	install=("$root" env DEBIAN_FRONTEND=noninteractive "${install[@]}")
	# A fresh machine has no package lists, and old lists name files that are gone.
	if ! silent "${install[@]}" 2>/dev/null; then
		say "updating the package lists first"
		silent "$root" apt-get update || fail "apt-get update failed; is there a network?"
		silent "${install[@]}" || fail "could not install ${missing[*]}; see above"
	fi
}

# An ordinary user also needs ids to map and the right to make user namespaces.
check_user() {
	[ "$(id -u)" -ne 0 ] || return 0
	local user ids file
	user=$(id -un)
	ids="^($user|$(id -u)):"
	for file in /etc/subuid /etc/subgid; do
		grep -Eqs "$ids" "$file" || fail \
			"user $user has no ids in $file, which mmdebstrap maps; as root run:" \
			"  usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $user"
	done
	bwrap --ro-bind / / true 2>/dev/null ||
		fail "user $user may not make user namespaces; as root run one of:" \
			"  sysctl kernel.unprivileged_userns_clone=1" \
			"  sysctl kernel.apparmor_restrict_unprivileged_userns=0"
}

# What the environment was made from: made again when Python or the metadata change.
venv_key() {
	python3 --version
	sha256sum <"$kit/pyproject.toml"
}

make_venv() {
	local key made
	key=$(venv_key)
	made=$(cat "$venv/made-from" 2>/dev/null) || made=
	case $made in
	"$key tools") return ;;
	"$key")
		[ -n "$tools" ] || return 0
		say "installing the tools of development into .venv"
		;;
	*)
		say "making the virtual environment .venv, with the kit${tools:+ and its tools}"
		# --clear: a new Python cannot use the packages of the old one.
		python3 -m venv --clear "$venv" || fail "python3 -m venv failed; see above"
		;;
	esac
	# What is never imported need not be compiled, and the rest compiles when it is.
	"$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-compile \
		--editable "$kit${tools:+[dev]}" || fail "pip could not install the kit; is there a network?"
	printf '%s\n' "$key${tools:+ tools}" >"$venv/made-from"
}

# Packages are fetched while the virtual environment is made, unless that needs one of them.
make_both() {
	local status=0
	if [ ${#missing[@]} -eq 0 ]; then
		make_venv
		return
	fi
	case " ${missing[*]} " in
	*" python3-venv "*)
		install_packages
		make_venv
		return
		;;
	esac
	set -m # a process group of its own, which ends as a whole
	make_venv </dev/null &
	making=$!
	set +m
	trap 'kill -- -"$making" 2>/dev/null || true' EXIT
	install_packages
	wait "$making" || status=$?
	trap - EXIT
	[ "$status" -eq 0 ] || exit "$status"
}

for option; do
	case $option in
	--no-lab) lab= ;;
	--tools) tools=yes ;;
	*) fail "unknown option $option; there are --no-lab and --tools" ;;
	esac
done
check_python
if [ -z "$lab" ]; then
	make_venv
else
	check_packages
	make_both
	check_user
fi
