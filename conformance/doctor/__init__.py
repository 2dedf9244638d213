# SPDX-License-Identifier: GPL-2.0-only
"""Why a function cannot be migrated or tested here: facts are gathered, checks judge them.

Facts (`host`, `kernel`, `iommu`, `function`, `user`, `lab`) are read from below one folder, which
is ``/`` but in tests. Checks (`checks`) are functions from facts to findings. Nothing is changed,
and nothing opened that opening changes, but for a device whose user asks for it (`offer`).

Standard library only, so that it runs from a bare checkout; what other packages of the kit add is
asked for in `optional`, and missed in words.
"""
