#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# with-images.sh COMMAND...: runs a command with what slow tests ask for in its
# environment, each part made if it is not in the cache:
#
#   VFIO_KIT_ROOT   root of the lab's image: compiler, kernel headers, perl
#   VFIO_KIT_LINUX  the scripts of that kernel's source: checkpatch.pl, kunit_parser.py;
#                   with VFIO_KIT_SOURCE=whole all of it
#   VFIO_KIT_VFIO   the VFIO drivers and samples of that kernel's source
#   PATH            ends with a gcc that is the image's, for hosts without one
set -euo pipefail

kit=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$kit/.venv/bin/python
image=trixie

image_root() {
	cd "$kit"
	"$python" -m conformance image "$image" >&2
	"$python" -c "
from conformance.lab.image.definitions import image
from conformance.lab.image.image import place
print(place(image('$image')) / 'root')"
}

VFIO_KIT_ROOT=${VFIO_KIT_ROOT:-$(image_root)}
VFIO_KIT_LINUX=${VFIO_KIT_LINUX:-$("$kit/vm-images/kernel-source.sh" "$image" "${VFIO_KIT_SOURCE:-scripts}")}
VFIO_KIT_VFIO=${VFIO_KIT_VFIO:-$("$kit/vm-images/kernel-source.sh" "$image" vfio linux-source-6.12)}
PATH=$PATH:$kit/vm-images/bin
export PATH VFIO_KIT_ROOT VFIO_KIT_LINUX VFIO_KIT_VFIO
exec "$@"
