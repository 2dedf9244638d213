# SPDX-License-Identifier: GPL-2.0-only
"""Devices that log DMA writes."""

import contextlib
from collections.abc import Iterator

import pytest

from conformance.migration.v2.client import Client
from conformance.plugin.checks import errno_words
from conformance.plugin.protocols import not_applicable
from conformance.uapi import constants as c
from conformance.vfio import features
from conformance.vfio.device import Device


@pytest.fixture
def logger(client: Client) -> Iterator[Device]:
    """Return the device with logging off; not applicable to one without."""
    device = client.device
    try:
        features.probe(device, c.VFIO_DEVICE_FEATURE_DMA_LOGGING_START)
    except OSError as error:
        not_applicable(f"the device does not log DMA writes: {errno_words(error.errno)}")
    yield device
    with contextlib.suppress(OSError):
        features.stop_log(device)
