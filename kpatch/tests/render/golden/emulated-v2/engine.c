// SPDX-License-Identifier: GPL-2.0-only
/*
 * Software device: what the device does by itself
 *
 * Generated from emulated.toml; edit that file or the templates, not this one.
 *
 * While the device runs, COUNTER counts ticks, and a doorbell that is rung is
 * served: the value that was written to DOORBELL n goes to the guest memory at
 * the address in ADDRESS 2n (low half) and 2n + 1 (high half), and then the
 * doorbell reads as zero. One that is rung while the device is stopped stays rung.
 *
 * A write() to a register is seen at once, one through a mapping at the next tick.
 * Guest memory is written with vfio_dma_rw(), which sets the IOMMU's dirty bits; the
 * device's own are in dma_log.c.
 */

#include <linux/minmax.h>

#include "emulated.h"

#define EMULATED_TICK	1 /* jiffies */

static struct workqueue_struct *emulated_workqueue;

static __le32 *emulated_counter(struct emulated_device *xdev)
{
	return xdev->bar[0] + 0x10;
}

static __le32 *emulated_doorbell(struct emulated_device *xdev, unsigned int n)
{
	return xdev->bar[0] + 0x1000 + n * 0x4;
}

static __le32 *emulated_address(struct emulated_device *xdev, unsigned int n)
{
	return xdev->bar[0] + 0x2000 + n * 0x4;
}

static void emulated_serve(struct emulated_device *xdev, unsigned int n)
{
	__le32 value = READ_ONCE(*emulated_doorbell(xdev, n));
	u64 iova;

	if (!value)
		return;

	iova = le32_to_cpu(READ_ONCE(*emulated_address(xdev, 2 * n)));
	iova |= (u64)le32_to_cpu(READ_ONCE(*emulated_address(xdev, 2 * n + 1))) << 32;
	emulated_dma_write(xdev, iova & ~3ULL, value);

	/* Served, unless it was rung with another value meanwhile. */
	cmpxchg(emulated_doorbell(xdev, n), value, 0);
}

static void emulated_tick(struct work_struct *work)
{
	struct emulated_engine *engine =
		container_of(to_delayed_work(work), struct emulated_engine, work);
	struct emulated_device *xdev = container_of(engine, struct emulated_device, engine);
	__le32 *counter = emulated_counter(xdev);
	unsigned int n;

	WRITE_ONCE(*counter, cpu_to_le32(le32_to_cpu(READ_ONCE(*counter)) + 1));
	for (n = 0; n < 4; n++)
		emulated_serve(xdev, n);

	spin_lock(&engine->lock);
	if (engine->running)
		queue_delayed_work(emulated_workqueue, &engine->work, EMULATED_TICK);
	spin_unlock(&engine->lock);
}

int emulated_engine_setup(void)
{
	emulated_workqueue = alloc_workqueue(KBUILD_MODNAME, WQ_UNBOUND, 0);
	return emulated_workqueue ? 0 : -ENOMEM;
}

void emulated_engine_teardown(void)
{
	destroy_workqueue(emulated_workqueue);
}

void emulated_engine_init(struct emulated_engine *engine)
{
	spin_lock_init(&engine->lock);
	INIT_DELAYED_WORK(&engine->work, emulated_tick);
}

void emulated_engine_start(struct emulated_device *xdev)
{
	struct emulated_engine *engine = &xdev->engine;

	spin_lock(&engine->lock);
	engine->running = true;
	mod_delayed_work(emulated_workqueue, &engine->work, EMULATED_TICK);
	spin_unlock(&engine->lock);
}

/* When this returns, no register and no guest memory changes by itself any more. */
void emulated_engine_stop(struct emulated_device *xdev)
{
	struct emulated_engine *engine = &xdev->engine;

	spin_lock(&engine->lock);
	engine->running = false;
	spin_unlock(&engine->lock);
	cancel_delayed_work_sync(&engine->work);
}

/* A register was written, maybe a doorbell. */
void emulated_engine_kick(struct emulated_device *xdev)
{
	struct emulated_engine *engine = &xdev->engine;

	spin_lock(&engine->lock);
	if (engine->running)
		mod_delayed_work(emulated_workqueue, &engine->work, 0);
	spin_unlock(&engine->lock);
}
