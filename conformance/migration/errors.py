# SPDX-License-Identifier: GPL-2.0-only
"""Errors of the migration clients: an errno of the kernel stays an OSError.

::

    OSError                 the kernel refused a call; errno says why
    ShortTransfer           a transfer moved fewer bytes than it should (from conformance.vfio)
    MigrationError          everything else
    +-- NoMigrationRegion   the device has no migration region, or more than one
    +-- WindowError         data_offset and data_size do not describe a part of the region
    +-- EndlessStream       the device never says that it is done
    +-- StateError          the device is in a state from which the client cannot go on
    +-- MoverUnusable       this way to move data does not exist on this device
"""


class MigrationError(Exception):
    """Base of all errors of this package that are not an errno of the kernel."""


class NoMigrationRegion(MigrationError):
    """No region, or more than one, carries the migration type."""


class WindowError(MigrationError):
    """The data section the device announces is not inside its region."""


class EndlessStream(MigrationError):
    """The device sent more than the client is prepared to take without coming to an end."""


class StateError(MigrationError):
    """The device is not in a state from which the client can go on."""


class MoverUnusable(MigrationError):
    """The device cannot be driven this way, for example because nothing can be mapped."""
