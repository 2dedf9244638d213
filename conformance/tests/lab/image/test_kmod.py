# SPDX-License-Identifier: GPL-2.0-only
"""Fetching and changing the sources of python-kmod."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import requests

from conformance.errors import ImageError
from conformance.lab.image import index, kmod
from conformance.lab.image.kmod import Source
from conformance.running import paths

CONTENT = b"sources"
SOURCE = Source("kmod", "0.9.2", hashlib.sha256(CONTENT).hexdigest(), ())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VFIO_KIT_CACHE", str(tmp_path))
    return tmp_path


def offer(monkeypatch: pytest.MonkeyPatch, content: bytes | Exception) -> None:
    """Let the package index have something, or fail."""

    def download(_project: str, _version: str, target: Path) -> None:
        if isinstance(content, Exception):
            raise content
        target.write_bytes(content)

    monkeypatch.setattr(index, "download", download)


def test_sources_are_fetched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, CONTENT)
    first = kmod.fetch(SOURCE)
    offer(monkeypatch, AssertionError("fetched again"))
    assert kmod.fetch(SOURCE) == first
    assert first.read_bytes() == CONTENT


def test_other_contents_are_refused_and_not_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, b"something else")
    with pytest.raises(ImageError, match=r"have the SHA-256 [0-9a-f]{64}, expected"):
        kmod.fetch(SOURCE)
    assert list((cache / "downloads").iterdir()) == []


def test_no_network_is_reported_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, requests.ConnectionError("Name or service not known"))
    with pytest.raises(ImageError, match=r"cannot be fetched: Name or.*pip config list") as caught:
        kmod.fetch(SOURCE)
    assert str(paths.cache() / "downloads/kmod-0.9.2.tar.gz") in str(caught.value)
    assert caught.value.exit_code == 4


def test_password_of_an_index_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, requests.ConnectionError("no route to https://me:secret@host/simple/"))
    with pytest.raises(ImageError, match="https://host/simple/") as caught:
        kmod.fetch(SOURCE)
    assert "secret" not in str(caught.value)


def test_damaged_file_in_the_cache_is_fetched_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "downloads").mkdir()
    (cache / "downloads/kmod-0.9.2.tar.gz").write_bytes(b"cut")
    offer(monkeypatch, CONTENT)
    assert kmod.fetch(SOURCE).read_bytes() == CONTENT


def test_settings_of_pip_are_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "file:///index")
    assert index.setting("index-url") == "file:///index"


def test_setting_that_pip_lacks_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_NO_SUCH_SETTING", raising=False)
    assert index.setting("no-such-setting") == ""


@pytest.mark.parametrize("edit", kmod.load().edits, ids=lambda edit: str(edit["file"]))
def test_edits_are_regular_expressions_which_add_noexcept(edit: dict[str, Any]) -> None:
    assert re.compile(edit["find"])
    assert "noexcept" in edit["replace"]


def test_edit_that_does_not_fit_is_reported(tmp_path: Path) -> None:
    (tmp_path / "module.pyx").write_text("one two two\n")
    edit = {"file": "module.pyx", "find": "two", "replace": "2", "count": 1}
    with pytest.raises(ImageError, match=r"module\.pyx .* applies 2 times, expected 1"):
        kmod.apply(tmp_path, edit)
    assert (tmp_path / "module.pyx").read_text() == "one two two\n"


def test_edits_fit_declarations_like_those_of_the_sources(tmp_path: Path) -> None:
    (tmp_path / "kmod").mkdir()
    (tmp_path / "kmod/module.pyx").write_text(
        "cdef int (*install)(\n    a *, b, void *)\ninstall = NULL\n"
        "cdef void (*print_action)(\n    a *, b,\n    c)\nprint_action = NULL\n"
    )
    (tmp_path / "kmod/_libkmod_h.pxd").write_text(
        "int probe(\n    int (*run_install)(\n        m *m, void *data),\n    void *data,\n"
        "    void (*print_action)(\n        m *m, bool install),\n    )\n"
    )
    for edit in kmod.load().edits:
        kmod.apply(tmp_path, edit)
    assert (tmp_path / "kmod/module.pyx").read_text().count(") noexcept\n") == 2
    assert (tmp_path / "kmod/_libkmod_h.pxd").read_text().count(") noexcept,\n") == 2
