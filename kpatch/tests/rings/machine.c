// SPDX-License-Identifier: GPL-2.0-only
/*
 * Migrations of a device with an admin receive queue, around the driver's rings.c and
 * pins.c. The device fills buffers whenever the driver lets it: at each access to a
 * register. Memory is copied by the bitmap that the pins make, in rounds; or, with
 * LOGGED and the driver's dma_log.c, by the driver's own log, which is right also
 * where the driver is unsure.
 *
 * Usage: machine TURNS MODE. MODE "plain": a well-behaved guest; "wild": one that
 * unmaps memory, writes tails at random and moves the ring while it is in use;
 * "blind": plain, and writes go by the driver.
 *
 * Prints the pages that are missing in the bitmap or differ in the copy, the turns in
 * which the driver was unsure, those that had no memory, and the buffers filled.
 */

#include "i40e_vf.h"

#define NR_PAGES	64
#define RING_PAGES	8 /* what only rings are in */
#define IOVA		0x300000000ULL
#define BASE_HIGH	0x6000
#define BASE		0x6c00
#define TAIL		0x7000
#define HEAD		0x7400
#define LENGTH		0x8000
#define ENABLE		0x80000000U
#define DESCRIPTOR	32

static struct page memory[NR_PAGES], copy[NR_PAGES];
static bool mapped[NR_PAGES], dirty[NR_PAGES], written[NR_PAGES], named[NR_PAGES];
static bool reported[NR_PAGES];
static int pins[NR_PAGES];
static bool narrowed; /* VFIO reports nothing but what is pinned */
static u32 registers[0x10000 / 4];
static struct i40e_vf_device device;
static bool running, wild, blind;
static int allocations; /* until one fails; 0: none does */
static unsigned long filled;

void *kvcalloc(size_t n, size_t size, int flags)
{
	(void)flags;
	if (allocations && !--allocations)
		return NULL;
	return calloc(n, size);
}

static unsigned int page_of(u64 iova)
{
	u64 page = (iova - IOVA) / PAGE_SIZE;

	return iova >= IOVA && page < NR_PAGES && mapped[page] ? page : NR_PAGES;
}

static unsigned long asked; /* calls that pin */

int vfio_pin_pages(struct vfio_device *vdev, u64 iova, int npage, int prot, struct page **pages)
{
	int i;

	(void)vdev;
	(void)prot;
	if (npage <= 0 || iova % PAGE_SIZE)
		abort();
	asked++;
	if (npage > VFIO_PIN_PAGES_MAX_ENTRIES)
		return -E2BIG;
	for (i = 0; i < npage; i++)
		if (page_of(iova + i * PAGE_SIZE) == NR_PAGES)
			return -EINVAL;
	for (i = 0; i < npage; i++) {
		unsigned int page = page_of(iova + i * PAGE_SIZE);

		pins[page]++;
		narrowed = true;
		dirty[page] = true;
		pages[i] = &memory[page];
	}
	return npage;
}

void vfio_unpin_pages(struct vfio_device *vdev, u64 iova, int npage)
{
	int i;

	(void)vdev;
	for (i = 0; i < npage; i++) {
		unsigned int page = page_of(iova + i * PAGE_SIZE);

		if (npage <= 0 || page == NR_PAGES || !pins[page]--)
			abort();
	}
}

static u32 *descriptor(u64 iova)
{
	return (u32 *)(memory[page_of(iova)].data + iova % PAGE_SIZE);
}

static void fail(void)
{
	registers[LENGTH / 4] &= ~ENABLE;
}

static void fill(void)
{
	u32 entries = registers[LENGTH / 4] & 0x3ff;
	u32 head = registers[HEAD / 4];
	u64 at = registers[BASE / 4] | (u64)registers[BASE_HIGH / 4] << 32;
	u64 iova, end;
	u32 *entry;
	int i;

	at += (u64)head * DESCRIPTOR;
	if (page_of(at) == NR_PAGES)
		return fail();
	entry = descriptor(at);
	iova = (u64)entry[6] << 32 | entry[7];
	end = iova + PAGE_SIZE - 1;
	if (page_of(iova) == NR_PAGES || page_of(end) == NR_PAGES)
		return fail();
	for (i = 0; i < 4096; i++)
		memory[page_of(iova + i)].data[(iova + i) % PAGE_SIZE] = filled + i;
	written[page_of(iova)] = true;
	written[page_of(end)] = true;
	memset(entry, 0, DESCRIPTOR);
	entry[0] = 0x1203;
	written[page_of(at)] = true;
	filled++;
	registers[HEAD / 4] = (head + 1) % entries;
}

static void let(int most)
{
	while (most-- > 0) {
		u32 entries = registers[LENGTH / 4] & 0x3ff;
		u32 head = registers[HEAD / 4], tail = registers[TAIL / 4];

		if (!running || !(registers[LENGTH / 4] & ENABLE) || head == tail ||
		    head >= entries || tail >= entries)
			return;
		fill();
	}
}

void i40e_vf_lock_registers(struct i40e_vf_device *xdev)
{
	let(rand() % 3);
}

void i40e_vf_unlock_registers(struct i40e_vf_device *xdev)
{
	let(rand() % 2);
}

bool i40e_vf_registers_enabled(struct i40e_vf_device *xdev)
{
	return true;
}

u32 i40e_vf_kept(struct i40e_vf_device *xdev, u8 bar, u32 offset)
{
	return 0; /* this device is never stopped */
}

u32 i40e_vf_read_register(struct i40e_vf_device *xdev, u8 bar, u32 offset)
{
	if (bar)
		abort();
	let(rand() % 2);
	return registers[offset / 4];
}

ssize_t vfio_pci_core_write(struct vfio_device *vdev, const char *buf, size_t count, loff_t *ppos)
{
	(void)vdev;
	memcpy((char *)registers + *ppos, buf, count);
	let(rand() % 8);
	return count;
}

/* Writes registers as the monitor does for its guest. */
static void put_bytes(loff_t pos, const char *buf, size_t count)
{
	if (!blind && i40e_vf_rings_watch(&device, pos, count))
		i40e_vf_rings_write(&device, buf, count, &pos);
	else
		vfio_pci_core_write(NULL, buf, count, &pos);
}

static void put_whole(u32 offset, u32 value)
{
	put_bytes(offset, (const char *)&value, sizeof(value));
}

/* In one access or in two. */
static void put(u32 offset, u32 value)
{
	const char *buf = (const char *)&value;

	if (rand() % 4) {
		put_whole(offset, value);
	} else {
		put_bytes(offset, buf, 2);
		put_bytes(offset + 2, buf + 2, 2);
	}
}

#include "guest.h"
static int sync_copy(void);

#ifdef LOGGED
#include "log.h"
#else
#include "pins.h"
#endif

/* Copies what the bitmap has; what the guest's processor writes counts as known. */
static int sync_copy(void)
{
	int missing = 0, page;

	look();
	for (page = 0; page < NR_PAGES; page++) {
		bool known = reported[page] || page < RING_PAGES;

		missing += written[page] && !known;
		if (!wild && reported[page] && page >= RING_PAGES && !named[page])
			missing++; /* a page that no descriptor named */
		if (known)
			copy[page] = memory[page];
		written[page] = false;
	}
	return missing;
}

static int different(void)
{
	int found = 0, page;

	for (page = 0; page < NR_PAGES; page++)
		found += !!memcmp(&copy[page], &memory[page], sizeof(copy[page]));
	return found;
}

static int migrate(void)
{
	int round, wrong = first_copy();

	for (round = 0; round < 30; round++) {
		take();
		post(rand() % 20);
		let(rand() % 20);
		if (wild && !(rand() % 8))
			misbehave();
		take();
		if (!(rand() % 10) && done == next)
			start();
		if (!(rand() % 3))
			wrong += trusted() ? sync_copy() : 0;
	}
	stop();
	if (trusted())
		wrong += sync_copy() + different();
	return wrong;
}

int main(int argc, char **argv)
{
	const u32 lengths[] = { 2, 3, 32, 100, 255 };
	int ret, turn, page, wrong = 0, unsure = 0, starved = 0;
	u64 doubts = 0;

	if (argc != 3)
		return 2;
	wild = !strcmp(argv[2], "wild");
	blind = !strcmp(argv[2], "blind");
	for (turn = 0; turn < atoi(argv[1]); turn++) {
		srand(turn + 1);
		memset(mapped, true, sizeof(mapped));
		memset(named, 0, sizeof(named));
		if (wild && !(rand() % 8))
			mapped[rand() % RING_PAGES] = false;
		narrowed = false;
		device.rings.narrowed = false; /* it was bound anew */
		length = lengths[rand() % ARRAY_SIZE(lengths)];
		running = true;
		log_start();
		start();
		post(rand() % 40);
		let(rand() % 10);
		take();

		allocations = wild && !(rand() % 4) ? 1 + rand() % 3 : 0;
		ret = begin();
		allocations = 0;
		if (ret && (ret != -ENOMEM || device.rings.following))
			abort();
		starved += !!ret;
		wrong += ret ? 0 : migrate();
		unsure += device.rings.unsure;
		if (device.rings.unsure && device.rings.doubts == doubts)
			abort(); /* what debugfs counts */
		doubts = device.rings.doubts;
		log_stop();
		if (narrowed && !device.rings.narrowed)
			abort(); /* in doubt it would rely on a bitmap of all pages */

		i40e_vf_rings_close(&device);
		for (page = 0; page < NR_PAGES; page++)
			if (pins[page])
				abort();
	}
	if ((!blind && !asked) || (!wild && doubts))
		abort();
	printf("%d %d %d %lu\n", wrong, unsure, starved, filled);
	return 0;
}
