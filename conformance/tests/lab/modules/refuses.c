// SPDX-License-Identifier: GPL-2.0-only
/* A module whose initialization fails. */
#include <linux/module.h>
#include <linux/printk.h>

static int __init refuses_init(void)
{
	pr_err("refuses: there is no such hardware\n");
	return -ENODEV;
}
module_init(refuses_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Fails while it is loaded");
