# SPDX-License-Identifier: GPL-2.0-only
"""The only template environment: from a description to the sources of its driver.

The same input gives the same bytes. All files are rendered before the first one is written, and
only those that differ are replaced, so that a build redoes no more than it must.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from kpatch.device.description import Device
from kpatch.errors import OutputError, TemplateError
from kpatch.kernel.features import Features
from kpatch.render import comments
from kpatch.render.align import align
from kpatch.render.context import variables
from kpatch.render.form import MODULE, Form, sources

TEMPLATES = Path(__file__).parents[1] / "templates"
"""The templates of the kit."""


def render(
    device: Device,
    features: Features,
    outdir: Path,
    *,
    form: Form = MODULE,
    templates: Path = TEMPLATES,
) -> list[Path]:
    """Write the sources of a driver into a folder, which is made if need be.

    Args:
        device: What the driver is for.
        features: What the kernel has that it is built for.
        outdir: The folder. Other files in it are left alone.
        form: What is rendered.
        templates: Where the templates are.

    Returns:
        The files that were written because they differed.

    Raises:
        TemplateError: A template is broken; nothing was written.
        OutputError: The folder cannot be made or written.
    """
    contents = texts(device, features, form=form, templates=templates)
    written = []
    try:
        outdir.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            if _replace(outdir / name, text.encode()):
                written.append(outdir / name)
    except OSError as error:
        raise OutputError(
            f"The sources cannot be written into {outdir}: {error.strerror}. Name a folder "
            "that can be made or written, or that is empty."
        ) from error
    return written


def texts(
    device: Device, features: Features, *, form: Form = MODULE, templates: Path = TEMPLATES
) -> dict[str, str]:
    """Return the name and the text of each source of a driver; see `render`."""
    return fill(
        _files(device, features, form), variables(device, features, form), templates=templates
    )


def fill(
    files: Mapping[str, str], context: Mapping[str, Any], *, templates: Path = TEMPLATES
) -> dict[str, str]:
    """Return the text of each file.

    Args:
        files: The name of each file with its template. C is aligned.
        context: The variables.
        templates: Where the templates are.

    Raises:
        TemplateError: A template is broken, or asks for what the context does not have.
    """
    environment = _environment(templates)
    found = {}
    for name, template in files.items():
        try:
            text = environment.get_template(template).render(context)
        except jinja2.TemplateError as error:
            raise TemplateError(_words(template, error)) from error
        found[name] = align(text) if name.endswith((".c", ".h")) else text
    return found


@functools.cache
def _environment(templates: Path) -> jinja2.Environment:
    """Compile each template once a process: a series renders the driver for every patch."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - it is C
    )
    environment.filters["hex"] = to_hex
    return environment


def to_hex(value: int) -> str:
    """Write a number as C does in hexadecimal; the filter `hex`.

    >>> to_hex(0x2000), to_hex(0)
    ('0x2000', '0x0')
    """
    return f"{value:#x}"


def _files(device: Device, features: Features, form: Form) -> dict[str, str]:
    """Return each file of the driver with its template."""
    return {
        **sources(device, features, form),
        f"{device.prefix}.h": "driver/driver.h.j2",
        "compat.h": "compat/compat.h.j2",
        "Kbuild": "driver/Kbuild.j2",
        "Makefile": "driver/Makefile.j2",
    }


def _words(template: str, error: jinja2.TemplateError) -> str:
    line = getattr(error, "lineno", None)
    traceback = error.__traceback__
    while traceback:  # an undefined variable has no line of its own; the innermost frame has it
        if traceback.tb_frame.f_code.co_filename.endswith(template):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    place = f"{template}, line {line}" if line else template
    if isinstance(error, jinja2.TemplateNotFound):
        return f"The template {error.name} does not exist."
    return f"The template {place} is broken: {error}."


def _replace(path: Path, data: bytes) -> bool:
    """Write a file unless it has these contents already; never leave half of one.

    One whose code is the same keeps its time, by which make tells what to compile: the head of each
    file names the device, and one header is in all of them.
    """
    kept = None
    with contextlib.suppress(FileNotFoundError):
        old = path.read_bytes()
        if old == data:
            return False
        if path.suffix in {".c", ".h"} and _code(old) == _code(data):
            kept = path.stat()
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        if kept:
            os.utime(name, ns=(kept.st_atime_ns, kept.st_mtime_ns))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return True


def _code(source: bytes) -> str:
    return comments.without(source.decode("utf-8", "replace"))
