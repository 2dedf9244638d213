/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Intel 82576 virtual function: what differs from kernel to kernel
 *
 * Generated from igb-vf.toml for a kernel build tree whose interfaces were looked
 * up there, not concluded from its version.
 */
#ifndef IGB_VF_COMPAT_H
#define IGB_VF_COMPAT_H

#include <linux/io.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>
#include <linux/vfio_pci_core.h>

/*
 * Which parts of a region may stay mapped while device_state has _SAVING: the
 * layout of struct vfio_region_info_cap_sparse_mmap. Proposed on the kvm list on
 * 2 June 2020, <20200602133435.1ab650c5@x1.home>.
 */
#ifndef VFIO_REGION_INFO_CAP_SPARSE_MMAP_SAVING
#define VFIO_REGION_INFO_CAP_SPARSE_MMAP_SAVING	6
#endif

/* Callbacks that not every kernel has. */
#define COMPAT_VFIO_IOMMUFD_OPS \
	.bind_iommufd = vfio_iommufd_physical_bind, \
	.unbind_iommufd = vfio_iommufd_physical_unbind, \
	.detach_ioas = vfio_iommufd_physical_detach_ioas, \
	.attach_ioas = vfio_iommufd_physical_attach_ioas,

#define COMPAT_VFIO_REGION_INFO_OPS

static inline void compat_vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vm_flags_set(vma, flags);
}

#define COMPAT_VFIO_MATCH_OPS

/*
 * Where a mapping of a BAR begins, as an offset of the device file. A part that was
 * split off counts from its own start.
 */
static inline u64 compat_vfio_pci_vma_offset(const struct vm_area_struct *vma)
{
	return (u64)vma->vm_pgoff << PAGE_SHIFT;
}

/*
 * Maps the registers of a BAR until vfio_pci_core_disable(). Call it before user
 * space can reach the device.
 */
static inline void __iomem *compat_vfio_pci_iomap(struct vfio_pci_core_device *core, int bar)
{
	int ret = vfio_pci_core_setup_barmap(core, bar);

	return ret ? IOMEM_ERR_PTR(ret) : core->barmap[bar];
}

/*
 * Where core answers VFIO_DEVICE_GET_REGION_INFO as a whole, this is its answer for
 * a BAR, to which capabilities can be added. -EOPNOTSUPP for the other regions.
 */
static inline int compat_vfio_pci_get_region_info(struct vfio_device *core_vdev,
						  struct vfio_region_info *info,
						  struct vfio_info_cap *caps)
{
	struct vfio_pci_core_device *core =
		container_of(core_vdev, struct vfio_pci_core_device, vdev);
	struct vfio_info_cap_header msix = {
		.id = VFIO_REGION_INFO_CAP_MSIX_MAPPABLE,
		.version = 1,
	};
	unsigned int index;

	if (info->index > VFIO_PCI_BAR5_REGION_INDEX)
		return -EOPNOTSUPP;

	index = array_index_nospec(info->index, PCI_STD_NUM_BARS);
	info->offset = VFIO_PCI_INDEX_TO_OFFSET(index);
	info->size = pci_resource_len(core->pdev, index);
	info->flags = 0;
	if (!info->size)
		return 0;

	info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	if (!core->bar_mmap_supported[index])
		return 0;

	info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	if (index != core->msix_bar)
		return 0;
	return vfio_info_add_capability(caps, &msix, sizeof(msix));
}

/* Answers VFIO_DEVICE_GET_REGION_INFO from @get_info where that can, all else from core. */
static inline long compat_vfio_pci_ioctl(struct vfio_device *core_vdev, unsigned int cmd,
					 unsigned long arg,
					 int (*get_info)(struct vfio_device *core_vdev,
							 struct vfio_region_info *info,
							 struct vfio_info_cap *caps))
{
	const unsigned long minsz = offsetofend(struct vfio_region_info, offset);
	struct vfio_info_cap caps = { .buf = NULL, .size = 0 };
	void __user *uarg = (void __user *)arg;
	struct vfio_region_info info;
	int ret;

	if (cmd != VFIO_DEVICE_GET_REGION_INFO)
		return vfio_pci_core_ioctl(core_vdev, cmd, arg);

	if (copy_from_user(&info, uarg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;

	ret = get_info(core_vdev, &info, &caps);
	if (ret == -EOPNOTSUPP)
		return vfio_pci_core_ioctl(core_vdev, cmd, arg);
	if (ret)
		goto out_free;

	info.cap_offset = 0;
	if (caps.size) {
		info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
		if (info.argsz < sizeof(info) + caps.size) {
			info.argsz = sizeof(info) + caps.size;
		} else {
			vfio_info_cap_shift(&caps, sizeof(info));
			if (copy_to_user(uarg + sizeof(info), caps.buf, caps.size)) {
				ret = -EFAULT;
				goto out_free;
			}
			info.cap_offset = sizeof(info);
		}
	}
	if (copy_to_user(uarg, &info, minsz))
		ret = -EFAULT;

out_free:
	kfree(caps.buf);
	return ret;
}

#endif /* IGB_VF_COMPAT_H */
