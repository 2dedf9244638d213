# SPDX-License-Identifier: GPL-2.0-only
"""The states of version 2 of the protocol, as a client names them."""

from enum import IntEnum

from conformance.uapi import constants as c


class State(IntEnum):
    """``enum vfio_device_mig_state``."""

    ERROR = c.VFIO_DEVICE_STATE_ERROR
    STOP = c.VFIO_DEVICE_STATE_STOP
    RUNNING = c.VFIO_DEVICE_STATE_RUNNING
    STOP_COPY = c.VFIO_DEVICE_STATE_STOP_COPY
    RESUMING = c.VFIO_DEVICE_STATE_RESUMING
    RUNNING_P2P = c.VFIO_DEVICE_STATE_RUNNING_P2P
    PRE_COPY = c.VFIO_DEVICE_STATE_PRE_COPY
    PRE_COPY_P2P = c.VFIO_DEVICE_STATE_PRE_COPY_P2P
