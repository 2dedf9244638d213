// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel 82576 virtual function: the registers that make up the device state
 *
 * Generated from igb-vf.toml; edit that file or the templates, not this one.
 */

#include <linux/bits.h>

#include "igb_vf.h"

/**
 * struct igb_vf_register - one or more alike registers of the device state
 * @bar: BAR that holds them
 * @width: bytes of an access: 1, 2 or 4
 * @count: how many there are
 * @offset: of the first one
 * @stride: bytes from one to the next
 * @mask: bits that are saved and restored
 * @stop: bits which are cleared to stop the device, 0 for most registers
 */
struct igb_vf_register {
	u8 bar;
	u8 width;
	u32 count;
	u32 offset;
	u32 stride;
	u32 mask;
	u32 stop;
};

static const struct igb_vf_register igb_vf_registers[] = {
	/* VTIVAR */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x1700,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VTIVAR_MISC */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x1740,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VTEITR */
	{
		.bar = 0,
		.width = 4,
		.count = 3,
		.offset = 0x1680,
		.stride = 0x4,
		.mask = 0xffff,
	},
	/* RDBAL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x2800,
		.stride = 0x100,
		.mask = 0xffffffe0,
	},
	/* RDBAH */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x2804,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* RDLEN */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x2808,
		.stride = 0x100,
		.mask = 0xffff0,
	},
	/* SRRCTL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x280c,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* RDH */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x2810,
		.stride = 0x100,
		.mask = 0xffff,
	},
	/* RDT */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x2818,
		.stride = 0x100,
		.mask = 0xffff,
	},
	/* RXDCTL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x2828,
		.stride = 0x100,
		.mask = 0x21f1f1f,
		.stop = 0x2000000,
	},
	/* TDBAL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3800,
		.stride = 0x100,
		.mask = 0xffffffe0,
	},
	/* TDBAH */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3804,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* TDLEN */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3808,
		.stride = 0x100,
		.mask = 0xffff0,
	},
	/* DCA_TXCTRL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3814,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* TDWBAL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3838,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* TDWBAH */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x383c,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* TDH */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3810,
		.stride = 0x100,
		.mask = 0xffff,
	},
	/* TDT */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3818,
		.stride = 0x100,
		.mask = 0xffff,
	},
	/* TXDCTL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3828,
		.stride = 0x100,
		.mask = 0x21f1f1f,
		.stop = 0x2000000,
	},
	/* VMBMEM */
	{
		.bar = 0,
		.width = 4,
		.count = 16,
		.offset = 0x800,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VTEIAC */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x152c,
		.stride = 0x4,
		.mask = 0x7,
	},
	/* VTEIAM */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x1530,
		.stride = 0x4,
		.mask = 0x7,
	},
	/* VTEIMS */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x1524,
		.stride = 0x4,
		.mask = 0x7,
	},
};

static u32 igb_vf_get(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
		      u32 i)
{
	return igb_vf_read_register(xdev, reg->bar, reg->offset + i * reg->stride, reg->width);
}

static void igb_vf_put(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
		       u32 i, u32 mask, u32 value)
{
	if (~mask & GENMASK(reg->width * BITS_PER_BYTE - 1, 0))
		value = (igb_vf_get(xdev, reg, i) & ~mask) | (value & mask);
	igb_vf_write_register(xdev, reg->bar, reg->offset + i * reg->stride, reg->width, value);
}

/*
 * Calls @fn for each register of the state, in the order of the description,
 * with the place of its value.
 */
static void igb_vf_for_each(struct igb_vf_device *xdev,
			    void (*fn)(struct igb_vf_device *xdev,
				       const struct igb_vf_register *reg, u32 i,
				       u32 *value))
{
	u32 *value = xdev->migration.values;
	unsigned int r;
	u32 i;

	for (r = 0; r < ARRAY_SIZE(igb_vf_registers); r++)
		for (i = 0; i < igb_vf_registers[r].count; i++)
			fn(xdev, &igb_vf_registers[r], i, value++);
}

/* Keeps what the register holds and clears the bits that keep the device going. */
static void igb_vf_stop(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
			u32 i, u32 *value)
{
	if (!reg->stop)
		return;
	*value = igb_vf_get(xdev, reg, i) & reg->mask;
	igb_vf_put(xdev, reg, i, reg->stop, 0);
}

static void igb_vf_start(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
			 u32 i, u32 *value)
{
	if (reg->stop)
		igb_vf_put(xdev, reg, i, reg->stop, *value);
}

/* The registers that stop the device have been kept by igb_vf_stop(). */
static void igb_vf_save(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
			u32 i, u32 *value)
{
	if (!reg->stop)
		*value = igb_vf_get(xdev, reg, i) & reg->mask;
}

/* The device stays stopped until igb_vf_start(). */
static void igb_vf_restore(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
			   u32 i, u32 *value)
{
	igb_vf_put(xdev, reg, i, reg->mask, *value & ~reg->stop);
}

/* Call it under igb_vf_lock_registers(), as the others. */
void igb_vf_device_stop(struct igb_vf_device *xdev)
{
	igb_vf_for_each(xdev, igb_vf_stop);
}

void igb_vf_device_start(struct igb_vf_device *xdev)
{
	igb_vf_for_each(xdev, igb_vf_start);
}

/* Reads the values of a stopped device. */
void igb_vf_device_save(struct igb_vf_device *xdev)
{
	igb_vf_for_each(xdev, igb_vf_save);
}

/* Writes the values to a stopped device. */
void igb_vf_device_restore(struct igb_vf_device *xdev)
{
	igb_vf_for_each(xdev, igb_vf_restore);
}
