// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel 82576 virtual function: the v1 migration region
 *
 * Generated from igb-vf.toml; edit that file or the templates, not this one.
 */

#include <linux/bits.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "igb_vf.h"

#define IGB_VF_CHUNK_SIZE		0x10000

/* _SAVING | _RESUMING without _RUNNING; the header defines only its complement. */
#define IGB_VF_STATE_ERROR \
	(VFIO_DEVICE_STATE_V1_SAVING | VFIO_DEVICE_STATE_V1_RESUMING)
#define IGB_VF_STATE_PRE_COPY \
	(VFIO_DEVICE_STATE_V1_RUNNING | VFIO_DEVICE_STATE_V1_SAVING)
#define IGB_VF_STATE_STOP_COPY	VFIO_DEVICE_STATE_V1_SAVING

/* The states that may be written, for each state the device can be in. */
static const u8 igb_vf_next_states[] = {
	[0] = BIT(0) | BIT(1) | BIT(2),
	[1] = BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4),
	[2] = BIT(0) | BIT(1) | BIT(2),
	[3] = BIT(1) | BIT(2) | BIT(3),
	[4] = BIT(1) | BIT(4),
	[IGB_VF_STATE_ERROR] = 0,
};

/*
 * Forgets what was sent or received, in the data section as well: outside of saving
 * and resuming it shows nothing of a stream.
 */
static void igb_vf_forget_stream(struct igb_vf_migration *mig)
{
	igb_vf_drop_stream(mig);
	memset(mig->data, 0, IGB_VF_DATA_SIZE);
}

/* Is the device held by VFIO_DEVICE_FEATURE_MIGRATION? Then this is not its state. */
static bool igb_vf_is_held(const struct igb_vf_migration *mig)
{
	lockdep_assert_held(&mig->lock);

	return mig->holder == IGB_VF_HELD_BY_FEATURE;
}

static int igb_vf_set_state(struct igb_vf_device *xdev, u32 next)
{
	struct igb_vf_migration *mig = &xdev->migration;
	const u32 cleared = mig->v1_state & ~next;
	const u32 set = next & ~mig->v1_state;
	bool after_identity = false;
	int ret;

	lockdep_assert_held(&mig->lock);

	if (next & ~VFIO_DEVICE_STATE_MASK || !(igb_vf_next_states[mig->v1_state] & BIT(next)))
		return -EINVAL;
	if (igb_vf_is_held(mig))
		return -EBUSY;
	if (next == mig->v1_state)
		return 0;

	/* All that can fail comes first, so that a refused write changes nothing. */
	if ((((set | cleared) & ~VFIO_DEVICE_STATE_V1_SAVING) ||
	     next == IGB_VF_STATE_STOP_COPY) && !igb_vf_registers_enabled(xdev))
		return -EIO;

	if (cleared & VFIO_DEVICE_STATE_V1_RESUMING && !igb_vf_received(mig)) {
		/* The stream cannot be repaired, only sent again after a reset. */
		igb_vf_forget_stream(mig);
		mig->v1_state = IGB_VF_STATE_ERROR;
		return -EINVAL;
	}

	if (set & VFIO_DEVICE_STATE_V1_SAVING) {
		ret = igb_vf_ledger_begin_saving(&xdev->ledger);
		if (ret)
			return ret;
	}

	if (cleared & VFIO_DEVICE_STATE_V1_RUNNING) {
		ret = igb_vf_device_stop(xdev);
		if (ret) {
			if (set & VFIO_DEVICE_STATE_V1_SAVING)
				igb_vf_ledger_end_saving(&xdev->ledger);
			return ret;
		}
	}
	if (cleared & VFIO_DEVICE_STATE_V1_RESUMING)
		igb_vf_device_restore(xdev);

	if (mig->v1_state == IGB_VF_STATE_PRE_COPY && mig->position)
		after_identity = true;
	igb_vf_forget_stream(mig);
	if (next == IGB_VF_STATE_STOP_COPY)
		igb_vf_send_state(xdev, after_identity);
	else if (next == IGB_VF_STATE_PRE_COPY)
		igb_vf_send_identity(xdev);

	if (set & VFIO_DEVICE_STATE_V1_RUNNING)
		igb_vf_device_start(xdev);
	if (cleared & VFIO_DEVICE_STATE_V1_SAVING)
		igb_vf_ledger_end_saving(&xdev->ledger);
	mig->v1_state = next;
	mig->holder = IGB_VF_HELD_BY_REGION;
	return 0;
}

/* A read of pending_bytes says that the user is done with the buffer before. */
static u64 igb_vf_next_pending(struct igb_vf_migration *mig)
{
	if (!(mig->v1_state & VFIO_DEVICE_STATE_V1_SAVING))
		return 0;
	mig->position += mig->staged;
	mig->staged = 0;
	return mig->length - mig->position;
}

/* A read of data_offset asks for the next buffer, unless there still is one. */
static void igb_vf_stage(struct igb_vf_migration *mig)
{
	if (!(mig->v1_state & VFIO_DEVICE_STATE_V1_SAVING) || mig->staged)
		return;
	mig->staged = min_t(size_t, mig->length - mig->position, IGB_VF_CHUNK_SIZE);
	memcpy(mig->data, mig->stream + mig->position, mig->staged);
}

/* Takes over @size bytes that the user has put into the data section. */
static int igb_vf_receive(struct igb_vf_device *xdev, u64 size)
{
	struct igb_vf_migration *mig = &xdev->migration;

	if (igb_vf_is_held(mig))
		return -EBUSY;
	if (mig->v1_state != VFIO_DEVICE_STATE_V1_RESUMING)
		return -EINVAL;
	if (size > IGB_VF_DATA_SIZE)
		return -EINVAL;
	return igb_vf_receive_stream(xdev, mig->data, size);
}

/* The value of a field, which has 4 or 8 bytes in the order of the processor. */
union igb_vf_field {
	u32 narrow;
	u64 wide;
};

static ssize_t igb_vf_read_field(struct igb_vf_device *xdev, char __user *buf, size_t count,
				 u64 pos)
{
	struct igb_vf_migration *mig = &xdev->migration;
	union igb_vf_field field;
	u64 value = 0;

	/*
	 * A read can move the stream on, and must not if its value cannot be
	 * delivered. User memory cannot be accessed under the lock, see there.
	 */
	if (fault_in_writeable(buf, count))
		return -EFAULT;

	mutex_lock(&mig->lock);
	if (igb_vf_is_held(mig)) {
		mutex_unlock(&mig->lock);
		return -EBUSY;
	}
	switch (pos) {
	case offsetof(struct vfio_device_migration_info, device_state):
		value = mig->v1_state;
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

	if (count == sizeof(field.narrow))
		field.narrow = value;
	else
		field.wide = value;
	if (copy_to_user(buf, &field, count))
		return -EFAULT;
	return count;
}

static ssize_t igb_vf_write_field(struct igb_vf_device *xdev, const char __user *buf,
				  size_t count, u64 pos)
{
	struct igb_vf_migration *mig = &xdev->migration;
	union igb_vf_field value;
	int ret;

	if (copy_from_user(&value, buf, count))
		return -EFAULT;

	switch (pos) {
	case offsetof(struct vfio_device_migration_info, device_state):
		igb_vf_lock_registers(xdev);
		mutex_lock(&mig->lock);
		ret = igb_vf_set_state(xdev, value.narrow);
		mutex_unlock(&mig->lock);
		igb_vf_unlock_registers(xdev);
		break;
	case offsetof(struct vfio_device_migration_info, reserved):
		ret = 0;
		break;
	case offsetof(struct vfio_device_migration_info, data_size):
		mutex_lock(&mig->lock);
		ret = igb_vf_receive(xdev, value.wide);
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
 * Return: @count, or a negative error. Then no field was changed, and nothing but the
 * data section, up to where @buf ends.
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

/* Maps the data section from @start, an offset in the region. */
int igb_vf_migration_mmap(struct igb_vf_device *xdev, struct vm_area_struct *vma,
			  u64 start)
{
	u64 size = vma->vm_end - vma->vm_start;
	void *data;
	u64 at;
	int ret;

	if (start < IGB_VF_DATA_OFFSET || start >= IGB_VF_REGION_SIZE ||
	    size > IGB_VF_REGION_SIZE - start)
		return -EINVAL;

	data = xdev->migration.data + start - IGB_VF_DATA_OFFSET;
	for (at = 0; at < size; at += PAGE_SIZE) {
		ret = vm_insert_page(vma, vma->vm_start + at, vmalloc_to_page(data + at));
		if (ret)
			return ret;
	}
	compat_vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}

int igb_vf_migration_add_capability(struct vfio_info_cap *caps)
{
	const struct igb_vf_range area = {
		.offset = IGB_VF_DATA_OFFSET,
		.size = IGB_VF_DATA_SIZE,
	};

	return igb_vf_add_areas(caps, VFIO_REGION_INFO_CAP_SPARSE_MMAP, &area, 1);
}

/* Called before user space can reach the device. */
int igb_vf_region_open(struct igb_vf_device *xdev)
{
	struct igb_vf_migration *mig = &xdev->migration;
	void *data;

	/* As vmalloc_user(), but it counts for the memory cgroup of the user. */
	data = __vmalloc(IGB_VF_DATA_SIZE, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!data)
		return -ENOMEM;
	if (igb_vf_alloc_stream(mig)) {
		vfree(data);
		return -ENOMEM;
	}

	mutex_lock(&mig->lock);
	mig->data = data;
	mutex_unlock(&mig->lock);
	return 0;
}

/* Called when user space can reach the device no more; a reset still can. */
void igb_vf_region_close(struct igb_vf_device *xdev)
{
	struct igb_vf_migration *mig = &xdev->migration;

	mutex_lock(&mig->lock);
	igb_vf_free_stream(mig);
	vfree(mig->data);
	mig->data = NULL;
	mutex_unlock(&mig->lock);
}

/* The device was reset, or is about to be closed. */
void igb_vf_region_reset(struct igb_vf_migration *mig)
{
	lockdep_assert_held(&mig->lock);

	if (mig->data)
		igb_vf_forget_stream(mig);
	mig->v1_state = VFIO_DEVICE_STATE_V1_RUNNING;
}
