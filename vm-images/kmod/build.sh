#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Builds the python-kmod sources in the current directory in place, inside the lab image.
# Cython's language level 2, because the sources import their siblings by bare name.
set -eu
suffix=$(python3-config --extension-suffix)
includes=$(python3-config --includes)
for source in kmod/*.pyx; do
    cython3 -2 "$source"
    # shellcheck disable=SC2086 # several options
    gcc -shared -fPIC -O2 $includes "${source%.pyx}.c" -o "${source%.pyx}$suffix" -lkmod
    rm "${source%.pyx}.c"
done
python3 -c 'import kmod; kmod.Kmod'
