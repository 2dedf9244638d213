# SPDX-License-Identifier: GPL-2.0-only
"""Why the agent cannot go on."""


class Failure(Exception):
    """The agent cannot go on; the message is for people."""
