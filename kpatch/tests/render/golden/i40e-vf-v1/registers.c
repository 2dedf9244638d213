// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel Ethernet 700 series virtual function: the registers that make up the device state
 *
 * Generated from i40e-vf.toml; edit that file or the templates, not this one.
 */

#include <linux/iopoll.h>

#include "i40e_vf.h"

/**
 * struct i40e_vf_register - one or more alike registers of the device state
 * @bar: BAR that holds them
 * @count: how many there are
 * @offset: of the first one
 * @stride: bytes from one to the next
 * @mask: bits that are saved and restored
 * @stop: bits that are cleared to stop the device, 0 for most registers
 */
struct i40e_vf_register {
	u8 bar;
	u32 count;
	u32 offset;
	u32 stride;
	u32 mask;
	u32 stop;
};

static const struct i40e_vf_register i40e_vf_registers[] = {
	/* VFQF_HENA */
	{
		.bar = 0,
		.count = 2,
		.offset = 0xc400,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VFQF_HKEY */
	{
		.bar = 0,
		.count = 13,
		.offset = 0xcc00,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VFQF_HLUT */
	{
		.bar = 0,
		.count = 16,
		.offset = 0xd000,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VFQF_HREGION */
	{
		.bar = 0,
		.count = 8,
		.offset = 0xd400,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VFINT_ITRN1 */
	{
		.bar = 0,
		.count = 48,
		.offset = 0x2800,
		.stride = 0x4,
		.mask = 0xfff,
	},
	/* VFINT_ITR01 */
	{
		.bar = 0,
		.count = 3,
		.offset = 0x4c00,
		.stride = 0x4,
		.mask = 0xfff,
	},
	/* VFINT_STAT_CTL01 */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x5400,
		.mask = 0xc,
	},
	/* VFINT_ICR0_ENA1 */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x5000,
		.mask = 0xffffffff,
	},
	/* ATQBAL1 */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x7c00,
		.mask = 0xffffffff,
	},
	/* ATQBAH1 */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x7800,
		.mask = 0xffffffff,
	},
	/* ATQH1 */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x6400,
		.mask = 0x3ff,
	},
	/* ATQT1 */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x8400,
		.mask = 0x3ff,
	},
	/* ATQLEN1 */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x6800,
		.mask = 0xf00003ff,
		.stop = 0x80000000,
	},
	/* ARQBAL1 */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x6c00,
		.mask = 0xffffffff,
	},
	/* ARQBAH1 */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x6000,
		.mask = 0xffffffff,
	},
	/* ARQH1 */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x7400,
		.mask = 0x3ff,
	},
	/* ARQT1 */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x7000,
		.mask = 0x3ff,
	},
	/* ARQLEN1 */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x8000,
		.mask = 0xf00003ff,
		.stop = 0x80000000,
	},
	/* QRX_TAIL1 */
	{
		.bar = 0,
		.count = 16,
		.offset = 0x2000,
		.stride = 0x4,
		.mask = 0x1fff,
	},
	/* QTX_TAIL1 */
	{
		.bar = 0,
		.count = 16,
		.offset = 0x0,
		.stride = 0x4,
		.mask = 0x1fff,
	},
	/* VFINT_DYN_CTLN1 */
	{
		.bar = 0,
		.count = 16,
		.offset = 0x3800,
		.stride = 0x4,
		.mask = 0x4001fff9,
	},
	/* VFINT_DYN_CTL01 */
	{
		.bar = 0,
		.count = 1,
		.offset = 0x5c00,
		.mask = 0x1fff9,
	},
};

static u32 i40e_vf_get(struct i40e_vf_device *xdev, const struct i40e_vf_register *reg,
		       u32 i)
{
	return i40e_vf_read_register(xdev, reg->bar, reg->offset + i * reg->stride);
}

static void i40e_vf_put(struct i40e_vf_device *xdev, const struct i40e_vf_register *reg,
			u32 i, u32 mask, u32 value)
{
	value = (i40e_vf_get(xdev, reg, i) & ~mask) | (value & mask);
	i40e_vf_write_register(xdev, reg->bar, reg->offset + i * reg->stride, value);
}

/*
 * Calls @fn for each register of the state, in the order of the description,
 * with the place of its value.
 */
static void i40e_vf_for_each(struct i40e_vf_device *xdev,
			     void (*fn)(struct i40e_vf_device *xdev,
					const struct i40e_vf_register *reg, u32 i,
					u32 *value))
{
	u32 *value = xdev->migration.values;
	unsigned int r;
	u32 i;

	for (r = 0; r < ARRAY_SIZE(i40e_vf_registers); r++)
		for (i = 0; i < i40e_vf_registers[r].count; i++)
			fn(xdev, &i40e_vf_registers[r], i, value++);
}

/* Keeps what the register holds and clears the bits that keep the device going. */
static void i40e_vf_stop(struct i40e_vf_device *xdev, const struct i40e_vf_register *reg,
			 u32 i, u32 *value)
{
	if (!reg->stop)
		return;
	*value = i40e_vf_get(xdev, reg, i) & reg->mask;
	i40e_vf_put(xdev, reg, i, reg->stop, 0);
}

/*
 * Reading a register back makes sure that the device has seen what was written to
 * it: the bus may keep a write, and delivers it before it answers a read.
 */
static void i40e_vf_flush(struct i40e_vf_device *xdev, const struct i40e_vf_register *reg,
			  u32 i, u32 *value)
{
	if (reg->stop)
		i40e_vf_get(xdev, reg, i);
}

/* A bit that the user has set since the device was stopped remains set. */
static void i40e_vf_start(struct i40e_vf_device *xdev, const struct i40e_vf_register *reg,
			  u32 i, u32 *value)
{
	if (reg->stop)
		i40e_vf_put(xdev, reg, i, reg->stop, *value | i40e_vf_get(xdev, reg, i));
}

/* Of a register that stops the device the bits count that i40e_vf_stop() kept. */
static void i40e_vf_save(struct i40e_vf_device *xdev, const struct i40e_vf_register *reg,
			 u32 i, u32 *value)
{
	*value = (i40e_vf_get(xdev, reg, i) & reg->mask) | (*value & reg->stop);
}

/* The device stays stopped until i40e_vf_start(). */
static void i40e_vf_restore(struct i40e_vf_device *xdev, const struct i40e_vf_register *reg,
			    u32 i, u32 *value)
{
	i40e_vf_put(xdev, reg, i, reg->mask, *value & ~reg->stop);
}

/* Waits for what the device has still to do after it was stopped. */
static int i40e_vf_wait_drained(struct i40e_vf_device *xdev)
{
	u32 value, i;
	int ret;

	/* ATQLEN1 */
	for (i = 0; i < 1; i++) {
		ret = read_poll_timeout(i40e_vf_read_register, value,
					(value & 0x80000000) == 0x0,
					10, 10000, false, xdev, 0,
					0x6800 + i * 0x4);
		if (ret)
			return ret;
	}
	/* ARQLEN1 */
	for (i = 0; i < 1; i++) {
		ret = read_poll_timeout(i40e_vf_read_register, value,
					(value & 0x80000000) == 0x0,
					10, 10000, false, xdev, 0,
					0x8000 + i * 0x4);
		if (ret)
			return ret;
	}
	return 0;
}

/**
 * i40e_vf_device_stop - stop a device that runs
 * @xdev: the device
 *
 * When this returns 0 the device does nothing by itself any more.
 * It has no access to memory, and an interrupt waits until it is started.
 * Registers are locked, see i40e_vf_lock_registers(), here as in the others.
 *
 * Return: 0, or -ETIMEDOUT if it does not come to rest, and then it goes on.
 */
int i40e_vf_device_stop(struct i40e_vf_device *xdev)
{
	int ret;

	i40e_vf_for_each(xdev, i40e_vf_stop);
	i40e_vf_for_each(xdev, i40e_vf_flush);
	ret = i40e_vf_wait_drained(xdev);
	if (!ret)
		ret = i40e_vf_bus_stop(xdev);
	if (ret)
		i40e_vf_device_start(xdev);
	return ret;
}

void i40e_vf_device_start(struct i40e_vf_device *xdev)
{
	i40e_vf_bus_start(xdev);
	i40e_vf_for_each(xdev, i40e_vf_start);
}

/* Reads the values of a stopped device. */
void i40e_vf_device_save(struct i40e_vf_device *xdev)
{
	i40e_vf_for_each(xdev, i40e_vf_save);
}

/* Writes the values to a stopped device. */
void i40e_vf_device_restore(struct i40e_vf_device *xdev)
{
	i40e_vf_for_each(xdev, i40e_vf_restore);
}

/**
 * i40e_vf_kept - bits of a register that are clear only because the device is stopped
 * @xdev: the device
 * @bar: BAR of the register
 * @offset: its offset in the BAR
 *
 * Return: the bits that i40e_vf_device_start() sets, none if the device runs.
 */
u32 i40e_vf_kept(struct i40e_vf_device *xdev, u8 bar, u32 offset)
{
	struct i40e_vf_migration *mig = &xdev->migration;
	const u32 *value = mig->values;
	unsigned int r;
	u32 kept = 0;
	u32 i;

	mutex_lock(&mig->lock);
	if (mig->state & VFIO_DEVICE_STATE_V1_RUNNING)
		goto out_unlock;
	for (r = 0; r < ARRAY_SIZE(i40e_vf_registers); r++) {
		const struct i40e_vf_register *reg = &i40e_vf_registers[r];

		for (i = 0; i < reg->count; i++, value++)
			if (reg->bar == bar && reg->offset + i * reg->stride == offset)
				kept = *value & reg->stop;
	}

out_unlock:
	mutex_unlock(&mig->lock);
	return kept;
}
