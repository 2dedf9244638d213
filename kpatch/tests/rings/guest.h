/* SPDX-License-Identifier: GPL-2.0-only */
/* The part of machine.c that is the guest's driver. */

static u32 length, next, done;
static u64 buffers[0x400];

static void start(void)
{
	put(LENGTH, 0);
	put(HEAD, 0);
	put(TAIL, 0);
	put(BASE, (u32)IOVA);
	put(BASE_HIGH, IOVA >> 32);
	put(LENGTH, ENABLE | length);
	next = 0;
	done = 0;
}

static u64 entry_of(u32 index)
{
	return IOVA + (u64)index * DESCRIPTOR;
}

static void take(void)
{
	while (done != next && page_of(entry_of(done)) != NR_PAGES && *descriptor(entry_of(done)) & 1)
		done = (done + 1) % length;
}

static bool in_use(unsigned int page)
{
	u32 i;

	for (i = done; i != next; i = (i + 1) % length) {
		unsigned int other = (buffers[i] - IOVA) / PAGE_SIZE;

		if (page + 1 >= other && page <= other + 1)
			return true;
	}
	return false;
}

static void post(int most)
{
	int tries = 200;

	while (most > 0 && (next + 1) % length != done && tries-- > 0) {
		unsigned int page = RING_PAGES + rand() % (NR_PAGES - RING_PAGES - 10);
		u64 iova = IOVA + page * PAGE_SIZE + (rand() % 2 ? 0 : rand() % PAGE_SIZE & ~3UL);
		u32 *entry;

		if (in_use(page) || page_of(entry_of(next)) == NR_PAGES)
			continue;
		entry = descriptor(entry_of(next));
		memset(entry, 0, DESCRIPTOR);
		entry[0] = 0x1200;
		entry[6] = iova >> 32;
		entry[7] = (u32)iova;
		buffers[next] = iova;
		next = (next + 1) % length;
		named[page] = true;
		named[page + 1] = true;
		most--;
	}
	/* The tail by one access, as guests write it: in two it would be elsewhere between. */
	put_whole(TAIL, next);
}

static void unmap_or_map(unsigned int page)
{
	if (mapped[page]) {
		i40e_vf_dma_unmap(&device.core_device.vdev, IOVA + page * PAGE_SIZE, PAGE_SIZE);
		if (pins[page])
			abort();
	}
	mapped[page] = !mapped[page];
}

/* All up to the last address that there is. */
static void unmap_all(void)
{
	unsigned int page;

	i40e_vf_dma_unmap(&device.core_device.vdev, IOVA, -IOVA);
	for (page = 0; page < NR_PAGES; page++) {
		if (pins[page])
			abort();
		mapped[page] = false;
	}
}

static void misbehave(void)
{
	switch (rand() % 8) {
	case 0:
		unmap_or_map(rand() % NR_PAGES);
		break;
	case 1:
		put(TAIL, length + rand() % 3);
		break;
	case 2:
		put(TAIL, rand() % length);
		break;
	case 3:
		put(BASE, (u32)IOVA + rand() % 3 * PAGE_SIZE);
		break;
	case 4:
		put(LENGTH, ENABLE | (1 + rand() % length));
		break;
	case 5:
		put(HEAD, rand() % length);
		break;
	case 6:
		unmap_all();
		break;
	default:
		put(LENGTH, registers[LENGTH / 4] & ~ENABLE);
		put(LENGTH, registers[LENGTH / 4] | ENABLE);
		break;
	}
}
