// SPDX-License-Identifier: GPL-2.0-only
/*
 * Software device: the PCI configuration space it presents
 *
 * Generated from emulated.toml; edit that file or the templates, not this one.
 *
 * A header of type 0 without capabilities. BARs can be sized; where they are put and
 * whether memory is enabled has no effect, since no bus decodes them. Nor has bus
 * master: the device writes to memory whenever it runs.
 */

#include <linux/string.h>
#include <linux/uaccess.h>

#include "emulated.h"

/* After a reset */
static const u8 emulated_config_default[PCI_CFG_SPACE_SIZE] = {
	[PCI_VENDOR_ID] = EMULATED_VENDOR & 0xff,
	[PCI_VENDOR_ID + 1] = EMULATED_VENDOR >> 8,
	[PCI_DEVICE_ID] = EMULATED_DEVICE & 0xff,
	[PCI_DEVICE_ID + 1] = EMULATED_DEVICE >> 8,
	[PCI_CLASS_DEVICE + 1] = PCI_CLASS_OTHERS,
	[PCI_SUBSYSTEM_VENDOR_ID] = EMULATED_VENDOR & 0xff,
	[PCI_SUBSYSTEM_VENDOR_ID + 1] = EMULATED_VENDOR >> 8,
	[PCI_SUBSYSTEM_ID] = EMULATED_DEVICE & 0xff,
	[PCI_SUBSYSTEM_ID + 1] = EMULATED_DEVICE >> 8,
};

/* Bits that can be written; of a BAR those above its size */
static const u8 emulated_config_writable[PCI_CFG_SPACE_SIZE] = {
	[PCI_COMMAND] = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER,
	[PCI_CACHE_LINE_SIZE] = 0xff,
	[PCI_INTERRUPT_LINE] = 0xff,
	[PCI_BASE_ADDRESS_0 + 1] = 0xc0,
	[PCI_BASE_ADDRESS_0 + 2] = 0xff,
	[PCI_BASE_ADDRESS_0 + 3] = 0xff,
	[PCI_BASE_ADDRESS_2 + 2] = 0xff,
	[PCI_BASE_ADDRESS_2 + 3] = 0xff,
};

void emulated_config_reset(struct emulated_device *xdev)
{
	memcpy(xdev->config, emulated_config_default, sizeof(xdev->config));
}

/**
 * emulated_config_rw - read or write the configuration space
 * @xdev: the device
 * @buf: buffer of the user
 * @count: bytes
 * @pos: offset in the configuration space
 * @iswrite: true to write
 *
 * Return: the bytes that were moved, fewer than @count at the end, or a negative
 * error.
 */
ssize_t emulated_config_rw(struct emulated_device *xdev, char __user *buf, size_t count,
			   u64 pos, bool iswrite)
{
	u8 data[PCI_CFG_SPACE_SIZE];
	size_t i;

	if (pos >= sizeof(data))
		return -EINVAL;
	count = min_t(size_t, count, sizeof(data) - pos);

	if (!iswrite) {
		mutex_lock(&xdev->registers_lock);
		memcpy(data, xdev->config + pos, count);
		mutex_unlock(&xdev->registers_lock);
		return copy_to_user(buf, data, count) ? -EFAULT : count;
	}

	if (copy_from_user(data, buf, count))
		return -EFAULT;
	mutex_lock(&xdev->registers_lock);
	for (i = 0; i < count; i++) {
		u8 writable = emulated_config_writable[pos + i];

		xdev->config[pos + i] &= ~writable;
		xdev->config[pos + i] |= data[i] & writable;
	}
	mutex_unlock(&xdev->registers_lock);
	return count;
}
