// SPDX-License-Identifier: GPL-2.0-only
/*
 * Software device: the migration stream
 *
 * Generated from emulated.toml; edit that file or the templates, not this one.
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
 * emulated_registers. Both driver and description can change, so a layout id
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

#include "emulated.h"

#define EMULATED_MAGIC		0x3147494d4f494656ULL
#define EMULATED_VERSION		2
#define EMULATED_LAYOUT_ID		0xdbe29e13

enum emulated_frame_type {
	EMULATED_FRAME_IDENTITY = 1,
	EMULATED_FRAME_STATE = 2,
};

/* Behind a state of an odd number of values a frame has the alignment of a value. */
struct emulated_frame {
	__le64 magic;
	__le16 version;
	__le16 type;
	__le16 vendor;
	__le16 device;
	__le32 length;
	__le32 crc;
} __packed __aligned(4);

static_assert(sizeof(struct emulated_frame) == 24);

struct emulated_identity {
	__le32 layout;
	__le32 flags; /* none is defined */
};

static_assert(sizeof(struct emulated_identity) == 8);

/* Flags of a state frame */
#define EMULATED_AFTER_IDENTITY	BIT(0)

struct emulated_state {
	__le32 layout;
	__le32 flags;
	__le32 values[EMULATED_NR_VALUES];
};

static_assert(sizeof(struct emulated_state) == 8 + 4 * EMULATED_NR_VALUES);

#define EMULATED_STREAM_SIZE \
	(2 * sizeof(struct emulated_frame) + sizeof(struct emulated_identity) + \
	 sizeof(struct emulated_state))

static u32 emulated_frame_crc(const struct emulated_frame *frame, size_t length)
{
	struct emulated_frame header = *frame;
	u32 crc;

	header.crc = 0;
	crc = crc32_le(~0, (const u8 *)&header, sizeof(header));
	return ~crc32_le(crc, (const u8 *)(frame + 1), length);
}

/* Adds a frame to the stream, whose payload is in place already. */
static void emulated_seal_frame(struct emulated_device *xdev, enum emulated_frame_type type,
				size_t length)
{
	struct emulated_migration *mig = &xdev->migration;
	struct emulated_frame *frame = (struct emulated_frame *)(mig->stream + mig->length);

	frame->magic = cpu_to_le64(EMULATED_MAGIC);
	frame->version = cpu_to_le16(EMULATED_VERSION);
	frame->type = cpu_to_le16(type);
	frame->vendor = cpu_to_le16(EMULATED_VENDOR);
	frame->device = cpu_to_le16(EMULATED_DEVICE);
	frame->length = cpu_to_le32(length);
	frame->crc = cpu_to_le32(emulated_frame_crc(frame, length));
	mig->length += sizeof(*frame) + length;
}

/* Begins the stream with an identity frame. */
void emulated_send_identity(struct emulated_device *xdev)
{
	struct emulated_frame *frame = (struct emulated_frame *)xdev->migration.stream;
	struct emulated_identity *identity = (struct emulated_identity *)(frame + 1);

	*identity = (struct emulated_identity) {
		.layout = cpu_to_le32(EMULATED_LAYOUT_ID),
	};
	emulated_seal_frame(xdev, EMULATED_FRAME_IDENTITY, sizeof(*identity));
}

/* Ends the stream with the state of a stopped device. */
void emulated_send_state(struct emulated_device *xdev, bool after_identity)
{
	const u32 flags = after_identity ? EMULATED_AFTER_IDENTITY : 0;
	struct emulated_migration *mig = &xdev->migration;
	struct emulated_frame *frame = (struct emulated_frame *)(mig->stream + mig->length);
	struct emulated_state *state = (struct emulated_state *)(frame + 1);
	u32 i;

	emulated_device_save(xdev);
	state->layout = cpu_to_le32(EMULATED_LAYOUT_ID);
	state->flags = cpu_to_le32(flags);
	for (i = 0; i < EMULATED_NR_VALUES; i++)
		state->values[i] = cpu_to_le32(mig->values[i]);
	emulated_seal_frame(xdev, EMULATED_FRAME_STATE, sizeof(*state));
}

/* Is this the header of a frame that this device can take? */
static bool emulated_header_valid(struct emulated_device *xdev,
				  const struct emulated_frame *frame)
{
	size_t length;

	switch (le16_to_cpu(frame->type)) {
	case EMULATED_FRAME_IDENTITY:
		length = sizeof(struct emulated_identity);
		break;
	case EMULATED_FRAME_STATE:
		length = sizeof(struct emulated_state);
		break;
	default:
		return false;
	}

	return frame->magic == cpu_to_le64(EMULATED_MAGIC) &&
	       frame->version == cpu_to_le16(EMULATED_VERSION) &&
	       frame->vendor == cpu_to_le16(EMULATED_VENDOR) &&
	       frame->device == cpu_to_le16(EMULATED_DEVICE) &&
	       frame->length == cpu_to_le32(length);
}

/*
 * Is a whole frame, of which the header is valid, as it was sent, and the registers
 * those of this driver? The payload of a state begins as that of an identity.
 */
static bool emulated_frame_sound(const struct emulated_frame *frame)
{
	const struct emulated_identity *head = (const struct emulated_identity *)(frame + 1);
	u32 known = 0;

	if (frame->type == cpu_to_le16(EMULATED_FRAME_STATE))
		known = EMULATED_AFTER_IDENTITY;

	return frame->crc == cpu_to_le32(emulated_frame_crc(frame, le32_to_cpu(frame->length))) &&
	       head->layout == cpu_to_le32(EMULATED_LAYOUT_ID) &&
	       !(le32_to_cpu(head->flags) & ~known);
}

static bool emulated_take_identity(struct emulated_migration *mig)
{
	mig->identified = true;
	mig->complete = false;
	return true;
}

static bool emulated_take_state(struct emulated_migration *mig,
				const struct emulated_state *state)
{
	u32 i;

	if (le32_to_cpu(state->flags) & EMULATED_AFTER_IDENTITY && !mig->identified)
		return false;
	for (i = 0; i < EMULATED_NR_VALUES; i++)
		mig->values[i] = le32_to_cpu(state->values[i]);
	mig->complete = true;
	return true;
}

/* Takes a whole frame that is sound. */
static bool emulated_take_frame(struct emulated_migration *mig,
				const struct emulated_frame *frame)
{
	if (frame->type == cpu_to_le16(EMULATED_FRAME_IDENTITY))
		return emulated_take_identity(mig);
	return emulated_take_state(mig, (const struct emulated_state *)(frame + 1));
}

/**
 * emulated_stream_fits - check what was received of a stream until now
 * @xdev: the device, for its identity
 * @stream: the stream, from its first byte
 * @length: how much of it there is
 *
 * Return: whether its frames, and the header of one that is not complete yet, are
 * sound and meant for this device. What they say together is checked later.
 */
bool emulated_stream_fits(struct emulated_device *xdev, const u8 *stream, size_t length)
{
	const struct emulated_frame *frame = (const struct emulated_frame *)stream;

	while (length >= sizeof(*frame)) {
		size_t size;

		if (!emulated_header_valid(xdev, frame))
			return false;
		size = sizeof(*frame) + le32_to_cpu(frame->length);
		if (length < size)
			break;
		if (!emulated_frame_sound(frame))
			return false;
		frame = (const void *)frame + size;
		length -= size;
	}
	return true;
}

/*
 * Takes the values out of the received stream, which emulated_stream_fits() has checked.
 * Two frames of a kind with a state are longer than a stream, and were not received.
 * Return: 0, or -EINVAL if it is not whole or has a frame where that does not belong.
 */
int emulated_parse_stream(struct emulated_migration *mig)
{
	size_t position = 0;

	mig->identified = false;
	mig->complete = false;
	while (position < mig->length) {
		const struct emulated_frame *frame =
			(const struct emulated_frame *)(mig->stream + position);
		const size_t room = mig->length - position;

		if (room < sizeof(*frame) ||
		    room - sizeof(*frame) < le32_to_cpu(frame->length) ||
		    !emulated_take_frame(mig, frame))
			return -EINVAL;
		position += sizeof(*frame) + le32_to_cpu(frame->length);
	}
	return mig->complete ? 0 : -EINVAL;
}

const size_t emulated_stream_size = EMULATED_STREAM_SIZE;
