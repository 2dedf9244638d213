/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The part of machine.c that has the driver's own log: what the core of VFIO and the
 * driver's state machine do with it.
 */

static struct interval_tree_node tracked = {
	.start = IOVA,
	.last = IOVA + NR_PAGES * PAGE_SIZE - 1,
};

struct interval_tree_node *interval_tree_iter_first(struct rb_root_cached *root,
						    unsigned long start, unsigned long last)
{
	return &tracked;
}

struct interval_tree_node *interval_tree_iter_next(struct interval_tree_node *node,
						   unsigned long start, unsigned long last)
{
	return NULL;
}

void iova_bitmap_set(struct iova_bitmap *bitmap, unsigned long iova, size_t length)
{
	unsigned long first = (iova - IOVA) / PAGE_SIZE;
	unsigned long end = DIV_ROUND_UP(iova - IOVA + length, PAGE_SIZE);

	if (iova < IOVA || end > NR_PAGES)
		abort();
	for (; first < end; first++)
		reported[first] = true;
}

static struct vfio_device *vdev_of(void)
{
	return &device.core_device.vdev;
}

static void log_start(void)
{
	u64 page_size;

	memcpy(copy, memory, sizeof(copy));
	memset(written, 0, sizeof(written));
	if (!vdev_of()->log_ops)
		i40e_vf_log_init(vdev_of(), &device.log);
	device.migration.state = VFIO_DEVICE_STATE_RUNNING;
	if (vdev_of()->log_ops->log_start(vdev_of(), NULL, 1, &page_size) ||
	    page_size != PAGE_SIZE)
		abort();
}

static void log_stop(void)
{
	vdev_of()->log_ops->log_stop(vdev_of());
}

/* As the driver's state machine enters and leaves pre-copy. */
static int begin(void)
{
	int ret;

	mutex_lock(&device.rings.lock);
	i40e_vf_rings_log(&device);
	ret = i40e_vf_rings_begin(&device);
	if (!ret)
		device.migration.state = VFIO_DEVICE_STATE_PRE_COPY;
	mutex_unlock(&device.rings.lock);
	return ret;
}

static void stop(void)
{
	mutex_lock(&device.rings.lock);
	i40e_vf_rings_log(&device);
	let(rand() % 3);
	running = false;
	device.migration.state = VFIO_DEVICE_STATE_STOP_COPY;
	mutex_unlock(&device.rings.lock);
}

static bool trusted(void)
{
	return true;
}

static void look(void)
{
	/* Of no addresses: it is not to clear any. */
	if (vdev_of()->log_ops->log_read_and_clear(vdev_of(), 0, 0, NULL))
		abort();
	memset(reported, 0, sizeof(reported));
	if (vdev_of()->log_ops->log_read_and_clear(vdev_of(), IOVA, NR_PAGES * PAGE_SIZE, NULL))
		abort();
}

/* The copy is that of log_start(). What was written unseen makes every page dirty once. */
static int first_copy(void)
{
	int page, missing;

	memset(named, true, sizeof(named));
	missing = sync_copy();
	for (page = 0; page < NR_PAGES; page++)
		named[page] = pins[page];
	return missing;
}
