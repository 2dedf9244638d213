# SPDX-License-Identifier: GPL-2.0-only
"""What the doctor concludes from the facts: one module per subject."""
