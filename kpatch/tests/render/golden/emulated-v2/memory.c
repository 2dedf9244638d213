// SPDX-License-Identifier: GPL-2.0-only
/*
 * Software device: its registers, which are memory
 *
 * Generated from emulated.toml; edit that file or the templates, not this one.
 *
 * The memory is there as long as the device is open. User space reaches it by
 * read(), write() and mappings, the engine and the migration at the same time, so
 * all access is by single reads and writes of a register.
 */

#include <linux/mm.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "emulated.h"

const resource_size_t emulated_bar_sizes[PCI_STD_NUM_BARS] = {
	[0] = 0x4000,
	[2] = 0x10000,
};

/* What is in the memory nobody sees: the reset at open clears it. */
int emulated_memory_alloc(struct emulated_device *xdev)
{
	int i;

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		if (!emulated_bar_sizes[i])
			continue;
		xdev->bar[i] = __vmalloc(emulated_bar_sizes[i], GFP_KERNEL_ACCOUNT);
		if (!xdev->bar[i]) {
			emulated_memory_free(xdev);
			return -ENOMEM;
		}
	}
	return 0;
}

void emulated_memory_free(struct emulated_device *xdev)
{
	int i;

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		vfree(xdev->bar[i]);
		xdev->bar[i] = NULL;
	}
}

void emulated_memory_reset(struct emulated_device *xdev)
{
	int i;

	for (i = 0; i < PCI_STD_NUM_BARS; i++)
		if (xdev->bar[i])
			memset(xdev->bar[i], 0, emulated_bar_sizes[i]);
}

/* Held for a change of the device state, so that no reset comes in between. */
void emulated_lock_registers(struct emulated_device *xdev)
{
	mutex_lock(&xdev->registers_lock);
}

void emulated_unlock_registers(struct emulated_device *xdev)
{
	mutex_unlock(&xdev->registers_lock);
}

u32 emulated_read_register(struct emulated_device *xdev, u8 bar, u32 offset, u8 width)
{
	void *place = xdev->bar[bar] + offset;

	switch (width) {
	case 1:
		return READ_ONCE(*(u8 *)place);
	case 2:
		return le16_to_cpu(READ_ONCE(*(__le16 *)place));
	default:
		return le32_to_cpu(READ_ONCE(*(__le32 *)place));
	}
}

void emulated_write_register(struct emulated_device *xdev, u8 bar, u32 offset, u8 width,
			     u32 value)
{
	void *place = xdev->bar[bar] + offset;

	switch (width) {
	case 1:
		WRITE_ONCE(*(u8 *)place, value);
		break;
	case 2:
		WRITE_ONCE(*(__le16 *)place, cpu_to_le16(value));
		break;
	default:
		WRITE_ONCE(*(__le32 *)place, cpu_to_le32(value));
		break;
	}
}

/* The widest access that is aligned and not longer than what is asked for. */
static u8 emulated_access_width(u64 pos, size_t count)
{
	if (!(pos % 4) && count >= 4)
		return 4;
	if (!(pos % 2) && count >= 2)
		return 2;
	return 1;
}

/**
 * emulated_memory_rw - read or write the registers of a BAR
 * @xdev: the device
 * @bar: index of the BAR
 * @buf: buffer of the user
 * @count: bytes
 * @pos: offset in the BAR
 * @iswrite: true to write
 *
 * Return: the bytes that were moved, fewer than @count at the end of the BAR or
 * of what @buf has, or a negative error if there was none.
 */
ssize_t emulated_memory_rw(struct emulated_device *xdev, unsigned int bar,
			   char __user *buf, size_t count, u64 pos, bool iswrite)
{
	const u64 size = emulated_bar_sizes[bar];
	size_t done = 0;

	if (pos >= size)
		return -EINVAL;
	count = min_t(u64, count, size - pos);

	while (done < count) {
		u8 width = emulated_access_width(pos + done, count - done);
		__le32 data = 0;

		if (iswrite) {
			if (copy_from_user(&data, buf + done, width))
				break;
			emulated_write_register(xdev, bar, pos + done, width, le32_to_cpu(data));
		} else {
			data = cpu_to_le32(emulated_read_register(xdev, bar, pos + done, width));
			if (copy_to_user(buf + done, &data, width))
				break;
		}
		done += width;
	}

	if (iswrite)
		emulated_engine_kick(xdev);
	return done ? done : -EFAULT;
}

static vm_fault_t emulated_vma_fault(struct vm_fault *vmf)
{
	const u64 offset = (u64)vmf->pgoff << PAGE_SHIFT;
	struct emulated_device *xdev = vmf->vma->vm_private_data;

	/* emulated_memory_mmap() has checked that it is inside of the BAR. */
	vmf->page = vmalloc_to_page(xdev->bar[VFIO_PCI_OFFSET_TO_INDEX(offset)] +
				    (offset & VFIO_PCI_OFFSET_MASK));
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct emulated_vm_ops = {
	.open = emulated_vma_open,
	.close = emulated_vma_close,
	.fault = emulated_vma_fault,
};

/* Maps the part of a BAR that vm_pgoff selects. */
int emulated_memory_mmap(struct emulated_device *xdev, struct vm_area_struct *vma)
{
	const u64 offset = (u64)vma->vm_pgoff << PAGE_SHIFT;
	const unsigned int bar = VFIO_PCI_OFFSET_TO_INDEX(offset);
	const u64 start = offset & VFIO_PCI_OFFSET_MASK;
	const u64 size = emulated_bar_sizes[bar];
	int ret;

	if (start >= size || vma->vm_end - vma->vm_start > size - start)
		return -EINVAL;

	ret = emulated_ledger_add(&xdev->ledger, vma);
	if (ret)
		return ret;

	compat_vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_private_data = xdev;
	vma->vm_ops = &emulated_vm_ops;
	return 0;
}
