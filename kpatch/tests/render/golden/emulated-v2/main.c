// SPDX-License-Identifier: GPL-2.0-only
/*
 * Software device: VFIO driver with the v2 migration protocol
 *
 * Generated from emulated.toml; edit that file or the templates, not this one.
 *
 * There is no hardware: the device is memory (memory.c) and a worker (engine.c),
 * and its IOMMU is one that VFIO emulates. It presents itself as a PCI function
 * without interrupts (config.c). On top of that come the states of
 * VFIO_DEVICE_FEATURE_MIGRATION (fsm.c, session.c), and on the BARs that must
 * not be mapped as a whole while the device state is saved the capability
 * VFIO_REGION_INFO_CAP_SPARSE_MMAP_SAVING (mappings.c).
 *
 * Not in the stream:
 *  - configuration space: held by the virtual machine monitor; it has set
 *    it up and does so again at the destination
 */

#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/platform_device.h>
#include <linux/uaccess.h>

#include "emulated.h"

#define EMULATED_NR_REGIONS		VFIO_PCI_NUM_REGIONS

#define EMULATED_MAX_DEVICES	64

static unsigned int devices = 2;
module_param(devices, uint, 0444);
MODULE_PARM_DESC(devices, "How many devices there are (default 2, at most 64)");

static struct platform_device *emulated_devices[EMULATED_MAX_DEVICES];

static int emulated_init_dev(struct vfio_device *vdev)
{
	struct emulated_device *xdev = emulated_of_vdev(vdev);

	mutex_init(&xdev->registers_lock);
	emulated_ledger_init(&xdev->ledger);
	emulated_migration_init(vdev, &xdev->migration);
	emulated_engine_init(&xdev->engine);
	emulated_log_init(vdev, &xdev->log);
	return 0;
}

static void emulated_release_dev(struct vfio_device *vdev)
{
	struct emulated_device *xdev = emulated_of_vdev(vdev);

	emulated_log_destroy(&xdev->log);
	emulated_migration_destroy(&xdev->migration);
	mutex_destroy(&xdev->registers_lock);
	compat_vfio_release(vdev);
}

/* Gives the device what it has when it is switched on. */
static void emulated_reset(struct emulated_device *xdev)
{
	mutex_lock(&xdev->registers_lock);
	emulated_engine_stop(xdev);
	emulated_config_reset(xdev);
	emulated_memory_reset(xdev);
	emulated_migration_reset(xdev);
	emulated_engine_start(xdev);
	mutex_unlock(&xdev->registers_lock);
}

static int emulated_open_device(struct vfio_device *vdev)
{
	struct emulated_device *xdev = emulated_of_vdev(vdev);
	int ret;

	ret = emulated_memory_alloc(xdev);
	if (ret)
		return ret;

	ret = emulated_migration_open(xdev);
	if (ret)
		goto err_free_registers;

	emulated_reset(xdev);
	return 0;

err_free_registers:
	emulated_memory_free(xdev);
	return ret;
}

static void emulated_close_device(struct vfio_device *vdev)
{
	struct emulated_device *xdev = emulated_of_vdev(vdev);

	emulated_engine_stop(xdev);
	emulated_log_close(&xdev->log);
	emulated_migration_close(xdev);
	emulated_memory_free(xdev);
}

static ssize_t emulated_rw(struct emulated_device *xdev, char __user *buf, size_t count,
			   loff_t *ppos, bool iswrite)
{
	unsigned int index = VFIO_PCI_OFFSET_TO_INDEX(*ppos);
	u64 pos = *ppos & VFIO_PCI_OFFSET_MASK;
	ssize_t ret = -EINVAL;

	if (!count)
		return 0;

	if (index < PCI_STD_NUM_BARS)
		ret = emulated_memory_rw(xdev, array_index_nospec(index, PCI_STD_NUM_BARS), buf,
					 count, pos, iswrite);
	else if (index == VFIO_PCI_CONFIG_REGION_INDEX)
		ret = emulated_config_rw(xdev, buf, count, pos, iswrite);

	if (ret > 0)
		*ppos += ret;
	return ret;
}

static ssize_t emulated_read(struct vfio_device *vdev, char __user *buf, size_t count,
			     loff_t *ppos)
{
	return emulated_rw(emulated_of_vdev(vdev), buf, count, ppos, false);
}

static ssize_t emulated_write(struct vfio_device *vdev, const char __user *buf, size_t count,
			      loff_t *ppos)
{
	return emulated_rw(emulated_of_vdev(vdev), (char __user *)buf, count, ppos, true);
}

static int emulated_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	const unsigned int shift = VFIO_PCI_OFFSET_SHIFT - PAGE_SHIFT;
	struct emulated_device *xdev = emulated_of_vdev(vdev);
	unsigned int index = vma->vm_pgoff >> shift;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (index < PCI_STD_NUM_BARS)
		return emulated_memory_mmap(xdev, vma);
	return -EINVAL;
}

static int emulated_bar_info(struct vfio_region_info *info, struct vfio_info_cap *caps)
{
	const struct emulated_layout *layout = emulated_find_layout(info->index);
	int ret;

	info->size = emulated_bar_sizes[array_index_nospec(info->index, PCI_STD_NUM_BARS)];
	if (!info->size)
		return 0;

	info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
		      VFIO_REGION_INFO_FLAG_MMAP;
	if (!layout)
		return 0;

	ret = emulated_add_areas(caps, VFIO_REGION_INFO_CAP_SPARSE_MMAP, &layout->whole, 1);
	if (ret)
		return ret;
	return emulated_add_saving(caps, layout);
}

/* Indexes that the device has no use for have no size. */
static int emulated_get_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
				    struct vfio_info_cap *caps)
{
	if (info->index >= EMULATED_NR_REGIONS)
		return -EINVAL;

	info->offset = VFIO_PCI_INDEX_TO_OFFSET(info->index);
	info->size = 0;
	info->flags = 0;
	if (info->index < PCI_STD_NUM_BARS)
		return emulated_bar_info(info, caps);
	if (info->index == VFIO_PCI_CONFIG_REGION_INDEX) {
		info->size = PCI_CFG_SPACE_SIZE;
		info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	}
	return 0;
}

static long emulated_get_info(unsigned long arg)
{
	const unsigned long minsz = offsetofend(struct vfio_device_info, num_irqs);
	struct vfio_device_info info;

	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;

	info.flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI;
	info.num_regions = EMULATED_NR_REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

static long emulated_get_irq_info(unsigned long arg)
{
	const unsigned long minsz = offsetofend(struct vfio_irq_info, count);
	struct vfio_irq_info info;

	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;

	info.flags = VFIO_IRQ_INFO_EVENTFD;
	info.count = 0;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

static long emulated_ioctl(struct vfio_device *vdev, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return emulated_get_info(arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return compat_vfio_region_info_ioctl(vdev, arg, emulated_get_region_info);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return emulated_get_irq_info(arg);
	case VFIO_DEVICE_RESET:
		emulated_reset(emulated_of_vdev(vdev));
		return 0;
	default:
		return -ENOTTY;
	}
}

static const struct vfio_device_ops emulated_ops = {
	.name = "emulated-vfio",
	.init = emulated_init_dev,
	.release = emulated_release_dev,
	.open_device = emulated_open_device,
	.close_device = emulated_close_device,
	.ioctl = emulated_ioctl,
	COMPAT_VFIO_REGION_INFO_OPS
	.read = emulated_read,
	.write = emulated_write,
	.mmap = emulated_mmap,
	COMPAT_VFIO_IOMMUFD_OPS
};

static void emulated_unregister(void *data)
{
	struct emulated_device *xdev = data;

	vfio_unregister_group_dev(&xdev->vdev);
	vfio_put_device(&xdev->vdev);
}

static int emulated_probe(struct platform_device *pdev)
{
	struct emulated_device *xdev;
	int ret;

	xdev = vfio_alloc_device(emulated_device, vdev, &pdev->dev, &emulated_ops);
	if (IS_ERR(xdev))
		return PTR_ERR(xdev);

	ret = vfio_register_emulated_iommu_dev(&xdev->vdev);
	if (ret) {
		vfio_put_device(&xdev->vdev);
		return ret;
	}
	return devm_add_action_or_reset(&pdev->dev, emulated_unregister, xdev);
}

static struct platform_driver emulated_driver = {
	.probe = emulated_probe,
	.driver = {
		.name = KBUILD_MODNAME,
	},
	/* The device joins its group in probe, and uses no DMA API. */
	.driver_managed_dma = true,
};

static void emulated_remove_devices(void)
{
	unsigned int i;

	for (i = 0; i < devices; i++)
		platform_device_unregister(emulated_devices[i]);
}

static int __init emulated_init(void)
{
	unsigned int i;
	int ret;

	if (!devices || devices > EMULATED_MAX_DEVICES) {
		pr_err("%s: devices=%u, valid is 1 to %u\n", KBUILD_MODNAME, devices,
		       EMULATED_MAX_DEVICES);
		return -EINVAL;
	}

	ret = emulated_engine_setup();
	if (ret)
		return ret;

	ret = platform_driver_register(&emulated_driver);
	if (ret)
		goto err_teardown_engine;

	for (i = 0; i < devices; i++) {
		struct platform_device *pdev;

		pdev = platform_device_register_simple(KBUILD_MODNAME, i, NULL, 0);
		if (IS_ERR(pdev)) {
			ret = PTR_ERR(pdev);
			goto err_remove_devices;
		}
		emulated_devices[i] = pdev;
	}
	return 0;

err_remove_devices:
	emulated_remove_devices();
	platform_driver_unregister(&emulated_driver);
err_teardown_engine:
	emulated_engine_teardown();
	return ret;
}
module_init(emulated_init);

static void __exit emulated_exit(void)
{
	emulated_remove_devices();
	platform_driver_unregister(&emulated_driver);
	emulated_engine_teardown();
}
module_exit(emulated_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Software device: VFIO driver with migration");
