// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stands in for virtio_pci on a physical function: gives virtio-vfio-pci the administration
 * commands by which a virtual function is migrated, whose state exists in software only.
 */

#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_pci_admin.h>

#include "vf_state.h"

#define OBJECTS	4

struct lab_virtio_vf {
	struct list_head entry;
	struct pci_dev *pdev;
	struct vf_record state;
	/* The kinds of the resource objects there are, by id; -1 for none. */
	int objects[OBJECTS];
};

static LIST_HEAD(virtual_functions);
/* protects the list and all that is in it */
static DEFINE_MUTEX(virtual_functions_lock);

static struct lab_virtio_vf *vf_find(struct pci_dev *pdev)
{
	struct lab_virtio_vf *vf;

	lockdep_assert_held(&virtual_functions_lock);
	list_for_each_entry(vf, &virtual_functions, entry) {
		if (vf->pdev == pdev)
			return vf;
	}
	return NULL;
}

/* Called by the probe, before anything else. */
bool virtio_pci_admin_has_dev_parts(struct pci_dev *pdev)
{
	struct lab_virtio_vf *vf;
	unsigned int i;

	mutex_lock(&virtual_functions_lock);
	vf = vf_find(pdev);
	if (vf || !pdev->is_virtfn)
		goto out_unlock;
	vf = kzalloc(sizeof(*vf), GFP_KERNEL);
	if (!vf)
		goto out_unlock;
	vf->pdev = pci_dev_get(pdev);
	vf_state_reset(&vf->state, pci_iov_vf_id(pdev));
	for (i = 0; i < OBJECTS; i++)
		vf->objects[i] = -1;
	list_add(&vf->entry, &virtual_functions);
out_unlock:
	mutex_unlock(&virtual_functions_lock);
	return vf;
}
EXPORT_SYMBOL_GPL(virtio_pci_admin_has_dev_parts);

/* The function does nothing by itself, so there is nothing to stop. */
int virtio_pci_admin_mode_set(struct pci_dev *pdev, u8 mode)
{
	return mode & ~BIT(VIRTIO_ADMIN_CMD_DEV_MODE_F_STOPPED) ? -EINVAL : 0;
}
EXPORT_SYMBOL_GPL(virtio_pci_admin_mode_set);

int virtio_pci_admin_obj_create(struct pci_dev *pdev, u16 obj_type, u8 operation_type,
				u32 *obj_id)
{
	struct lab_virtio_vf *vf;
	int ret = -ENODEV;
	unsigned int i;

	if (obj_type != VIRTIO_RESOURCE_OBJ_DEV_PARTS)
		return -EOPNOTSUPP;
	mutex_lock(&virtual_functions_lock);
	vf = vf_find(pdev);
	if (!vf)
		goto out_unlock;
	ret = -ENOSPC;
	for (i = 0; i < OBJECTS; i++) {
		if (vf->objects[i] < 0) {
			vf->objects[i] = operation_type;
			*obj_id = i;
			ret = 0;
			break;
		}
	}
out_unlock:
	mutex_unlock(&virtual_functions_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(virtio_pci_admin_obj_create);

/* Return the function if it has the object, of that kind. */
static struct lab_virtio_vf *vf_with(struct pci_dev *pdev, u32 id, int kind)
{
	struct lab_virtio_vf *vf = vf_find(pdev);

	return vf && id < OBJECTS && vf->objects[id] == kind ? vf : NULL;
}

int virtio_pci_admin_obj_destroy(struct pci_dev *pdev, u16 obj_type, u32 id)
{
	struct lab_virtio_vf *vf;
	int ret = -EINVAL;

	mutex_lock(&virtual_functions_lock);
	vf = vf_find(pdev);
	if (vf && id < OBJECTS && vf->objects[id] >= 0) {
		vf->objects[id] = -1;
		ret = 0;
	}
	mutex_unlock(&virtual_functions_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(virtio_pci_admin_obj_destroy);

int virtio_pci_admin_dev_parts_metadata_get(struct pci_dev *pdev, u16 obj_type, u32 id,
					    u8 metadata_type, u32 *out)
{
	int ret = -EINVAL;

	if (metadata_type != VIRTIO_ADMIN_CMD_DEV_PARTS_METADATA_TYPE_SIZE)
		return -EOPNOTSUPP;
	mutex_lock(&virtual_functions_lock);
	if (vf_with(pdev, id, VIRTIO_RESOURCE_OBJ_DEV_PARTS_TYPE_GET)) {
		*out = sizeof(struct vf_record);
		ret = 0;
	}
	mutex_unlock(&virtual_functions_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(virtio_pci_admin_dev_parts_metadata_get);

int virtio_pci_admin_dev_parts_get(struct pci_dev *pdev, u16 obj_type, u32 id, u8 get_type,
				   struct scatterlist *res_sg, u32 *res_size)
{
	struct lab_virtio_vf *vf;
	int ret = -EINVAL;

	mutex_lock(&virtual_functions_lock);
	vf = vf_with(pdev, id, VIRTIO_RESOURCE_OBJ_DEV_PARTS_TYPE_GET);
	if (vf) {
		*res_size = sg_copy_from_buffer(res_sg, sg_nents(res_sg), &vf->state,
						sizeof(vf->state));
		ret = *res_size == sizeof(vf->state) ? 0 : -ENOSPC;
	}
	mutex_unlock(&virtual_functions_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(virtio_pci_admin_dev_parts_get);

int virtio_pci_admin_dev_parts_set(struct pci_dev *pdev, struct scatterlist *data_sg)
{
	struct virtio_admin_cmd_resource_obj_cmd_hdr head;
	struct lab_virtio_vf *vf;
	struct vf_record *record;
	size_t size, length = 0;
	struct scatterlist *sg;
	int ret = -EINVAL;

	record = kmalloc(sizeof(*record), GFP_KERNEL);
	if (!record)
		return -ENOMEM;
	for (sg = data_sg; sg; sg = sg_next(sg))
		length += sg->length;
	if (sg_copy_to_buffer(data_sg, sg_nents(data_sg), &head, sizeof(head)) != sizeof(head))
		goto out_free;
	size = sg_pcopy_to_buffer(data_sg, sg_nents(data_sg), record, sizeof(*record),
				  sizeof(head));
	if (length != sizeof(head) + size)
		goto out_free;
	mutex_lock(&virtual_functions_lock);
	vf = vf_with(pdev, le32_to_cpu(head.id), VIRTIO_RESOURCE_OBJ_DEV_PARTS_TYPE_SET);
	if (vf)
		ret = vf_state_load(&vf->state, record, size);
	mutex_unlock(&virtual_functions_lock);
out_free:
	kfree(record);
	return ret;
}
EXPORT_SYMBOL_GPL(virtio_pci_admin_dev_parts_set);

static int __init lab_virtio_pf_init(void)
{
	return 0;
}

static void __exit lab_virtio_pf_exit(void)
{
	struct lab_virtio_vf *vf, *next;

	/* virtio-vfio-pci has gone before, so nobody asks for one any more. */
	list_for_each_entry_safe(vf, next, &virtual_functions, entry) {
		pci_dev_put(vf->pdev);
		kfree(vf);
	}
}

module_init(lab_virtio_pf_init);
module_exit(lab_virtio_pf_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Stands in for virtio_pci on a physical function");
