# SPDX-License-Identifier: GPL-2.0-only
"""A patch series as `git am` reads it: mails, patches, commits."""
