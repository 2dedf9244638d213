// SPDX-License-Identifier: GPL-2.0-only
/* A module whose kernel panics while it is loaded. */
#include <linux/kernel.h>
#include <linux/module.h>

static int __init panics_init(void)
{
	panic("the test asked for it");
}
module_init(panics_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Panics while it is loaded");
