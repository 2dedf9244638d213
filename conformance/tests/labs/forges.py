# SPDX-License-Identifier: GPL-2.0-only
"""Runs the examples for CI in docs/gate.md by local runners: act for GitHub, gitlab-ci-local.

The runner is inside the container of the example, or in the place of it. What GitHub itself
brings, such as a checkout, is stood in for by actions that do the same with local repositories.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from conformance.running import paths

GITHUB, GITLAB = re.findall(r"```yaml\n(.*?)```", (paths.KIT / "docs/gate.md").read_text(), re.S)
TOOLS = Path(os.environ.get("VFIO_KIT_LAB_TOOLS", "/nowhere"))

_WHO = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "Ada User"), ("EMAIL", "ada@example.org"))}  # fmt: skip

# As in a container: the shell is sh. Only the container itself is not made by the runner.
_CONTAINER = re.compile(r"^( *)container: .*$", re.M)
_SHELL = r"\1defaults: { run: { shell: sh } }"

_ACTION = """\
name: {name}
inputs:
  repository: {{ default: "${{{{ github.repository }}}}" }}
  fetch-depth: {{ default: "1" }}
  path: {{ required: true }}
  name: {{ default: "" }}
  key: {{ default: "" }}
  restore-keys: {{ default: "" }}
runs:
  using: composite
  steps:
    - shell: bash
      run: |
        set -eu
        path="${{{{ inputs.path }}}}"
        {run}
"""
_ACTIONS = {
    "checkout": """\
        [ "${{ inputs.repository }}" = OWNER/KIT ] && from=$FORGE_KIT || from=$FORGE_FORK
        depth=${{ inputs.fetch-depth }}
        [ "$depth" = 0 ] && depth= || depth="--depth=$depth"
        git clone --quiet $depth "file://$from" "$path"
""",
    "cache": """\
        ln -s "$FORGE_CACHE" "$path"
""",
    "upload-artifact": """\
        cp -r "$path" "$FORGE_ARTIFACTS/${{ inputs.name }}"
""",
}


@dataclass(frozen=True)
class Forge:
    """What a forge has: repositories, and a place where its runner works.

    Attributes:
        folder: Where all of it is.
        kit: The repository of the kit.
        cache: What the cache of the forge restores and saves.
        inside: Makes of a command one that runs in the container.
        env: For the runner, in addition.
    """

    folder: Path
    kit: Path
    cache: Path
    inside: Callable[[list[str]], list[str]] = field(default=lambda argv: argv)
    env: dict[str, str] = field(default_factory=dict)

    @property
    def artifacts(self) -> Path:
        """Where results are uploaded to."""
        return self.folder / "artifacts"

    def github(self, fork: Path, base: str, head: str) -> subprocess.CompletedProcess[str]:
        """Run GitHub's example for a pull request in a fork of the kernel."""
        work = self._workspace({".github/workflows/gate.yml": _CONTAINER.sub(_SHELL, GITHUB)})
        event = {"pull_request": {"base": {"sha": base}, "head": {"sha": head}}}
        (self.folder / "event.json").write_text(json.dumps(event))
        argv = [str(TOOLS / "act/bin/act"), "pull_request", "--no-skip-checkout"]
        argv += ["--no-cache-server", "-P", "ubuntu-latest=-self-hosted"]
        argv += ["--eventpath", str(self.folder / "event.json")]
        values = {"KIT": self.kit, "FORK": fork, "CACHE": self.cache, "ARTIFACTS": self.artifacts}
        for name, value in values.items():
            argv += ["--env", f"FORGE_{name}={value}"]
        for name, run in _ACTIONS.items():
            place = self.folder / "actions" / name
            place.mkdir(parents=True)
            (place / "action.yml").write_text(_ACTION.format(name=name, run=run.strip()))
            repository(place)
            argv += ["--local-repository", f"actions/{name}@v4={place}"]
        return self._run(argv, work)

    def gitlab(self, series: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run GitLab's example for a series of patches, each by its name."""
        files = {f"series/{name}": text for name, text in series.items()}
        work = self._workspace({".gitlab-ci.yml": GITLAB, **files})
        argv = [str(TOOLS / "gitlab/node_modules/.bin/gitlab-ci-local"), "gate"]
        argv += ["--force-shell-executor", "--variable", f"KIT_URL=file://{self.kit}"]
        # By itself it names the folder of a container.
        argv += ["--variable", f"CI_PROJECT_DIR={work}"]
        return self._run(argv, work)

    def _workspace(self, files: dict[str, str]) -> Path:
        work = self.folder / "work"
        for name, text in files.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(text)
        self.artifacts.mkdir()
        (self.folder / "home").mkdir()
        repository(work)
        return work

    def _run(self, argv: list[str], work: Path) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "HOME": str(self.folder / "home"), **self.env}
        log = self.folder / "said"
        with log.open("w") as said:
            done = subprocess.run(
                self.inside(argv), cwd=work, env=env, check=False, stdin=subprocess.DEVNULL,
                stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return subprocess.CompletedProcess(argv, done.returncode, log.read_text())


def repository(folder: Path) -> str:
    """Commit all that is in a folder and return the commit."""
    env = {**os.environ, **_WHO, "GIT_CONFIG_GLOBAL": "/dev/null"}

    def git(*words: str) -> str:
        argv = ["git", *words]
        done = subprocess.run(
            argv, cwd=folder, env=env, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    git("add", "--all", "--force")
    git("commit", "--quiet", "--allow-empty", "-m", "all")
    return git("rev-parse", "HEAD")
