// SPDX-License-Identifier: GPL-2.0-only
/*
 * A poll-mode driver for the virtual function of the 82576, which exchanges numbered packets.
 *
 * It takes no interrupts, and reads no register while packets flow: what the function has done it
 * sees in memory. So nothing hides a function that came out of a migration with other rings: what
 * it sends twice, or writes elsewhere, is found in the count.
 *
 * What the physical function has switched on for this one does not migrate. As igbvf does when its
 * transmit queue hangs, the driver then sends RESET to the physical function; the rings stay as
 * they are.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"
#include "packet.h"

#define V2PMAILBOX 0xc40
#define MAILBOX_REQ 0x1
#define MAILBOX_ACK 0x2
#define MAILBOX_VFU 0x4
#define MAILBOX_PFSTS 0x10
#define VMBMEM 0x800
#define RESET 0x1
#define RESET_DONE 0x80000001
#define CLEAR_TO_SEND 0x20000000

#define RECEIVE 0x2800
#define TRANSMIT 0x3800
#define BASE_LOW 0x00
#define BASE_HIGH 0x04
#define LENGTH 0x08
#define SRRCTL 0x0c		/* of the receive ring only */
#define HEAD 0x10
#define TAIL 0x18
#define CONTROL 0x28		/* RXDCTL, TXDCTL */
#define WRITE_BACK_LOW 0x38	/* of the transmit ring only */
#define WRITE_BACK_HIGH 0x3c

#define ENABLE 0x2000000
#define ONE_BUFFER 0x2000000	/* advanced descriptors */
#define KILOBYTES 2
#define DONE 0x1
#define WHOLE 0x2		/* the packet ends in this descriptor */
#define SEND 0x2b300000		/* an advanced data descriptor, whole, to be reported */

#define SLOTS 64
#define BUFFER 2048
#define TRIES 5
#define PACE 20			/* milliseconds between two packets */
#define HANGS 1000		/* milliseconds until a packet that was not sent is noticed */
#define MAILBOX_WAIT 3000

struct descriptor {
	uint64_t address;
	uint32_t command, status;	/* when it is done: status and length of what was received */
};

struct ring {
	volatile struct descriptor *slots;
	uint8_t *buffers;
	uint64_t addresses[SLOTS];
	unsigned int next, tail;	/* to be looked at, to be given to the function */
};

static struct ring in, out;
static struct tally tally;
static uint8_t own[ADDRESS], peer[ADDRESS];
static uint32_t sent, announced;
static int running, sending;
static int64_t sent_at, moved_at;

static int64_t now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void set(unsigned long offset, uint32_t value)
{
	__sync_synchronize();	/* the function must see memory as it was left */
	*place(0, offset) = value;
}

static int mailbox(uint32_t wanted, uint32_t write)
{
	const int64_t end = now() + MAILBOX_WAIT;

	while (now() < end) {
		if (write)
			set(V2PMAILBOX, write);
		if (*place(0, V2PMAILBOX) & wanted)
			return 1;
		usleep(1000);
	}
	return 0;
}

/* Has the physical function switch this one on, and tell its address. */
static int announce(void)
{
	volatile uint32_t *message = place(0, VMBMEM);
	uint32_t said[3];

	announced++;
	(void)*place(0, V2PMAILBOX);	/* what was signalled before is no reply */
	if (!mailbox(MAILBOX_VFU, MAILBOX_VFU))
		return 0;
	message[0] = RESET;
	set(V2PMAILBOX, MAILBOX_REQ);
	if (!mailbox(MAILBOX_PFSTS, 0) || !mailbox(MAILBOX_VFU, MAILBOX_VFU))
		return 0;
	for (int word = 0; word < 3; word++)
		said[word] = message[word];
	set(V2PMAILBOX, MAILBOX_ACK);
	if ((said[0] & ~CLEAR_TO_SEND) != RESET_DONE)
		return 0;
	memcpy(own, &said[1], ADDRESS);
	return 1;
}

static int prepare(struct ring *ring, unsigned long at)
{
	if (!ring->slots) {
		ring->slots = memory(1);
		ring->buffers = memory(SLOTS * BUFFER / PAGE);
		if (!ring->slots || !ring->buffers)
			return 0;
	}
	ring->next = ring->tail = 0;
	for (unsigned int slot = 0; slot < SLOTS; slot++) {
		ring->addresses[slot] = physical(ring->buffers + slot * BUFFER);
		ring->slots[slot] = (struct descriptor){ ring->addresses[slot], 0, 0 };
	}
	set(at + CONTROL, 0);
	set(at + BASE_LOW, physical(ring->slots));
	set(at + BASE_HIGH, physical(ring->slots) >> 32);
	set(at + LENGTH, SLOTS * sizeof(struct descriptor));
	set(at + HEAD, 0);
	set(at + TAIL, 0);
	return 1;
}

static void start(void)
{
	int done = 0;

	memset(&tally, 0, sizeof(tally));
	sent = announced = 0;
	for (int tries = 0; tries < TRIES && !done; tries++)
		done = announce();
	if (!done) {
		answer("failed the physical function does not answer a RESET");
		return;
	}
	announced = 0;
	if (!prepare(&in, RECEIVE) || !prepare(&out, TRANSMIT)) {
		answer("failed no memory");
		return;
	}
	set(RECEIVE + SRRCTL, ONE_BUFFER | KILOBYTES);
	set(TRANSMIT + WRITE_BACK_LOW, 0);
	set(TRANSMIT + WRITE_BACK_HIGH, 0);
	set(RECEIVE + CONTROL, ENABLE);
	set(TRANSMIT + CONTROL, ENABLE);
	in.tail = SLOTS - 1;
	set(RECEIVE + TAIL, in.tail);
	sent_at = moved_at = now();
	running = sending = 1;
	answer("ok %02x:%02x:%02x:%02x:%02x:%02x", own[0], own[1], own[2], own[3], own[4], own[5]);
}

static void receive(void)
{
	unsigned int tail = in.tail;

	for (;;) {
		volatile struct descriptor *slot = &in.slots[in.next];
		uint8_t *buffer = in.buffers + in.next * BUFFER;

		if (!(slot->command & DONE))
			break;
		if (slot->command & WHOLE)
			tally_take(&tally, buffer, slot->status & 0xffff);
		else
			tally.corrupted++;
		memset(buffer, 0, BUFFER);	/* what stays there must not be taken for another */
		*slot = (struct descriptor){ in.addresses[in.next], 0, 0 };
		in.tail = (in.tail + 1) % SLOTS;
		in.next = (in.next + 1) % SLOTS;
	}
	if (in.tail != tail)
		set(RECEIVE + TAIL, in.tail);
}

static void send(void)
{
	unsigned int after = (out.tail + 1) % SLOTS;
	size_t length;

	while (out.next != out.tail && out.slots[out.next].status & DONE) {
		out.next = (out.next + 1) % SLOTS;
		moved_at = now();
	}
	if (out.next == out.tail)
		moved_at = now();
	else if (now() > moved_at + HANGS) {
		announce();
		set(TRANSMIT + TAIL, out.tail);
		moved_at = now();
	}
	if (!sending || after == out.next || sent == PACKET_NUMBERS || now() < sent_at + PACE)
		return;
	length = packet_make(out.buffers + out.tail * BUFFER, peer, own, sent++);
	out.slots[out.tail] = (struct descriptor){ out.addresses[out.tail], SEND | length,
						   length << 14 };
	out.tail = after;
	set(TRANSMIT + TAIL, out.tail);
	sent_at = now();
}

int net_on(void)
{
	return running;
}

void net_step(void)
{
	receive();
	send();
}

int net_serve(const char *line)
{
	if (sscanf(line, "net start %hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &peer[0], &peer[1], &peer[2],
		   &peer[3], &peer[4], &peer[5]) == ADDRESS) {
		if (place(0, TRANSMIT + WRITE_BACK_HIGH))
			start();
		else
			answer("failed the function has no transmit ring");
	} else if (!strcmp(line, "net rest")) {
		sending = 0;	/* what comes is still received, and what was not sent still is */
		answer("ok");
	} else if (!strcmp(line, "net stop")) {
		if (running) {
			set(RECEIVE + CONTROL, 0);
			set(TRANSMIT + CONTROL, 0);
		}
		running = 0;
		answer("ok");
	} else if (!strcmp(line, "net count")) {
		answer("ok %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %u", sent,
		       tally.received, tally.doubled, tally.corrupted, announced,
		       (out.tail - out.next) % SLOTS);
	} else {
		return 0;
	}
	return 1;
}
