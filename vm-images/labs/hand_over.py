#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Hand the results of a run over to what started it: ``hand_over.py FOLDER``.

LAVA and tmt put a program on PATH that takes a result. It gets one for each rule of which a test
was to run, and LAVA's one for the run itself, which tmt has by the exit status. Files go to tmt.
Needs the standard library only, since a machine of a lab may have no more.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

#: The verdict of a rule as LAVA and as tmt call it. A rule whose tests did not end is unknown,
#: which tmt has no word for but to warn.
WORDS = {
    "passed": ("pass", "PASS"),
    "failed": ("fail", "FAIL"),
    "skipped": ("skip", "SKIP"),
    "not-applicable": ("skip", "SKIP"),
    "not-tested": ("unknown", "WARN"),
}
#: The run by its exit code; in all other cases nothing is known of the driver.
RUN = {0: "pass", 1: "fail", 3: "fail", 5: "skip"}
FILES = ("report.html", "results.json", "junit.xml", "report.ktap", "kcidb.json", "console.log")


def main(folder: Path) -> None:
    """Hand over what is in a folder of results."""
    results = json.loads((folder / "results.json").read_text("utf-8"))
    rules = {name: rule["verdict"] for name, rule in results["rules"].items() if rule["tests"]}
    code = results["verdict"]["exit_code"]
    if lava := shutil.which("lava-test-case"):
        call(lava, "run", "--result", RUN.get(code, "unknown"))
        for name, verdict in rules.items():
            call(lava, name, "--result", WORDS[verdict][0])
    tmt = shutil.which("tmt-report-result")
    # For tmt one failed rule makes a failure of any error: the files have the rules then.
    if tmt and code in (0, 1):
        for name, verdict in rules.items():
            call(tmt, name, WORDS[verdict][1])
    if submit := shutil.which("tmt-file-submit"):
        for path in (folder / name for name in FILES):
            if path.exists():
                call(submit, "-l", str(path))


def call(*argv: str) -> None:
    """Run a program of the lab; what it prints is of no interest unless it fails."""
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


main(Path(sys.argv[1]))
