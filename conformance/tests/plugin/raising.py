# SPDX-License-Identifier: GPL-2.0-only
"""The unit tests' own form of an expected errno."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def raises_errno(number: int) -> Iterator[None]:
    """Demand that the block raises an OSError with this errno."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is looked at below
        yield
    assert caught.value.errno == number
