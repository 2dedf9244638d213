# SPDX-License-Identifier: GPL-2.0-only
"""What a guest boots from: kernel, modules, initramfs."""
