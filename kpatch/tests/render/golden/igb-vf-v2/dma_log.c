// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel 82576 virtual function: which memory it may have written
 *
 * Generated from igb-vf.toml; edit that file or the templates, not this one.
 *
 * The log of VFIO_DEVICE_FEATURE_DMA_LOGGING_* has a bit for each page of the tracked
 * ranges. It has no tie to the device state, and goes on over a reset.
 *
 * The device writes by itself. Where is known while its rings are followed: to what is
 * pinned (pins.c). What was pinned since the last report is logged when it is unpinned,
 * and what still is when a report is asked for. While the device runs and is not
 * followed, and in doubt, it may have written anywhere, so the whole range is reported.
 */

#include <linux/bitmap.h>
#include <linux/interval_tree.h>
#include <linux/iova_bitmap.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "igb_vf.h"

#define IGB_VF_LOG_SHIFT	12
#define IGB_VF_LOG_PAGE	BIT(IGB_VF_LOG_SHIFT)
/* 1 TiB, for which the bitmap has 32 MiB */
#define IGB_VF_LOG_MAX_PAGES	BIT(28)

static struct igb_vf_log *igb_vf_log_of(struct vfio_device *vdev)
{
	return &igb_vf_of_vdev(vdev)->log;
}

/* The bit of an address inside a tracked range. */
static unsigned long igb_vf_log_bit(const struct igb_vf_tracked *tracked, unsigned long iova)
{
	return tracked->bit + (iova >> IGB_VF_LOG_SHIFT) -
	       (tracked->start >> IGB_VF_LOG_SHIFT);
}

/* The first address of the page of a bit. */
static unsigned long igb_vf_log_page(const struct igb_vf_tracked *tracked, unsigned long bit)
{
	return (tracked->start & ~(IGB_VF_LOG_PAGE - 1)) +
	       ((bit - tracked->bit) << IGB_VF_LOG_SHIFT);
}

static void igb_vf_log_free(struct igb_vf_log *log)
{
	kvfree(log->dirty);
	kvfree(log->tracked);
	log->dirty = NULL;
	log->tracked = NULL;
	log->nr_tracked = 0;
}

/* Takes the ranges, and makes a bitmap for their pages. */
static int igb_vf_log_fill(struct igb_vf_log *log, struct rb_root_cached *ranges,
			   u32 nnodes)
{
	struct interval_tree_node *node;
	u64 pages = 0;

	log->tracked = kvcalloc(nnodes, sizeof(*log->tracked), GFP_KERNEL_ACCOUNT);
	if (!log->tracked)
		return -ENOMEM;

	for (node = interval_tree_iter_first(ranges, 0, ULONG_MAX); node;
	     node = interval_tree_iter_next(node, 0, ULONG_MAX)) {
		struct igb_vf_tracked *tracked = &log->tracked[log->nr_tracked];

		/* One without a length has no page, since it ends before it starts. */
		tracked->start = node->start;
		tracked->last = node->last;
		tracked->bit = pages;
		log->nr_tracked++;
		pages += (u64)(node->last >> IGB_VF_LOG_SHIFT) -
			 (node->start >> IGB_VF_LOG_SHIFT) + 1;
		if (pages > IGB_VF_LOG_MAX_PAGES)
			return -E2BIG;
	}

	log->dirty = kvcalloc(BITS_TO_LONGS(pages), sizeof(*log->dirty), GFP_KERNEL_ACCOUNT);
	return log->dirty ? 0 : -ENOMEM;
}

static int igb_vf_log_start(struct vfio_device *vdev, struct rb_root_cached *ranges, u32 nnodes,
			    u64 *page_size)
{
	struct igb_vf_log *log = igb_vf_log_of(vdev);
	int ret = -EBUSY;

	mutex_lock(&log->lock);
	if (!log->dirty) {
		ret = igb_vf_log_fill(log, ranges, nnodes);
		if (ret)
			igb_vf_log_free(log);
		else
			*page_size = IGB_VF_LOG_PAGE;
	}
	mutex_unlock(&log->lock);
	return ret;
}

static int igb_vf_log_stop(struct vfio_device *vdev)
{
	struct igb_vf_log *log = igb_vf_log_of(vdev);

	mutex_lock(&log->lock);
	igb_vf_log_free(log);
	mutex_unlock(&log->lock);
	return 0;
}

/* A page of which only a part is asked for is reported as well, and no more after that. */
static int igb_vf_log_read_and_clear(struct vfio_device *vdev, unsigned long iova,
				     unsigned long length, struct iova_bitmap *dirty)
{
	struct igb_vf_device *xdev = igb_vf_of_vdev(vdev);
	struct igb_vf_log *log = igb_vf_log_of(vdev);
	const unsigned long last = iova + length - 1;
	int ret = 0;
	u32 i;

	/* The core lets it pass, and @last would be that of everything. */
	if (!length)
		return 0;

	mutex_lock(&xdev->rings.lock);
	igb_vf_rings_log(xdev);
	mutex_lock(&log->lock);
	if (!log->dirty)
		ret = -EINVAL;
	for (i = 0; i < log->nr_tracked; i++) {
		const struct igb_vf_tracked *tracked = &log->tracked[i];
		const unsigned long from = max(iova, tracked->start);
		const unsigned long to = min(last, tracked->last);
		unsigned long bit, next, end;

		if (from > to)
			continue;
		bit = igb_vf_log_bit(tracked, from);
		end = igb_vf_log_bit(tracked, to) + 1;
		for_each_set_bitrange_from(bit, next, log->dirty, end) {
			unsigned long start = max(igb_vf_log_page(tracked, bit), from);
			unsigned long stop = min(igb_vf_log_page(tracked, next) - 1, to);

			iova_bitmap_set(dirty, start, stop - start + 1);
			bitmap_clear(log->dirty, bit, next - bit);
		}
	}
	mutex_unlock(&log->lock);
	mutex_unlock(&xdev->rings.lock);
	return ret;
}

static void igb_vf_log_range(struct igb_vf_log *log, unsigned long start, unsigned long last)
{
	u32 i;

	lockdep_assert_held(&log->lock);

	for (i = 0; i < log->nr_tracked; i++) {
		const struct igb_vf_tracked *tracked = &log->tracked[i];
		const unsigned long from = max(start, tracked->start);
		const unsigned long to = min(last, tracked->last);
		unsigned long bit;

		if (from > to)
			continue;
		bit = igb_vf_log_bit(tracked, from);
		bitmap_set(log->dirty, bit, igb_vf_log_bit(tracked, to) - bit + 1);
	}
}

/* Logs that the device may have written to these addresses, if they are tracked. */
void igb_vf_log_add(struct igb_vf_log *log, unsigned long start, unsigned long last)
{
	mutex_lock(&log->lock);
	igb_vf_log_range(log, start, last);
	mutex_unlock(&log->lock);
}

bool igb_vf_log_is_on(struct igb_vf_log *log)
{
	bool on;

	mutex_lock(&log->lock);
	on = log->dirty;
	mutex_unlock(&log->lock);
	return on;
}

static const struct vfio_log_ops igb_vf_log_ops = {
	.log_start = igb_vf_log_start,
	.log_stop = igb_vf_log_stop,
	.log_read_and_clear = igb_vf_log_read_and_clear,
};

/* Called before the device is registered. */
void igb_vf_log_init(struct vfio_device *vdev, struct igb_vf_log *log)
{
	mutex_init(&log->lock);
	vdev->log_ops = &igb_vf_log_ops;
}

void igb_vf_log_destroy(struct igb_vf_log *log)
{
	mutex_destroy(&log->lock);
}

/* Called when user space can reach the device no more, and the device has stopped. */
void igb_vf_log_close(struct igb_vf_log *log)
{
	mutex_lock(&log->lock);
	igb_vf_log_free(log);
	mutex_unlock(&log->lock);
}

MODULE_IMPORT_NS(IOMMUFD);
