// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stands in for the xe driver on a physical function: gives xe-vfio-pci what it needs to migrate
 * a virtual function, whose state exists in software only.
 */

#include <linux/err.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <drm/intel/xe_sriov_vfio.h>

#include "vf_state.h"

enum lab_xe_vf_state {
	VF_RUNNING,
	VF_PAUSED,
	VF_SAVING,
	VF_RESTORING,
	VF_STOPPED,	/* after an error, until a reset */
};

struct lab_xe_vf {
	/* protects all of this */
	struct mutex lock;
	enum lab_xe_vf_state state;
	struct vf_record record;
	/* The record on its way, and how far it has come. */
	struct vf_record moving;
	size_t done;
};

/* What xe-vfio-pci passes on and never looks into. */
struct xe_device {
	struct list_head entry;
	struct pci_dev *pdev;
	unsigned int count;
	struct lab_xe_vf vfs[] __counted_by(count);
};

static LIST_HEAD(physical_functions);
/* protects the list */
static DEFINE_MUTEX(physical_functions_lock);

static struct lab_xe_vf *to_vf(struct xe_device *xe, unsigned int vfid)
{
	return vfid && vfid <= xe->count ? &xe->vfs[vfid - 1] : NULL;
}

static void vf_reset(struct lab_xe_vf *vf, unsigned int vfid)
{
	vf->state = VF_RUNNING;
	vf->done = 0;
	vf_state_reset(&vf->record, vfid);
}

static struct xe_device *pf_find(struct pci_dev *pdev)
{
	struct xe_device *xe;

	lockdep_assert_held(&physical_functions_lock);
	list_for_each_entry(xe, &physical_functions, entry) {
		if (xe->pdev == pdev)
			return xe;
	}
	return NULL;
}

static struct xe_device *pf_create(struct pci_dev *pdev)
{
	unsigned int count = pci_sriov_get_totalvfs(pdev);
	struct xe_device *xe;
	unsigned int i;

	lockdep_assert_held(&physical_functions_lock);
	xe = kvzalloc(struct_size(xe, vfs, count), GFP_KERNEL);
	if (!xe)
		return NULL;
	xe->count = count;
	xe->pdev = pci_dev_get(pdev);
	for (i = 0; i < count; i++) {
		mutex_init(&xe->vfs[i].lock);
		vf_reset(&xe->vfs[i], i + 1);
	}
	list_add(&xe->entry, &physical_functions);
	return xe;
}

struct xe_device *xe_sriov_vfio_get_pf(struct pci_dev *pdev)
{
	struct xe_device *xe;

	if (!pdev->is_virtfn)
		return NULL;
	mutex_lock(&physical_functions_lock);
	xe = pf_find(pci_physfn(pdev));
	if (!xe)
		xe = pf_create(pci_physfn(pdev));
	mutex_unlock(&physical_functions_lock);
	return xe;
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_get_pf);

bool xe_sriov_vfio_migration_supported(struct xe_device *xe)
{
	return true;
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_migration_supported);

int xe_sriov_vfio_flr_prepare(struct xe_device *xe, unsigned int vfid)
{
	return to_vf(xe, vfid) ? 0 : -EINVAL;
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_flr_prepare);

int xe_sriov_vfio_wait_flr_done(struct xe_device *xe, unsigned int vfid)
{
	struct lab_xe_vf *vf = to_vf(xe, vfid);

	if (!vf)
		return -EINVAL;
	mutex_lock(&vf->lock);
	vf_reset(vf, vfid);
	mutex_unlock(&vf->lock);
	return 0;
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_wait_flr_done);

/* Go from one state to the next; from any other it is refused. */
static int vf_go(struct lab_xe_vf *vf, enum lab_xe_vf_state from, enum lab_xe_vf_state to)
{
	lockdep_assert_held(&vf->lock);
	if (vf->state != from)
		return -EPERM;
	vf->state = to;
	vf->done = 0;
	return 0;
}

static int vf_go_locked(struct xe_device *xe, unsigned int vfid, enum lab_xe_vf_state from,
			enum lab_xe_vf_state to)
{
	struct lab_xe_vf *vf = to_vf(xe, vfid);
	int ret;

	if (!vf)
		return -EINVAL;
	mutex_lock(&vf->lock);
	ret = vf_go(vf, from, to);
	mutex_unlock(&vf->lock);
	return ret;
}

int xe_sriov_vfio_suspend_device(struct xe_device *xe, unsigned int vfid)
{
	return vf_go_locked(xe, vfid, VF_RUNNING, VF_PAUSED);
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_suspend_device);

int xe_sriov_vfio_resume_device(struct xe_device *xe, unsigned int vfid)
{
	return vf_go_locked(xe, vfid, VF_PAUSED, VF_RUNNING);
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_resume_device);

int xe_sriov_vfio_stop_copy_enter(struct xe_device *xe, unsigned int vfid)
{
	struct lab_xe_vf *vf = to_vf(xe, vfid);
	int ret;

	if (!vf)
		return -EINVAL;
	mutex_lock(&vf->lock);
	ret = vf_go(vf, VF_PAUSED, VF_SAVING);
	if (!ret)
		vf->moving = vf->record;
	mutex_unlock(&vf->lock);
	return ret;
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_stop_copy_enter);

int xe_sriov_vfio_stop_copy_exit(struct xe_device *xe, unsigned int vfid)
{
	return vf_go_locked(xe, vfid, VF_SAVING, VF_PAUSED);
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_stop_copy_exit);

int xe_sriov_vfio_resume_data_enter(struct xe_device *xe, unsigned int vfid)
{
	return vf_go_locked(xe, vfid, VF_PAUSED, VF_RESTORING);
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_resume_data_enter);

int xe_sriov_vfio_resume_data_exit(struct xe_device *xe, unsigned int vfid)
{
	struct lab_xe_vf *vf = to_vf(xe, vfid);
	int ret = -EPERM;

	if (!vf)
		return -EINVAL;
	mutex_lock(&vf->lock);
	if (vf->state == VF_RESTORING)
		ret = vf_state_load(&vf->record, &vf->moving, vf->done);
	if (!ret)
		ret = vf_go(vf, VF_RESTORING, VF_PAUSED);
	mutex_unlock(&vf->lock);
	return ret;
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_resume_data_exit);

int xe_sriov_vfio_error(struct xe_device *xe, unsigned int vfid)
{
	struct lab_xe_vf *vf = to_vf(xe, vfid);

	if (!vf)
		return -EINVAL;
	mutex_lock(&vf->lock);
	vf->state = VF_STOPPED;
	mutex_unlock(&vf->lock);
	return 0;
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_error);

ssize_t xe_sriov_vfio_data_read(struct xe_device *xe, unsigned int vfid, char __user *buf,
				size_t len)
{
	struct lab_xe_vf *vf = to_vf(xe, vfid);
	ssize_t ret = -EPERM;

	if (!vf)
		return -EINVAL;
	mutex_lock(&vf->lock);
	if (vf->state != VF_SAVING)
		goto out_unlock;
	len = min(len, sizeof(vf->moving) - vf->done);
	ret = -EFAULT;
	if (copy_to_user(buf, (u8 *)&vf->moving + vf->done, len))
		goto out_unlock;
	vf->done += len;
	ret = len;
out_unlock:
	mutex_unlock(&vf->lock);
	return ret;
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_data_read);

ssize_t xe_sriov_vfio_data_write(struct xe_device *xe, unsigned int vfid, const char __user *buf,
				 size_t len)
{
	struct lab_xe_vf *vf = to_vf(xe, vfid);
	ssize_t ret = -EPERM;

	if (!vf)
		return -EINVAL;
	mutex_lock(&vf->lock);
	if (vf->state != VF_RESTORING)
		goto out_unlock;
	ret = -ENOSPC;
	if (len > sizeof(vf->moving) - vf->done)
		goto out_unlock;
	ret = -EFAULT;
	if (copy_from_user((u8 *)&vf->moving + vf->done, buf, len))
		goto out_unlock;
	vf->done += len;
	ret = len;
out_unlock:
	mutex_unlock(&vf->lock);
	return ret;
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_data_write);

ssize_t xe_sriov_vfio_stop_copy_size(struct xe_device *xe, unsigned int vfid)
{
	return to_vf(xe, vfid) ? sizeof(struct vf_record) : -EINVAL;
}
EXPORT_SYMBOL_GPL(xe_sriov_vfio_stop_copy_size);

static int __init lab_xe_pf_init(void)
{
	return 0;
}

static void __exit lab_xe_pf_exit(void)
{
	struct xe_device *xe, *next;
	unsigned int i;

	/* xe-vfio-pci has gone before, so nobody has one any more. */
	list_for_each_entry_safe(xe, next, &physical_functions, entry) {
		for (i = 0; i < xe->count; i++)
			mutex_destroy(&xe->vfs[i].lock);
		pci_dev_put(xe->pdev);
		kvfree(xe);
	}
}

module_init(lab_xe_pf_init);
module_exit(lab_xe_pf_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Stands in for the xe driver on a physical function");
