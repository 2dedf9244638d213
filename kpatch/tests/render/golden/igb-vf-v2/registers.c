// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel 82576 virtual function: the registers that make up the device state
 *
 * Generated from igb-vf.toml; edit that file or the templates, not this one.
 */

#include "igb_vf.h"

/**
 * struct igb_vf_register - one or more alike registers of the device state
 * @bar: BAR that holds them
 * @count: how many there are
 * @offset: of the first one
 * @stride: bytes from one to the next
 * @mask: bits that are saved and restored
 * @stop: bits that are cleared to stop the device, 0 for most registers
 * @clear: what is written at @clear_offset before a restore, since a write of the
 *         register itself can only set bits; 0 for most registers
 * @clear_offset: of the register that clears
 * @after_start: restored only when the device has been started
 */
struct igb_vf_register {
	u8 bar;
	u32 count;
	u32 offset;
	u32 stride;
	u32 mask;
	u32 stop;
	u32 clear;
	u32 clear_offset;
	bool after_start;
};

static const struct igb_vf_register igb_vf_registers[] = {
	/* VTIVAR */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x1700,
		.mask = 0xffffffff,
	},
	/* VTIVAR_MISC */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x1740,
		.mask = 0xffffffff,
	},
	/* VTEITR */
	{
		.bar = 0,
		.count = 3,
		.offset = 0x1680,
		.stride = 0x4,
		.mask = 0xffff,
	},
	/* RDBAL */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x2800,
		.stride = 0x100,
		.mask = 0xffffffe0,
	},
	/* RDBAH */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x2804,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* RDLEN */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x2808,
		.stride = 0x100,
		.mask = 0xffff0,
	},
	/* SRRCTL */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x280c,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* RDH */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x2810,
		.stride = 0x100,
		.mask = 0xffff,
	},
	/* RDT */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x2818,
		.stride = 0x100,
		.mask = 0xffff,
		.after_start = true,
	},
	/* RXDCTL */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x2828,
		.stride = 0x100,
		.mask = 0x21f1f1f,
		.stop = 0x2000000,
	},
	/* TDBAL */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x3800,
		.stride = 0x100,
		.mask = 0xffffffe0,
	},
	/* TDBAH */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x3804,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* TDLEN */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x3808,
		.stride = 0x100,
		.mask = 0xffff0,
	},
	/* DCA_TXCTRL */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x3814,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* TDWBAL */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x3838,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* TDWBAH */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x383c,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* TDH */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x3810,
		.stride = 0x100,
		.mask = 0xffff,
	},
	/* TDT */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x3818,
		.stride = 0x100,
		.mask = 0xffff,
		.after_start = true,
	},
	/* TXDCTL */
	{
		.bar = 0,
		.count = 2,
		.offset = 0x3828,
		.stride = 0x100,
		.mask = 0x21f1f1f,
		.stop = 0x2000000,
	},
	/* VMBMEM */
	{
		.bar = 0,
		.count = 16,
		.offset = 0x800,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VTEIAC */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x152c,
		.mask = 0x7,
	},
	/* VTEIAM */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x1530,
		.mask = 0x7,
	},
	/* VTEIMS */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x1524,
		.mask = 0x7,
		.clear = 0x7,
		.clear_offset = 0x1528,
	},
};

static u32 igb_vf_get(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
		      u32 i)
{
	return igb_vf_read_register(xdev, reg->bar, reg->offset + i * reg->stride);
}

static void igb_vf_put(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
		       u32 i, u32 mask, u32 value)
{
	value = (igb_vf_get(xdev, reg, i) & ~mask) | (value & mask);
	igb_vf_write_register(xdev, reg->bar, reg->offset + i * reg->stride, value);
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

/*
 * Reading a register back makes sure that the device has seen what was written to
 * it: the bus may keep a write, and delivers it before it answers a read.
 */
static void igb_vf_flush(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
			 u32 i, u32 *value)
{
	if (reg->stop)
		igb_vf_get(xdev, reg, i);
}

/* A bit that the user has set since the device was stopped remains set. */
static void igb_vf_start(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
			 u32 i, u32 *value)
{
	if (reg->stop)
		igb_vf_put(xdev, reg, i, reg->stop, *value | igb_vf_get(xdev, reg, i));
}

/* Of a register that stops the device the bits count that igb_vf_stop() kept. */
static void igb_vf_save(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
			u32 i, u32 *value)
{
	/* Not restored yet */
	if (reg->after_start && xdev->migration.restored)
		return;
	*value = (igb_vf_get(xdev, reg, i) & reg->mask) | (*value & reg->stop);
}

/* The device stays stopped until igb_vf_start(). */
static void igb_vf_restore(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
			   u32 i, u32 *value)
{
	if (reg->after_start)
		return;
	if (reg->clear)
		igb_vf_write_register(xdev, reg->bar, reg->clear_offset, reg->clear);
	igb_vf_put(xdev, reg, i, reg->mask, *value & ~reg->stop);
}

static void igb_vf_restore_late(struct igb_vf_device *xdev,
				const struct igb_vf_register *reg, u32 i, u32 *value)
{
	if (reg->after_start)
		igb_vf_put(xdev, reg, i, reg->mask, *value);
}

/**
 * igb_vf_device_stop - stop a device that runs
 * @xdev: the device
 *
 * When this returns 0 the device does nothing by itself any more.
 * It has no access to memory, and an interrupt waits until it is started.
 * Registers are locked, see igb_vf_lock_registers(), here as in the others.
 *
 * Return: 0, or -ETIMEDOUT if it does not come to rest, and then it goes on.
 */
int igb_vf_device_stop(struct igb_vf_device *xdev)
{
	int ret;

	igb_vf_for_each(xdev, igb_vf_stop);
	igb_vf_for_each(xdev, igb_vf_flush);
	ret = igb_vf_bus_stop(xdev);
	if (ret)
		igb_vf_device_start(xdev);
	return ret;
}

void igb_vf_device_start(struct igb_vf_device *xdev)
{
	igb_vf_bus_start(xdev);
	igb_vf_for_each(xdev, igb_vf_start);
	if (xdev->migration.restored)
		igb_vf_for_each(xdev, igb_vf_restore_late);
	xdev->migration.restored = false;
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
	xdev->migration.restored = true;
}

/**
 * igb_vf_kept - bits of a register that are clear only because the device is stopped
 * @xdev: the device
 * @bar: BAR of the register
 * @offset: its offset in the BAR
 *
 * Return: the bits that igb_vf_device_start() sets, none if the device runs.
 */
u32 igb_vf_kept(struct igb_vf_device *xdev, u8 bar, u32 offset)
{
	struct igb_vf_migration *mig = &xdev->migration;
	const u32 *value = mig->values;
	unsigned int r;
	u32 kept = 0;
	u32 i;

	mutex_lock(&mig->lock);
	if (mig->state == VFIO_DEVICE_STATE_RUNNING || mig->state == VFIO_DEVICE_STATE_PRE_COPY)
		goto out_unlock;
	for (r = 0; r < ARRAY_SIZE(igb_vf_registers); r++) {
		const struct igb_vf_register *reg = &igb_vf_registers[r];

		for (i = 0; i < reg->count; i++, value++)
			if (reg->bar == bar && reg->offset + i * reg->stride == offset)
				kept = *value & reg->stop;
	}

out_unlock:
	mutex_unlock(&mig->lock);
	return kept;
}
