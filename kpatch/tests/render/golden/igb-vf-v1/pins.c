// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel 82576 virtual function: pins rings and their buffers
 *
 * Generated from igb-vf.toml; edit that file or the templates, not this one.
 *
 * All of this is done under the lock of the rings, see rings.c for what it is about.
 */

#include <linux/highmem.h>
#include <linux/iommu.h>
#include <linux/slab.h>

#include "rings.h"

/* Pages that the largest buffer can touch. */
#define IGB_VF_BUFFER_PAGES	(DIV_ROUND_UP(0x1fc00, PAGE_SIZE) + 1)

/*
 * From now on the bitmap cannot be trusted, see the top of rings.c.
 * Return: 0, or -ENOMEM where that is why, which the caller may report instead.
 */
int igb_vf_rings_doubt(struct igb_vf_device *xdev, const char *name, const char *why,
		       int err)
{
	struct igb_vf_rings *rings = &xdev->rings;

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

static void igb_vf_unpin(struct igb_vf_device *xdev, u64 iova, unsigned int nr_pages)
{
	if (!nr_pages)
		return;
	vfio_unpin_pages(&xdev->core_device.vdev, iova, nr_pages);
}

/*
 * Pins all pages or none. More than VFIO_PIN_PAGES_MAX_ENTRIES are refused by VFIO, such
 * a ring cannot be followed.
 */
static int igb_vf_pin(struct igb_vf_device *xdev, u64 iova, unsigned int nr_pages,
		      int prot, struct page **pages)
{
	int ret = vfio_pin_pages(&xdev->core_device.vdev, iova, nr_pages, prot, pages);

	if (ret < 0)
		return ret;
	xdev->rings.narrowed = true;
	return 0;
}

static void igb_vf_drop_slot(struct igb_vf_device *xdev, struct igb_vf_slot *slot)
{
	igb_vf_unpin(xdev, slot->iova, slot->nr_pages);
	slot->nr_pages = 0;
}

void igb_vf_ring_drop(struct igb_vf_device *xdev, struct igb_vf_ring *ring)
{
	u32 i;

	if (!ring->pages)
		return;
	for (i = 0; ring->slots && i < ring->length; i++)
		igb_vf_drop_slot(xdev, &ring->slots[i]);
	igb_vf_unpin(xdev, round_down(ring->base, PAGE_SIZE), ring->nr_pages);
	kvfree(ring->slots);
	kvfree(ring->pages);
	ring->slots = NULL;
	ring->pages = NULL;
}

/* Pins the ring itself, of which the device writes the descriptors. */
static int igb_vf_take_ring(struct igb_vf_device *xdev,
			    const struct igb_vf_ring_kind *kind,
			    struct igb_vf_ring *ring,
			    const struct igb_vf_ring_now *now)
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

	ret = igb_vf_pin(xdev, first, ring->nr_pages, IOMMU_READ | IOMMU_WRITE, ring->pages);
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
static void igb_vf_read_descriptor(const struct igb_vf_ring_kind *kind,
				   const struct igb_vf_ring *ring, u32 index,
				   __le32 *descriptor)
{
	u64 at = offset_in_page(ring->base) + (u64)index * kind->descriptor_size;

	memcpy_from_page((char *)descriptor, ring->pages[at >> PAGE_SHIFT], offset_in_page(at),
			 kind->descriptor_size);
}

static bool igb_vf_is_done(const struct igb_vf_ring_kind *kind, const __le32 *descriptor)
{
	return le32_to_cpu(descriptor[kind->done]) & kind->done_mask;
}

static u64 igb_vf_buffer_of(const struct igb_vf_ring_kind *kind, const __le32 *descriptor)
{
	return (u64)le32_to_cpu(descriptor[kind->high]) << 32 |
	       le32_to_cpu(descriptor[kind->low]);
}

/*
 * Pins the buffer of a descriptor, in place of the one that the descriptor had before.
 * One that the device may have taken already (@taken) can be done by now: then it has
 * no address any more, and its buffer was written before.
 */
static int igb_vf_take_buffer(struct igb_vf_device *xdev,
			      const struct igb_vf_ring_kind *kind,
			      struct igb_vf_ring *ring, u32 index, u32 size, bool taken)
{
	struct igb_vf_slot *slot = &ring->slots[index];
	__le32 descriptor[4], again[4];
	struct page *pages[IGB_VF_BUFFER_PAGES];
	unsigned int nr_pages;
	u64 iova, first;
	int ret;

	igb_vf_read_descriptor(kind, ring, index, descriptor);
	if (taken && igb_vf_is_done(kind, descriptor))
		return 0;

	iova = igb_vf_buffer_of(kind, descriptor);
	first = round_down(iova, PAGE_SIZE);
	nr_pages = DIV_ROUND_UP(offset_in_page(iova) + size, PAGE_SIZE);
	/* Most buffers are posted again and again, and a tail is often written. */
	if (slot->nr_pages == nr_pages && slot->iova == first)
		return 0;

	ret = igb_vf_pin(xdev, first, nr_pages, IOMMU_WRITE, pages);
	if (ret) {
		igb_vf_read_descriptor(kind, ring, index, again);
		if (taken && memcmp(descriptor, again, kind->descriptor_size))
			return 0;
		return igb_vf_rings_doubt(xdev, kind->name, "a buffer cannot be pinned", ret);
	}

	igb_vf_drop_slot(xdev, slot);
	slot->iova = first;
	slot->nr_pages = nr_pages;
	return 0;
}

/*
 * Takes the buffers up to a tail: @fresh if the device may have gone on with the ring
 * unseen. What else the registers of a ring say cannot have changed without a write.
 */
int igb_vf_ring_post(struct igb_vf_device *xdev, const struct igb_vf_ring_kind *kind,
		     struct igb_vf_ring *ring, u32 tail, bool fresh)
{
	int ret;

	if (!kind->buffers)
		return 0;
	if (tail >= ring->length || ring->next >= ring->length)
		return igb_vf_rings_doubt(xdev, kind->name, "head or tail are beyond it", -ERANGE);

	while (ring->next != tail) {
		ret = igb_vf_take_buffer(xdev, kind, ring, ring->next, ring->size, fresh);
		if (ret || xdev->rings.unsure)
			return ret;
		ring->next = (ring->next + 1) % ring->length;
	}
	return 0;
}

/* Brings a ring up to date: @fresh if the device may have gone on with it unseen. */
int igb_vf_ring_follow(struct igb_vf_device *xdev, const struct igb_vf_ring_kind *kind,
		       struct igb_vf_ring *ring, const struct igb_vf_ring_now *now,
		       bool fresh)
{
	int ret;

	if (now->strange)
		return igb_vf_rings_doubt(xdev, kind->name, "it cannot be followed", -EOPNOTSUPP);
	if (!now->enabled) {
		igb_vf_ring_drop(xdev, ring);
		return 0;
	}

	if (ring->pages && (ring->base != now->base || ring->length != now->length))
		igb_vf_ring_drop(xdev, ring);
	if (!ring->pages) {
		ret = igb_vf_take_ring(xdev, kind, ring, now);
		if (ret)
			return igb_vf_rings_doubt(xdev, kind->name, "it cannot be pinned", ret);
	}
	ring->size = now->size;
	return igb_vf_ring_post(xdev, kind, ring, now->tail, fresh);
}

/* By the last addresses, since either may end where addresses end. */
static bool igb_vf_overlap(u64 iova, u64 size, u64 other, unsigned int nr_pages)
{
	return nr_pages && iova <= other + (u64)nr_pages * PAGE_SIZE - 1 &&
	       other <= iova + size - 1;
}

/* Lets go of what is being unmapped. What the device may still write to then is in doubt. */
void igb_vf_ring_unmap(struct igb_vf_device *xdev, const struct igb_vf_ring_kind *kind,
		       struct igb_vf_ring *ring, const struct igb_vf_range *range)
{
	__le32 descriptor[4];
	u32 i;

	if (!ring->pages)
		return;
	for (i = 0; ring->slots && i < ring->length; i++) {
		struct igb_vf_slot *slot = &ring->slots[i];

		if (!igb_vf_overlap(range->offset, range->size, slot->iova, slot->nr_pages))
			continue;
		igb_vf_read_descriptor(kind, ring, i, descriptor);
		if (!igb_vf_is_done(kind, descriptor))
			igb_vf_rings_doubt(xdev, kind->name, "a buffer is unmapped", -ENXIO);
		igb_vf_drop_slot(xdev, slot);
	}
	if (igb_vf_overlap(range->offset, range->size, round_down(ring->base, PAGE_SIZE),
			   ring->nr_pages)) {
		igb_vf_rings_doubt(xdev, kind->name, "it is unmapped", -ENXIO);
		igb_vf_ring_drop(xdev, ring);
	}
}
