/* SPDX-License-Identifier: GPL-2.0-only */
/* The part of machine.c that has the bitmap that VFIO makes of what is pinned. */

static void log_start(void)
{
}

static void log_stop(void)
{
}

static int begin(void)
{
	int ret;

	mutex_lock(&device.rings.lock);
	ret = i40e_vf_rings_begin(&device);
	mutex_unlock(&device.rings.lock);
	return ret;
}

static void stop(void)
{
	running = false;
}

static bool trusted(void)
{
	return !device.rings.unsure;
}

/* What is pinned stays dirty. */
static void look(void)
{
	int page;

	for (page = 0; page < NR_PAGES; page++) {
		reported[page] = dirty[page];
		dirty[page] = pins[page];
	}
}

/* The user copies all of memory once it has begun to save. */
static int first_copy(void)
{
	int page;

	for (page = 0; page < NR_PAGES; page++) {
		dirty[page] = pins[page];
		named[page] |= pins[page];
		written[page] = false;
		copy[page] = memory[page];
	}
	return 0;
}
