#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# run.sh ARGUMENT...: `python -m conformance check ARGUMENT...` as a lab's test runner calls it:
# with a folder of its own for the results, which are handed over to the runner, rule by rule.
# With --bdf a function of this machine is judged, else the lab's VM has the device.
#
# Exit status: that of the command; 4 if the results could not be handed over.
set -uo pipefail

kit=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$kit" || exit 4
mkdir -p results
folder=$(mktemp -d results/lab-XXXXXX) || exit 4

case " $* " in
*' --bdf '* | *' --bdf='*)
	vm-images/test-machine.sh check "$@" -o "$folder"
	status=$?
	;;
*)
	vm-images/host-setup.sh && .venv/bin/python -m conformance check "$@" -o "$folder"
	status=$?
	;;
esac
# A folder without results is that of a run that ended before it began; its status says why.
if [ -e "$folder/latest/results.json" ]; then
	python3 vm-images/labs/hand_over.py "$folder/latest" || exit 4
fi
exit "$status"
