# SPDX-License-Identifier: GPL-2.0-only
"""What only the lab's own devices can do: count accesses, receive on demand."""
