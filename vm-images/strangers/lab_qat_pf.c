// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stands in for the driver of a QAT physical function: gives qat_vfio_pci what it needs to
 * migrate a virtual function, whose state exists in software only.
 *
 * All calls for one function but create, init, cleanup and destroy come with the lock on the
 * migration state of qat_vfio_pci held, or from open and close.
 */

#include <linux/container_of.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/qat/qat_mig_dev.h>
#include <linux/slab.h>

#include "vf_state.h"

struct lab_qat_vf {
	struct qat_mig_dev mig;
	struct vf_record state;
	/* What of a record has come into mig.state since RESUMING began. */
	size_t loaded;
};

static struct lab_qat_vf *to_vf(struct qat_mig_dev *mig)
{
	return container_of(mig, struct lab_qat_vf, mig);
}

struct qat_mig_dev *qat_vfmig_create(struct pci_dev *pdev, int vf_id)
{
	struct lab_qat_vf *vf;

	vf = kzalloc(sizeof(*vf), GFP_KERNEL);
	if (!vf)
		return ERR_PTR(-ENOMEM);
	vf->mig.vf_id = vf_id;
	return &vf->mig;
}
EXPORT_SYMBOL_GPL(qat_vfmig_create);

int qat_vfmig_init(struct qat_mig_dev *mig)
{
	struct lab_qat_vf *vf = to_vf(mig);

	mig->state_size = sizeof(struct vf_record);
	mig->state = kzalloc(mig->state_size, GFP_KERNEL);
	if (!mig->state)
		return -ENOMEM;
	mig->setup_size = sizeof(struct vf_record_head);
	vf_state_reset(&vf->state, mig->vf_id);
	return 0;
}
EXPORT_SYMBOL_GPL(qat_vfmig_init);

void qat_vfmig_cleanup(struct qat_mig_dev *mig)
{
	kfree(mig->state);
	mig->state = NULL;
}
EXPORT_SYMBOL_GPL(qat_vfmig_cleanup);

void qat_vfmig_destroy(struct qat_mig_dev *mig)
{
	kfree(to_vf(mig));
}
EXPORT_SYMBOL_GPL(qat_vfmig_destroy);

void qat_vfmig_reset(struct qat_mig_dev *mig)
{
	struct lab_qat_vf *vf = to_vf(mig);

	vf_state_reset(&vf->state, mig->vf_id);
	vf->loaded = 0;
}
EXPORT_SYMBOL_GPL(qat_vfmig_reset);

int qat_vfmig_open(struct qat_mig_dev *mig)
{
	qat_vfmig_reset(mig);
	return 0;
}
EXPORT_SYMBOL_GPL(qat_vfmig_open);

void qat_vfmig_close(struct qat_mig_dev *mig)
{
	to_vf(mig)->loaded = 0;
}
EXPORT_SYMBOL_GPL(qat_vfmig_close);

/* The function does nothing by itself, so there is nothing to halt. */
int qat_vfmig_suspend(struct qat_mig_dev *mig)
{
	to_vf(mig)->loaded = 0;
	return 0;
}
EXPORT_SYMBOL_GPL(qat_vfmig_suspend);

int qat_vfmig_resume(struct qat_mig_dev *mig)
{
	return 0;
}
EXPORT_SYMBOL_GPL(qat_vfmig_resume);

int qat_vfmig_save_setup(struct qat_mig_dev *mig)
{
	memcpy(mig->state, &to_vf(mig)->state.head, mig->setup_size);
	return 0;
}
EXPORT_SYMBOL_GPL(qat_vfmig_save_setup);

int qat_vfmig_save_state(struct qat_mig_dev *mig)
{
	memcpy(mig->state, &to_vf(mig)->state, mig->state_size);
	return 0;
}
EXPORT_SYMBOL_GPL(qat_vfmig_save_state);

/* Called after each write, with what has been written since RESUMING began. */
int qat_vfmig_load_setup(struct qat_mig_dev *mig, int size)
{
	const struct vf_record *record = (const void *)mig->state;

	to_vf(mig)->loaded = size;
	if (size < mig->setup_size)
		return -EAGAIN;
	return vf_head_fits(&record->head) ? 0 : -EINVAL;
}
EXPORT_SYMBOL_GPL(qat_vfmig_load_setup);

int qat_vfmig_load_state(struct qat_mig_dev *mig)
{
	struct lab_qat_vf *vf = to_vf(mig);
	int ret;

	ret = vf_state_load(&vf->state, (const void *)mig->state, vf->loaded);
	vf->loaded = 0;
	return ret;
}
EXPORT_SYMBOL_GPL(qat_vfmig_load_state);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Stands in for the driver of a QAT physical function");
