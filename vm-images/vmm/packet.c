// SPDX-License-Identifier: GPL-2.0-only
/*
 * A packet: the Ethernet header, its number (4 bytes), the length of the filling (2 bytes), the
 * filling, which follows from the number, and a CRC-32 of all behind the header. All of it is in
 * network order. conformance/vmm/inside/packets.py is the same for the other end.
 */
#include <string.h>

#include "packet.h"

#define HEADER 14
#define NUMBER 14
#define LENGTH 18
#define FILLING 20
#define CHECK 4
#define MULTICAST 1		/* in the first byte of an address */
#define LEAST 60		/* bytes that a frame has on the wire, without its own sum */

static const uint8_t protocol[] = { 0x88, 0xb5 };	/* for local experiments, IEEE 802 */

static uint32_t crc(const uint8_t *at, size_t length)
{
	static uint32_t table[256];
	uint32_t sum = ~0u;

	if (!table[1])
		for (uint32_t index = 0; index < 256; index++) {
			uint32_t value = index;

			for (int bit = 0; bit < 8; bit++)
				value = value & 1 ? value >> 1 ^ 0xedb88320 : value >> 1;
			table[index] = value;
		}
	while (length--)
		sum = sum >> 8 ^ table[(sum ^ *at++) & 0xff];
	return ~sum;
}

static void put(uint8_t *at, uint32_t value)
{
	for (int byte = 0; byte < 4; byte++)
		at[byte] = value >> (24 - 8 * byte);
}

static uint32_t get(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

static size_t filling(uint32_t number)
{
	return 40 + number * 37 % 1000;
}

size_t packet_make(uint8_t *at, const uint8_t *to, const uint8_t *from, uint32_t number)
{
	size_t length = filling(number);

	memcpy(at, to, ADDRESS);
	memcpy(at + ADDRESS, from, ADDRESS);
	memcpy(at + 2 * ADDRESS, protocol, sizeof(protocol));
	put(at + NUMBER, number);
	at[LENGTH] = length >> 8;
	at[LENGTH + 1] = length;
	for (size_t index = 0; index < length; index++)
		at[FILLING + index] = number + 7 * index;
	put(at + FILLING + length, crc(at + HEADER, FILLING - HEADER + length));
	return FILLING + length + CHECK;
}

void tally_take(struct tally *tally, const uint8_t *at, size_t length)
{
	uint32_t number;
	size_t filled;

	if (length && at[0] & MULTICAST)
		return;
	if (length < LEAST) {
		tally->corrupted++;
		return;
	}
	number = get(at + NUMBER);
	filled = at[LENGTH] << 8 | at[LENGTH + 1];
	if (memcmp(at + 2 * ADDRESS, protocol, sizeof(protocol)) ||
	    number >= PACKET_NUMBERS || filled != filling(number) ||
	    length != FILLING + filled + CHECK ||
	    get(at + FILLING + filled) != crc(at + HEADER, FILLING - HEADER + filled)) {
		tally->corrupted++;
		return;
	}
	if (tally->seen[number / 8] & 1 << number % 8) {
		tally->doubled++;
		return;
	}
	tally->seen[number / 8] |= 1 << number % 8;
	tally->received++;
}
