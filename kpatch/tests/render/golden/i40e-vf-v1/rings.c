// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel Ethernet 700 series virtual function: which pages of memory the device may write
 *
 * Generated from i40e-vf.toml; edit that file or the templates, not this one.
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

#include <linux/align.h>
#include <linux/bitops.h>
#include <linux/debugfs.h>
#include <linux/device.h>
#include <linux/uaccess.h>

#include "rings.h"

static const u32 i40e_vf_ring1_offsets[] = {
	0x6000,
	0x6c00,
	0x7400,
	0x8000,
};

static const u32 i40e_vf_ring2_offsets[] = {
	0x6400,
	0x6800,
	0x7800,
	0x7c00,
};

static const struct i40e_vf_ring_kind i40e_vf_ring_kinds[] = {
	{
		.name = "data queue",
		.bar = 0,
		.count = 16,
		.stride = 0x4,
		.tail = 0x2000,
		.tail_mask = 0x1fff,
	},
	{
		.name = "admin receive queue",
		.offsets = i40e_vf_ring1_offsets,
		.nr_offsets = ARRAY_SIZE(i40e_vf_ring1_offsets),
		.bar = 0,
		.count = 1,
		.stride = 0x4,
		.tail = 0x7000,
		.tail_mask = 0x3ff,
		.known = true,
		.base = 0x6c00,
		.base_mask = 0xffffffff,
		.base_high = 0x6000,
		.length = 0x8000,
		.length_mask = 0x3ff,
		.length_unit = 1,
		.head = 0x7400,
		.head_mask = 0x3ff,
		.enable = 0x8000,
		.enable_mask = 0x80000000,
		.descriptor_size = 32,
		.buffers = true,
		.low = 7,
		.high = 6,
		.done = 0,
		.done_mask = 0x1,
		.size = 4096,
	},
	{
		.name = "admin send queue",
		.offsets = i40e_vf_ring2_offsets,
		.nr_offsets = ARRAY_SIZE(i40e_vf_ring2_offsets),
		.bar = 0,
		.count = 1,
		.stride = 0x4,
		.tail = 0x8400,
		.tail_mask = 0x3ff,
		.known = true,
		.base = 0x7c00,
		.base_mask = 0xffffffff,
		.base_high = 0x7800,
		.length = 0x6800,
		.length_mask = 0x3ff,
		.length_unit = 1,
		.head = 0x6400,
		.head_mask = 0x3ff,
		.enable = 0x6800,
		.enable_mask = 0x80000000,
		.descriptor_size = 32,
	},
};

/* Where the register of a ring is that the first one of its kind has at an offset. */
static u32 i40e_vf_place(const struct i40e_vf_ring_kind *kind, u32 number, u32 offset)
{
	return offset + number * kind->stride;
}

static u32 i40e_vf_ring_register(struct i40e_vf_device *xdev,
				 const struct i40e_vf_ring_kind *kind, u32 number,
				 u32 offset)
{
	return i40e_vf_read_register(xdev, kind->bar, i40e_vf_place(kind, number, offset));
}

static u32 i40e_vf_buffer_size(struct i40e_vf_device *xdev,
			       const struct i40e_vf_ring_kind *kind, u32 number)
{
	u32 field;

	if (!kind->size_mask)
		return kind->size;
	field = i40e_vf_ring_register(xdev, kind, number, kind->size_reg) & kind->size_mask;
	field >>= __ffs(kind->size_mask);
	return field ? field * kind->size_unit : kind->size;
}

/* Reads the registers of a ring; the user's tail is @tail if that is not NULL. */
static void i40e_vf_read_ring(struct i40e_vf_device *xdev,
			      const struct i40e_vf_ring_kind *kind, u32 number,
			      const u32 *tail, struct i40e_vf_ring_now *now)
{
	u32 enable;

	memset(now, 0, sizeof(*now));
	i40e_vf_lock_registers(xdev);
	if (!i40e_vf_registers_enabled(xdev)) {
		now->strange = true;
		goto out_unlock;
	}

	now->tail = tail ? *tail : i40e_vf_ring_register(xdev, kind, number, kind->tail);
	now->tail &= kind->tail_mask;
	if (!kind->known) {
		now->strange = now->tail;
		goto out_unlock;
	}

	now->head = i40e_vf_ring_register(xdev, kind, number, kind->head) & kind->head_mask;
	now->length = i40e_vf_ring_register(xdev, kind, number, kind->length);
	now->length = (now->length & kind->length_mask) / kind->length_unit;
	enable = i40e_vf_ring_register(xdev, kind, number, kind->enable) |
		 i40e_vf_kept(xdev, kind->bar, i40e_vf_place(kind, number, kind->enable));
	now->enabled = now->length && enable & kind->enable_mask;
	if (!now->enabled)
		goto out_unlock;

	now->base = i40e_vf_ring_register(xdev, kind, number, kind->base) & kind->base_mask;
	now->base |= (u64)i40e_vf_ring_register(xdev, kind, number, kind->base_high) << 32;
	now->strange = !IS_ALIGNED(now->base, kind->descriptor_size);
	now->size = i40e_vf_buffer_size(xdev, kind, number);

out_unlock:
	i40e_vf_unlock_registers(xdev);
}

static int i40e_vf_look(struct i40e_vf_device *xdev, const struct i40e_vf_ring_kind *kind,
			u32 number, struct i40e_vf_ring *ring, const u32 *tail, bool fresh)
{
	struct i40e_vf_ring_now now;

	i40e_vf_read_ring(xdev, kind, number, tail, &now);
	if (!kind->known && !now.strange)
		return 0;
	return i40e_vf_ring_follow(xdev, kind, ring, &now, fresh);
}

/* What to do with a ring; @ring is NULL if the driver does not know where it is. */
typedef int (*i40e_vf_ring_fn)(struct i40e_vf_device *xdev,
			       const struct i40e_vf_ring_kind *kind, u32 number,
			       struct i40e_vf_ring *ring, void *arg);

static int i40e_vf_each_ring(struct i40e_vf_device *xdev, i40e_vf_ring_fn fn, void *arg)
{
	struct i40e_vf_ring *ring = xdev->rings.ring;
	unsigned int k;
	u32 i;
	int ret;

	for (k = 0; k < ARRAY_SIZE(i40e_vf_ring_kinds); k++) {
		const struct i40e_vf_ring_kind *kind = &i40e_vf_ring_kinds[k];

		for (i = 0; i < kind->count; i++) {
			ret = fn(xdev, kind, i, kind->known ? ring++ : NULL, arg);
			if (ret)
				return ret;
		}
	}
	return 0;
}

static int i40e_vf_begin_ring(struct i40e_vf_device *xdev,
			      const struct i40e_vf_ring_kind *kind, u32 number,
			      struct i40e_vf_ring *ring, void *arg)
{
	return i40e_vf_look(xdev, kind, number, ring, NULL, true);
}

static int i40e_vf_end_ring(struct i40e_vf_device *xdev,
			    const struct i40e_vf_ring_kind *kind, u32 number,
			    struct i40e_vf_ring *ring, void *arg)
{
	if (!ring)
		return 0;
	i40e_vf_ring_drop(xdev, ring);
	return 0;
}

/**
 * struct i40e_vf_access - a write of the user
 * @bar: BAR that it is to
 * @pos: offset in the BAR
 * @count: bytes
 * @buf: buffer of the user
 */
struct i40e_vf_access {
	unsigned int bar;
	u64 pos;
	size_t count;
	const char __user *buf;
};

static bool i40e_vf_touches(const struct i40e_vf_access *access,
			    const struct i40e_vf_ring_kind *kind, u32 number, u32 offset)
{
	const u64 place = i40e_vf_place(kind, number, offset);

	return access->bar == kind->bar && place < access->pos + access->count &&
	       access->pos < place + 4;
}

/* What a register will be by the write that is about to be done. */
static int i40e_vf_new_value(struct i40e_vf_device *xdev,
			     const struct i40e_vf_ring_kind *kind, u32 number, u32 offset,
			     const struct i40e_vf_access *access, u32 *value)
{
	const u64 place = i40e_vf_place(kind, number, offset);
	unsigned int i;
	u8 byte;

	*value = 0;
	/* A tail is mostly written as a whole, and often: the device is not asked then. */
	if (place < access->pos || place + 4 > access->pos + access->count) {
		i40e_vf_lock_registers(xdev);
		if (i40e_vf_registers_enabled(xdev))
			*value = i40e_vf_ring_register(xdev, kind, number, offset);
		i40e_vf_unlock_registers(xdev);
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

static bool i40e_vf_touches_setup(const struct i40e_vf_access *access,
				  const struct i40e_vf_ring_kind *kind, u32 number)
{
	unsigned int i;

	for (i = 0; i < kind->nr_offsets; i++)
		if (i40e_vf_touches(access, kind, number, kind->offsets[i]))
			return true;
	return false;
}

static int i40e_vf_before_ring(struct i40e_vf_device *xdev,
			       const struct i40e_vf_ring_kind *kind, u32 number,
			       struct i40e_vf_ring *ring, void *arg)
{
	struct i40e_vf_access *access = arg;
	struct i40e_vf_ring_now now;
	u32 value;
	int ret;

	if (xdev->rings.unsure)
		return 0;
	if (ring && i40e_vf_touches_setup(access, kind, number)) {
		/* A head of which nothing can be read is not written. */
		ret = i40e_vf_new_value(xdev, kind, number, kind->head, access, &value);
		if (!ret)
			ret = i40e_vf_new_value(xdev, kind, number, kind->enable, access, &value);
		if (ret)
			return ret;
		i40e_vf_read_ring(xdev, kind, number, NULL, &now);
		value |= i40e_vf_kept(xdev, kind->bar, i40e_vf_place(kind, number, kind->enable));
		ring->enabled = value & kind->enable_mask;
		ring->idle = !now.strange && now.head == now.tail &&
			     !i40e_vf_touches(access, kind, number, kind->head);
	}
	if (!i40e_vf_touches(access, kind, number, kind->tail))
		return 0;
	ret = i40e_vf_new_value(xdev, kind, number, kind->tail, access, &value);
	if (ret)
		return ret;
	/* A lack of memory leaves the driver unsure; it does not fail the write. */
	if (!ring)
		i40e_vf_look(xdev, kind, number, ring, &value, false);
	else if (ring->pages)
		i40e_vf_ring_post(xdev, kind, ring, value & kind->tail_mask, false);
	return 0;
}

/* Is the tail what the driver has read before the write? */
static int i40e_vf_check_tail(struct i40e_vf_device *xdev,
			      const struct i40e_vf_ring_kind *kind, u32 number,
			      const struct i40e_vf_ring *ring)
{
	u32 tail = U32_MAX; /* none, if it cannot be read: then it was not written either */

	i40e_vf_lock_registers(xdev);
	if (i40e_vf_registers_enabled(xdev))
		tail = i40e_vf_ring_register(xdev, kind, number, kind->tail) & kind->tail_mask;
	i40e_vf_unlock_registers(xdev);
	if (!kind->buffers || tail == ring->next)
		return 0;
	return i40e_vf_rings_doubt(xdev, kind->name, "its tail is another one", -EAGAIN);
}

/* Is a ring another one than before a write, or does it go on elsewhere? */
static bool i40e_vf_is_other(const struct i40e_vf_ring_kind *kind, u32 number,
			     const struct i40e_vf_ring *ring,
			     const struct i40e_vf_access *access,
			     const struct i40e_vf_ring_now *now)
{
	return !ring->pages || ring->base != now->base || ring->length != now->length ||
	       ring->size != now->size ||
	       i40e_vf_touches(access, kind, number, kind->head);
}

/*
 * A ring that was set up anew while the device had descriptors to work on may have
 * lost some already. And the user may have changed its buffer after the driver has
 * read the tail there, so the register is what counts.
 */
static int i40e_vf_after_ring(struct i40e_vf_device *xdev,
			      const struct i40e_vf_ring_kind *kind, u32 number,
			      struct i40e_vf_ring *ring, void *arg)
{
	struct i40e_vf_access *access = arg;
	struct i40e_vf_ring_now now;
	bool setup, tail;

	if (xdev->rings.unsure)
		return 0;
	setup = i40e_vf_touches_setup(access, kind, number);
	tail = i40e_vf_touches(access, kind, number, kind->tail);
	if (!ring) {
		if (tail)
			i40e_vf_look(xdev, kind, number, ring, NULL, false);
		return 0;
	}
	if (!setup)
		return tail && ring->pages ? i40e_vf_check_tail(xdev, kind, number, ring) : 0;

	i40e_vf_read_ring(xdev, kind, number, NULL, &now);
	if (ring->enabled && kind->buffers && (tail || !ring->idle) &&
	    i40e_vf_is_other(kind, number, ring, access, &now))
		return i40e_vf_rings_doubt(xdev, kind->name, "it was changed in use", -EBUSY);
	i40e_vf_ring_follow(xdev, kind, ring, &now, false);
	return 0;
}

static int i40e_vf_is_watched(struct i40e_vf_device *xdev,
			      const struct i40e_vf_ring_kind *kind, u32 number,
			      struct i40e_vf_ring *ring, void *arg)
{
	struct i40e_vf_access *access = arg;

	return i40e_vf_touches(access, kind, number, kind->tail) ||
	       i40e_vf_touches_setup(access, kind, number);
}

/* Does an access to the device file include a register of a ring? */
bool i40e_vf_rings_watch(struct i40e_vf_device *xdev, u64 offset, size_t count)
{
	struct i40e_vf_access access = {
		.bar = VFIO_PCI_OFFSET_TO_INDEX(offset),
		.pos = offset & VFIO_PCI_OFFSET_MASK,
		.count = count,
	};

	return i40e_vf_each_ring(xdev, i40e_vf_is_watched, &access);
}

/**
 * i40e_vf_rings_write - pass a write of ring registers on, and see what it posts
 * @xdev: the device
 * @buf: buffer of the user
 * @count: bytes
 * @ppos: place in the device file
 *
 * New descriptors are read before the device knows of them: it takes away their
 * addresses when it is done. The lock is taken in every state, so that no write is
 * on its way when saving begins.
 */
ssize_t i40e_vf_rings_write(struct i40e_vf_device *xdev, const char __user *buf, size_t count,
			    loff_t *ppos)
{
	struct i40e_vf_access access = {
		.bar = VFIO_PCI_OFFSET_TO_INDEX(*ppos),
		.pos = *ppos & VFIO_PCI_OFFSET_MASK,
		.count = count,
		.buf = buf,
	};
	struct i40e_vf_rings *rings = &xdev->rings;
	ssize_t ret = 0;

	mutex_lock(&rings->lock);
	if (rings->following)
		ret = i40e_vf_each_ring(xdev, i40e_vf_before_ring, &access);
	if (ret)
		goto out_unlock;

	ret = vfio_pci_core_write(&xdev->core_device.vdev, buf, count, ppos);
	if (rings->following)
		i40e_vf_each_ring(xdev, i40e_vf_after_ring, &access);

out_unlock:
	mutex_unlock(&rings->lock);
	return ret;
}

/**
 * i40e_vf_rings_begin - follow the rings from now on
 * @xdev: the device, of which no ring register is mapped or can be
 *
 * Return: 0, or -ENOMEM if there is no memory to remember what is pinned, and then
 * nothing is followed. RLIMIT_MEMLOCK was met when the container mapped the memory.
 */
int i40e_vf_rings_begin(struct i40e_vf_device *xdev)
{
	struct i40e_vf_rings *rings = &xdev->rings;
	int ret;

	lockdep_assert_held(&rings->lock);

	i40e_vf_rings_end(xdev);
	rings->following = true;
	ret = i40e_vf_each_ring(xdev, i40e_vf_begin_ring, NULL);
	if (ret)
		i40e_vf_rings_end(xdev);
	return ret;
}

void i40e_vf_rings_end(struct i40e_vf_device *xdev)
{
	struct i40e_vf_rings *rings = &xdev->rings;

	lockdep_assert_held(&rings->lock);

	i40e_vf_each_ring(xdev, i40e_vf_end_ring, NULL);
	rings->following = false;
	rings->unsure = false;
}

/* Called when user space can reach the device no more. */
void i40e_vf_rings_close(struct i40e_vf_device *xdev)
{
	mutex_lock(&xdev->rings.lock);
	i40e_vf_rings_end(xdev);
	mutex_unlock(&xdev->rings.lock);
}

/* Can the bitmap not be trusted, although VFIO does not report every page? */
bool i40e_vf_rings_untrusted(struct i40e_vf_device *xdev)
{
	struct i40e_vf_rings *rings = &xdev->rings;

	lockdep_assert_held(&rings->lock);

	return rings->unsure && rings->narrowed;
}

static int i40e_vf_unmap_ring(struct i40e_vf_device *xdev,
			      const struct i40e_vf_ring_kind *kind, u32 number,
			      struct i40e_vf_ring *ring, void *arg)
{
	if (!ring)
		return 0;
	i40e_vf_ring_unmap(xdev, kind, ring, arg);
	return 0;
}

void i40e_vf_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
	struct i40e_vf_device *xdev = i40e_vf_of_vdev(vdev);
	struct i40e_vf_range range = { .offset = iova, .size = length };

	mutex_lock(&xdev->rings.lock);
	i40e_vf_each_ring(xdev, i40e_vf_unmap_ring, &range);
	mutex_unlock(&xdev->rings.lock);
}

/* What debugfs shows is for people and tests, so the driver does without if it cannot. */
void i40e_vf_rings_init(struct i40e_vf_device *xdev)
{
	struct i40e_vf_rings *rings = &xdev->rings;
	char name[64];

	mutex_init(&rings->lock);
	snprintf(name, sizeof(name), KBUILD_MODNAME "-%s", dev_name(xdev->core_device.vdev.dev));
	rings->debugfs = debugfs_create_dir(name, NULL);
	debugfs_create_u64("doubts", 0444, rings->debugfs, &rings->doubts);
}

void i40e_vf_rings_destroy(struct i40e_vf_device *xdev)
{
	debugfs_remove_recursive(xdev->rings.debugfs);
	mutex_destroy(&xdev->rings.lock);
}
