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
 * An identity frame has no payload. One is offered in pre-copy, so that a
 * destination which the stream does not suit is found before the source stops.
 * The state frame comes last. Its payload is the id of the register layout,
 * flags, both 4 bytes, and one 4-byte value for each register in the order of
 * igb_vf_registers. Both driver and description can change, so a layout id
 * other than our own is refused. A flag says that an identity frame was taken by
 * the user, so that the loss of it shows.
 *
 * Nothing of a stream is applied before all of it was checked.
 */

#include <linux/bits.h>
#include <linux/crc32.h>
#include <linux/slab.h>

#include "igb_vf.h"

#define IGB_VF_MAGIC		0x3147494d4f494656ULL
#define IGB_VF_VERSION		1
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

/* Flags of the state frame */
#define IGB_VF_AFTER_IDENTITY	BIT(0)

struct igb_vf_state {
	__le32 layout;
	__le32 flags;
	__le32 values[IGB_VF_NR_VALUES];
};

#define IGB_VF_STREAM_SIZE \
	(2 * sizeof(struct igb_vf_frame) + sizeof(struct igb_vf_state))

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
	igb_vf_seal_frame(xdev, IGB_VF_FRAME_IDENTITY, 0);
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

static bool igb_vf_frame_valid(struct igb_vf_device *xdev, const struct igb_vf_frame *frame,
			       size_t room)
{
	struct pci_dev *pdev = xdev->core_device.pdev;

	return room >= sizeof(*frame) &&
	       frame->magic == cpu_to_le64(IGB_VF_MAGIC) &&
	       frame->version == cpu_to_le16(IGB_VF_VERSION) &&
	       frame->vendor == cpu_to_le16(pdev->vendor) &&
	       frame->device == cpu_to_le16(pdev->device) &&
	       le32_to_cpu(frame->length) <= room - sizeof(*frame) &&
	       frame->crc == cpu_to_le32(igb_vf_frame_crc(frame, le32_to_cpu(frame->length)));
}

/*
 * Checks the received stream and takes the values out of it.
 * Return: 0, or -EINVAL if it is not whole, not sound or not meant for this device.
 */
int igb_vf_parse_stream(struct igb_vf_device *xdev)
{
	struct igb_vf_migration *mig = &xdev->migration;
	const struct igb_vf_frame *frame = (const struct igb_vf_frame *)mig->stream;
	const struct igb_vf_state *state;
	size_t room = mig->length;
	u32 flags = 0;
	u32 i;

	if (!igb_vf_frame_valid(xdev, frame, room))
		return -EINVAL;
	if (frame->type == cpu_to_le16(IGB_VF_FRAME_IDENTITY) && !frame->length) {
		flags = IGB_VF_AFTER_IDENTITY;
		room -= sizeof(*frame);
		frame++;
		if (!igb_vf_frame_valid(xdev, frame, room))
			return -EINVAL;
	}

	state = (const struct igb_vf_state *)(frame + 1);
	if (frame->type != cpu_to_le16(IGB_VF_FRAME_STATE) ||
	    le32_to_cpu(frame->length) != sizeof(*state) ||
	    room != sizeof(*frame) + sizeof(*state) ||
	    state->layout != cpu_to_le32(IGB_VF_LAYOUT_ID) ||
	    le32_to_cpu(state->flags) & ~flags)
		return -EINVAL;

	for (i = 0; i < IGB_VF_NR_VALUES; i++)
		mig->values[i] = le32_to_cpu(state->values[i]);
	return 0;
}

const size_t igb_vf_stream_size = IGB_VF_STREAM_SIZE;
