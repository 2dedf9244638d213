// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel Ethernet 700 series virtual function: VFIO variant driver with the v2 migration protocol
 *
 * Generated from i40e-vf.toml; edit that file or the templates, not this one.
 *
 * The function is passed through as vfio-pci does. On top of that come the states
 * of VFIO_DEVICE_FEATURE_MIGRATION (fsm.c) and their streams (session.c).
 * BARs that must not be mapped as a whole while the device state is saved have
 * the capability VFIO_REGION_INFO_CAP_SPARSE_MMAP_SAVING (mappings.c).
 *
 * What else the function depends on, and the stream does not hold:
 *  - contexts and enable bits of the data queues, VSI, filters, RSS of
 *    the port: held by the physical function; in its memory and
 *    registers, reached by messages only: the guest sets them up anew
 *    after a reset
 *  - VFGEN_RSTAT: held by the physical function; says how far it has got
 *    with a reset of this function
 *  - VFINT_ICR01: lost; cleared by a read; a cause that was pending is
 *    lost
 *  - configuration space, MSI-X table (MSIXTADD, MSIXTVCTRL), interrupts:
 *    held by the virtual machine monitor; it has set them up and does so
 *    again at the destination
 */

#include <linux/module.h>
#include <linux/pci.h>
#include <linux/vfio_pci_core.h>

#include "i40e_vf.h"

static struct i40e_vf_device *i40e_vf_of_core(struct vfio_pci_core_device *core)
{
	return container_of(core, struct i40e_vf_device, core_device);
}

static int i40e_vf_init_dev(struct vfio_device *core_vdev)
{
	struct i40e_vf_device *xdev = i40e_vf_of_vdev(core_vdev);
	int ret;

	i40e_vf_ledger_init(&xdev->ledger);
	i40e_vf_migration_init(core_vdev, &xdev->migration);
	i40e_vf_log_init(core_vdev, &xdev->log);
	ret = vfio_pci_core_init_dev(core_vdev);
	if (!ret)
		i40e_vf_rings_init(xdev);
	return ret;
}

static void i40e_vf_release_dev(struct vfio_device *core_vdev)
{
	struct i40e_vf_device *xdev = i40e_vf_of_vdev(core_vdev);

	i40e_vf_migration_destroy(&xdev->migration);
	i40e_vf_rings_destroy(xdev);
	i40e_vf_log_destroy(&xdev->log);
	vfio_pci_core_release_dev(core_vdev);
}

static int i40e_vf_map_bars(struct i40e_vf_device *xdev)
{
	xdev->bar[0] = compat_vfio_pci_iomap(&xdev->core_device, 0);
	if (IS_ERR(xdev->bar[0]))
		return PTR_ERR(xdev->bar[0]);
	return 0;
}

static int i40e_vf_open_device(struct vfio_device *core_vdev)
{
	struct i40e_vf_device *xdev = i40e_vf_of_vdev(core_vdev);
	struct vfio_pci_core_device *core = &xdev->core_device;
	int ret;

	ret = vfio_pci_core_enable(core);
	if (ret)
		return ret;

	ret = i40e_vf_map_bars(xdev);
	if (ret)
		goto err_disable;

	ret = i40e_vf_migration_open(xdev);
	if (ret)
		goto err_disable;

	vfio_pci_core_finish_enable(core);
	return 0;

err_disable:
	vfio_pci_core_disable(core);
	return ret;
}

/* The data_fd of a session that is not over ends here. */
static void i40e_vf_close_device(struct vfio_device *core_vdev)
{
	i40e_vf_rings_close(i40e_vf_of_vdev(core_vdev));
	i40e_vf_log_close(&i40e_vf_of_vdev(core_vdev)->log);
	i40e_vf_migration_close(i40e_vf_of_vdev(core_vdev));
	vfio_pci_core_close_device(core_vdev);
}

/* What vfio-pci-core says of a region, and the layouts where they are restricted. */
static int i40e_vf_get_region_info(struct vfio_device *core_vdev, struct vfio_region_info *info,
				   struct vfio_info_cap *caps)
{
	const struct i40e_vf_layout *layout = i40e_vf_find_layout(info->index);
	int ret;

	ret = compat_vfio_pci_get_region_info(core_vdev, info, caps);
	if (ret || !layout || !(info->flags & VFIO_REGION_INFO_FLAG_MMAP))
		return ret;

	ret = i40e_vf_add_areas(caps, VFIO_REGION_INFO_CAP_SPARSE_MMAP, &layout->whole, 1);
	if (ret)
		return ret;
	return i40e_vf_add_saving(caps, layout);
}

static int i40e_vf_mmap(struct vfio_device *core_vdev, struct vm_area_struct *vma)
{
	unsigned int index = vma->vm_pgoff >> (VFIO_PCI_OFFSET_SHIFT - PAGE_SHIFT);
	int ret;

	ret = vfio_pci_core_mmap(core_vdev, vma);
	if (ret || !i40e_vf_find_layout(index))
		return ret;
	return i40e_vf_ledger_add(&i40e_vf_of_vdev(core_vdev)->ledger, vma);
}

static long i40e_vf_ioctl(struct vfio_device *core_vdev, unsigned int cmd, unsigned long arg)
{
	long ret;

	/* The kernel would write registers for the user while the device is saved. */
	if (cmd == VFIO_DEVICE_IOEVENTFD)
		return -ENOTTY;

	ret = compat_vfio_pci_ioctl(core_vdev, cmd, arg, i40e_vf_get_region_info);
	if (cmd == VFIO_DEVICE_SET_IRQS)
		i40e_vf_bus_stop_again(i40e_vf_of_vdev(core_vdev), NULL);
	return ret;
}

static const struct vfio_device_ops i40e_vf_ops = {
	.name = "i40e-vf-vfio-pci",
	.init = i40e_vf_init_dev,
	.release = i40e_vf_release_dev,
	.open_device = i40e_vf_open_device,
	.close_device = i40e_vf_close_device,
	.ioctl = i40e_vf_ioctl,
	COMPAT_VFIO_REGION_INFO_OPS
	.device_feature = vfio_pci_core_ioctl_feature,
	.read = i40e_vf_read,
	.write = i40e_vf_write,
	.mmap = i40e_vf_mmap,
	.dma_unmap = i40e_vf_dma_unmap,
	.request = vfio_pci_core_request,
	.match = vfio_pci_core_match,
	COMPAT_VFIO_IOMMUFD_OPS
	COMPAT_VFIO_MATCH_OPS
};

/* The layouts hold for the BARs of the description only. */
static int i40e_vf_check_bars(struct pci_dev *pdev)
{
	static const resource_size_t sizes[PCI_STD_NUM_BARS] = {
		[0] = 0x10000,
	};
	int i;

	for (i = 0; i < PCI_STD_NUM_BARS; i++) {
		if (!sizes[i] || pci_resource_len(pdev, i) == sizes[i])
			continue;
		pci_err(pdev, "BAR %d has %llu bytes, this driver is for %llu\n", i,
			(u64)pci_resource_len(pdev, i), (u64)sizes[i]);
		return -ENODEV;
	}
	return 0;
}

static int i40e_vf_pci_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct i40e_vf_device *xdev;
	int ret;

	ret = i40e_vf_check_bars(pdev);
	if (ret)
		return ret;

	xdev = vfio_alloc_device(i40e_vf_device, core_device.vdev, &pdev->dev, &i40e_vf_ops);
	if (IS_ERR(xdev))
		return PTR_ERR(xdev);

	dev_set_drvdata(&pdev->dev, &xdev->core_device);
	ret = vfio_pci_core_register_device(&xdev->core_device);
	if (ret)
		goto err_put_vdev;
	return 0;

err_put_vdev:
	vfio_put_device(&xdev->core_device.vdev);
	return ret;
}

static void i40e_vf_pci_remove(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = dev_get_drvdata(&pdev->dev);

	vfio_pci_core_unregister_device(core);
	vfio_put_device(&core->vdev);
}

static void i40e_vf_pci_reset_done(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = dev_get_drvdata(&pdev->dev);

	i40e_vf_migration_reset(i40e_vf_of_core(core));
}

static const struct pci_error_handlers i40e_vf_err_handlers = {
	.reset_done = i40e_vf_pci_reset_done,
	.error_detected = vfio_pci_core_aer_err_detected,
};

static const struct pci_device_id i40e_vf_pci_table[] = {
	{ PCI_DRIVER_OVERRIDE_DEVICE_VFIO(0x8086, 0x154c) },
	{ PCI_DRIVER_OVERRIDE_DEVICE_VFIO(0x8086, 0x1571) },
	{}
};
MODULE_DEVICE_TABLE(pci, i40e_vf_pci_table);

static struct pci_driver i40e_vf_pci_driver = {
	.name = KBUILD_MODNAME,
	.id_table = i40e_vf_pci_table,
	.probe = i40e_vf_pci_probe,
	.remove = i40e_vf_pci_remove,
	.err_handler = &i40e_vf_err_handlers,
	.driver_managed_dma = true,
};
module_pci_driver(i40e_vf_pci_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Intel Ethernet 700 series virtual function: VFIO variant driver with migration");
