# SPDX-License-Identifier: GPL-2.0-only
"""The package index that pip is configured for: downloads of sources."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import requests
from pypi_simple import (
    PYPI_SIMPLE_ENDPOINT,
    NoSuchProjectError,
    PyPISimple,
    UnsupportedContentTypeError,
    UnsupportedRepoVersionError,
)

from conformance.errors import ImageError
from kpatch.tools import programs

_TIMEOUT = 30.0
ERRORS = (
    OSError,
    NoSuchProjectError,
    UnsupportedContentTypeError,
    UnsupportedRepoVersionError,
)
"""What can go wrong; the errors of requests are errors of the system."""


def download(project: str, version: str, target: Path) -> None:
    """Fetch the source archive of a project.

    Raises:
        ImageError: The index does not have it.
        ERRORS: The index cannot be read.
    """
    name = f"{project}-{version}.tar.gz"
    session = requests.Session()
    if certificate := setting("cert"):
        session.verify = certificate
    endpoint = setting("index-url") or PYPI_SIMPLE_ENDPOINT
    with PyPISimple(endpoint, session=session) as index:
        page = index.get_project_page(project, timeout=_TIMEOUT)
        for package in page.packages:
            if package.filename == name:
                # The digest that counts is ours; the index may have none.
                index.download_package(package, target, verify=False, timeout=_TIMEOUT)
                return
    raise ImageError(f"The package index of pip has no {name}. See pip config list.")


def setting(name: str) -> str:
    """Return a setting of the user's pip, from its environment or its files."""
    if value := os.environ.get(f"PIP_{name.replace('-', '_').upper()}"):
        return value
    # pip alone knows where its files are and which one wins.
    argv = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    found = programs.run(argv, check=False, timeout=_TIMEOUT)
    return found.stdout.strip() if found.returncode == 0 else ""


def shown(error: Exception) -> str:
    """Return the words of an error without the password that an index's address may have.

    >>> shown(OSError("no route to https://me:secret@index.example/simple/"))
    'no route to https://index.example/simple/'
    """
    return re.sub(r"//[^/@\s]*@", "//", str(error))
