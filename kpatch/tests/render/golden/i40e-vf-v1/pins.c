// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel Ethernet 700 series virtual function: pins rings and their buffers
 *
 * Generated from i40e-vf.toml; edit that file or the templates, not this one.
 *
 * All of this is done under the lock of the rings, see rings.c for what it is about.
 */

#include <linux/highmem.h>
#include <linux/iommu.h>
#include <linux/slab.h>

#include "rings.h"

/* Pages that the largest buffer can touch. */
#define I40E_VF_BUFFER_PAGES	(DIV_ROUND_UP(0x1000, PAGE_SIZE) + 1)

/*
 * From now on the bitmap cannot be trusted, see the top of rings.c.
 * Return: 0, or -ENOMEM where that is why, which the caller may report instead.
 */
int i40e_vf_rings_doubt(struct i40e_vf_device *xdev, const char *name, const char *why,
			int err)
{
	struct i40e_vf_rings *rings = &xdev->rings;

	rings->doubts++;
	if (!rings->unsure)
		dev_warn_ratelimited(xdev->core_device.vdev.dev,
				     "%s: %s (%d), %s; event %llu since the driver was bound\n",
				     name, why, err,
				     rings->narrowed ?
				     "the device cannot be migrated now" :
				     "all memory is reported as dirty", rings->doubts);
	rings->unsure = true;
	return err == -ENOMEM ? err : 0;
}

static void i40e_vf_unpin(struct i40e_vf_device *xdev, u64 iova, unsigned int nr_pages)
{
	if (!nr_pages)
		return;
	vfio_unpin_pages(&xdev->core_device.vdev, iova, nr_pages);
}

/*
 * Pins all pages or none. More than VFIO_PIN_PAGES_MAX_ENTRIES are refused by VFIO, such
 * a ring cannot be followed.
 */
static int i40e_vf_pin(struct i40e_vf_device *xdev, u64 iova, unsigned int nr_pages,
		       int prot, struct page **pages)
{
	int ret = vfio_pin_pages(&xdev->core_device.vdev, iova, nr_pages, prot, pages);

	if (ret < 0)
		return ret;
	xdev->rings.narrowed = true;
	return 0;
}

static void i40e_vf_drop_slot(struct i40e_vf_device *xdev, struct i40e_vf_slot *slot)
{
	i40e_vf_unpin(xdev, slot->iova, slot->nr_pages);
	slot->nr_pages = 0;
}

void i40e_vf_ring_drop(struct i40e_vf_device *xdev, struct i40e_vf_ring *ring)
{
	u32 i;

	if (!ring->pages)
		return;
	for (i = 0; ring->slots && i < ring->length; i++)
		i40e_vf_drop_slot(xdev, &ring->slots[i]);
	i40e_vf_unpin(xdev, round_down(ring->base, PAGE_SIZE), ring->nr_pages);
	kvfree(ring->slots);
	kvfree(ring->pages);
	ring->slots = NULL;
	ring->pages = NULL;
}

/* Pins the ring itself, of which the device writes the descriptors. */
static int i40e_vf_take_ring(struct i40e_vf_device *xdev,
			     const struct i40e_vf_ring_kind *kind,
			     struct i40e_vf_ring *ring,
			     const struct i40e_vf_ring_now *now)
{
	u64 first = round_down(now->base, PAGE_SIZE);
	u64 end = now->base + (u64)now->length * kind->descriptor_size;
	int ret;

	ring->base = now->base;
	ring->length = now->length;
	ring->next = now->head;
	ring->nr_pages = DIV_ROUND_UP_ULL(end - first, PAGE_SIZE);
	ring->pages = kvcalloc(ring->nr_pages, sizeof(*ring->pages), GFP_KERNEL_ACCOUNT);
	if (!ring->pages)
		return -ENOMEM;

	if (kind->buffers) {
		ring->slots = kvcalloc(ring->length, sizeof(*ring->slots), GFP_KERNEL_ACCOUNT);
		if (!ring->slots) {
			ret = -ENOMEM;
			goto err_free_pages;
		}
	}

	ret = i40e_vf_pin(xdev, first, ring->nr_pages, IOMMU_READ | IOMMU_WRITE, ring->pages);
	if (ret)
		goto err_free_slots;
	return 0;

err_free_slots:
	kvfree(ring->slots);
	ring->slots = NULL;
err_free_pages:
	kvfree(ring->pages);
	ring->pages = NULL;
	return ret;
}

/* Copies a descriptor; its size divides that of a page, and the address of the ring. */
static void i40e_vf_read_descriptor(const struct i40e_vf_ring_kind *kind,
				    const struct i40e_vf_ring *ring, u32 index,
				    __le32 *descriptor)
{
	u64 at = offset_in_page(ring->base) + (u64)index * kind->descriptor_size;

	memcpy_from_page((char *)descriptor, ring->pages[at >> PAGE_SHIFT], offset_in_page(at),
			 kind->descriptor_size);
}

static bool i40e_vf_is_done(const struct i40e_vf_ring_kind *kind, const __le32 *descriptor)
{
	return le32_to_cpu(descriptor[kind->done]) & kind->done_mask;
}

static u64 i40e_vf_buffer_of(const struct i40e_vf_ring_kind *kind, const __le32 *descriptor)
{
	return (u64)le32_to_cpu(descriptor[kind->high]) << 32 |
	       le32_to_cpu(descriptor[kind->low]);
}

/*
 * Pins the buffer of a descriptor, in place of the one that the descriptor had before.
 * One that the device may have taken already (@taken) can be done by now: then it has
 * no address any more, and its buffer was written before.
 */
static int i40e_vf_take_buffer(struct i40e_vf_device *xdev,
			       const struct i40e_vf_ring_kind *kind,
			       struct i40e_vf_ring *ring, u32 index, u32 size, bool taken)
{
	struct i40e_vf_slot *slot = &ring->slots[index];
	__le32 descriptor[8], again[8];
	struct page *pages[I40E_VF_BUFFER_PAGES];
	unsigned int nr_pages;
	u64 iova, first;
	int ret;

	i40e_vf_read_descriptor(kind, ring, index, descriptor);
	if (taken && i40e_vf_is_done(kind, descriptor))
		return 0;

	iova = i40e_vf_buffer_of(kind, descriptor);
	first = round_down(iova, PAGE_SIZE);
	nr_pages = DIV_ROUND_UP(offset_in_page(iova) + size, PAGE_SIZE);
	/* Most buffers are posted again and again, and a tail is often written. */
	if (slot->nr_pages == nr_pages && slot->iova == first)
		return 0;

	ret = i40e_vf_pin(xdev, first, nr_pages, IOMMU_WRITE, pages);
	if (ret) {
		i40e_vf_read_descriptor(kind, ring, index, again);
		if (taken && memcmp(descriptor, again, kind->descriptor_size))
			return 0;
		return i40e_vf_rings_doubt(xdev, kind->name, "a buffer cannot be pinned", ret);
	}

	i40e_vf_drop_slot(xdev, slot);
	slot->iova = first;
	slot->nr_pages = nr_pages;
	return 0;
}

/*
 * Takes the buffers up to a tail: @fresh if the device may have gone on with the ring
 * unseen. What else the registers of a ring say cannot have changed without a write.
 */
int i40e_vf_ring_post(struct i40e_vf_device *xdev, const struct i40e_vf_ring_kind *kind,
		      struct i40e_vf_ring *ring, u32 tail, bool fresh)
{
	int ret;

	if (!kind->buffers)
		return 0;
	if (tail >= ring->length || ring->next >= ring->length)
		return i40e_vf_rings_doubt(xdev, kind->name, "head or tail are beyond it", -ERANGE);

	while (ring->next != tail) {
		ret = i40e_vf_take_buffer(xdev, kind, ring, ring->next, ring->size, fresh);
		if (ret || xdev->rings.unsure)
			return ret;
		ring->next = (ring->next + 1) % ring->length;
	}
	return 0;
}

/* Brings a ring up to date: @fresh if the device may have gone on with it unseen. */
int i40e_vf_ring_follow(struct i40e_vf_device *xdev, const struct i40e_vf_ring_kind *kind,
			struct i40e_vf_ring *ring, const struct i40e_vf_ring_now *now,
			bool fresh)
{
	int ret;

	if (now->strange)
		return i40e_vf_rings_doubt(xdev, kind->name, "it cannot be followed", -EOPNOTSUPP);
	if (!now->enabled) {
		i40e_vf_ring_drop(xdev, ring);
		return 0;
	}

	if (ring->pages && (ring->base != now->base || ring->length != now->length))
		i40e_vf_ring_drop(xdev, ring);
	if (!ring->pages) {
		ret = i40e_vf_take_ring(xdev, kind, ring, now);
		if (ret)
			return i40e_vf_rings_doubt(xdev, kind->name, "it cannot be pinned", ret);
	}
	ring->size = now->size;
	return i40e_vf_ring_post(xdev, kind, ring, now->tail, fresh);
}

/* By the last addresses, since either may end where addresses end. */
static bool i40e_vf_overlap(u64 iova, u64 size, u64 other, unsigned int nr_pages)
{
	return nr_pages && iova <= other + (u64)nr_pages * PAGE_SIZE - 1 &&
	       other <= iova + size - 1;
}

/* Lets go of what is being unmapped. What the device may still write to then is in doubt. */
void i40e_vf_ring_unmap(struct i40e_vf_device *xdev, const struct i40e_vf_ring_kind *kind,
			struct i40e_vf_ring *ring, const struct i40e_vf_range *range)
{
	__le32 descriptor[8];
	u32 i;

	if (!ring->pages)
		return;
	for (i = 0; ring->slots && i < ring->length; i++) {
		struct i40e_vf_slot *slot = &ring->slots[i];

		if (!i40e_vf_overlap(range->offset, range->size, slot->iova, slot->nr_pages))
			continue;
		i40e_vf_read_descriptor(kind, ring, i, descriptor);
		if (!i40e_vf_is_done(kind, descriptor))
			i40e_vf_rings_doubt(xdev, kind->name, "a buffer is unmapped", -ENXIO);
		i40e_vf_drop_slot(xdev, slot);
	}
	if (i40e_vf_overlap(range->offset, range->size, round_down(ring->base, PAGE_SIZE),
			    ring->nr_pages)) {
		i40e_vf_rings_doubt(xdev, kind->name, "it is unmapped", -ENXIO);
		i40e_vf_ring_drop(xdev, ring);
	}
}
