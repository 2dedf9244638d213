// SPDX-License-Identifier: GPL-2.0-only
/*
 * Software device: the registers that make up the device state
 *
 * Generated from emulated.toml; edit that file or the templates, not this one.
 */

#include <linux/bits.h>

#include "emulated.h"

/**
 * struct emulated_register - one or more alike registers of the device state
 * @bar: BAR that holds them
 * @width: bytes of an access: 1, 2 or 4
 * @count: how many there are
 * @offset: of the first one
 * @stride: bytes from one to the next
 * @mask: bits that are saved and restored
 * @stop: bits that are cleared to stop the device, 0 for most registers
 */
struct emulated_register {
	u8 bar;
	u8 width;
	u32 count;
	u32 offset;
	u32 stride;
	u32 mask;
	u32 stop;
};

static const struct emulated_register emulated_registers[] = {
	/* CONTROL */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x0,
		.mask = 0xffffffff,
	},
	/* MODE */
	{
		.bar = 0,
		.width = 2,
		.count = 2,
		.offset = 0x8,
		.stride = 0x2,
		.mask = 0xffff,
	},
	/* PRIORITY */
	{
		.bar = 0,
		.width = 1,
		.count = 4,
		.offset = 0xc,
		.stride = 0x1,
		.mask = 0xff,
	},
	/* COUNTER */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x10,
		.mask = 0xffffffff,
	},
	/* ADDRESS */
	{
		.bar = 0,
		.width = 4,
		.count = 8,
		.offset = 0x2000,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* SCRATCH */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x1100,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* FILTER */
	{
		.bar = 2,
		.width = 4,
		.count = 1024,
		.offset = 0x0,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* WINDOW */
	{
		.bar = 2,
		.width = 4,
		.count = 3,
		.offset = 0x4000,
		.stride = 0x1000,
		.mask = 0xffffffff,
	},
	/* DOORBELL */
	{
		.bar = 0,
		.width = 4,
		.count = 4,
		.offset = 0x1000,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
};

static u32 emulated_get(struct emulated_device *xdev, const struct emulated_register *reg,
			u32 i)
{
	return emulated_read_register(xdev, reg->bar, reg->offset + i * reg->stride, reg->width);
}

static void emulated_put(struct emulated_device *xdev, const struct emulated_register *reg,
			 u32 i, u32 mask, u32 value)
{
	if (~mask & GENMASK(reg->width * BITS_PER_BYTE - 1, 0))
		value = (emulated_get(xdev, reg, i) & ~mask) | (value & mask);
	emulated_write_register(xdev, reg->bar, reg->offset + i * reg->stride, reg->width, value);
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

/* Keeps what the register holds and clears the bits that keep the device going. */
static void emulated_stop(struct emulated_device *xdev, const struct emulated_register *reg,
			  u32 i, u32 *value)
{
	if (!reg->stop)
		return;
	*value = emulated_get(xdev, reg, i) & reg->mask;
	emulated_put(xdev, reg, i, reg->stop, 0);
}

/*
 * Reading a register back makes sure that the device has seen what was written to
 * it: the bus may keep a write, and delivers it before it answers a read.
 */
static void emulated_flush(struct emulated_device *xdev, const struct emulated_register *reg,
			   u32 i, u32 *value)
{
	if (reg->stop)
		emulated_get(xdev, reg, i);
}

/* A bit that the user has set since the device was stopped remains set. */
static void emulated_start(struct emulated_device *xdev, const struct emulated_register *reg,
			   u32 i, u32 *value)
{
	if (reg->stop)
		emulated_put(xdev, reg, i, reg->stop, *value | emulated_get(xdev, reg, i));
}

/* Of a register that stops the device the bits count that emulated_stop() kept. */
static void emulated_save(struct emulated_device *xdev, const struct emulated_register *reg,
			  u32 i, u32 *value)
{
	*value = (emulated_get(xdev, reg, i) & reg->mask) | (*value & reg->stop);
}

/* The device stays stopped until emulated_start(). */
static void emulated_restore(struct emulated_device *xdev, const struct emulated_register *reg,
			     u32 i, u32 *value)
{
	emulated_put(xdev, reg, i, reg->mask, *value & ~reg->stop);
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
	emulated_for_each(xdev, emulated_stop);
	emulated_for_each(xdev, emulated_flush);
	return 0;
}

void emulated_device_start(struct emulated_device *xdev)
{
	emulated_for_each(xdev, emulated_start);
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
