#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# with-images.sh COMMAND...: runs a command with what slow tests ask for in its
# environment, each part made if it is not in the cache:
#
#   VFIO_KIT_ROOT   root of the lab's image: compiler, kernel headers, perl
#   VFIO_KIT_LINUX  the scripts of that kernel's source: checkpatch.pl, kunit_parser.py
set -euo pipefail

kit=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
image=trixie

VFIO_KIT_ROOT=${VFIO_KIT_ROOT:-$("$kit/.venv/bin/python" -m conformance image "$image" --print-root)}
VFIO_KIT_LINUX=${VFIO_KIT_LINUX:-$("$kit/vm-images/kernel-source.sh" "$image")}
export VFIO_KIT_ROOT VFIO_KIT_LINUX
exec "$@"
