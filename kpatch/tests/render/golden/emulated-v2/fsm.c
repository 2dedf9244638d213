// SPDX-License-Identifier: GPL-2.0-only
/*
 * Software device: the states of VFIO_DEVICE_FEATURE_MIGRATION
 *
 * Generated from emulated.toml; edit that file or the templates, not this one.
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

#include "emulated.h"

/* Is the device being saved, so that a stream of it is sent? */
static bool emulated_is_saving(enum vfio_device_mig_state state)
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
static void emulated_end_session(struct emulated_migration *mig)
{
	lockdep_assert_held(&mig->lock);

	if (!mig->session)
		return;
	emulated_session_end(mig->session);
	mig->session = NULL;
}

static int emulated_begin_session(struct emulated_device *xdev, bool resuming)
{
	struct emulated_migration *mig = &xdev->migration;
	struct emulated_session *session;

	lockdep_assert_held(&mig->lock);

	session = emulated_session_begin(xdev, resuming);
	if (IS_ERR(session))
		return PTR_ERR(session);
	mig->session = session;
	mig->stream = session->stream;
	mig->length = 0;
	return 0;
}

/* Return: the file of the session that has begun, with a reference for the user. */
static struct file *emulated_user_file(struct emulated_migration *mig)
{
	get_file(mig->session->filp);
	return mig->session->filp;
}

static struct file *emulated_begin_precopy(struct emulated_device *xdev)
{
	struct emulated_migration *mig = &xdev->migration;
	int ret;

	ret = emulated_begin_session(xdev, false);
	if (ret)
		return ERR_PTR(ret);
	emulated_send_identity(xdev);
	emulated_session_publish(mig->session, mig->length, true);
	return emulated_user_file(mig);
}

/* The state follows what pre-copy has sent, if there was one. */
static void emulated_finish_stream(struct emulated_device *xdev)
{
	struct emulated_migration *mig = &xdev->migration;

	emulated_send_state(xdev, mig->length);
	emulated_session_publish(mig->session, mig->length, false);
}

static struct file *emulated_begin_stop_copy(struct emulated_device *xdev)
{
	struct emulated_migration *mig = &xdev->migration;
	int ret;

	ret = emulated_begin_session(xdev, false);
	if (ret)
		return ERR_PTR(ret);
	emulated_finish_stream(xdev);
	return emulated_user_file(mig);
}

static struct file *emulated_begin_resuming(struct emulated_device *xdev)
{
	int ret;

	ret = emulated_begin_session(xdev, true);
	if (ret)
		return ERR_PTR(ret);
	return emulated_user_file(&xdev->migration);
}

/* All of the stream is checked before any of it reaches the device. */
static int emulated_load(struct emulated_device *xdev)
{
	struct emulated_migration *mig = &xdev->migration;
	int ret;

	ret = emulated_session_received(mig->session, &mig->length);
	if (ret)
		return ret;
	ret = emulated_parse_stream(mig);
	if (ret)
		return ret;
	emulated_device_restore(xdev);
	emulated_end_session(mig);
	return 0;
}

/* An arc of the state machine as one number */
#define EMULATED_ARC(from, to) \
	(VFIO_DEVICE_STATE_##from << 4 | VFIO_DEVICE_STATE_##to)

/*
 * Takes one arc of the state machine, see enum vfio_device_mig_state.
 * Return: a file for the user if a session begins, NULL, or an error as a pointer
 * and then the device is in the state that it was in.
 */
static struct file *emulated_step(struct emulated_device *xdev, enum vfio_device_mig_state next)
{
	struct emulated_migration *mig = &xdev->migration;

	switch (mig->state << 4 | next) {
	case EMULATED_ARC(RUNNING, RUNNING_P2P):
	case EMULATED_ARC(PRE_COPY, PRE_COPY_P2P):
		return ERR_PTR(emulated_device_stop(xdev));

	case EMULATED_ARC(RUNNING_P2P, RUNNING):
	case EMULATED_ARC(PRE_COPY_P2P, PRE_COPY):
		emulated_device_start(xdev);
		return NULL;

	/* The device is stopped in both. */
	case EMULATED_ARC(RUNNING_P2P, STOP):
	case EMULATED_ARC(STOP, RUNNING_P2P):
		return NULL;

	case EMULATED_ARC(RUNNING, PRE_COPY):
	case EMULATED_ARC(RUNNING_P2P, PRE_COPY_P2P):
		return emulated_begin_precopy(xdev);

	case EMULATED_ARC(STOP, STOP_COPY):
		return emulated_begin_stop_copy(xdev);

	case EMULATED_ARC(PRE_COPY_P2P, STOP_COPY):
		emulated_finish_stream(xdev);
		return NULL;

	case EMULATED_ARC(PRE_COPY, RUNNING):
	case EMULATED_ARC(PRE_COPY_P2P, RUNNING_P2P):
	case EMULATED_ARC(STOP_COPY, STOP):
		emulated_end_session(mig);
		return NULL;

	case EMULATED_ARC(STOP, RESUMING):
		return emulated_begin_resuming(xdev);

	case EMULATED_ARC(RESUMING, STOP):
		return ERR_PTR(emulated_load(xdev));

	default:
		/* vfio_mig_get_next_state() gives no other arc. */
		return ERR_PTR(-EINVAL);
	}
}

/* Takes the whole path; the lock of the registers and that of the migration are held. */
static struct file *emulated_walk(struct emulated_device *xdev, struct vfio_device *vdev,
				  enum vfio_device_mig_state target)
{
	struct emulated_migration *mig = &xdev->migration;
	enum vfio_device_mig_state next;
	struct file *filp = NULL;
	int ret;

	/* A request that is no path is refused as such, whatever else hinders it. */
	ret = vfio_mig_get_next_state(vdev, mig->state, target, &next);
	if (ret)
		return ERR_PTR(ret);
	if (emulated_is_saving(target) && !emulated_is_saving(mig->state)) {
		ret = emulated_ledger_begin_saving(&xdev->ledger);
		if (ret)
			return ERR_PTR(ret);
	}

	while (mig->state != target) {
		filp = emulated_step(xdev, next);
		if (IS_ERR(filp))
			break;
		mig->state = next;
		/* A path that has a first step goes on to its end. */
		vfio_mig_get_next_state(vdev, mig->state, target, &next);
	}

	if (!emulated_is_saving(mig->state))
		emulated_ledger_end_saving(&xdev->ledger);
	return filp;
}

static struct file *emulated_set_state(struct vfio_device *vdev, enum vfio_device_mig_state target)
{
	struct emulated_device *xdev = emulated_of_vdev(vdev);
	struct file *filp;

	emulated_lock_registers(xdev);
	mutex_lock(&xdev->migration.lock);
	filp = emulated_walk(xdev, vdev, target);
	mutex_unlock(&xdev->migration.lock);
	emulated_unlock_registers(xdev);
	return filp;
}

static int emulated_get_state(struct vfio_device *vdev, enum vfio_device_mig_state *state)
{
	struct emulated_migration *mig = &emulated_of_vdev(vdev)->migration;

	mutex_lock(&mig->lock);
	*state = mig->state;
	mutex_unlock(&mig->lock);
	return 0;
}

/* What a stream has at most, whatever of it was read; its size is always the same. */
static int emulated_get_data_size(struct vfio_device *vdev, unsigned long *length)
{
	*length = emulated_stream_size;
	return 0;
}

static const struct vfio_migration_ops emulated_migration_ops = {
	.migration_set_state = emulated_set_state,
	.migration_get_state = emulated_get_state,
	.migration_get_data_size = emulated_get_data_size,
};

/* Called before the device is registered. */
void emulated_migration_init(struct vfio_device *vdev, struct emulated_migration *mig)
{
	mutex_init(&mig->lock);
	mig->state = VFIO_DEVICE_STATE_RUNNING;
	vdev->mig_ops = &emulated_migration_ops;
	vdev->migration_flags = VFIO_MIGRATION_STOP_COPY;
	vdev->migration_flags |= VFIO_MIGRATION_P2P;
	vdev->migration_flags |= VFIO_MIGRATION_PRE_COPY;
}

void emulated_migration_destroy(struct emulated_migration *mig)
{
	mutex_destroy(&mig->lock);
}

/* Called before user space can reach the device. */
int emulated_migration_open(struct emulated_device *xdev)
{
	struct emulated_migration *mig = &xdev->migration;

	mig->values = kvcalloc(EMULATED_NR_VALUES, sizeof(*mig->values), GFP_KERNEL_ACCOUNT);
	if (!mig->values)
		return -ENOMEM;
	return 0;
}

/* Called when user space can reach the device no more; a data_fd may be left. */
void emulated_migration_close(struct emulated_device *xdev)
{
	struct emulated_migration *mig = &xdev->migration;

	emulated_migration_reset(xdev);
	kvfree(mig->values);
}

/* The device was reset: it runs, and what was sent or received is void. */
void emulated_migration_reset(struct emulated_device *xdev)
{
	struct emulated_migration *mig = &xdev->migration;

	mutex_lock(&mig->lock);
	emulated_end_session(mig);
	emulated_ledger_end_saving(&xdev->ledger);
	mig->state = VFIO_DEVICE_STATE_RUNNING;
	mutex_unlock(&mig->lock);
}
