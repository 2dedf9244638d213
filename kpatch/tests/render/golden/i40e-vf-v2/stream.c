// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel Ethernet 700 series virtual function: the migration stream
 *
 * Generated from i40e-vf.toml; edit that file or the templates, not this one.
 *
 * The stream is a sequence of frames, all integers little endian:
 *
 *	offset	size	content
 *	     0	   8	magic, "VFIOMIG1"
 *	     8	   2	version
 *	    10	   2	type: identity or state
 *	    12	   2	PCI vendor of the device
 *	    14	   2	PCI device of the device
 *	    16	   4	length of the payload in bytes
 *	    20	   4	CRC-32 of the frame, with this field as zero
 *	    24		payload
 *
 * An identity frame says whom the stream is for: its payload is the id of the
 * register layout and flags, both 4 bytes. One is offered in pre-copy, so
 * that a destination which the stream does not suit refuses it before the source stops.
 * The payload of a state frame is the id of the register layout, flags, both 4
 * bytes, and one 32-bit value for each register in the order of
 * i40e_vf_registers. Both driver and description can change, so a layout id
 * other than our own is refused. A flag says that an identity frame was taken by
 * the user ahead of it, so that the loss of it shows.
 *
 * A stream ends with its one state.
 *
 * A frame is checked when it is complete, its header as soon as that is. Nothing of
 * a stream is applied before all of it was checked.
 */

#include <linux/bits.h>
#include <linux/crc32.h>

#include "i40e_vf.h"

#define I40E_VF_MAGIC		0x3147494d4f494656ULL
#define I40E_VF_VERSION		2
#define I40E_VF_LAYOUT_ID		0x6dcc1f1

enum i40e_vf_frame_type {
	I40E_VF_FRAME_IDENTITY = 1,
	I40E_VF_FRAME_STATE = 2,
};

/* Behind a state of an odd number of values a frame has the alignment of a value. */
struct i40e_vf_frame {
	__le64 magic;
	__le16 version;
	__le16 type;
	__le16 vendor;
	__le16 device;
	__le32 length;
	__le32 crc;
} __packed __aligned(4);

static_assert(sizeof(struct i40e_vf_frame) == 24);

struct i40e_vf_identity {
	__le32 layout;
	__le32 flags; /* none is defined */
};

static_assert(sizeof(struct i40e_vf_identity) == 8);

/* Flags of a state frame */
#define I40E_VF_AFTER_IDENTITY	BIT(0)

struct i40e_vf_state {
	__le32 layout;
	__le32 flags;
	__le32 values[I40E_VF_NR_VALUES];
};

static_assert(sizeof(struct i40e_vf_state) == 8 + 4 * I40E_VF_NR_VALUES);

#define I40E_VF_STREAM_SIZE \
	(2 * sizeof(struct i40e_vf_frame) + sizeof(struct i40e_vf_identity) + \
	 sizeof(struct i40e_vf_state))

static u32 i40e_vf_frame_crc(const struct i40e_vf_frame *frame, size_t length)
{
	struct i40e_vf_frame header = *frame;
	u32 crc;

	header.crc = 0;
	crc = crc32_le(~0, (const u8 *)&header, sizeof(header));
	return ~crc32_le(crc, (const u8 *)(frame + 1), length);
}

/* Adds a frame to the stream, whose payload is in place already. */
static void i40e_vf_seal_frame(struct i40e_vf_device *xdev, enum i40e_vf_frame_type type,
			       size_t length)
{
	struct i40e_vf_migration *mig = &xdev->migration;
	struct i40e_vf_frame *frame = (struct i40e_vf_frame *)(mig->stream + mig->length);
	struct pci_dev *pdev = xdev->core_device.pdev;

	frame->magic = cpu_to_le64(I40E_VF_MAGIC);
	frame->version = cpu_to_le16(I40E_VF_VERSION);
	frame->type = cpu_to_le16(type);
	frame->vendor = cpu_to_le16(pdev->vendor);
	frame->device = cpu_to_le16(pdev->device);
	frame->length = cpu_to_le32(length);
	frame->crc = cpu_to_le32(i40e_vf_frame_crc(frame, length));
	mig->length += sizeof(*frame) + length;
}

/* Begins the stream with an identity frame. */
void i40e_vf_send_identity(struct i40e_vf_device *xdev)
{
	struct i40e_vf_frame *frame = (struct i40e_vf_frame *)xdev->migration.stream;
	struct i40e_vf_identity *identity = (struct i40e_vf_identity *)(frame + 1);

	*identity = (struct i40e_vf_identity) {
		.layout = cpu_to_le32(I40E_VF_LAYOUT_ID),
	};
	i40e_vf_seal_frame(xdev, I40E_VF_FRAME_IDENTITY, sizeof(*identity));
}

/* Ends the stream with the state of a stopped device. */
void i40e_vf_send_state(struct i40e_vf_device *xdev, bool after_identity)
{
	const u32 flags = after_identity ? I40E_VF_AFTER_IDENTITY : 0;
	struct i40e_vf_migration *mig = &xdev->migration;
	struct i40e_vf_frame *frame = (struct i40e_vf_frame *)(mig->stream + mig->length);
	struct i40e_vf_state *state = (struct i40e_vf_state *)(frame + 1);
	u32 i;

	i40e_vf_device_save(xdev);
	state->layout = cpu_to_le32(I40E_VF_LAYOUT_ID);
	state->flags = cpu_to_le32(flags);
	for (i = 0; i < I40E_VF_NR_VALUES; i++)
		state->values[i] = cpu_to_le32(mig->values[i]);
	i40e_vf_seal_frame(xdev, I40E_VF_FRAME_STATE, sizeof(*state));
}

/* Is this the header of a frame that this device can take? */
static bool i40e_vf_header_valid(struct i40e_vf_device *xdev,
				 const struct i40e_vf_frame *frame)
{
	struct pci_dev *pdev = xdev->core_device.pdev;
	size_t length;

	switch (le16_to_cpu(frame->type)) {
	case I40E_VF_FRAME_IDENTITY:
		length = sizeof(struct i40e_vf_identity);
		break;
	case I40E_VF_FRAME_STATE:
		length = sizeof(struct i40e_vf_state);
		break;
	default:
		return false;
	}

	return frame->magic == cpu_to_le64(I40E_VF_MAGIC) &&
	       frame->version == cpu_to_le16(I40E_VF_VERSION) &&
	       frame->vendor == cpu_to_le16(pdev->vendor) &&
	       frame->device == cpu_to_le16(pdev->device) &&
	       frame->length == cpu_to_le32(length);
}

/*
 * Is a whole frame, of which the header is valid, as it was sent, and the registers
 * those of this driver? The payload of a state begins as that of an identity.
 */
static bool i40e_vf_frame_sound(const struct i40e_vf_frame *frame)
{
	const struct i40e_vf_identity *head = (const struct i40e_vf_identity *)(frame + 1);
	u32 known = 0;

	if (frame->type == cpu_to_le16(I40E_VF_FRAME_STATE))
		known = I40E_VF_AFTER_IDENTITY;

	return frame->crc == cpu_to_le32(i40e_vf_frame_crc(frame, le32_to_cpu(frame->length))) &&
	       head->layout == cpu_to_le32(I40E_VF_LAYOUT_ID) &&
	       !(le32_to_cpu(head->flags) & ~known);
}

static bool i40e_vf_take_identity(struct i40e_vf_migration *mig)
{
	mig->identified = true;
	mig->complete = false;
	return true;
}

static bool i40e_vf_take_state(struct i40e_vf_migration *mig,
			       const struct i40e_vf_state *state)
{
	u32 i;

	if (le32_to_cpu(state->flags) & I40E_VF_AFTER_IDENTITY && !mig->identified)
		return false;
	for (i = 0; i < I40E_VF_NR_VALUES; i++)
		mig->values[i] = le32_to_cpu(state->values[i]);
	mig->complete = true;
	return true;
}

/* Takes a whole frame that is sound. */
static bool i40e_vf_take_frame(struct i40e_vf_migration *mig,
			       const struct i40e_vf_frame *frame)
{
	if (frame->type == cpu_to_le16(I40E_VF_FRAME_IDENTITY))
		return i40e_vf_take_identity(mig);
	return i40e_vf_take_state(mig, (const struct i40e_vf_state *)(frame + 1));
}

/**
 * i40e_vf_stream_fits - check what was received of a stream until now
 * @xdev: the device, for its identity
 * @stream: the stream, from its first byte
 * @length: how much of it there is
 *
 * Return: whether its frames, and the header of one that is not complete yet, are
 * sound and meant for this device. What they say together is checked later.
 */
bool i40e_vf_stream_fits(struct i40e_vf_device *xdev, const u8 *stream, size_t length)
{
	const struct i40e_vf_frame *frame = (const struct i40e_vf_frame *)stream;

	while (length >= sizeof(*frame)) {
		size_t size;

		if (!i40e_vf_header_valid(xdev, frame))
			return false;
		size = sizeof(*frame) + le32_to_cpu(frame->length);
		if (length < size)
			break;
		if (!i40e_vf_frame_sound(frame))
			return false;
		frame = (const void *)frame + size;
		length -= size;
	}
	return true;
}

/*
 * Takes the values out of the received stream, which i40e_vf_stream_fits() has checked.
 * Two frames of a kind with a state are longer than a stream, and were not received.
 * Return: 0, or -EINVAL if it is not whole or has a frame where that does not belong.
 */
int i40e_vf_parse_stream(struct i40e_vf_migration *mig)
{
	size_t position = 0;

	mig->identified = false;
	mig->complete = false;
	while (position < mig->length) {
		const struct i40e_vf_frame *frame =
			(const struct i40e_vf_frame *)(mig->stream + position);
		const size_t room = mig->length - position;

		if (room < sizeof(*frame) ||
		    room - sizeof(*frame) < le32_to_cpu(frame->length) ||
		    !i40e_vf_take_frame(mig, frame))
			return -EINVAL;
		position += sizeof(*frame) + le32_to_cpu(frame->length);
	}
	return mig->complete ? 0 : -EINVAL;
}

const size_t i40e_vf_stream_size = I40E_VF_STREAM_SIZE;
