// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel 82576 virtual function: what a data_fd stands for
 *
 * Generated from igb-vf.toml; edit that file or the templates, not this one.
 *
 * A session is one stream, sent or received. The user may keep the descriptor
 * after the session has ended, so all that read() and write() need is in it.
 *
 * Bytes below the length never change. They are copied to and from user memory
 * under io_lock alone, which no change of the device state takes: that change
 * holds the lock of the registers, inside which user memory must not be accessed.
 */

#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "igb_vf.h"

static struct igb_vf_session *igb_vf_of_file(struct file *filp)
{
	return filp->private_data;
}

/* What read() can give now: bytes, 0 at the end, or an error. */
static ssize_t igb_vf_session_pending(struct igb_vf_session *session)
{
	lockdep_assert_held(&session->lock);

	if (session->disabled)
		return -ENODEV;
	if (session->precopy && session->position == session->length)
		return -ENOMSG;
	return session->length - session->position;
}

static ssize_t igb_vf_session_read(struct file *filp, char __user *buf, size_t len, loff_t *pos)
{
	struct igb_vf_session *session = igb_vf_of_file(filp);
	ssize_t ret;

	if (!len)
		return 0;
	if (mutex_lock_interruptible(&session->io_lock))
		return -ERESTARTSYS;

	mutex_lock(&session->lock);
	ret = igb_vf_session_pending(session);
	mutex_unlock(&session->lock);
	if (ret <= 0)
		goto out_unlock;

	len = min_t(size_t, len, ret);
	ret = len - copy_to_user(buf, session->stream + session->position, len);
	if (!ret) {
		ret = -EFAULT;
		goto out_unlock;
	}

	mutex_lock(&session->lock);
	session->position += ret;
	mutex_unlock(&session->lock);

out_unlock:
	mutex_unlock(&session->io_lock);
	return ret;
}

/* Can @len more bytes be received? What goes beyond a stream spoils it for good. */
static int igb_vf_session_room(struct igb_vf_session *session, size_t len)
{
	lockdep_assert_held(&session->lock);

	if (session->disabled)
		return -ENODEV;
	if (len > igb_vf_stream_size - session->length)
		session->spoiled = true;
	return session->spoiled ? -EINVAL : 0;
}

/*
 * Adds @len bytes to what was received, unless they show that the stream is not sound or
 * not meant for this device, which exists as long as its session.
 */
static int igb_vf_session_add(struct igb_vf_session *session, size_t len)
{
	struct igb_vf_device *xdev = igb_vf_of_vdev(session->vdev);

	lockdep_assert_held(&session->lock);

	if (!igb_vf_stream_fits(xdev, session->stream, session->length + len)) {
		session->spoiled = true;
		return -EINVAL;
	}
	session->length += len;
	return 0;
}

static ssize_t igb_vf_session_write(struct file *filp, const char __user *buf, size_t len,
				    loff_t *pos)
{
	struct igb_vf_session *session = igb_vf_of_file(filp);
	ssize_t ret;

	if (mutex_lock_interruptible(&session->io_lock))
		return -ERESTARTSYS;

	mutex_lock(&session->lock);
	ret = igb_vf_session_room(session, len);
	mutex_unlock(&session->lock);
	if (ret)
		goto out_unlock;

	/* Not part of the stream yet, so nobody else looks at it. */
	if (copy_from_user(session->stream + session->length, buf, len)) {
		ret = -EFAULT;
		goto out_unlock;
	}

	mutex_lock(&session->lock);
	if (session->disabled)
		ret = -ENODEV;
	else
		ret = igb_vf_session_add(session, len);
	mutex_unlock(&session->lock);

out_unlock:
	mutex_unlock(&session->io_lock);
	return ret ? ret : len;
}

static long igb_vf_session_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	const unsigned long minsz = offsetofend(struct vfio_precopy_info, dirty_bytes);
	struct igb_vf_session *session = igb_vf_of_file(filp);
	struct vfio_precopy_info info;
	int ret = 0;

	if (cmd != VFIO_MIG_GET_PRECOPY_INFO)
		return -ENOTTY;
	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;

	mutex_lock(&session->lock);
	if (session->disabled) {
		ret = -ENODEV;
	} else if (!session->precopy) {
		ret = -EINVAL;
	} else {
		info.initial_bytes = session->length - session->position;
		info.dirty_bytes = 0; /* a register is only read when it is stopped */
	}
	mutex_unlock(&session->lock);
	if (ret)
		return ret;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

static __poll_t igb_vf_session_poll(struct file *filp, struct poll_table_struct *wait)
{
	struct igb_vf_session *session = igb_vf_of_file(filp);
	__poll_t mask = 0;

	poll_wait(filp, &session->wait, wait);
	mutex_lock(&session->lock);
	if (igb_vf_session_pending(session) != -ENOMSG)
		mask = EPOLLIN | EPOLLRDNORM;
	mutex_unlock(&session->lock);
	return mask;
}

static int igb_vf_session_release(struct inode *inode, struct file *filp)
{
	struct igb_vf_session *session = igb_vf_of_file(filp);

	mutex_destroy(&session->lock);
	mutex_destroy(&session->io_lock);
	kvfree(session);
	return 0;
}

static const struct file_operations igb_vf_save_fops = {
	.owner = THIS_MODULE,
	.read = igb_vf_session_read,
	.poll = igb_vf_session_poll,
	.unlocked_ioctl = igb_vf_session_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = igb_vf_session_release,
};

static const struct file_operations igb_vf_resume_fops = {
	.owner = THIS_MODULE,
	.write = igb_vf_session_write,
	.release = igb_vf_session_release,
};

/**
 * igb_vf_session_begin - begin to send or to receive a stream
 * @xdev: the device
 * @resuming: true to receive
 *
 * The reference to the file of the session is the device's; the one that goes
 * to the user has to be taken on top.
 *
 * Return: the session, or a negative error as a pointer.
 */
struct igb_vf_session *igb_vf_session_begin(struct igb_vf_device *xdev, bool resuming)
{
	struct igb_vf_session *session;

	session = kvzalloc(struct_size(session, stream, igb_vf_stream_size), GFP_KERNEL_ACCOUNT);
	if (!session)
		return ERR_PTR(-ENOMEM);

	if (resuming)
		session->filp = anon_inode_getfile("igb_vf_vfio_pci_resume", &igb_vf_resume_fops,
						   session, O_WRONLY);
	else
		session->filp = anon_inode_getfile("igb_vf_vfio_pci_save", &igb_vf_save_fops,
						   session, O_RDONLY);
	if (IS_ERR(session->filp)) {
		int ret = PTR_ERR(session->filp);

		kvfree(session);
		return ERR_PTR(ret);
	}

	stream_open(session->filp->f_inode, session->filp);
	mutex_init(&session->io_lock);
	mutex_init(&session->lock);
	init_waitqueue_head(&session->wait);
	session->vdev = &xdev->core_device.vdev;
	return session;
}

/* Gives a reader what was put into the stream, which is whole unless @precopy. */
void igb_vf_session_publish(struct igb_vf_session *session, size_t length, bool precopy)
{
	mutex_lock(&session->lock);
	session->length = length;
	session->precopy = precopy;
	mutex_unlock(&session->lock);
	wake_up_interruptible(&session->wait);
}

/* Gives the length of what was received; what was spoiled cannot be loaded. */
int igb_vf_session_received(struct igb_vf_session *session, size_t *length)
{
	int ret;

	mutex_lock(&session->lock);
	*length = session->length;
	ret = session->spoiled ? -EINVAL : 0;
	mutex_unlock(&session->lock);
	return ret;
}

/* From here on the descriptor gives errors only, whoever keeps it. */
void igb_vf_session_end(struct igb_vf_session *session)
{
	mutex_lock(&session->lock);
	session->disabled = true;
	mutex_unlock(&session->lock);
	wake_up_interruptible(&session->wait);
	fput(session->filp);
}
