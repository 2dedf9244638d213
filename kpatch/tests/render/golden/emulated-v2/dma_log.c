// SPDX-License-Identifier: GPL-2.0-only
/*
 * Software device: which guest memory it has written
 *
 * Generated from emulated.toml; edit that file or the templates, not this one.
 *
 * The log of VFIO_DEVICE_FEATURE_DMA_LOGGING_* has a bit for each page of the tracked
 * ranges. It has no tie to the device state, and goes on over a reset.
 */

#include <linux/bitmap.h>
#include <linux/interval_tree.h>
#include <linux/iova_bitmap.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "emulated.h"

#define EMULATED_LOG_SHIFT	12
#define EMULATED_LOG_PAGE	BIT(EMULATED_LOG_SHIFT)
/* 1 TiB, for which the bitmap has 32 MiB */
#define EMULATED_LOG_MAX_PAGES	BIT(28)

static struct emulated_log *emulated_log_of(struct vfio_device *vdev)
{
	return &emulated_of_vdev(vdev)->log;
}

/* The bit of an address inside a tracked range. */
static unsigned long emulated_log_bit(const struct emulated_tracked *tracked, unsigned long iova)
{
	return tracked->bit + (iova >> EMULATED_LOG_SHIFT) -
	       (tracked->start >> EMULATED_LOG_SHIFT);
}

/* The first address of the page of a bit. */
static unsigned long emulated_log_page(const struct emulated_tracked *tracked, unsigned long bit)
{
	return (tracked->start & ~(EMULATED_LOG_PAGE - 1)) +
	       ((bit - tracked->bit) << EMULATED_LOG_SHIFT);
}

static void emulated_log_free(struct emulated_log *log)
{
	kvfree(log->dirty);
	kvfree(log->tracked);
	log->dirty = NULL;
	log->tracked = NULL;
	log->nr_tracked = 0;
}

/* Takes the ranges, and makes a bitmap for their pages. */
static int emulated_log_fill(struct emulated_log *log, struct rb_root_cached *ranges,
			     u32 nnodes)
{
	struct interval_tree_node *node;
	u64 pages = 0;

	log->tracked = kvcalloc(nnodes, sizeof(*log->tracked), GFP_KERNEL_ACCOUNT);
	if (!log->tracked)
		return -ENOMEM;

	for (node = interval_tree_iter_first(ranges, 0, ULONG_MAX); node;
	     node = interval_tree_iter_next(node, 0, ULONG_MAX)) {
		struct emulated_tracked *tracked = &log->tracked[log->nr_tracked];

		/* One without a length has no page, since it ends before it starts. */
		tracked->start = node->start;
		tracked->last = node->last;
		tracked->bit = pages;
		log->nr_tracked++;
		pages += (u64)(node->last >> EMULATED_LOG_SHIFT) -
			 (node->start >> EMULATED_LOG_SHIFT) + 1;
		if (pages > EMULATED_LOG_MAX_PAGES)
			return -E2BIG;
	}

	log->dirty = kvcalloc(BITS_TO_LONGS(pages), sizeof(*log->dirty), GFP_KERNEL_ACCOUNT);
	return log->dirty ? 0 : -ENOMEM;
}

static int emulated_log_start(struct vfio_device *vdev, struct rb_root_cached *ranges, u32 nnodes,
			      u64 *page_size)
{
	struct emulated_log *log = emulated_log_of(vdev);
	int ret = -EBUSY;

	mutex_lock(&log->lock);
	if (!log->dirty) {
		ret = emulated_log_fill(log, ranges, nnodes);
		if (ret)
			emulated_log_free(log);
		else
			*page_size = EMULATED_LOG_PAGE;
	}
	mutex_unlock(&log->lock);
	return ret;
}

static int emulated_log_stop(struct vfio_device *vdev)
{
	struct emulated_log *log = emulated_log_of(vdev);

	mutex_lock(&log->lock);
	emulated_log_free(log);
	mutex_unlock(&log->lock);
	return 0;
}

/* A page of which only a part is asked for is reported as well, and no more after that. */
static int emulated_log_read_and_clear(struct vfio_device *vdev, unsigned long iova,
				       unsigned long length, struct iova_bitmap *dirty)
{
	struct emulated_log *log = emulated_log_of(vdev);
	const unsigned long last = iova + length - 1;
	int ret = 0;
	u32 i;

	/* The core lets it pass, and @last would be that of everything. */
	if (!length)
		return 0;

	mutex_lock(&log->lock);
	if (!log->dirty)
		ret = -EINVAL;
	for (i = 0; i < log->nr_tracked; i++) {
		const struct emulated_tracked *tracked = &log->tracked[i];
		const unsigned long from = max(iova, tracked->start);
		const unsigned long to = min(last, tracked->last);
		unsigned long bit, next, end;

		if (from > to)
			continue;
		bit = emulated_log_bit(tracked, from);
		end = emulated_log_bit(tracked, to) + 1;
		for_each_set_bitrange_from(bit, next, log->dirty, end) {
			unsigned long start = max(emulated_log_page(tracked, bit), from);
			unsigned long stop = min(emulated_log_page(tracked, next) - 1, to);

			iova_bitmap_set(dirty, start, stop - start + 1);
			bitmap_clear(log->dirty, bit, next - bit);
		}
	}
	mutex_unlock(&log->lock);
	return ret;
}

static void emulated_log_range(struct emulated_log *log, unsigned long start, unsigned long last)
{
	u32 i;

	lockdep_assert_held(&log->lock);

	for (i = 0; i < log->nr_tracked; i++) {
		const struct emulated_tracked *tracked = &log->tracked[i];
		const unsigned long from = max(start, tracked->start);
		const unsigned long to = min(last, tracked->last);
		unsigned long bit;

		if (from > to)
			continue;
		bit = emulated_log_bit(tracked, from);
		bitmap_set(log->dirty, bit, emulated_log_bit(tracked, to) - bit + 1);
	}
}

/* Writes to guest memory, at an address inside a page, so that a report after it has it. */
void emulated_dma_write(struct emulated_device *xdev, u64 iova, __le32 value)
{
	struct emulated_log *log = &xdev->log;

	mutex_lock(&log->lock);
	/* As with a device behind an IOMMU, nothing comes of a bad address. */
	if (!vfio_dma_rw(&xdev->vdev, iova, &value, sizeof(value), true))
		emulated_log_range(log, iova, iova);
	mutex_unlock(&log->lock);
}

static const struct vfio_log_ops emulated_log_ops = {
	.log_start = emulated_log_start,
	.log_stop = emulated_log_stop,
	.log_read_and_clear = emulated_log_read_and_clear,
};

/* Called before the device is registered. */
void emulated_log_init(struct vfio_device *vdev, struct emulated_log *log)
{
	mutex_init(&log->lock);
	vdev->log_ops = &emulated_log_ops;
}

void emulated_log_destroy(struct emulated_log *log)
{
	mutex_destroy(&log->lock);
}

/* Called when user space can reach the device no more, and the device has stopped. */
void emulated_log_close(struct emulated_log *log)
{
	mutex_lock(&log->lock);
	emulated_log_free(log);
	mutex_unlock(&log->lock);
}

MODULE_IMPORT_NS(IOMMUFD);
