// SPDX-License-Identifier: GPL-2.0-only
/* A module which is loaded and drives nothing. */
#include <linux/module.h>

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Drives nothing");
