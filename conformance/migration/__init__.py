# SPDX-License-Identifier: GPL-2.0-only
"""The user's side of the migration protocol, version 1: registers, data, a VMM's order of calls.

Nothing here judges. A call the kernel refuses raises :class:`OSError`, an answer with which no
user could go on raises a :class:`~conformance.migration.errors.MigrationError`.
"""
