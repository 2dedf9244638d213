// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel 82576 virtual function: the v1 migration region
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
#include <linux/limits.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "igb_vf.h"

#define IGB_VF_MAGIC		0x3147494d4f494656ULL
#define IGB_VF_VERSION		1
#define IGB_VF_LAYOUT_ID		0x849760b9
#define IGB_VF_CHUNK_SIZE		0x10000

/* _SAVING | _RESUMING without _RUNNING; the header defines only its complement. */
#define IGB_VF_STATE_ERROR \
	(VFIO_DEVICE_STATE_V1_SAVING | VFIO_DEVICE_STATE_V1_RESUMING)
#define IGB_VF_STATE_PRE_COPY \
	(VFIO_DEVICE_STATE_V1_RUNNING | VFIO_DEVICE_STATE_V1_SAVING)
#define IGB_VF_STATE_STOP_COPY	VFIO_DEVICE_STATE_V1_SAVING

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

/**
 * struct igb_vf_register - one or more alike registers of the device state
 * @bar: BAR that holds them
 * @width: bytes of an access: 1, 2 or 4
 * @count: how many there are
 * @offset: of the first one
 * @stride: bytes from one to the next
 * @mask: bits that are saved and restored
 * @stop: bits which are cleared to stop the device, 0 for most registers
 */
struct igb_vf_register {
	u8 bar;
	u8 width;
	u32 count;
	u32 offset;
	u32 stride;
	u32 mask;
	u32 stop;
};

static const struct igb_vf_register igb_vf_registers[] = {
	/* VTIVAR */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x1700,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VTIVAR_MISC */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x1740,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VTEITR */
	{
		.bar = 0,
		.width = 4,
		.count = 3,
		.offset = 0x1680,
		.stride = 0x4,
		.mask = 0xffff,
	},
	/* RDBAL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x2800,
		.stride = 0x100,
		.mask = 0xffffffe0,
	},
	/* RDBAH */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x2804,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* RDLEN */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x2808,
		.stride = 0x100,
		.mask = 0xffff0,
	},
	/* SRRCTL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x280c,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* RDH */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x2810,
		.stride = 0x100,
		.mask = 0xffff,
	},
	/* RDT */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x2818,
		.stride = 0x100,
		.mask = 0xffff,
	},
	/* RXDCTL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x2828,
		.stride = 0x100,
		.mask = 0x21f1f1f,
		.stop = 0x2000000,
	},
	/* TDBAL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3800,
		.stride = 0x100,
		.mask = 0xffffffe0,
	},
	/* TDBAH */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3804,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* TDLEN */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3808,
		.stride = 0x100,
		.mask = 0xffff0,
	},
	/* DCA_TXCTRL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3814,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* TDWBAL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3838,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* TDWBAH */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x383c,
		.stride = 0x100,
		.mask = 0xffffffff,
	},
	/* TDH */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3810,
		.stride = 0x100,
		.mask = 0xffff,
	},
	/* TDT */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3818,
		.stride = 0x100,
		.mask = 0xffff,
	},
	/* TXDCTL */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x3828,
		.stride = 0x100,
		.mask = 0x21f1f1f,
		.stop = 0x2000000,
	},
	/* VMBMEM */
	{
		.bar = 0,
		.width = 4,
		.count = 16,
		.offset = 0x800,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VTEIAC */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x152c,
		.stride = 0x4,
		.mask = 0x7,
	},
	/* VTEIAM */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x1530,
		.stride = 0x4,
		.mask = 0x7,
	},
	/* VTEIMS */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x1524,
		.stride = 0x4,
		.mask = 0x7,
	},
};

/* The states that may be written, for each state the device can be in. */
static const u8 igb_vf_next_states[] = {
	[0] = BIT(0) | BIT(1),
	[1] = BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4),
	[2] = BIT(0) | BIT(1) | BIT(2),
	[3] = BIT(1) | BIT(2) | BIT(3),
	[4] = BIT(1) | BIT(4),
	[IGB_VF_STATE_ERROR] = 0,
};

static u32 igb_vf_get(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
		      u32 i)
{
	return igb_vf_read_register(xdev, reg->bar, reg->offset + i * reg->stride, reg->width);
}

static void igb_vf_put(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
		       u32 i, u32 mask, u32 value)
{
	if (~mask & GENMASK(reg->width * BITS_PER_BYTE - 1, 0))
		value = (igb_vf_get(xdev, reg, i) & ~mask) | (value & mask);
	igb_vf_write_register(xdev, reg->bar, reg->offset + i * reg->stride, reg->width, value);
}

/*
 * Calls @fn for each register of the state, in the order of the description,
 * with the place of its value.
 */
static void igb_vf_for_each(struct igb_vf_device *xdev,
			    void (*fn)(struct igb_vf_device *xdev,
				       const struct igb_vf_register *reg, u32 i,
				       u32 *value))
{
	u32 *value = xdev->migration.values;
	unsigned int r;
	u32 i;

	for (r = 0; r < ARRAY_SIZE(igb_vf_registers); r++)
		for (i = 0; i < igb_vf_registers[r].count; i++)
			fn(xdev, &igb_vf_registers[r], i, value++);
}

/* Keeps what the register holds and clears the bits that keep the device going. */
static void igb_vf_stop(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
			u32 i, u32 *value)
{
	if (!reg->stop)
		return;
	*value = igb_vf_get(xdev, reg, i) & reg->mask;
	igb_vf_put(xdev, reg, i, reg->stop, 0);
}

static void igb_vf_start(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
			 u32 i, u32 *value)
{
	if (reg->stop)
		igb_vf_put(xdev, reg, i, reg->stop, *value);
}

/* The registers that stop the device have been kept by igb_vf_stop(). */
static void igb_vf_save(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
			u32 i, u32 *value)
{
	if (!reg->stop)
		*value = igb_vf_get(xdev, reg, i) & reg->mask;
}

/* The device stays stopped until igb_vf_start(). */
static void igb_vf_restore(struct igb_vf_device *xdev, const struct igb_vf_register *reg,
			   u32 i, u32 *value)
{
	igb_vf_put(xdev, reg, i, reg->mask, *value & ~reg->stop);
}

static u32 igb_vf_frame_crc(const struct igb_vf_frame *frame, size_t length)
{
	struct igb_vf_frame header = *frame;
	u32 crc;

	header.crc = 0;
	crc = crc32_le(~0, (const u8 *)&header, sizeof(header));
	return ~crc32_le(crc, (const u8 *)(frame + 1), length);
}

/* Makes the stream one frame, whose payload is in place already. */
static void igb_vf_seal_frame(struct igb_vf_device *xdev, enum igb_vf_frame_type type,
			      size_t length)
{
	struct igb_vf_migration *mig = &xdev->migration;
	struct igb_vf_frame *frame = (struct igb_vf_frame *)mig->stream;
	struct pci_dev *pdev = xdev->core_device.pdev;

	frame->magic = cpu_to_le64(IGB_VF_MAGIC);
	frame->version = cpu_to_le16(IGB_VF_VERSION);
	frame->type = cpu_to_le16(type);
	frame->vendor = cpu_to_le16(pdev->vendor);
	frame->device = cpu_to_le16(pdev->device);
	frame->length = cpu_to_le32(length);
	frame->crc = cpu_to_le32(igb_vf_frame_crc(frame, length));
	mig->length = sizeof(*frame) + length;
}

static void igb_vf_save_state(struct igb_vf_device *xdev, u32 flags)
{
	struct igb_vf_migration *mig = &xdev->migration;
	struct igb_vf_frame *frame = (struct igb_vf_frame *)mig->stream;
	struct igb_vf_state *state = (struct igb_vf_state *)(frame + 1);
	u32 i;

	igb_vf_for_each(xdev, igb_vf_save);
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
static int igb_vf_parse_stream(struct igb_vf_device *xdev)
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

/* Forgets what was sent or received. */
static void igb_vf_drop_stream(struct igb_vf_migration *mig)
{
	mig->length = 0;
	mig->position = 0;
	mig->staged = 0;
}

static int igb_vf_set_state(struct igb_vf_device *xdev, u32 next)
{
	struct igb_vf_migration *mig = &xdev->migration;
	const u32 cleared = mig->state & ~next;
	const u32 set = next & ~mig->state;
	u32 flags = 0;
	int ret;

	lockdep_assert_held(&mig->lock);

	if (next & ~VFIO_DEVICE_STATE_MASK || !(igb_vf_next_states[mig->state] & BIT(next)))
		return -EINVAL;
	if (next == mig->state)
		return 0;

	/* All that can fail comes first, so that a refused write changes nothing. */
	if ((((set | cleared) & ~VFIO_DEVICE_STATE_V1_SAVING) ||
	     next == IGB_VF_STATE_STOP_COPY) && !igb_vf_registers_enabled(xdev))
		return -EIO;

	if (cleared & VFIO_DEVICE_STATE_V1_RESUMING) {
		ret = igb_vf_parse_stream(xdev);
		if (ret) {
			/* A stream cannot be mended, only sent again after a reset. */
			igb_vf_drop_stream(mig);
			mig->state = IGB_VF_STATE_ERROR;
			return ret;
		}
	}

	if (set & VFIO_DEVICE_STATE_V1_SAVING) {
		ret = igb_vf_ledger_begin_saving(&xdev->ledger);
		if (ret)
			return ret;
	}

	if (cleared & VFIO_DEVICE_STATE_V1_RUNNING)
		igb_vf_for_each(xdev, igb_vf_stop);
	if (cleared & VFIO_DEVICE_STATE_V1_RESUMING)
		igb_vf_for_each(xdev, igb_vf_restore);

	if (mig->state == IGB_VF_STATE_PRE_COPY && mig->position)
		flags = IGB_VF_AFTER_IDENTITY;
	igb_vf_drop_stream(mig);
	if (next == IGB_VF_STATE_STOP_COPY)
		igb_vf_save_state(xdev, flags);
	else if (next == IGB_VF_STATE_PRE_COPY)
		igb_vf_seal_frame(xdev, IGB_VF_FRAME_IDENTITY, 0);

	if (set & VFIO_DEVICE_STATE_V1_RUNNING)
		igb_vf_for_each(xdev, igb_vf_start);
	if (cleared & VFIO_DEVICE_STATE_V1_SAVING)
		igb_vf_ledger_end_saving(&xdev->ledger);
	mig->state = next;
	return 0;
}

/* A read of pending_bytes says that the user is done with the buffer before. */
static u64 igb_vf_next_pending(struct igb_vf_migration *mig)
{
	if (!(mig->state & VFIO_DEVICE_STATE_V1_SAVING))
		return 0;
	mig->position += mig->staged;
	mig->staged = 0;
	return mig->length - mig->position;
}

/* A read of data_offset asks for the next buffer, unless there still is one. */
static void igb_vf_stage(struct igb_vf_migration *mig)
{
	if (!(mig->state & VFIO_DEVICE_STATE_V1_SAVING) || mig->staged)
		return;
	mig->staged = min_t(size_t, mig->length - mig->position, IGB_VF_CHUNK_SIZE);
	memcpy(mig->data, mig->stream + mig->position, mig->staged);
}

/* Takes over @size bytes that the user has put into the data section. */
static int igb_vf_receive(struct igb_vf_migration *mig, u64 size)
{
	if (mig->state != VFIO_DEVICE_STATE_V1_RESUMING)
		return -EINVAL;
	if (!size || size > IGB_VF_DATA_SIZE ||
	    size > IGB_VF_STREAM_SIZE - mig->length)
		return -EINVAL;
	memcpy(mig->stream + mig->length, mig->data, size);
	mig->length += size;
	return 0;
}

static ssize_t igb_vf_read_field(struct igb_vf_device *xdev, char __user *buf, size_t count,
				 u64 pos)
{
	struct igb_vf_migration *mig = &xdev->migration;
	u64 value = 0;
	u32 value32;

	/*
	 * A read can move the stream on, and must not if its value cannot be
	 * delivered. User memory cannot be accessed under the lock, see there.
	 */
	if (fault_in_writeable(buf, count))
		return -EFAULT;

	mutex_lock(&mig->lock);
	switch (pos) {
	case offsetof(struct vfio_device_migration_info, device_state):
		value = mig->state;
		break;
	case offsetof(struct vfio_device_migration_info, pending_bytes):
		value = igb_vf_next_pending(mig);
		break;
	case offsetof(struct vfio_device_migration_info, data_offset):
		igb_vf_stage(mig);
		value = IGB_VF_DATA_OFFSET;
		break;
	case offsetof(struct vfio_device_migration_info, data_size):
		value = mig->staged;
		break;
	}
	mutex_unlock(&mig->lock);

	value32 = value;
	if (copy_to_user(buf, count == sizeof(u32) ? (void *)&value32 : (void *)&value, count))
		return -EFAULT;
	return count;
}

static ssize_t igb_vf_write_field(struct igb_vf_device *xdev, const char __user *buf,
				  size_t count, u64 pos)
{
	struct igb_vf_migration *mig = &xdev->migration;
	u64 value = 0;
	u32 value32;
	int ret;

	if (copy_from_user(count == sizeof(u32) ? (void *)&value32 : (void *)&value, buf, count))
		return -EFAULT;

	switch (pos) {
	case offsetof(struct vfio_device_migration_info, device_state):
		igb_vf_lock_registers(xdev);
		mutex_lock(&mig->lock);
		ret = igb_vf_set_state(xdev, value32);
		mutex_unlock(&mig->lock);
		igb_vf_unlock_registers(xdev);
		break;
	case offsetof(struct vfio_device_migration_info, reserved):
		ret = 0;
		break;
	case offsetof(struct vfio_device_migration_info, data_size):
		mutex_lock(&mig->lock);
		ret = igb_vf_receive(mig, value);
		mutex_unlock(&mig->lock);
		break;
	default:
		/* pending_bytes and data_offset are read-only */
		ret = -EINVAL;
		break;
	}
	return ret ? ret : count;
}

/* Each field answers at its own place and width only. */
static bool igb_vf_is_field(u64 pos, size_t count)
{
	switch (pos) {
	case offsetof(struct vfio_device_migration_info, device_state):
	case offsetof(struct vfio_device_migration_info, reserved):
		return count == sizeof(u32);
	case offsetof(struct vfio_device_migration_info, pending_bytes):
	case offsetof(struct vfio_device_migration_info, data_offset):
	case offsetof(struct vfio_device_migration_info, data_size):
		return count == sizeof(u64);
	default:
		return false;
	}
}

/**
 * igb_vf_migration_rw - read or write the migration region
 * @xdev: the device
 * @buf: buffer of the user
 * @count: bytes
 * @pos: offset in the region
 * @iswrite: true to write
 *
 * The data section is memory that the user may have mapped as well, so it is
 * accessed without a lock and whatever is in it is copied before it is judged.
 *
 * Return: @count, or a negative error and then nothing was moved or changed.
 */
ssize_t igb_vf_migration_rw(struct igb_vf_device *xdev, char __user *buf, size_t count,
			    u64 pos, bool iswrite)
{
	unsigned long left;
	void *data;

	if (pos >= IGB_VF_REGION_SIZE || count > IGB_VF_REGION_SIZE - pos)
		return -EINVAL;

	if (pos < IGB_VF_DATA_OFFSET) {
		if (!igb_vf_is_field(pos, count))
			return -EINVAL;
		return iswrite ? igb_vf_write_field(xdev, buf, count, pos) :
				 igb_vf_read_field(xdev, buf, count, pos);
	}

	data = xdev->migration.data + pos - IGB_VF_DATA_OFFSET;
	if (iswrite)
		left = copy_from_user(data, buf, count);
	else
		left = copy_to_user(buf, data, count);
	return left ? -EFAULT : count;
}

/* Maps the data section, of which @start is a place: an offset in the region. */
int igb_vf_migration_mmap(struct igb_vf_device *xdev, struct vm_area_struct *vma,
			  u64 start)
{
	u64 size = vma->vm_end - vma->vm_start;

	if (start < IGB_VF_DATA_OFFSET || start >= IGB_VF_REGION_SIZE ||
	    size > IGB_VF_REGION_SIZE - start)
		return -EINVAL;
	return remap_vmalloc_range(vma, xdev->migration.data,
				   (start - IGB_VF_DATA_OFFSET) >> PAGE_SHIFT);
}

int igb_vf_migration_add_capability(struct vfio_info_cap *caps)
{
	const struct igb_vf_range area = {
		.offset = IGB_VF_DATA_OFFSET,
		.size = IGB_VF_DATA_SIZE,
	};

	return igb_vf_add_areas(caps, VFIO_REGION_INFO_CAP_SPARSE_MMAP, &area, 1);
}

void igb_vf_migration_init(struct igb_vf_migration *mig)
{
	mutex_init(&mig->lock);
}

/* Called before user space can reach the device. */
int igb_vf_migration_open(struct igb_vf_device *xdev)
{
	struct igb_vf_migration *mig = &xdev->migration;

	mig->data = vmalloc_user(IGB_VF_DATA_SIZE);
	if (!mig->data)
		return -ENOMEM;
	mig->stream = kvmalloc(IGB_VF_STREAM_SIZE, GFP_KERNEL_ACCOUNT);
	if (!mig->stream)
		goto err_free_data;
	mig->values = kvcalloc(IGB_VF_NR_VALUES, sizeof(*mig->values), GFP_KERNEL_ACCOUNT);
	if (!mig->values)
		goto err_free_stream;

	igb_vf_migration_reset(xdev);
	return 0;

err_free_stream:
	kvfree(mig->stream);
err_free_data:
	vfree(mig->data);
	return -ENOMEM;
}

/* Called when user space can reach the device no more. */
void igb_vf_migration_close(struct igb_vf_device *xdev)
{
	struct igb_vf_migration *mig = &xdev->migration;

	kvfree(mig->values);
	kvfree(mig->stream);
	vfree(mig->data);
}

/* The device was reset: it runs, and what was sent or received is void. */
void igb_vf_migration_reset(struct igb_vf_device *xdev)
{
	struct igb_vf_migration *mig = &xdev->migration;

	mutex_lock(&mig->lock);
	igb_vf_drop_stream(mig);
	igb_vf_ledger_end_saving(&xdev->ledger);
	mig->state = VFIO_DEVICE_STATE_V1_RUNNING;
	mutex_unlock(&mig->lock);
}
