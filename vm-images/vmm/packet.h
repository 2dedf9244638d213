/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbered packets: how they are made, and how those that come are counted. */
#ifndef PACKET_H
#define PACKET_H

#include <stddef.h>
#include <stdint.h>

#define ADDRESS 6		/* bytes of a MAC address */
#define PACKET_MOST 1100	/* bytes that a packet may have */
#define PACKET_NUMBERS 65536	/* numbers are below */

struct tally {
	uint8_t seen[PACKET_NUMBERS / 8];
	uint32_t received;	/* each number once */
	uint32_t doubled;
	uint32_t corrupted;
};

/* Writes a packet and returns its length. */
size_t packet_make(uint8_t *at, const uint8_t *to, const uint8_t *from, uint32_t number);

/* Counts what has come; what is sent to many, as by a kernel, is none of ours. */
void tally_take(struct tally *tally, const uint8_t *at, size_t length);

#endif
