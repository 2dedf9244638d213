// SPDX-License-Identifier: GPL-2.0-only
/*
 * Software device: the registers that make up the device state
 *
 * Generated from emulated.toml; edit that file or the templates, not this one.
 */

#include "emulated.h"

/**
 * struct emulated_register - one or more alike registers of the device state
 * @bar: BAR that holds them
 * @width: bytes of an access: 1, 2 or 4
 * @count: how many there are
 * @offset: of the first one
 * @stride: bytes from one to the next
 */
struct emulated_register {
	u8 bar;
	u8 width;
	u32 count;
	u32 offset;
	u32 stride;
};

static const struct emulated_register emulated_registers[] = {
	/* CONTROL */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x0,
	},
	/* MODE */
	{
		.bar = 0,
		.width = 2,
		.count = 2,
		.offset = 0x8,
		.stride = 0x2,
	},
	/* PRIORITY */
	{
		.bar = 0,
		.width = 1,
		.count = 4,
		.offset = 0xc,
		.stride = 0x1,
	},
	/* COUNTER */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x10,
	},
	/* ADDRESS */
	{
		.bar = 0,
		.width = 4,
		.count = 8,
		.offset = 0x2000,
		.stride = 0x4,
	},
	/* SCRATCH */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x1100,
		.stride = 0x4,
	},
	/* FILTER */
	{
		.bar = 2,
		.width = 4,
		.count = 1024,
		.offset = 0x0,
		.stride = 0x4,
	},
	/* WINDOW */
	{
		.bar = 2,
		.width = 4,
		.count = 3,
		.offset = 0x4000,
		.stride = 0x1000,
	},
	/* DOORBELL */
	{
		.bar = 0,
		.width = 4,
		.count = 4,
		.offset = 0x1000,
		.stride = 0x4,
	},
};

static u32 emulated_get(struct emulated_device *xdev, const struct emulated_register *reg,
			u32 i)
{
	return emulated_read_register(xdev, reg->bar, reg->offset + i * reg->stride, reg->width);
}

/*
 * Calls @fn for each register of the state, in the order of the description,
 * with the place of its value.
 */
static void emulated_for_each(struct emulated_device *xdev,
			      void (*fn)(struct emulated_device *xdev,
					 const struct emulated_register *reg, u32 i,
					 u32 *value))
{
	u32 *value = xdev->migration.values;
	unsigned int r;
	u32 i;

	for (r = 0; r < ARRAY_SIZE(emulated_registers); r++)
		for (i = 0; i < emulated_registers[r].count; i++)
			fn(xdev, &emulated_registers[r], i, value++);
}

static void emulated_save(struct emulated_device *xdev, const struct emulated_register *reg,
			  u32 i, u32 *value)
{
	*value = emulated_get(xdev, reg, i);
}

static void emulated_restore(struct emulated_device *xdev, const struct emulated_register *reg,
			     u32 i, u32 *value)
{
	emulated_write_register(xdev, reg->bar, reg->offset + i * reg->stride, reg->width, *value);
}

/**
 * emulated_device_stop - stop a device that runs
 * @xdev: the device
 *
 * When this returns 0 the device does nothing by itself any more.
 * Registers are locked, see emulated_lock_registers(), here as in the others.
 *
 * Return: 0
 */
int emulated_device_stop(struct emulated_device *xdev)
{
	emulated_engine_stop(xdev);
	return 0;
}

void emulated_device_start(struct emulated_device *xdev)
{
	emulated_engine_start(xdev);
}

/* Reads the values of a stopped device. */
void emulated_device_save(struct emulated_device *xdev)
{
	emulated_for_each(xdev, emulated_save);
}

/* Writes the values to a stopped device. */
void emulated_device_restore(struct emulated_device *xdev)
{
	emulated_for_each(xdev, emulated_restore);
}
