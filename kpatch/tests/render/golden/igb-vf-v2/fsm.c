// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel 82576 virtual function: the states of VFIO_DEVICE_FEATURE_MIGRATION
 *
 * Generated from igb-vf.toml; edit that file or the templates, not this one.
 *
 * The device does no DMA at all in RUNNING_P2P and PRE_COPY_P2P: it cannot tell
 * the memory of the guest from that of another device.
 * In STOP_COPY, PRE_COPY and PRE_COPY_P2P the saving layouts hold. A change that
 * enters these from outside is judged before its first step, so that a refused
 * one changes nothing.
 */

#include <linux/err.h>
#include <linux/file.h>
#include <linux/slab.h>

#include "igb_vf.h"

/* Is the device being saved, so that a stream of it is sent? */
static bool igb_vf_is_saving(enum vfio_device_mig_state state)
{
	switch (state) {
	case VFIO_DEVICE_STATE_STOP_COPY:
	case VFIO_DEVICE_STATE_PRE_COPY:
	case VFIO_DEVICE_STATE_PRE_COPY_P2P:
		return true;
	default:
		return false;
	}
}

/* Ends the session, if there is one, and forgets its stream. */
static void igb_vf_end_session(struct igb_vf_migration *mig)
{
	lockdep_assert_held(&mig->lock);

	if (!mig->session)
		return;
	igb_vf_session_end(mig->session);
	mig->session = NULL;
}

static int igb_vf_begin_session(struct igb_vf_device *xdev, bool resuming)
{
	struct igb_vf_migration *mig = &xdev->migration;
	struct igb_vf_session *session;

	lockdep_assert_held(&mig->lock);

	session = igb_vf_session_begin(xdev, resuming);
	if (IS_ERR(session))
		return PTR_ERR(session);
	mig->session = session;
	mig->stream = session->stream;
	mig->length = 0;
	return 0;
}

/* Return: the file of the session that has begun, with a reference for the user. */
static struct file *igb_vf_user_file(struct igb_vf_migration *mig)
{
	get_file(mig->session->filp);
	return mig->session->filp;
}

static struct file *igb_vf_begin_precopy(struct igb_vf_device *xdev)
{
	struct igb_vf_migration *mig = &xdev->migration;
	int ret;

	ret = igb_vf_begin_session(xdev, false);
	if (ret)
		return ERR_PTR(ret);
	igb_vf_send_identity(xdev);
	igb_vf_session_publish(mig->session, mig->length, true);
	return igb_vf_user_file(mig);
}

/* The state follows what pre-copy has sent, if there was one. */
static void igb_vf_finish_stream(struct igb_vf_device *xdev)
{
	struct igb_vf_migration *mig = &xdev->migration;

	igb_vf_send_state(xdev, mig->length);
	igb_vf_session_publish(mig->session, mig->length, false);
}

static struct file *igb_vf_begin_stop_copy(struct igb_vf_device *xdev)
{
	struct igb_vf_migration *mig = &xdev->migration;
	int ret;

	ret = igb_vf_begin_session(xdev, false);
	if (ret)
		return ERR_PTR(ret);
	igb_vf_finish_stream(xdev);
	return igb_vf_user_file(mig);
}

static struct file *igb_vf_begin_resuming(struct igb_vf_device *xdev)
{
	int ret;

	ret = igb_vf_begin_session(xdev, true);
	if (ret)
		return ERR_PTR(ret);
	return igb_vf_user_file(&xdev->migration);
}

/* All of the stream is checked before any of it reaches the device. */
static int igb_vf_load(struct igb_vf_device *xdev)
{
	struct igb_vf_migration *mig = &xdev->migration;
	int ret;

	ret = igb_vf_session_received(mig->session, &mig->length);
	if (ret)
		return ret;
	ret = igb_vf_parse_stream(mig);
	if (ret)
		return ret;
	igb_vf_device_restore(xdev);
	igb_vf_end_session(mig);
	return 0;
}

/* An arc of the state machine as one number */
#define IGB_VF_ARC(from, to) \
	(VFIO_DEVICE_STATE_##from << 4 | VFIO_DEVICE_STATE_##to)

/*
 * Takes one arc of the state machine, see enum vfio_device_mig_state.
 * Return: a file for the user if a session begins, NULL, or an error as a pointer
 * and then the device is in the state that it was in.
 */
static struct file *igb_vf_step(struct igb_vf_device *xdev, enum vfio_device_mig_state next)
{
	struct igb_vf_migration *mig = &xdev->migration;

	switch (mig->state << 4 | next) {
	case IGB_VF_ARC(RUNNING, RUNNING_P2P):
	case IGB_VF_ARC(PRE_COPY, PRE_COPY_P2P):
		return ERR_PTR(igb_vf_device_stop(xdev));

	case IGB_VF_ARC(RUNNING_P2P, RUNNING):
	case IGB_VF_ARC(PRE_COPY_P2P, PRE_COPY):
		igb_vf_device_start(xdev);
		return NULL;

	/* The device is stopped in both. */
	case IGB_VF_ARC(RUNNING_P2P, STOP):
	case IGB_VF_ARC(STOP, RUNNING_P2P):
		return NULL;

	case IGB_VF_ARC(RUNNING, PRE_COPY):
	case IGB_VF_ARC(RUNNING_P2P, PRE_COPY_P2P):
		return igb_vf_begin_precopy(xdev);

	case IGB_VF_ARC(STOP, STOP_COPY):
		return igb_vf_begin_stop_copy(xdev);

	case IGB_VF_ARC(PRE_COPY_P2P, STOP_COPY):
		igb_vf_finish_stream(xdev);
		return NULL;

	case IGB_VF_ARC(PRE_COPY, RUNNING):
	case IGB_VF_ARC(PRE_COPY_P2P, RUNNING_P2P):
	case IGB_VF_ARC(STOP_COPY, STOP):
		igb_vf_end_session(mig);
		return NULL;

	case IGB_VF_ARC(STOP, RESUMING):
		return igb_vf_begin_resuming(xdev);

	case IGB_VF_ARC(RESUMING, STOP):
		return ERR_PTR(igb_vf_load(xdev));

	default:
		/* vfio_mig_get_next_state() gives no other arc. */
		return ERR_PTR(-EINVAL);
	}
}

/* Takes the whole path; the lock of the registers and that of the migration are held. */
static struct file *igb_vf_walk(struct igb_vf_device *xdev, struct vfio_device *vdev,
				enum vfio_device_mig_state target)
{
	struct igb_vf_migration *mig = &xdev->migration;
	enum vfio_device_mig_state next;
	struct file *filp = NULL;
	int ret;

	/* A request that is no path is refused as such, whatever else hinders it. */
	ret = vfio_mig_get_next_state(vdev, mig->state, target, &next);
	if (ret)
		return ERR_PTR(ret);
	if (target != mig->state && !igb_vf_registers_enabled(xdev))
		return ERR_PTR(-EIO);
	if (igb_vf_is_saving(target) && !igb_vf_is_saving(mig->state)) {
		ret = igb_vf_ledger_begin_saving(&xdev->ledger);
		if (ret)
			return ERR_PTR(ret);
	}

	while (mig->state != target) {
		filp = igb_vf_step(xdev, next);
		if (IS_ERR(filp))
			break;
		mig->state = next;
		/* A path that has a first step goes on to its end. */
		vfio_mig_get_next_state(vdev, mig->state, target, &next);
	}
	return filp;
}

/*
 * The device runs and is saved in PRE_COPY only. The rings are followed as soon as
 * no ring register is mapped, and before the first step, so that it can be refused:
 * when saving begins, or when the device leaves a PRE_COPY_P2P in which it began.
 * Pages cannot be pinned under the lock of the registers: a page fault takes that
 * under mmap_lock.
 */
static int igb_vf_follow_rings(struct igb_vf_device *xdev, struct vfio_device *vdev,
			       enum vfio_device_mig_state target)
{
	struct igb_vf_migration *mig = &xdev->migration;
	enum vfio_device_mig_state state, next;
	bool entering = false, saving;

	mutex_lock(&mig->lock);
	state = mig->state;
	saving = igb_vf_is_saving(state);
	if (target == VFIO_DEVICE_STATE_PRE_COPY && !(saving && xdev->rings.following) &&
	    !vfio_mig_get_next_state(vdev, state, target, &next))
		entering = saving || !igb_vf_ledger_begin_saving(&xdev->ledger);
	mutex_unlock(&mig->lock);

	if (target == VFIO_DEVICE_STATE_STOP_COPY && saving && igb_vf_rings_untrusted(xdev))
		return -EIO;
	return entering ? igb_vf_rings_begin(xdev) : 0;
}

static struct file *igb_vf_set_state(struct vfio_device *vdev, enum vfio_device_mig_state target)
{
	struct igb_vf_device *xdev = igb_vf_of_vdev(vdev);
	struct file *filp;
	bool saving;
	int ret;

	mutex_lock(&xdev->rings.lock);
	igb_vf_rings_log(xdev);
	ret = igb_vf_follow_rings(xdev, vdev, target);

	igb_vf_lock_registers(xdev);
	mutex_lock(&xdev->migration.lock);
	filp = ret ? ERR_PTR(ret) : igb_vf_walk(xdev, vdev, target);
	saving = igb_vf_is_saving(xdev->migration.state);
	if (!saving)
		igb_vf_ledger_end_saving(&xdev->ledger);
	mutex_unlock(&xdev->migration.lock);
	igb_vf_unlock_registers(xdev);
	if (!saving)
		igb_vf_rings_end(xdev);
	mutex_unlock(&xdev->rings.lock);
	return filp;
}

static int igb_vf_get_state(struct vfio_device *vdev, enum vfio_device_mig_state *state)
{
	struct igb_vf_migration *mig = &igb_vf_of_vdev(vdev)->migration;

	mutex_lock(&mig->lock);
	*state = mig->state;
	mutex_unlock(&mig->lock);
	return 0;
}

/* What a stream has at most, whatever of it was read; its size is always the same. */
static int igb_vf_get_data_size(struct vfio_device *vdev, unsigned long *length)
{
	*length = igb_vf_stream_size;
	return 0;
}

static const struct vfio_migration_ops igb_vf_migration_ops = {
	.migration_set_state = igb_vf_set_state,
	.migration_get_state = igb_vf_get_state,
	.migration_get_data_size = igb_vf_get_data_size,
};

/* Called before the device is registered. */
void igb_vf_migration_init(struct vfio_device *vdev, struct igb_vf_migration *mig)
{
	mutex_init(&mig->lock);
	mig->state = VFIO_DEVICE_STATE_RUNNING;
	vdev->mig_ops = &igb_vf_migration_ops;
	vdev->migration_flags = VFIO_MIGRATION_STOP_COPY;
	vdev->migration_flags |= VFIO_MIGRATION_P2P;
	vdev->migration_flags |= VFIO_MIGRATION_PRE_COPY;
}

void igb_vf_migration_destroy(struct igb_vf_migration *mig)
{
	mutex_destroy(&mig->lock);
}

/* Called before user space can reach the device. */
int igb_vf_migration_open(struct igb_vf_device *xdev)
{
	struct igb_vf_migration *mig = &xdev->migration;

	mig->values = kvcalloc(IGB_VF_NR_VALUES, sizeof(*mig->values), GFP_KERNEL_ACCOUNT);
	if (!mig->values)
		return -ENOMEM;
	return 0;
}

/* Called when user space can reach the device no more; a data_fd may be left. */
void igb_vf_migration_close(struct igb_vf_device *xdev)
{
	struct igb_vf_migration *mig = &xdev->migration;

	/* The user has closed the device: bus master stays off. */
	mutex_lock(&mig->lock);
	xdev->bus_master = false;
	mutex_unlock(&mig->lock);
	igb_vf_migration_reset(xdev);
	kvfree(mig->values);
}

/* The device was reset: it runs, and what was sent or received is void. */
void igb_vf_migration_reset(struct igb_vf_device *xdev)
{
	struct igb_vf_migration *mig = &xdev->migration;

	mutex_lock(&mig->lock);
	igb_vf_end_session(mig);
	igb_vf_ledger_end_saving(&xdev->ledger);
	mig->restored = false;
	igb_vf_bus_start(xdev);
	mig->state = VFIO_DEVICE_STATE_RUNNING;
	mutex_unlock(&mig->lock);
}
