// SPDX-License-Identifier: GPL-2.0-only
/* A module which never comes back from its initialization, and takes a processor with it. */
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/processor.h>

static int __init hangs_init(void)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
	return 0;
}
module_init(hangs_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Hangs while it is loaded");
