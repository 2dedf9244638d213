// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel 82576 virtual function: which pages of memory the device may write
 *
 * Generated from igb-vf.toml; edit that file or the templates, not this one.
 *
 * The device writes to memory by itself, and no IOMMU reports where. Its rings do:
 * it writes to the buffers that were posted there, and to the descriptors. So while
 * the device is saved and runs, the driver looks at each write of a trapped register
 * before the device gets it. The ring itself is pinned, new descriptors are read, and
 * their buffers are pinned. To VFIO's container a pinned page is dirty, and once a
 * device pins pages none of its other pages are.
 *
 * A buffer stays pinned until its descriptor is used for another one. Then the
 * device is done with it, and what it wrote is reported by the next look at the
 * bitmap, in which the page was set when it was pinned or looked at before.
 *
 * Whatever cannot be followed leaves the driver unsure: a ring or buffer that is
 * not mapped, a tail beyond the ring, a format that is not described. If nothing
 * was pinned since the driver was bound, VFIO goes on reporting every page that is
 * mapped. Otherwise the device refuses to be stopped for the last part of the
 * state, with -EIO: the bitmap is not to be trusted. Both end with the saving.
 *
 * What the device was given before is taken in when saving begins: all that is
 * between head and tail. What it wrote before is not, and cannot be: done
 * descriptors have lost their addresses. So the user copies memory after it has
 * begun to save, as any user does that copies all of it first.
 */

#include <linux/bitops.h>
#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/uaccess.h>

#include "rings.h"

static const u32 igb_vf_ring0_offsets[] = {
	0x2800,
	0x2804,
	0x2808,
	0x280c,
	0x2810,
	0x2828,
};

static const u32 igb_vf_ring0_format0[] = {
	0x2000000,
};

static const struct igb_vf_ring_format igb_vf_ring0_formats[] = {
	{
		.offset = 0x280c,
		.mask = 0xe000000,
		.values = igb_vf_ring0_format0,
		.nr_values = ARRAY_SIZE(igb_vf_ring0_format0),
	},
};

static const u32 igb_vf_ring1_offsets[] = {
	0x3800,
	0x3804,
	0x3808,
	0x3810,
	0x3828,
	0x3838,
};

static const u32 igb_vf_ring1_format0[] = {
	0x0,
};

static const struct igb_vf_ring_format igb_vf_ring1_formats[] = {
	{
		.offset = 0x3838,
		.mask = 0x1,
		.values = igb_vf_ring1_format0,
		.nr_values = ARRAY_SIZE(igb_vf_ring1_format0),
	},
};

static const struct igb_vf_ring_kind igb_vf_ring_kinds[] = {
	{
		.name = "receive queue",
		.offsets = igb_vf_ring0_offsets,
		.nr_offsets = ARRAY_SIZE(igb_vf_ring0_offsets),
		.bar = 0,
		.count = 2,
		.stride = 0x100,
		.tail = 0x2818,
		.tail_mask = 0xffff,
		.base = 0x2800,
		.base_mask = 0xffffffe0,
		.base_high = 0x2804,
		.length = 0x2808,
		.length_mask = 0xffff0,
		.length_unit = 16,
		.head = 0x2810,
		.head_mask = 0xffff,
		.enable = 0x2828,
		.enable_mask = 0x2000000,
		.descriptor_size = 16,
		.formats = igb_vf_ring0_formats,
		.nr_formats = ARRAY_SIZE(igb_vf_ring0_formats),
		.buffers = true,
		.low = 0,
		.high = 1,
		.done = 2,
		.done_mask = 0x1,
		.size = 2048,
		.size_reg = 0x280c,
		.size_mask = 0x7f,
		.size_unit = 1024,
	},
	{
		.name = "transmit queue",
		.offsets = igb_vf_ring1_offsets,
		.nr_offsets = ARRAY_SIZE(igb_vf_ring1_offsets),
		.bar = 0,
		.count = 2,
		.stride = 0x100,
		.tail = 0x3818,
		.tail_mask = 0xffff,
		.base = 0x3800,
		.base_mask = 0xffffffe0,
		.base_high = 0x3804,
		.length = 0x3808,
		.length_mask = 0xffff0,
		.length_unit = 16,
		.head = 0x3810,
		.head_mask = 0xffff,
		.enable = 0x3828,
		.enable_mask = 0x2000000,
		.descriptor_size = 16,
		.formats = igb_vf_ring1_formats,
		.nr_formats = ARRAY_SIZE(igb_vf_ring1_formats),
	},
};

/* Where the register of a ring is that the first one of its kind has at an offset. */
static u32 igb_vf_place(const struct igb_vf_ring_kind *kind, u32 number, u32 offset)
{
	return offset + number * kind->stride;
}

static u32 igb_vf_ring_register(struct igb_vf_device *xdev,
				const struct igb_vf_ring_kind *kind, u32 number,
				u32 offset)
{
	return igb_vf_read_register(xdev, kind->bar, igb_vf_place(kind, number, offset));
}

static bool igb_vf_format_known(struct igb_vf_device *xdev,
				const struct igb_vf_ring_kind *kind, u32 number)
{
	unsigned int i, j;

	for (i = 0; i < kind->nr_formats; i++) {
		const struct igb_vf_ring_format *format = &kind->formats[i];
		u32 value = igb_vf_ring_register(xdev, kind, number, format->offset);

		for (j = 0; j < format->nr_values; j++)
			if ((value & format->mask) == format->values[j])
				break;
		if (j == format->nr_values)
			return false;
	}
	return true;
}

static u32 igb_vf_buffer_size(struct igb_vf_device *xdev,
			      const struct igb_vf_ring_kind *kind, u32 number)
{
	u32 field;

	if (!kind->size_mask)
		return kind->size;
	field = igb_vf_ring_register(xdev, kind, number, kind->size_reg) & kind->size_mask;
	field >>= __ffs(kind->size_mask);
	return field ? field * kind->size_unit : kind->size;
}

/* Reads the registers of a ring. */
static void igb_vf_read_ring(struct igb_vf_device *xdev,
			     const struct igb_vf_ring_kind *kind, u32 number,
			     struct igb_vf_ring_now *now)
{
	u32 enable;

	memset(now, 0, sizeof(*now));
	igb_vf_lock_registers(xdev);
	if (!igb_vf_registers_enabled(xdev)) {
		now->strange = true;
		goto out_unlock;
	}

	now->tail = igb_vf_ring_register(xdev, kind, number, kind->tail) & kind->tail_mask;
	now->head = igb_vf_ring_register(xdev, kind, number, kind->head) & kind->head_mask;
	now->length = igb_vf_ring_register(xdev, kind, number, kind->length);
	now->length = (now->length & kind->length_mask) / kind->length_unit;
	enable = igb_vf_ring_register(xdev, kind, number, kind->enable) |
		 igb_vf_kept(xdev, kind->bar, igb_vf_place(kind, number, kind->enable));
	now->enabled = now->length && enable & kind->enable_mask;
	if (!now->enabled)
		goto out_unlock;

	now->base = igb_vf_ring_register(xdev, kind, number, kind->base) & kind->base_mask;
	now->base |= (u64)igb_vf_ring_register(xdev, kind, number, kind->base_high) << 32;
	if (!igb_vf_format_known(xdev, kind, number))
		now->strange = true;
	now->size = igb_vf_buffer_size(xdev, kind, number);

out_unlock:
	igb_vf_unlock_registers(xdev);
}

/* What to do with a ring. */
typedef int (*igb_vf_ring_fn)(struct igb_vf_device *xdev,
			      const struct igb_vf_ring_kind *kind, u32 number,
			      struct igb_vf_ring *ring, void *arg);

static int igb_vf_each_ring(struct igb_vf_device *xdev, igb_vf_ring_fn fn, void *arg)
{
	struct igb_vf_ring *ring = xdev->rings.ring;
	unsigned int k;
	u32 i;
	int ret;

	for (k = 0; k < ARRAY_SIZE(igb_vf_ring_kinds); k++) {
		const struct igb_vf_ring_kind *kind = &igb_vf_ring_kinds[k];

		for (i = 0; i < kind->count; i++) {
			ret = fn(xdev, kind, i, ring++, arg);
			if (ret)
				return ret;
		}
	}
	return 0;
}

static int igb_vf_begin_ring(struct igb_vf_device *xdev,
			     const struct igb_vf_ring_kind *kind, u32 number,
			     struct igb_vf_ring *ring, void *arg)
{
	struct igb_vf_ring_now now;

	igb_vf_read_ring(xdev, kind, number, &now);
	return igb_vf_ring_follow(xdev, kind, ring, &now, true);
}

static int igb_vf_end_ring(struct igb_vf_device *xdev,
			   const struct igb_vf_ring_kind *kind, u32 number,
			   struct igb_vf_ring *ring, void *arg)
{
	igb_vf_ring_drop(xdev, ring);
	return 0;
}

/**
 * struct igb_vf_access - a write of the user
 * @bar: BAR that it is to
 * @pos: offset in the BAR
 * @count: bytes
 * @buf: buffer of the user
 */
struct igb_vf_access {
	unsigned int bar;
	u64 pos;
	size_t count;
	const char __user *buf;
};

static bool igb_vf_touches(const struct igb_vf_access *access,
			   const struct igb_vf_ring_kind *kind, u32 number, u32 offset)
{
	const u64 place = igb_vf_place(kind, number, offset);

	return access->bar == kind->bar && place < access->pos + access->count &&
	       access->pos < place + 4;
}

/* What a register will be by the write that is about to be done. */
static int igb_vf_new_value(struct igb_vf_device *xdev,
			    const struct igb_vf_ring_kind *kind, u32 number, u32 offset,
			    const struct igb_vf_access *access, u32 *value)
{
	const u64 place = igb_vf_place(kind, number, offset);
	unsigned int i;
	u8 byte;

	*value = 0;
	/* A tail is mostly written as a whole, and often: the device is not asked then. */
	if (place < access->pos || place + 4 > access->pos + access->count) {
		igb_vf_lock_registers(xdev);
		if (igb_vf_registers_enabled(xdev))
			*value = igb_vf_ring_register(xdev, kind, number, offset);
		igb_vf_unlock_registers(xdev);
	}

	for (i = 0; i < 4; i++) {
		if (place + i < access->pos || place + i >= access->pos + access->count)
			continue;
		if (get_user(byte, (const u8 __user *)access->buf + (place + i - access->pos)))
			return -EFAULT;
		*value &= ~(0xffU << 8 * i);
		*value |= (u32)byte << 8 * i;
	}
	return 0;
}

static bool igb_vf_touches_setup(const struct igb_vf_access *access,
				 const struct igb_vf_ring_kind *kind, u32 number)
{
	unsigned int i;

	for (i = 0; i < kind->nr_offsets; i++)
		if (igb_vf_touches(access, kind, number, kind->offsets[i]))
			return true;
	return false;
}

static int igb_vf_before_ring(struct igb_vf_device *xdev,
			      const struct igb_vf_ring_kind *kind, u32 number,
			      struct igb_vf_ring *ring, void *arg)
{
	struct igb_vf_access *access = arg;
	struct igb_vf_ring_now now;
	u32 value;
	int ret;

	if (xdev->rings.unsure)
		return 0;
	if (igb_vf_touches_setup(access, kind, number)) {
		/* A head of which nothing can be read is not written. */
		ret = igb_vf_new_value(xdev, kind, number, kind->head, access, &value);
		if (!ret)
			ret = igb_vf_new_value(xdev, kind, number, kind->enable, access, &value);
		if (ret)
			return ret;
		igb_vf_read_ring(xdev, kind, number, &now);
		value |= igb_vf_kept(xdev, kind->bar, igb_vf_place(kind, number, kind->enable));
		ring->enabled = value & kind->enable_mask;
		ring->idle = !now.strange && now.head == now.tail &&
			     !igb_vf_touches(access, kind, number, kind->head);
	}
	if (!igb_vf_touches(access, kind, number, kind->tail))
		return 0;
	ret = igb_vf_new_value(xdev, kind, number, kind->tail, access, &value);
	if (ret)
		return ret;
	/* A lack of memory leaves the driver unsure; it does not fail the write. */
	if (ring->pages)
		igb_vf_ring_post(xdev, kind, ring, value & kind->tail_mask, false);
	return 0;
}

/* Is the tail what the driver has read before the write? */
static int igb_vf_check_tail(struct igb_vf_device *xdev,
			     const struct igb_vf_ring_kind *kind, u32 number,
			     const struct igb_vf_ring *ring)
{
	u32 tail = U32_MAX; /* none, if it cannot be read: then it was not written either */

	igb_vf_lock_registers(xdev);
	if (igb_vf_registers_enabled(xdev))
		tail = igb_vf_ring_register(xdev, kind, number, kind->tail) & kind->tail_mask;
	igb_vf_unlock_registers(xdev);
	if (!kind->buffers || tail == ring->next)
		return 0;
	return igb_vf_rings_doubt(xdev, kind->name, "its tail is another one", -EAGAIN);
}

/* Is a ring another one than before a write, or does it go on elsewhere? */
static bool igb_vf_is_other(const struct igb_vf_ring_kind *kind, u32 number,
			    const struct igb_vf_ring *ring,
			    const struct igb_vf_access *access,
			    const struct igb_vf_ring_now *now)
{
	return !ring->pages || ring->base != now->base || ring->length != now->length ||
	       ring->size != now->size ||
	       igb_vf_touches(access, kind, number, kind->head);
}

/*
 * A ring that was set up anew while the device had descriptors to work on may have
 * lost some already. And the user may have changed its buffer after the driver has
 * read the tail there, so the register is what counts.
 */
static int igb_vf_after_ring(struct igb_vf_device *xdev,
			     const struct igb_vf_ring_kind *kind, u32 number,
			     struct igb_vf_ring *ring, void *arg)
{
	struct igb_vf_access *access = arg;
	struct igb_vf_ring_now now;
	bool setup, tail;

	if (xdev->rings.unsure)
		return 0;
	setup = igb_vf_touches_setup(access, kind, number);
	tail = igb_vf_touches(access, kind, number, kind->tail);
	if (!setup)
		return tail && ring->pages ? igb_vf_check_tail(xdev, kind, number, ring) : 0;

	igb_vf_read_ring(xdev, kind, number, &now);
	if (ring->enabled && kind->buffers && (tail || !ring->idle) &&
	    igb_vf_is_other(kind, number, ring, access, &now))
		return igb_vf_rings_doubt(xdev, kind->name, "it was changed in use", -EBUSY);
	igb_vf_ring_follow(xdev, kind, ring, &now, false);
	return 0;
}

static int igb_vf_is_watched(struct igb_vf_device *xdev,
			     const struct igb_vf_ring_kind *kind, u32 number,
			     struct igb_vf_ring *ring, void *arg)
{
	struct igb_vf_access *access = arg;

	return igb_vf_touches(access, kind, number, kind->tail) ||
	       igb_vf_touches_setup(access, kind, number);
}

/* Does an access to the device file include a register of a ring? */
bool igb_vf_rings_watch(struct igb_vf_device *xdev, u64 offset, size_t count)
{
	struct igb_vf_access access = {
		.bar = VFIO_PCI_OFFSET_TO_INDEX(offset),
		.pos = offset & VFIO_PCI_OFFSET_MASK,
		.count = count,
	};

	return igb_vf_each_ring(xdev, igb_vf_is_watched, &access);
}

/**
 * igb_vf_rings_write - pass a write of ring registers on, and see what it posts
 * @xdev: the device
 * @buf: buffer of the user
 * @count: bytes
 * @ppos: place in the device file
 *
 * New descriptors are read before the device knows of them: it takes away their
 * addresses when it is done. The lock is taken in every state, so that no write is
 * on its way when saving begins.
 */
ssize_t igb_vf_rings_write(struct igb_vf_device *xdev, const char __user *buf, size_t count,
			   loff_t *ppos)
{
	struct igb_vf_access access = {
		.bar = VFIO_PCI_OFFSET_TO_INDEX(*ppos),
		.pos = *ppos & VFIO_PCI_OFFSET_MASK,
		.count = count,
		.buf = buf,
	};
	struct igb_vf_rings *rings = &xdev->rings;
	ssize_t ret = 0;

	mutex_lock(&rings->lock);
	if (rings->following)
		ret = igb_vf_each_ring(xdev, igb_vf_before_ring, &access);
	if (ret)
		goto out_unlock;

	ret = vfio_pci_core_write(&xdev->core_device.vdev, buf, count, ppos);
	if (rings->following)
		igb_vf_each_ring(xdev, igb_vf_after_ring, &access);

out_unlock:
	mutex_unlock(&rings->lock);
	return ret;
}

/**
 * igb_vf_rings_begin - follow the rings from now on
 * @xdev: the device, of which no ring register is mapped or can be
 *
 * Return: 0, or -ENOMEM if there is no memory to remember what is pinned, and then
 * nothing is followed. RLIMIT_MEMLOCK was met when the container mapped the memory.
 */
int igb_vf_rings_begin(struct igb_vf_device *xdev)
{
	struct igb_vf_rings *rings = &xdev->rings;
	int ret;

	lockdep_assert_held(&rings->lock);

	igb_vf_rings_end(xdev);
	rings->following = true;
	ret = igb_vf_each_ring(xdev, igb_vf_begin_ring, NULL);
	if (ret)
		igb_vf_rings_end(xdev);
	return ret;
}

void igb_vf_rings_end(struct igb_vf_device *xdev)
{
	struct igb_vf_rings *rings = &xdev->rings;

	lockdep_assert_held(&rings->lock);

	igb_vf_each_ring(xdev, igb_vf_end_ring, NULL);
	rings->following = false;
	rings->unsure = false;
}

/* Called when user space can reach the device no more. */
void igb_vf_rings_close(struct igb_vf_device *xdev)
{
	mutex_lock(&xdev->rings.lock);
	igb_vf_rings_end(xdev);
	mutex_unlock(&xdev->rings.lock);
}

/* Can the bitmap not be trusted, although VFIO does not report every page? */
bool igb_vf_rings_untrusted(struct igb_vf_device *xdev)
{
	struct igb_vf_rings *rings = &xdev->rings;

	lockdep_assert_held(&rings->lock);

	return rings->unsure && rings->narrowed;
}

static int igb_vf_unmap_ring(struct igb_vf_device *xdev,
			     const struct igb_vf_ring_kind *kind, u32 number,
			     struct igb_vf_ring *ring, void *arg)
{
	igb_vf_ring_unmap(xdev, kind, ring, arg);
	return 0;
}

void igb_vf_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
	struct igb_vf_device *xdev = igb_vf_of_vdev(vdev);
	struct igb_vf_range range = { .offset = iova, .size = length };

	mutex_lock(&xdev->rings.lock);
	igb_vf_each_ring(xdev, igb_vf_unmap_ring, &range);
	mutex_unlock(&xdev->rings.lock);
}

/* What debugfs shows is for people and tests, so the driver does without if it cannot. */
void igb_vf_rings_init(struct igb_vf_device *xdev)
{
	struct igb_vf_rings *rings = &xdev->rings;
	char name[64];

	mutex_init(&rings->lock);
	snprintf(name, sizeof(name), KBUILD_MODNAME "-%s", dev_name(xdev->core_device.vdev.dev));
	rings->debugfs = debugfs_create_dir(name, NULL);
	debugfs_create_u64("doubts", 0444, rings->debugfs, &rings->doubts);
}

void igb_vf_rings_destroy(struct igb_vf_device *xdev)
{
	debugfs_remove_recursive(xdev->rings.debugfs);
	mutex_destroy(&xdev->rings.lock);
}
