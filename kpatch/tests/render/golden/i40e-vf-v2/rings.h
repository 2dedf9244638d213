/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Intel Ethernet 700 series virtual function: rings of descriptors and what is pinned of them
 *
 * Generated from i40e-vf.toml; edit that file or the templates, not this one.
 */
#ifndef I40E_VF_RINGS_H
#define I40E_VF_RINGS_H

#include "i40e_vf.h"

/**
 * struct i40e_vf_ring_kind - one or more alike rings
 * @name: what they are
 * @offsets: registers of the first one, but for its tail
 * @nr_offsets: number of @offsets
 * @bar: BAR that holds the registers
 * @count: how many there are
 * @stride: bytes from the registers of one to those of the next
 * @tail: offset of the register that is written to post descriptors
 * @tail_mask: its bits
 * @known: the driver knows where the ring is, and the members below are valid
 * @base: offset of the register with the low half of the address
 * @base_mask: its bits
 * @base_high: offset of the register with the high half
 * @length: offset of the register with the length
 * @length_mask: its bits
 * @length_unit: what a descriptor adds to the length
 * @head: offset of the register with the first descriptor that is not done
 * @head_mask: its bits
 * @enable: offset of the register that enables the queue
 * @enable_mask: its bits
 * @descriptor_size: bytes, a power of two
 * @buffers: descriptors have a buffer, and the members below are valid
 * @low: the 32-bit word of a descriptor that has the low half of its address
 * @high: the one with the high half
 * @done: the one that says that a descriptor is done
 * @done_mask: its bits
 * @size: bytes of a buffer, if no register says more
 * @size_reg: offset of the register with the size
 * @size_mask: its bits, 0 if there is none
 * @size_unit: bytes for each step of the field
 */
struct i40e_vf_ring_kind {
	const char *name;
	const u32 *offsets;
	unsigned int nr_offsets;
	u8 bar;
	u32 count;
	u32 stride;
	u32 tail;
	u32 tail_mask;
	bool known;
	u32 base;
	u32 base_mask;
	u32 base_high;
	u32 length;
	u32 length_mask;
	u32 length_unit;
	u32 head;
	u32 head_mask;
	u32 enable;
	u32 enable_mask;
	u32 descriptor_size;
	bool buffers;
	u32 low;
	u32 high;
	u32 done;
	u32 done_mask;
	u32 size;
	u32 size_reg;
	u32 size_mask;
	u32 size_unit;
};

/**
 * struct i40e_vf_ring_now - what the registers of a ring say
 * @enabled: the queue runs, and the ring has descriptors
 * @strange: it is not what the description says, and the rest is not valid
 * @base: address of the first descriptor
 * @length: number of descriptors
 * @head: the first one that is not done
 * @tail: the first one that is not posted
 * @size: bytes of a buffer at most
 */
struct i40e_vf_ring_now {
	bool enabled;
	bool strange;
	u64 base;
	u32 length;
	u32 head;
	u32 tail;
	u32 size;
};

/* pins.c */
int i40e_vf_rings_doubt(struct i40e_vf_device *xdev, const char *name, const char *why,
			int err);
int i40e_vf_ring_follow(struct i40e_vf_device *xdev, const struct i40e_vf_ring_kind *kind,
			struct i40e_vf_ring *ring, const struct i40e_vf_ring_now *now,
			bool fresh);
int i40e_vf_ring_post(struct i40e_vf_device *xdev, const struct i40e_vf_ring_kind *kind,
		      struct i40e_vf_ring *ring, u32 tail, bool fresh);
void i40e_vf_ring_log(struct i40e_vf_device *xdev, const struct i40e_vf_ring *ring);
void i40e_vf_ring_drop(struct i40e_vf_device *xdev, struct i40e_vf_ring *ring);
void i40e_vf_ring_unmap(struct i40e_vf_device *xdev, const struct i40e_vf_ring_kind *kind,
			struct i40e_vf_ring *ring, const struct i40e_vf_range *range);

#endif /* I40E_VF_RINGS_H */
