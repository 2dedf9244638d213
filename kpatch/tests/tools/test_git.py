# SPDX-License-Identifier: GPL-2.0-only
"""Commits of a scratch repository: all of the tree, or the reason why not."""

from pathlib import Path

import pytest

from kpatch.errors import ProgramFailed, SeriesError
from kpatch.tools import git
from kpatch.tools.git import Identity, Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    (tmp_path / "a.c").write_text("one\n")
    who = Identity("Ada", "ada@example.org")
    return git.adopt({"a.c": tmp_path / "a.c"}, tmp_path / "made", who, "base")


def test_commit_takes_new_and_changed_files(repository: Repository) -> None:
    (repository.path / "a.c").write_text("two\n")
    (repository.path / "b.c").write_text("new\n")
    repository.commit("x: Change\n\nWhy.\n", git.EPOCH + 60, signoff=True)
    assert repository.out("show", "--format=%an %at%n%B", "--name-only") == (
        f"Ada {git.EPOCH + 60}\nx: Change\n\nWhy.\n\nSigned-off-by: Ada <ada@example.org>\n\n\n"
        "a.c\nb.c"
    )


def test_commit_without_a_change_is_refused(repository: Repository) -> None:
    before = repository.out("rev-parse", "HEAD")
    with pytest.raises(SeriesError, match="'x: Change' would be empty"):
        repository.commit("x: Change\n\nWhy.\n", git.EPOCH)
    assert repository.out("rev-parse", "HEAD") == before


def test_other_failures_of_git_keep_its_words(repository: Repository) -> None:
    (repository.path / "a.c").write_text("two\n")
    (repository.path / ".git/HEAD.lock").touch()
    with pytest.raises(ProgramFailed, match="lock"):
        repository.commit("x: Change\n\nWhy.\n", git.EPOCH)
