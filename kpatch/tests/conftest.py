# SPDX-License-Identifier: GPL-2.0-only
"""What holds for all tests of this package.

How long one drawn example takes is no result. Ctrl-C interrupts, also where the tests run in the
background of a script, whose programs ignore it: what tests start must not inherit that.
"""

import signal

from hypothesis import settings

settings.register_profile("kit", deadline=None)
settings.load_profile("kit")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
