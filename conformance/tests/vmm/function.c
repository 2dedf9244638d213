// SPDX-License-Identifier: GPL-2.0-only
/*
 * The innermost guest's driver (vm-images/vmm/net.c) with a model of its function.
 *
 * The function looks at its registers whenever the driver does. After a third of the steps it is
 * migrated: it is switched off, and with a fault, which the first argument names, something of it
 * is lost. Prints what each end has counted then and in the end, as "net count" does.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"
#include "packet.h"

#define MAILBOX (0xc40 / 4)
#define MESSAGE (0x800 / 4)
#define RECEIVE (0x2800 / 4)
#define TRANSMIT (0x3800 / 4)
#define LOW 0
#define HIGH 1
#define LENGTH 2
#define HEAD 4
#define TAIL 6
#define CONTROL 10
#define ENABLE 0x2000000
#define STEPS 3000

static const uint8_t guest[] = { 2, 0, 0, 0, 0, 1 }, peer[] = { 2, 0, 0, 0, 0, 2 };
static uint32_t registers[0x4000 / 4];
static struct tally tally;
static const char *fault;
static int on, sent;

struct descriptor {
	uint64_t address;
	uint32_t low, high;
};

int clock_gettime(clockid_t clock, struct timespec *now)
{
	static long long time;

	(void)clock;
	time += 1000000;
	*now = (struct timespec){ time / 1000000000, time % 1000000000 };
	return 0;
}

int usleep(useconds_t time)
{
	(void)time;
	return 0;
}

void answer(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

uint64_t physical(const volatile void *address)
{
	return (uintptr_t)address;
}

void *memory(size_t pages)
{
	return calloc(pages, PAGE);
}

static struct descriptor *head(const uint32_t *ring)
{
	uint64_t base = (uint64_t)ring[HIGH] << 32 | ring[LOW];

	return (struct descriptor *)base + ring[HEAD];
}

static void advance(uint32_t *ring)
{
	ring[HEAD] = (ring[HEAD] + 1) % (ring[LENGTH] / sizeof(struct descriptor));
}

static void look(void)
{
	uint32_t *ring = &registers[TRANSMIT];

	if (registers[MAILBOX] & 1) {	/* a RESET */
		on = 1;
		registers[MESSAGE] = 0x80000001;
		memcpy(&registers[MESSAGE + 1], guest, sizeof(guest));
		registers[MAILBOX] = 0x10;
	}
	while (on && ring[CONTROL] & ENABLE && ring[HEAD] != ring[TAIL]) {
		struct descriptor *slot = head(ring);

		tally_take(&tally, (uint8_t *)slot->address, slot->low & 0xffff);
		if (!strcmp(fault, "twice"))
			tally_take(&tally, (uint8_t *)slot->address, slot->low & 0xffff);
		slot->high |= 1;
		advance(ring);
	}
}

volatile uint32_t *place(unsigned int bar, unsigned long offset)
{
	look();
	return bar || offset >= sizeof(registers) ? NULL : &registers[offset / 4];
}

static void deliver(void)
{
	uint32_t *ring = &registers[RECEIVE];
	uint8_t frame[PACKET_MOST];
	size_t length = packet_make(frame, guest, peer, sent++);

	if (!on || !(ring[CONTROL] & ENABLE) || ring[HEAD] == ring[TAIL])
		return;
	struct descriptor *slot = head(ring);

	memcpy((uint8_t *)slot->address, frame, length);
	if (!strcmp(fault, "flip") && sent % 100 == 0)
		((uint8_t *)slot->address)[30] ^= 1;
	if (!strcmp(fault, "no data") && sent % 100 == 0)
		memset((uint8_t *)slot->address, 0, length);
	*slot = (struct descriptor){ 0, 3, length };
	advance(ring);
}

static void count(void)
{
	printf("%u %u %u ", tally.received, tally.doubled, tally.corrupted);
	net_serve("net count");
}

int main(int words, char **word)
{
	fault = words > 1 ? word[1] : "";
	net_serve("net start 02:00:00:00:00:02");
	for (int step = 0; step < STEPS; step++) {
		if (step == STEPS / 3) {
			count();
			on = 0;
			if (!strcmp(fault, "TDH"))
				registers[TRANSMIT + HEAD] = 0;
			if (!strcmp(fault, "RDH"))
				registers[RECEIVE + HEAD] = 0;
			if (!strcmp(fault, "RDT"))
				registers[RECEIVE + TAIL] = registers[RECEIVE + HEAD];
		}
		if (step % 10 == 0)
			deliver();
		net_step();
		look();
	}
	net_serve("net rest");
	for (int step = 0; step < STEPS; step++)
		net_step();
	count();
	return 0;
}
