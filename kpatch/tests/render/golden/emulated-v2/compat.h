/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Software device: what differs from kernel to kernel
 *
 * Generated from emulated.toml for a kernel build tree whose interfaces were looked
 * up there, not concluded from its version.
 */
#ifndef EMULATED_COMPAT_H
#define EMULATED_COMPAT_H

#include <linux/mm.h>
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

/* VFIO frees the device. */
static inline void compat_vfio_release(struct vfio_device *core_vdev)
{
}

/* Callbacks that not every kernel has. */
#define COMPAT_VFIO_IOMMUFD_OPS \
	.bind_iommufd = vfio_iommufd_emulated_bind, \
	.unbind_iommufd = vfio_iommufd_emulated_unbind, \
	.detach_ioas = vfio_iommufd_emulated_detach_ioas, \
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,

#define COMPAT_VFIO_REGION_INFO_OPS

static inline void compat_vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vm_flags_set(vma, flags);
}

/* Answers VFIO_DEVICE_GET_REGION_INFO from @get_info. */
static inline long compat_vfio_region_info_ioctl(struct vfio_device *core_vdev, unsigned long arg,
						 int (*get_info)(struct vfio_device *core_vdev,
								 struct vfio_region_info *info,
								 struct vfio_info_cap *caps))
{
	const unsigned long minsz = offsetofend(struct vfio_region_info, offset);
	struct vfio_info_cap caps = { .buf = NULL, .size = 0 };
	void __user *uarg = (void __user *)arg;
	struct vfio_region_info info;
	int ret;

	if (copy_from_user(&info, uarg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;

	ret = get_info(core_vdev, &info, &caps);
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

#endif /* EMULATED_COMPAT_H */
