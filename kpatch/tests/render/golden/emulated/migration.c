// SPDX-License-Identifier: GPL-2.0-only
/*
 * Software device: the v1 migration region
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
 * An identity frame has no payload. One is offered in pre-copy, so that a
 * destination which the stream does not suit is found before the source stops.
 * The state frame comes last. Its payload is the id of the register layout,
 * flags, both 4 bytes, and one 4-byte value for each register in the order of
 * emulated_registers. Both driver and description can change, so a layout id
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

#include "emulated.h"

#define EMULATED_MAGIC		0x3147494d4f494656ULL
#define EMULATED_VERSION		1
#define EMULATED_LAYOUT_ID		0xdbe29e13
#define EMULATED_CHUNK_SIZE		0x400

/* _SAVING | _RESUMING without _RUNNING; the header defines only its complement. */
#define EMULATED_STATE_ERROR \
	(VFIO_DEVICE_STATE_V1_SAVING | VFIO_DEVICE_STATE_V1_RESUMING)
#define EMULATED_STATE_PRE_COPY \
	(VFIO_DEVICE_STATE_V1_RUNNING | VFIO_DEVICE_STATE_V1_SAVING)
#define EMULATED_STATE_STOP_COPY	VFIO_DEVICE_STATE_V1_SAVING

enum emulated_frame_type {
	EMULATED_FRAME_IDENTITY = 1,
	EMULATED_FRAME_STATE = 2,
};

struct emulated_frame {
	__le64 magic;
	__le16 version;
	__le16 type;
	__le16 vendor;
	__le16 device;
	__le32 length;
	__le32 crc;
};

/* Flags of the state frame */
#define EMULATED_AFTER_IDENTITY	BIT(0)

struct emulated_state {
	__le32 layout;
	__le32 flags;
	__le32 values[EMULATED_NR_VALUES];
};

#define EMULATED_STREAM_SIZE \
	(2 * sizeof(struct emulated_frame) + sizeof(struct emulated_state))

/**
 * struct emulated_register - one or more alike registers of the device state
 * @bar: BAR that holds them
 * @width: bytes of an access: 1, 2 or 4
 * @count: how many there are
 * @offset: of the first one
 * @stride: bytes from one to the next
 * @mask: bits that are saved and restored
 * @stop: bits which are cleared to stop the device, 0 for most registers
 */
struct emulated_register {
	u8 bar;
	u8 width;
	u32 count;
	u32 offset;
	u32 stride;
	u32 mask;
	u32 stop;
};

static const struct emulated_register emulated_registers[] = {
	/* CONTROL */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x0,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* MODE */
	{
		.bar = 0,
		.width = 2,
		.count = 2,
		.offset = 0x8,
		.stride = 0x2,
		.mask = 0xffff,
	},
	/* PRIORITY */
	{
		.bar = 0,
		.width = 1,
		.count = 4,
		.offset = 0xc,
		.stride = 0x1,
		.mask = 0xff,
	},
	/* COUNTER */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x10,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* ADDRESS */
	{
		.bar = 0,
		.width = 4,
		.count = 8,
		.offset = 0x2000,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* SCRATCH */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0x1100,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* FILTER */
	{
		.bar = 2,
		.width = 4,
		.count = 1024,
		.offset = 0x0,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* WINDOW */
	{
		.bar = 2,
		.width = 4,
		.count = 3,
		.offset = 0x4000,
		.stride = 0x1000,
		.mask = 0xffffffff,
	},
	/* DOORBELL */
	{
		.bar = 0,
		.width = 4,
		.count = 4,
		.offset = 0x1000,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
};

/* The states that may be written, for each state the device can be in. */
static const u8 emulated_next_states[] = {
	[0] = BIT(0) | BIT(1),
	[1] = BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4),
	[2] = BIT(0) | BIT(1) | BIT(2),
	[3] = BIT(1) | BIT(2) | BIT(3),
	[4] = BIT(1) | BIT(4),
	[EMULATED_STATE_ERROR] = 0,
};

static u32 emulated_get(struct emulated_device *xdev, const struct emulated_register *reg,
			u32 i)
{
	return emulated_read_register(xdev, reg->bar, reg->offset + i * reg->stride, reg->width);
}

static void emulated_put(struct emulated_device *xdev, const struct emulated_register *reg,
			 u32 i, u32 mask, u32 value)
{
	if (~mask & GENMASK(reg->width * BITS_PER_BYTE - 1, 0))
		value = (emulated_get(xdev, reg, i) & ~mask) | (value & mask);
	emulated_write_register(xdev, reg->bar, reg->offset + i * reg->stride, reg->width, value);
}

/*
 * Calls @fn for each register of the state, in the order of the description,
 * with the place of its value.
 */
static void emulated_for_each(struct emulated_device *xdev,
			      void (*fn)(struct emulated_device *xdev,
					 const struct emulated_register *reg, u32 i,
					 u32 *value))
{
	u32 *value = xdev->migration.values;
	unsigned int r;
	u32 i;

	for (r = 0; r < ARRAY_SIZE(emulated_registers); r++)
		for (i = 0; i < emulated_registers[r].count; i++)
			fn(xdev, &emulated_registers[r], i, value++);
}

/* Keeps what the register holds and clears the bits that keep the device going. */
static void emulated_stop(struct emulated_device *xdev, const struct emulated_register *reg,
			  u32 i, u32 *value)
{
	if (!reg->stop)
		return;
	*value = emulated_get(xdev, reg, i) & reg->mask;
	emulated_put(xdev, reg, i, reg->stop, 0);
}

static void emulated_start(struct emulated_device *xdev, const struct emulated_register *reg,
			   u32 i, u32 *value)
{
	if (reg->stop)
		emulated_put(xdev, reg, i, reg->stop, *value);
}

/* The registers that stop the device have been kept by emulated_stop(). */
static void emulated_save(struct emulated_device *xdev, const struct emulated_register *reg,
			  u32 i, u32 *value)
{
	if (!reg->stop)
		*value = emulated_get(xdev, reg, i) & reg->mask;
}

/* The device stays stopped until emulated_start(). */
static void emulated_restore(struct emulated_device *xdev, const struct emulated_register *reg,
			     u32 i, u32 *value)
{
	emulated_put(xdev, reg, i, reg->mask, *value & ~reg->stop);
}

static u32 emulated_frame_crc(const struct emulated_frame *frame, size_t length)
{
	struct emulated_frame header = *frame;
	u32 crc;

	header.crc = 0;
	crc = crc32_le(~0, (const u8 *)&header, sizeof(header));
	return ~crc32_le(crc, (const u8 *)(frame + 1), length);
}

/* Makes the stream one frame, whose payload is in place already. */
static void emulated_seal_frame(struct emulated_device *xdev, enum emulated_frame_type type,
				size_t length)
{
	struct emulated_migration *mig = &xdev->migration;
	struct emulated_frame *frame = (struct emulated_frame *)mig->stream;

	frame->magic = cpu_to_le64(EMULATED_MAGIC);
	frame->version = cpu_to_le16(EMULATED_VERSION);
	frame->type = cpu_to_le16(type);
	frame->vendor = cpu_to_le16(EMULATED_VENDOR);
	frame->device = cpu_to_le16(EMULATED_DEVICE);
	frame->length = cpu_to_le32(length);
	frame->crc = cpu_to_le32(emulated_frame_crc(frame, length));
	mig->length = sizeof(*frame) + length;
}

static void emulated_save_state(struct emulated_device *xdev, u32 flags)
{
	struct emulated_migration *mig = &xdev->migration;
	struct emulated_frame *frame = (struct emulated_frame *)mig->stream;
	struct emulated_state *state = (struct emulated_state *)(frame + 1);
	u32 i;

	emulated_for_each(xdev, emulated_save);
	state->layout = cpu_to_le32(EMULATED_LAYOUT_ID);
	state->flags = cpu_to_le32(flags);
	for (i = 0; i < EMULATED_NR_VALUES; i++)
		state->values[i] = cpu_to_le32(mig->values[i]);
	emulated_seal_frame(xdev, EMULATED_FRAME_STATE, sizeof(*state));
}

static bool emulated_frame_valid(struct emulated_device *xdev, const struct emulated_frame *frame,
				 size_t room)
{
	return room >= sizeof(*frame) &&
	       frame->magic == cpu_to_le64(EMULATED_MAGIC) &&
	       frame->version == cpu_to_le16(EMULATED_VERSION) &&
	       frame->vendor == cpu_to_le16(EMULATED_VENDOR) &&
	       frame->device == cpu_to_le16(EMULATED_DEVICE) &&
	       le32_to_cpu(frame->length) <= room - sizeof(*frame) &&
	       frame->crc == cpu_to_le32(emulated_frame_crc(frame, le32_to_cpu(frame->length)));
}

/*
 * Checks the received stream and takes the values out of it.
 * Return: 0, or -EINVAL if it is not whole, not sound or not meant for this device.
 */
static int emulated_parse_stream(struct emulated_device *xdev)
{
	struct emulated_migration *mig = &xdev->migration;
	const struct emulated_frame *frame = (const struct emulated_frame *)mig->stream;
	const struct emulated_state *state;
	size_t room = mig->length;
	u32 flags = 0;
	u32 i;

	if (!emulated_frame_valid(xdev, frame, room))
		return -EINVAL;
	if (frame->type == cpu_to_le16(EMULATED_FRAME_IDENTITY) && !frame->length) {
		flags = EMULATED_AFTER_IDENTITY;
		room -= sizeof(*frame);
		frame++;
		if (!emulated_frame_valid(xdev, frame, room))
			return -EINVAL;
	}

	state = (const struct emulated_state *)(frame + 1);
	if (frame->type != cpu_to_le16(EMULATED_FRAME_STATE) ||
	    le32_to_cpu(frame->length) != sizeof(*state) ||
	    room != sizeof(*frame) + sizeof(*state) ||
	    state->layout != cpu_to_le32(EMULATED_LAYOUT_ID) ||
	    le32_to_cpu(state->flags) & ~flags)
		return -EINVAL;

	for (i = 0; i < EMULATED_NR_VALUES; i++)
		mig->values[i] = le32_to_cpu(state->values[i]);
	return 0;
}

/* Forgets what was sent or received. */
static void emulated_drop_stream(struct emulated_migration *mig)
{
	mig->length = 0;
	mig->position = 0;
	mig->staged = 0;
}

static int emulated_set_state(struct emulated_device *xdev, u32 next)
{
	struct emulated_migration *mig = &xdev->migration;
	const u32 cleared = mig->state & ~next;
	const u32 set = next & ~mig->state;
	u32 flags = 0;
	int ret;

	lockdep_assert_held(&mig->lock);

	if (next & ~VFIO_DEVICE_STATE_MASK || !(emulated_next_states[mig->state] & BIT(next)))
		return -EINVAL;
	if (next == mig->state)
		return 0;

	/* All that can fail comes first, so that a refused write changes nothing. */
	if (cleared & VFIO_DEVICE_STATE_V1_RESUMING) {
		ret = emulated_parse_stream(xdev);
		if (ret) {
			/* A stream cannot be mended, only sent again after a reset. */
			emulated_drop_stream(mig);
			mig->state = EMULATED_STATE_ERROR;
			return ret;
		}
	}

	if (set & VFIO_DEVICE_STATE_V1_SAVING) {
		ret = emulated_ledger_begin_saving(&xdev->ledger);
		if (ret)
			return ret;
	}

	if (cleared & VFIO_DEVICE_STATE_V1_RUNNING) {
		emulated_engine_stop(xdev);
		emulated_for_each(xdev, emulated_stop);
	}
	if (cleared & VFIO_DEVICE_STATE_V1_RESUMING)
		emulated_for_each(xdev, emulated_restore);

	if (mig->state == EMULATED_STATE_PRE_COPY && mig->position)
		flags = EMULATED_AFTER_IDENTITY;
	emulated_drop_stream(mig);
	if (next == EMULATED_STATE_STOP_COPY)
		emulated_save_state(xdev, flags);
	else if (next == EMULATED_STATE_PRE_COPY)
		emulated_seal_frame(xdev, EMULATED_FRAME_IDENTITY, 0);

	if (set & VFIO_DEVICE_STATE_V1_RUNNING) {
		emulated_for_each(xdev, emulated_start);
		emulated_engine_start(xdev);
	}
	if (cleared & VFIO_DEVICE_STATE_V1_SAVING)
		emulated_ledger_end_saving(&xdev->ledger);
	mig->state = next;
	return 0;
}

/* A read of pending_bytes says that the user is done with the buffer before. */
static u64 emulated_next_pending(struct emulated_migration *mig)
{
	if (!(mig->state & VFIO_DEVICE_STATE_V1_SAVING))
		return 0;
	mig->position += mig->staged;
	mig->staged = 0;
	return mig->length - mig->position;
}

/* A read of data_offset asks for the next buffer, unless there still is one. */
static void emulated_stage(struct emulated_migration *mig)
{
	if (!(mig->state & VFIO_DEVICE_STATE_V1_SAVING) || mig->staged)
		return;
	mig->staged = min_t(size_t, mig->length - mig->position, EMULATED_CHUNK_SIZE);
	memcpy(mig->data, mig->stream + mig->position, mig->staged);
}

/* Takes over @size bytes that the user has put into the data section. */
static int emulated_receive(struct emulated_migration *mig, u64 size)
{
	if (mig->state != VFIO_DEVICE_STATE_V1_RESUMING)
		return -EINVAL;
	if (!size || size > EMULATED_DATA_SIZE ||
	    size > EMULATED_STREAM_SIZE - mig->length)
		return -EINVAL;
	memcpy(mig->stream + mig->length, mig->data, size);
	mig->length += size;
	return 0;
}

static ssize_t emulated_read_field(struct emulated_device *xdev, char __user *buf, size_t count,
				   u64 pos)
{
	struct emulated_migration *mig = &xdev->migration;
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
		value = emulated_next_pending(mig);
		break;
	case offsetof(struct vfio_device_migration_info, data_offset):
		emulated_stage(mig);
		value = EMULATED_DATA_OFFSET;
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

static ssize_t emulated_write_field(struct emulated_device *xdev, const char __user *buf,
				    size_t count, u64 pos)
{
	struct emulated_migration *mig = &xdev->migration;
	u64 value = 0;
	u32 value32;
	int ret;

	if (copy_from_user(count == sizeof(u32) ? (void *)&value32 : (void *)&value, buf, count))
		return -EFAULT;

	switch (pos) {
	case offsetof(struct vfio_device_migration_info, device_state):
		emulated_lock_registers(xdev);
		mutex_lock(&mig->lock);
		ret = emulated_set_state(xdev, value32);
		mutex_unlock(&mig->lock);
		emulated_unlock_registers(xdev);
		break;
	case offsetof(struct vfio_device_migration_info, reserved):
		ret = 0;
		break;
	case offsetof(struct vfio_device_migration_info, data_size):
		mutex_lock(&mig->lock);
		ret = emulated_receive(mig, value);
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
static bool emulated_is_field(u64 pos, size_t count)
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
 * emulated_migration_rw - read or write the migration region
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
ssize_t emulated_migration_rw(struct emulated_device *xdev, char __user *buf, size_t count,
			      u64 pos, bool iswrite)
{
	unsigned long left;
	void *data;

	if (pos >= EMULATED_REGION_SIZE || count > EMULATED_REGION_SIZE - pos)
		return -EINVAL;

	if (pos < EMULATED_DATA_OFFSET) {
		if (!emulated_is_field(pos, count))
			return -EINVAL;
		return iswrite ? emulated_write_field(xdev, buf, count, pos) :
				 emulated_read_field(xdev, buf, count, pos);
	}

	data = xdev->migration.data + pos - EMULATED_DATA_OFFSET;
	if (iswrite)
		left = copy_from_user(data, buf, count);
	else
		left = copy_to_user(buf, data, count);
	return left ? -EFAULT : count;
}

/* Maps the data section, of which @start is a place: an offset in the region. */
int emulated_migration_mmap(struct emulated_device *xdev, struct vm_area_struct *vma,
			    u64 start)
{
	u64 size = vma->vm_end - vma->vm_start;

	if (start < EMULATED_DATA_OFFSET || start >= EMULATED_REGION_SIZE ||
	    size > EMULATED_REGION_SIZE - start)
		return -EINVAL;
	return remap_vmalloc_range(vma, xdev->migration.data,
				   (start - EMULATED_DATA_OFFSET) >> PAGE_SHIFT);
}

int emulated_migration_add_capability(struct vfio_info_cap *caps)
{
	const struct emulated_range area = {
		.offset = EMULATED_DATA_OFFSET,
		.size = EMULATED_DATA_SIZE,
	};

	return emulated_add_areas(caps, VFIO_REGION_INFO_CAP_SPARSE_MMAP, &area, 1);
}

void emulated_migration_init(struct emulated_migration *mig)
{
	mutex_init(&mig->lock);
}

/* Called before user space can reach the device. */
int emulated_migration_open(struct emulated_device *xdev)
{
	struct emulated_migration *mig = &xdev->migration;

	mig->data = vmalloc_user(EMULATED_DATA_SIZE);
	if (!mig->data)
		return -ENOMEM;
	mig->stream = kvmalloc(EMULATED_STREAM_SIZE, GFP_KERNEL_ACCOUNT);
	if (!mig->stream)
		goto err_free_data;
	mig->values = kvcalloc(EMULATED_NR_VALUES, sizeof(*mig->values), GFP_KERNEL_ACCOUNT);
	if (!mig->values)
		goto err_free_stream;

	emulated_migration_reset(xdev);
	return 0;

err_free_stream:
	kvfree(mig->stream);
err_free_data:
	vfree(mig->data);
	return -ENOMEM;
}

/* Called when user space can reach the device no more. */
void emulated_migration_close(struct emulated_device *xdev)
{
	struct emulated_migration *mig = &xdev->migration;

	kvfree(mig->values);
	kvfree(mig->stream);
	vfree(mig->data);
}

/* The device was reset: it runs, and what was sent or received is void. */
void emulated_migration_reset(struct emulated_device *xdev)
{
	struct emulated_migration *mig = &xdev->migration;

	mutex_lock(&mig->lock);
	emulated_drop_stream(mig);
	emulated_ledger_end_saving(&xdev->ledger);
	mig->state = VFIO_DEVICE_STATE_V1_RUNNING;
	mutex_unlock(&mig->lock);
}
