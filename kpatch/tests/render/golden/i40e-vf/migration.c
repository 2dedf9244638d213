// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel Ethernet 700 series virtual function: the v1 migration region
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
 * An identity frame has no payload. This driver sends none but
 * takes one ahead of the state, from a source that has something to say in
 * pre-copy.
 * The state frame comes last. Its payload is the id of the register layout,
 * flags, both 4 bytes, and one 4-byte value for each register in the order of
 * i40e_vf_registers. Both driver and description can change, so a layout id
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

#include "i40e_vf.h"

#define I40E_VF_MAGIC		0x3147494d4f494656ULL
#define I40E_VF_VERSION		1
#define I40E_VF_LAYOUT_ID		0xddcdb398
#define I40E_VF_CHUNK_SIZE		0x80

/* _SAVING | _RESUMING without _RUNNING; the header defines only its complement. */
#define I40E_VF_STATE_ERROR \
	(VFIO_DEVICE_STATE_V1_SAVING | VFIO_DEVICE_STATE_V1_RESUMING)
#define I40E_VF_STATE_PRE_COPY \
	(VFIO_DEVICE_STATE_V1_RUNNING | VFIO_DEVICE_STATE_V1_SAVING)
#define I40E_VF_STATE_STOP_COPY	VFIO_DEVICE_STATE_V1_SAVING

enum i40e_vf_frame_type {
	I40E_VF_FRAME_IDENTITY = 1,
	I40E_VF_FRAME_STATE = 2,
};

struct i40e_vf_frame {
	__le64 magic;
	__le16 version;
	__le16 type;
	__le16 vendor;
	__le16 device;
	__le32 length;
	__le32 crc;
};

/* Flags of the state frame */
#define I40E_VF_AFTER_IDENTITY	BIT(0)

struct i40e_vf_state {
	__le32 layout;
	__le32 flags;
	__le32 values[I40E_VF_NR_VALUES];
};

#define I40E_VF_STREAM_SIZE \
	(2 * sizeof(struct i40e_vf_frame) + sizeof(struct i40e_vf_state))

/**
 * struct i40e_vf_register - one or more alike registers of the device state
 * @bar: BAR that holds them
 * @width: bytes of an access: 1, 2 or 4
 * @count: how many there are
 * @offset: of the first one
 * @stride: bytes from one to the next
 * @mask: bits that are saved and restored
 * @stop: bits which are cleared to stop the device, 0 for most registers
 */
struct i40e_vf_register {
	u8 bar;
	u8 width;
	u32 count;
	u32 offset;
	u32 stride;
	u32 mask;
	u32 stop;
};

static const struct i40e_vf_register i40e_vf_registers[] = {
	/* VFQF_HENA */
	{
		.bar = 0,
		.width = 4,
		.count = 2,
		.offset = 0xc400,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VFQF_HKEY */
	{
		.bar = 0,
		.width = 4,
		.count = 13,
		.offset = 0xcc00,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VFQF_HLUT */
	{
		.bar = 0,
		.width = 4,
		.count = 16,
		.offset = 0xd000,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* VFINT_ITRN1 */
	{
		.bar = 0,
		.width = 4,
		.count = 48,
		.offset = 0x2800,
		.stride = 0x4,
		.mask = 0xfff,
	},
	/* VFINT_ICR0_ENA1 */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x5000,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* ATQBAL1 */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x7c00,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* ATQBAH1 */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x7800,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* ATQH1 */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x6400,
		.stride = 0x4,
		.mask = 0x3ff,
	},
	/* ATQT1 */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x8400,
		.stride = 0x4,
		.mask = 0x3ff,
	},
	/* ATQLEN1 */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x6800,
		.stride = 0x4,
		.mask = 0xf00003ff,
		.stop = 0x80000000,
	},
	/* ARQBAL1 */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x6c00,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* ARQBAH1 */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x6000,
		.stride = 0x4,
		.mask = 0xffffffff,
	},
	/* ARQH1 */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x7400,
		.stride = 0x4,
		.mask = 0x3ff,
	},
	/* ARQT1 */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x7000,
		.stride = 0x4,
		.mask = 0x3ff,
	},
	/* ARQLEN1 */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x8000,
		.stride = 0x4,
		.mask = 0xf00003ff,
		.stop = 0x80000000,
	},
	/* QRX_TAIL1 */
	{
		.bar = 0,
		.width = 4,
		.count = 16,
		.offset = 0x2000,
		.stride = 0x4,
		.mask = 0x1fff,
	},
	/* QTX_TAIL1 */
	{
		.bar = 0,
		.width = 4,
		.count = 16,
		.offset = 0x0,
		.stride = 0x4,
		.mask = 0x1fff,
	},
	/* VFINT_DYN_CTLN1 */
	{
		.bar = 0,
		.width = 4,
		.count = 16,
		.offset = 0x3800,
		.stride = 0x4,
		.mask = 0x4001fff9,
	},
	/* VFINT_DYN_CTL01 */
	{
		.bar = 0,
		.width = 4,
		.count = 1,
		.offset = 0x5c00,
		.stride = 0x4,
		.mask = 0x1fff9,
	},
};

/* The states that may be written, for each state the device can be in. */
static const u8 i40e_vf_next_states[] = {
	[0] = BIT(0) | BIT(1),
	[1] = BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4),
	[2] = BIT(0) | BIT(1) | BIT(2),
	[3] = BIT(1) | BIT(2) | BIT(3),
	[4] = BIT(1) | BIT(4),
	[I40E_VF_STATE_ERROR] = 0,
};

static u32 i40e_vf_get(struct i40e_vf_device *xdev, const struct i40e_vf_register *reg,
		       u32 i)
{
	return i40e_vf_read_register(xdev, reg->bar, reg->offset + i * reg->stride, reg->width);
}

static void i40e_vf_put(struct i40e_vf_device *xdev, const struct i40e_vf_register *reg,
			u32 i, u32 mask, u32 value)
{
	if (~mask & GENMASK(reg->width * BITS_PER_BYTE - 1, 0))
		value = (i40e_vf_get(xdev, reg, i) & ~mask) | (value & mask);
	i40e_vf_write_register(xdev, reg->bar, reg->offset + i * reg->stride, reg->width, value);
}

/*
 * Calls @fn for each register of the state, in the order of the description,
 * with the place of its value.
 */
static void i40e_vf_for_each(struct i40e_vf_device *xdev,
			     void (*fn)(struct i40e_vf_device *xdev,
					const struct i40e_vf_register *reg, u32 i,
					u32 *value))
{
	u32 *value = xdev->migration.values;
	unsigned int r;
	u32 i;

	for (r = 0; r < ARRAY_SIZE(i40e_vf_registers); r++)
		for (i = 0; i < i40e_vf_registers[r].count; i++)
			fn(xdev, &i40e_vf_registers[r], i, value++);
}

/* Keeps what the register holds and clears the bits that keep the device going. */
static void i40e_vf_stop(struct i40e_vf_device *xdev, const struct i40e_vf_register *reg,
			 u32 i, u32 *value)
{
	if (!reg->stop)
		return;
	*value = i40e_vf_get(xdev, reg, i) & reg->mask;
	i40e_vf_put(xdev, reg, i, reg->stop, 0);
}

static void i40e_vf_start(struct i40e_vf_device *xdev, const struct i40e_vf_register *reg,
			  u32 i, u32 *value)
{
	if (reg->stop)
		i40e_vf_put(xdev, reg, i, reg->stop, *value);
}

/* The registers that stop the device have been kept by i40e_vf_stop(). */
static void i40e_vf_save(struct i40e_vf_device *xdev, const struct i40e_vf_register *reg,
			 u32 i, u32 *value)
{
	if (!reg->stop)
		*value = i40e_vf_get(xdev, reg, i) & reg->mask;
}

/* The device stays stopped until i40e_vf_start(). */
static void i40e_vf_restore(struct i40e_vf_device *xdev, const struct i40e_vf_register *reg,
			    u32 i, u32 *value)
{
	i40e_vf_put(xdev, reg, i, reg->mask, *value & ~reg->stop);
}

static u32 i40e_vf_frame_crc(const struct i40e_vf_frame *frame, size_t length)
{
	struct i40e_vf_frame header = *frame;
	u32 crc;

	header.crc = 0;
	crc = crc32_le(~0, (const u8 *)&header, sizeof(header));
	return ~crc32_le(crc, (const u8 *)(frame + 1), length);
}

/* Makes the stream one frame, whose payload is in place already. */
static void i40e_vf_seal_frame(struct i40e_vf_device *xdev, enum i40e_vf_frame_type type,
			       size_t length)
{
	struct i40e_vf_migration *mig = &xdev->migration;
	struct i40e_vf_frame *frame = (struct i40e_vf_frame *)mig->stream;
	struct pci_dev *pdev = xdev->core_device.pdev;

	frame->magic = cpu_to_le64(I40E_VF_MAGIC);
	frame->version = cpu_to_le16(I40E_VF_VERSION);
	frame->type = cpu_to_le16(type);
	frame->vendor = cpu_to_le16(pdev->vendor);
	frame->device = cpu_to_le16(pdev->device);
	frame->length = cpu_to_le32(length);
	frame->crc = cpu_to_le32(i40e_vf_frame_crc(frame, length));
	mig->length = sizeof(*frame) + length;
}

static void i40e_vf_save_state(struct i40e_vf_device *xdev, u32 flags)
{
	struct i40e_vf_migration *mig = &xdev->migration;
	struct i40e_vf_frame *frame = (struct i40e_vf_frame *)mig->stream;
	struct i40e_vf_state *state = (struct i40e_vf_state *)(frame + 1);
	u32 i;

	i40e_vf_for_each(xdev, i40e_vf_save);
	state->layout = cpu_to_le32(I40E_VF_LAYOUT_ID);
	state->flags = cpu_to_le32(flags);
	for (i = 0; i < I40E_VF_NR_VALUES; i++)
		state->values[i] = cpu_to_le32(mig->values[i]);
	i40e_vf_seal_frame(xdev, I40E_VF_FRAME_STATE, sizeof(*state));
}

static bool i40e_vf_frame_valid(struct i40e_vf_device *xdev, const struct i40e_vf_frame *frame,
				size_t room)
{
	struct pci_dev *pdev = xdev->core_device.pdev;

	return room >= sizeof(*frame) &&
	       frame->magic == cpu_to_le64(I40E_VF_MAGIC) &&
	       frame->version == cpu_to_le16(I40E_VF_VERSION) &&
	       frame->vendor == cpu_to_le16(pdev->vendor) &&
	       frame->device == cpu_to_le16(pdev->device) &&
	       le32_to_cpu(frame->length) <= room - sizeof(*frame) &&
	       frame->crc == cpu_to_le32(i40e_vf_frame_crc(frame, le32_to_cpu(frame->length)));
}

/*
 * Checks the received stream and takes the values out of it.
 * Return: 0, or -EINVAL if it is not whole, not sound or not meant for this device.
 */
static int i40e_vf_parse_stream(struct i40e_vf_device *xdev)
{
	struct i40e_vf_migration *mig = &xdev->migration;
	const struct i40e_vf_frame *frame = (const struct i40e_vf_frame *)mig->stream;
	const struct i40e_vf_state *state;
	size_t room = mig->length;
	u32 flags = 0;
	u32 i;

	if (!i40e_vf_frame_valid(xdev, frame, room))
		return -EINVAL;
	if (frame->type == cpu_to_le16(I40E_VF_FRAME_IDENTITY) && !frame->length) {
		flags = I40E_VF_AFTER_IDENTITY;
		room -= sizeof(*frame);
		frame++;
		if (!i40e_vf_frame_valid(xdev, frame, room))
			return -EINVAL;
	}

	state = (const struct i40e_vf_state *)(frame + 1);
	if (frame->type != cpu_to_le16(I40E_VF_FRAME_STATE) ||
	    le32_to_cpu(frame->length) != sizeof(*state) ||
	    room != sizeof(*frame) + sizeof(*state) ||
	    state->layout != cpu_to_le32(I40E_VF_LAYOUT_ID) ||
	    le32_to_cpu(state->flags) & ~flags)
		return -EINVAL;

	for (i = 0; i < I40E_VF_NR_VALUES; i++)
		mig->values[i] = le32_to_cpu(state->values[i]);
	return 0;
}

/* Forgets what was sent or received. */
static void i40e_vf_drop_stream(struct i40e_vf_migration *mig)
{
	mig->length = 0;
	mig->position = 0;
	mig->staged = 0;
}

static int i40e_vf_set_state(struct i40e_vf_device *xdev, u32 next)
{
	struct i40e_vf_migration *mig = &xdev->migration;
	const u32 cleared = mig->state & ~next;
	const u32 set = next & ~mig->state;
	u32 flags = 0;
	int ret;

	lockdep_assert_held(&mig->lock);

	if (next & ~VFIO_DEVICE_STATE_MASK || !(i40e_vf_next_states[mig->state] & BIT(next)))
		return -EINVAL;
	if (next == mig->state)
		return 0;

	/* All that can fail comes first, so that a refused write changes nothing. */
	if ((((set | cleared) & ~VFIO_DEVICE_STATE_V1_SAVING) ||
	     next == I40E_VF_STATE_STOP_COPY) && !i40e_vf_registers_enabled(xdev))
		return -EIO;

	if (cleared & VFIO_DEVICE_STATE_V1_RESUMING) {
		ret = i40e_vf_parse_stream(xdev);
		if (ret) {
			/* A stream cannot be mended, only sent again after a reset. */
			i40e_vf_drop_stream(mig);
			mig->state = I40E_VF_STATE_ERROR;
			return ret;
		}
	}

	if (set & VFIO_DEVICE_STATE_V1_SAVING) {
		ret = i40e_vf_ledger_begin_saving(&xdev->ledger);
		if (ret)
			return ret;
	}

	if (cleared & VFIO_DEVICE_STATE_V1_RUNNING)
		i40e_vf_for_each(xdev, i40e_vf_stop);
	if (cleared & VFIO_DEVICE_STATE_V1_RESUMING)
		i40e_vf_for_each(xdev, i40e_vf_restore);

	i40e_vf_drop_stream(mig);
	if (next == I40E_VF_STATE_STOP_COPY)
		i40e_vf_save_state(xdev, flags);

	if (set & VFIO_DEVICE_STATE_V1_RUNNING)
		i40e_vf_for_each(xdev, i40e_vf_start);
	if (cleared & VFIO_DEVICE_STATE_V1_SAVING)
		i40e_vf_ledger_end_saving(&xdev->ledger);
	mig->state = next;
	return 0;
}

/* A read of pending_bytes says that the user is done with the buffer before. */
static u64 i40e_vf_next_pending(struct i40e_vf_migration *mig)
{
	if (!(mig->state & VFIO_DEVICE_STATE_V1_SAVING))
		return 0;
	mig->position += mig->staged;
	mig->staged = 0;
	return mig->length - mig->position;
}

/* A read of data_offset asks for the next buffer, unless there still is one. */
static void i40e_vf_stage(struct i40e_vf_migration *mig)
{
	if (!(mig->state & VFIO_DEVICE_STATE_V1_SAVING) || mig->staged)
		return;
	mig->staged = min_t(size_t, mig->length - mig->position, I40E_VF_CHUNK_SIZE);
	memcpy(mig->data, mig->stream + mig->position, mig->staged);
}

/* Takes over @size bytes that the user has put into the data section. */
static int i40e_vf_receive(struct i40e_vf_migration *mig, u64 size)
{
	if (mig->state != VFIO_DEVICE_STATE_V1_RESUMING)
		return -EINVAL;
	if (!size || size > I40E_VF_DATA_SIZE ||
	    size > I40E_VF_STREAM_SIZE - mig->length)
		return -EINVAL;
	memcpy(mig->stream + mig->length, mig->data, size);
	mig->length += size;
	return 0;
}

static ssize_t i40e_vf_read_field(struct i40e_vf_device *xdev, char __user *buf, size_t count,
				  u64 pos)
{
	struct i40e_vf_migration *mig = &xdev->migration;
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
		value = i40e_vf_next_pending(mig);
		break;
	case offsetof(struct vfio_device_migration_info, data_offset):
		i40e_vf_stage(mig);
		value = I40E_VF_DATA_OFFSET;
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

static ssize_t i40e_vf_write_field(struct i40e_vf_device *xdev, const char __user *buf,
				   size_t count, u64 pos)
{
	struct i40e_vf_migration *mig = &xdev->migration;
	u64 value = 0;
	u32 value32;
	int ret;

	if (copy_from_user(count == sizeof(u32) ? (void *)&value32 : (void *)&value, buf, count))
		return -EFAULT;

	switch (pos) {
	case offsetof(struct vfio_device_migration_info, device_state):
		i40e_vf_lock_registers(xdev);
		mutex_lock(&mig->lock);
		ret = i40e_vf_set_state(xdev, value32);
		mutex_unlock(&mig->lock);
		i40e_vf_unlock_registers(xdev);
		break;
	case offsetof(struct vfio_device_migration_info, reserved):
		ret = 0;
		break;
	case offsetof(struct vfio_device_migration_info, data_size):
		mutex_lock(&mig->lock);
		ret = i40e_vf_receive(mig, value);
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
static bool i40e_vf_is_field(u64 pos, size_t count)
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
 * i40e_vf_migration_rw - read or write the migration region
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
ssize_t i40e_vf_migration_rw(struct i40e_vf_device *xdev, char __user *buf, size_t count,
			     u64 pos, bool iswrite)
{
	unsigned long left;
	void *data;

	if (pos >= I40E_VF_REGION_SIZE || count > I40E_VF_REGION_SIZE - pos)
		return -EINVAL;

	if (pos < I40E_VF_DATA_OFFSET) {
		if (!i40e_vf_is_field(pos, count))
			return -EINVAL;
		return iswrite ? i40e_vf_write_field(xdev, buf, count, pos) :
				 i40e_vf_read_field(xdev, buf, count, pos);
	}

	data = xdev->migration.data + pos - I40E_VF_DATA_OFFSET;
	if (iswrite)
		left = copy_from_user(data, buf, count);
	else
		left = copy_to_user(buf, data, count);
	return left ? -EFAULT : count;
}

/* Maps the data section, of which @start is a place: an offset in the region. */
int i40e_vf_migration_mmap(struct i40e_vf_device *xdev, struct vm_area_struct *vma,
			   u64 start)
{
	u64 size = vma->vm_end - vma->vm_start;

	if (start < I40E_VF_DATA_OFFSET || start >= I40E_VF_REGION_SIZE ||
	    size > I40E_VF_REGION_SIZE - start)
		return -EINVAL;
	return remap_vmalloc_range(vma, xdev->migration.data,
				   (start - I40E_VF_DATA_OFFSET) >> PAGE_SHIFT);
}

int i40e_vf_migration_add_capability(struct vfio_info_cap *caps)
{
	const struct i40e_vf_range area = {
		.offset = I40E_VF_DATA_OFFSET,
		.size = I40E_VF_DATA_SIZE,
	};

	return i40e_vf_add_areas(caps, VFIO_REGION_INFO_CAP_SPARSE_MMAP, &area, 1);
}

void i40e_vf_migration_init(struct i40e_vf_migration *mig)
{
	mutex_init(&mig->lock);
}

/* Called before user space can reach the device. */
int i40e_vf_migration_open(struct i40e_vf_device *xdev)
{
	struct i40e_vf_migration *mig = &xdev->migration;

	mig->data = vmalloc_user(I40E_VF_DATA_SIZE);
	if (!mig->data)
		return -ENOMEM;
	mig->stream = kvmalloc(I40E_VF_STREAM_SIZE, GFP_KERNEL_ACCOUNT);
	if (!mig->stream)
		goto err_free_data;
	mig->values = kvcalloc(I40E_VF_NR_VALUES, sizeof(*mig->values), GFP_KERNEL_ACCOUNT);
	if (!mig->values)
		goto err_free_stream;

	i40e_vf_migration_reset(xdev);
	return 0;

err_free_stream:
	kvfree(mig->stream);
err_free_data:
	vfree(mig->data);
	return -ENOMEM;
}

/* Called when user space can reach the device no more. */
void i40e_vf_migration_close(struct i40e_vf_device *xdev)
{
	struct i40e_vf_migration *mig = &xdev->migration;

	kvfree(mig->values);
	kvfree(mig->stream);
	vfree(mig->data);
}

/* The device was reset: it runs, and what was sent or received is void. */
void i40e_vf_migration_reset(struct i40e_vf_device *xdev)
{
	struct i40e_vf_migration *mig = &xdev->migration;

	mutex_lock(&mig->lock);
	i40e_vf_drop_stream(mig);
	i40e_vf_ledger_end_saving(&xdev->ledger);
	mig->state = VFIO_DEVICE_STATE_V1_RUNNING;
	mutex_unlock(&mig->lock);
}
