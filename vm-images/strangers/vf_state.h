/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state of a virtual function that exists in software only, and the record in which it is
 * saved. What stands in for the driver of a physical function includes this.
 */
#ifndef LAB_VF_STATE_H
#define LAB_VF_STATE_H

#include <linux/build_bug.h>
#include <linux/crc32.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <linux/types.h>

#define VF_STATE_MAGIC		0x5446564cU
#define VF_STATE_VERSION	1
/* Neither a power of two nor a multiple of a page: edges shall be met in odd places. */
#define VF_STATE_WORDS		2749

/*
 * The record, all little endian:
 *
 *   0  magic
 *   4  version
 *   8  length of the whole record
 *  12  CRC-32 of the words
 *  16  the words
 */
struct vf_record_head {
	__le32 magic;
	__le32 version;
	__le32 length;
	__le32 crc;
};

struct vf_record {
	struct vf_record_head head;
	__le32 words[VF_STATE_WORDS];
};

static_assert(sizeof(struct vf_record_head) == 16);
static_assert(sizeof(struct vf_record) == 16 + 4 * VF_STATE_WORDS);

/* What the function is after a reset; each has a state of its own. */
static inline void vf_state_reset(struct vf_record *state, u32 number)
{
	u32 word = 2654435761U * (number + 1);
	unsigned int i;

	for (i = 0; i < VF_STATE_WORDS; i++) {
		word = word * 1664525 + 1013904223;
		state->words[i] = cpu_to_le32(word);
	}
	state->head.magic = cpu_to_le32(VF_STATE_MAGIC);
	state->head.version = cpu_to_le32(VF_STATE_VERSION);
	state->head.length = cpu_to_le32(sizeof(*state));
	state->head.crc = cpu_to_le32(crc32_le(~0, (u8 *)state->words, sizeof(state->words)));
}

/* Tell whether the head of a record is one that can be loaded. */
static inline bool vf_head_fits(const struct vf_record_head *head)
{
	return head->magic == cpu_to_le32(VF_STATE_MAGIC) &&
	       head->version == cpu_to_le32(VF_STATE_VERSION) &&
	       head->length == cpu_to_le32(sizeof(struct vf_record));
}

/* Take over a record of @size bytes, or change nothing. */
static inline int vf_state_load(struct vf_record *state, const struct vf_record *record,
				size_t size)
{
	if (size != sizeof(*record) || !vf_head_fits(&record->head))
		return -EINVAL;
	if (le32_to_cpu(record->head.crc) !=
	    crc32_le(~0, (const u8 *)record->words, sizeof(record->words)))
		return -EINVAL;
	memcpy(state, record, sizeof(*state));
	return 0;
}

#endif /* LAB_VF_STATE_H */
