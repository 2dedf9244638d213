# SPDX-License-Identifier: GPL-2.0-only
"""From edited sources to outcomes: builds, trials in guests, the journal, and the judgement."""
