// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel 82576 virtual function: the migration stream
 *
 * Generated from igb-vf.toml; edit that file or the templates, not this one.
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
 * igb_vf_registers. Both driver and description can change, so a layout id
 * other than our own is refused. A flag says that an identity frame was taken by
 * the user ahead of it, so that the loss of it shows.
 *
 * A stream ends with a state. It has more than one if the user went back to
 * running and saved anew within one migration, and then the last one counts.
 *
 * A frame is checked when it is complete, its header as soon as that is. Nothing of
 * a stream is applied before all of it was checked.
 */

#include <linux/bits.h>
#include <linux/crc32.h>
#include <linux/slab.h>

#include "igb_vf.h"

#define IGB_VF_MAGIC		0x3147494d4f494656ULL
#define IGB_VF_VERSION		2
#define IGB_VF_LAYOUT_ID		0x849760b9

enum igb_vf_frame_type {
	IGB_VF_FRAME_IDENTITY = 1,
	IGB_VF_FRAME_STATE = 2,
};

struct igb_vf_frame {
	__le64 magic;
	__le16 version;
	__le16 type;
	__le16 vendor;
	__le16 device;
	__le32 length;
	__le32 crc;
};

static_assert(sizeof(struct igb_vf_frame) == 24);

struct igb_vf_identity {
	__le32 layout;
	__le32 flags; /* none is defined */
};

static_assert(sizeof(struct igb_vf_identity) == 8);

/* Flags of a state frame */
#define IGB_VF_AFTER_IDENTITY	BIT(0)

struct igb_vf_state {
	__le32 layout;
	__le32 flags;
	__le32 values[IGB_VF_NR_VALUES];
};

static_assert(sizeof(struct igb_vf_state) == 8 + 4 * IGB_VF_NR_VALUES);

/* The larger one of the two frames */
#define IGB_VF_STREAM_SIZE \
	(sizeof(struct igb_vf_frame) + sizeof(struct igb_vf_state))

static u32 igb_vf_frame_crc(const struct igb_vf_frame *frame, size_t length)
{
	struct igb_vf_frame header = *frame;
	u32 crc;

	header.crc = 0;
	crc = crc32_le(~0, (const u8 *)&header, sizeof(header));
	return ~crc32_le(crc, (const u8 *)(frame + 1), length);
}

/* Adds a frame to the stream, whose payload is in place already. */
static void igb_vf_seal_frame(struct igb_vf_device *xdev, enum igb_vf_frame_type type,
			      size_t length)
{
	struct igb_vf_migration *mig = &xdev->migration;
	struct igb_vf_frame *frame = (struct igb_vf_frame *)(mig->stream + mig->length);
	struct pci_dev *pdev = xdev->core_device.pdev;

	frame->magic = cpu_to_le64(IGB_VF_MAGIC);
	frame->version = cpu_to_le16(IGB_VF_VERSION);
	frame->type = cpu_to_le16(type);
	frame->vendor = cpu_to_le16(pdev->vendor);
	frame->device = cpu_to_le16(pdev->device);
	frame->length = cpu_to_le32(length);
	frame->crc = cpu_to_le32(igb_vf_frame_crc(frame, length));
	mig->length += sizeof(*frame) + length;
}

/* Begins the stream with an identity frame. */
void igb_vf_send_identity(struct igb_vf_device *xdev)
{
	struct igb_vf_frame *frame = (struct igb_vf_frame *)xdev->migration.stream;
	struct igb_vf_identity *identity = (struct igb_vf_identity *)(frame + 1);

	*identity = (struct igb_vf_identity) {
		.layout = cpu_to_le32(IGB_VF_LAYOUT_ID),
	};
	igb_vf_seal_frame(xdev, IGB_VF_FRAME_IDENTITY, sizeof(*identity));
}

/* Ends the stream with the state of a stopped device. */
void igb_vf_send_state(struct igb_vf_device *xdev, bool after_identity)
{
	const u32 flags = after_identity ? IGB_VF_AFTER_IDENTITY : 0;
	struct igb_vf_migration *mig = &xdev->migration;
	struct igb_vf_frame *frame = (struct igb_vf_frame *)(mig->stream + mig->length);
	struct igb_vf_state *state = (struct igb_vf_state *)(frame + 1);
	u32 i;

	igb_vf_device_save(xdev);
	state->layout = cpu_to_le32(IGB_VF_LAYOUT_ID);
	state->flags = cpu_to_le32(flags);
	for (i = 0; i < IGB_VF_NR_VALUES; i++)
		state->values[i] = cpu_to_le32(mig->values[i]);
	igb_vf_seal_frame(xdev, IGB_VF_FRAME_STATE, sizeof(*state));
}

/* Is this the header of a frame that this device can take? */
static bool igb_vf_header_valid(struct igb_vf_device *xdev,
				const struct igb_vf_frame *frame)
{
	struct pci_dev *pdev = xdev->core_device.pdev;
	size_t length;

	switch (le16_to_cpu(frame->type)) {
	case IGB_VF_FRAME_IDENTITY:
		length = sizeof(struct igb_vf_identity);
		break;
	case IGB_VF_FRAME_STATE:
		length = sizeof(struct igb_vf_state);
		break;
	default:
		return false;
	}

	return frame->magic == cpu_to_le64(IGB_VF_MAGIC) &&
	       frame->version == cpu_to_le16(IGB_VF_VERSION) &&
	       frame->vendor == cpu_to_le16(pdev->vendor) &&
	       frame->device == cpu_to_le16(pdev->device) &&
	       frame->length == cpu_to_le32(length);
}

/*
 * Is a whole frame, of which the header is valid, as it was sent, and the registers
 * those of this driver? The payload of a state begins as that of an identity.
 */
static bool igb_vf_frame_sound(const struct igb_vf_frame *frame)
{
	const struct igb_vf_identity *head = (const struct igb_vf_identity *)(frame + 1);
	u32 known = 0;

	if (frame->type == cpu_to_le16(IGB_VF_FRAME_STATE))
		known = IGB_VF_AFTER_IDENTITY;

	return frame->crc == cpu_to_le32(igb_vf_frame_crc(frame, le32_to_cpu(frame->length))) &&
	       head->layout == cpu_to_le32(IGB_VF_LAYOUT_ID) &&
	       !(le32_to_cpu(head->flags) & ~known);
}

static bool igb_vf_take_identity(struct igb_vf_migration *mig)
{
	if (mig->identified)
		return false;
	mig->identified = true;
	mig->complete = false;
	return true;
}

static bool igb_vf_take_state(struct igb_vf_migration *mig,
			      const struct igb_vf_state *state)
{
	u32 i;

	if (le32_to_cpu(state->flags) & IGB_VF_AFTER_IDENTITY && !mig->identified)
		return false;
	for (i = 0; i < IGB_VF_NR_VALUES; i++)
		mig->values[i] = le32_to_cpu(state->values[i]);
	mig->identified = false;
	mig->complete = true;
	return true;
}

/* Takes a whole frame that is sound. */
static bool igb_vf_take_frame(struct igb_vf_migration *mig,
			      const struct igb_vf_frame *frame)
{
	if (frame->type == cpu_to_le16(IGB_VF_FRAME_IDENTITY))
		return igb_vf_take_identity(mig);
	return igb_vf_take_state(mig, (const struct igb_vf_state *)(frame + 1));
}

/**
 * igb_vf_receive_stream - take the next bytes of a stream
 * @xdev: the device
 * @from: where they are, memory that the user may change meanwhile
 * @size: how many
 *
 * Frames may begin and end anywhere in them.
 *
 * Return: 0, or -EINVAL if they are not sound or not meant for this device. Then
 * the stream is void, whatever follows.
 */
int igb_vf_receive_stream(struct igb_vf_device *xdev, const u8 *from, size_t size)
{
	struct igb_vf_migration *mig = &xdev->migration;
	const struct igb_vf_frame *frame = (const struct igb_vf_frame *)mig->stream;

	while (size && !mig->invalid) {
		size_t end = sizeof(*frame);
		size_t part;

		if (mig->length >= sizeof(*frame))
			end += le32_to_cpu(frame->length);

		part = min(size, end - mig->length);
		memcpy(mig->stream + mig->length, from, part);
		mig->length += part;
		from += part;
		size -= part;
		if (mig->length < end)
			break;

		if (end == sizeof(*frame)) {
			mig->invalid = !igb_vf_header_valid(xdev, frame);
		} else {
			mig->invalid = !igb_vf_frame_sound(frame) ||
				       !igb_vf_take_frame(mig, frame);
			mig->length = 0;
		}
	}
	return mig->invalid ? -EINVAL : 0;
}

/* Has a whole stream been received? */
bool igb_vf_received(const struct igb_vf_migration *mig)
{
	return mig->complete && !mig->length && !mig->invalid;
}

/* Forgets what was sent or received. */
void igb_vf_drop_stream(struct igb_vf_migration *mig)
{
	mig->length = 0;
	mig->position = 0;
	mig->staged = 0;
	mig->identified = false;
	mig->complete = false;
	mig->invalid = false;
}

/* Called before user space can reach the device. */
int igb_vf_alloc_stream(struct igb_vf_migration *mig)
{
	mig->stream = kvmalloc(IGB_VF_STREAM_SIZE, GFP_KERNEL_ACCOUNT);
	if (!mig->stream)
		return -ENOMEM;
	mig->values = kvcalloc(IGB_VF_NR_VALUES, sizeof(*mig->values), GFP_KERNEL_ACCOUNT);
	if (!mig->values) {
		kvfree(mig->stream);
		return -ENOMEM;
	}
	return 0;
}

void igb_vf_free_stream(struct igb_vf_migration *mig)
{
	kvfree(mig->values);
	kvfree(mig->stream);
}
