# SPDX-License-Identifier: GPL-2.0-only
"""The guest's agent: makes the functions, waits for the host, runs the suite, reports.

Everything up to "ready" is the same in every run and ends in a snapshot, so what takes long is
done there: functions are made, and all that the suite imports is loaded. Then the host says what
to do and the payload disk is read for the first time.

Needs the standard library, pytest and python-kmod. Speaks JSON lines on a virtio-serial port.
"""
