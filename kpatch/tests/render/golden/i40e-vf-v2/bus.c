// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel Ethernet 700 series virtual function: access to its registers and to the bus
 *
 * Generated from i40e-vf.toml; edit that file or the templates, not this one.
 */

#include <linux/io.h>
#include <linux/pci.h>
#include <linux/uaccess.h>
#include <linux/vfio_pci_core.h>

#include "i40e_vf.h"

/*
 * memory_lock keeps the function powered and out of a reset that VFIO does; one by
 * way of sysfs does not take it. A reset of VFIO holds it when it gets to
 * i40e_vf_pci_reset_done(), so it comes before the lock of the migration.
 *
 * The user may have memory decoding off. It is switched on while the lock is held for
 * writing, when nobody else can access the registers. Virtual functions have no memory
 * enable of their own, but emulated ones may obey it all the same.
 */
void i40e_vf_lock_registers(struct i40e_vf_device *xdev)
{
	struct pci_dev *pdev = xdev->core_device.pdev;
	u16 command;

	down_write(&xdev->core_device.memory_lock);
	pci_read_config_word(pdev, PCI_COMMAND, &command);
	xdev->memory_off = !(command & PCI_COMMAND_MEMORY);
	if (xdev->memory_off)
		pci_write_config_word(pdev, PCI_COMMAND, command | PCI_COMMAND_MEMORY);
}

void i40e_vf_unlock_registers(struct i40e_vf_device *xdev)
{
	struct pci_dev *pdev = xdev->core_device.pdev;
	u16 command;

	if (xdev->memory_off) {
		pci_read_config_word(pdev, PCI_COMMAND, &command);
		pci_write_config_word(pdev, PCI_COMMAND, command & ~PCI_COMMAND_MEMORY);
	}
	up_write(&xdev->core_device.memory_lock);
}

/*
 * Can the registers be accessed? Only in D0, which the user can leave, and not
 * when it is gone. Ask under i40e_vf_lock_registers().
 */
bool i40e_vf_registers_enabled(struct i40e_vf_device *xdev)
{
	struct pci_dev *pdev = xdev->core_device.pdev;

	return pdev->current_state == PCI_D0 && pci_device_is_present(pdev);
}

/* Masks or unmasks all MSI-X vectors at once. The user can do neither. */
static void i40e_vf_mask_msix(struct pci_dev *pdev, bool mask)
{
	u16 flags;

	if (!pdev->msix_cap)
		return;

	pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS, &flags);
	flags = mask ? flags | PCI_MSIX_FLAGS_MASKALL : flags & ~PCI_MSIX_FLAGS_MASKALL;
	pci_write_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS, flags);
}

/*
 * Takes the bus from a function whose queues have been stopped, so that nothing it
 * still does reaches memory. That keeps it from sending messages, too, and those are
 * lost, unless the vectors are masked: then they are pending until it starts.
 *
 * Return: 0, or -ETIMEDOUT if its transactions do not end.
 */
int i40e_vf_bus_stop(struct i40e_vf_device *xdev)
{
	struct pci_dev *pdev = xdev->core_device.pdev;
	u16 command;

	lockdep_assert_held(&xdev->migration.lock);

	i40e_vf_mask_msix(pdev, true);
	pci_read_config_word(pdev, PCI_COMMAND, &command);
	xdev->bus_master = command & PCI_COMMAND_MASTER;
	xdev->bus_stopped = true;
	pci_clear_master(pdev);
	return pci_wait_for_pending_transaction(pdev) ? 0 : -ETIMEDOUT;
}

/* Gives back what i40e_vf_bus_stop() took, if it did. */
void i40e_vf_bus_start(struct i40e_vf_device *xdev)
{
	struct pci_dev *pdev = xdev->core_device.pdev;

	lockdep_assert_held(&xdev->migration.lock);

	if (!xdev->bus_stopped)
		return;
	if (xdev->bus_master)
		pci_set_master(pdev);
	i40e_vf_mask_msix(pdev, false);
	xdev->bus_stopped = false;
}

/* Does an access to the device file include the lower byte of the command register? */
static bool i40e_vf_has_command(u64 offset, size_t count)
{
	u64 pos = offset & VFIO_PCI_OFFSET_MASK;

	return VFIO_PCI_OFFSET_TO_INDEX(offset) == VFIO_PCI_CONFIG_REGION_INDEX &&
	       pos <= PCI_COMMAND && pos + count > PCI_COMMAND;
}

/* While the device is stopped the user reads bus master as it is to be afterwards. */
ssize_t i40e_vf_read(struct vfio_device *core_vdev, char __user *buf, size_t count,
		     loff_t *ppos)
{
	struct i40e_vf_device *xdev = i40e_vf_of_vdev(core_vdev);
	const u64 offset = *ppos;
	u8 __user *command;
	bool bus_master;
	ssize_t ret;
	u8 value;

	ret = vfio_pci_core_read(core_vdev, buf, count, ppos);
	if (ret <= 0 || !i40e_vf_has_command(offset, ret))
		return ret;

	mutex_lock(&xdev->migration.lock);
	bus_master = xdev->bus_stopped && xdev->bus_master;
	mutex_unlock(&xdev->migration.lock);
	if (!bus_master)
		return ret;

	command = (u8 __user *)buf + PCI_COMMAND - (offset & VFIO_PCI_OFFSET_MASK);
	if (get_user(value, command) || put_user(value | PCI_COMMAND_MASTER, command))
		return -EFAULT;
	return ret;
}

/*
 * What the user writes to configuration space, or VFIO for the user, can undo what
 * keeps a stopped device quiet: VFIO unmasks MSI-X when it enables it, as the kernel
 * does when it restores a function that wakes up. An interrupt between that and this
 * is lost.
 *
 * @command: what the user wrote to the command register, or NULL
 */
void i40e_vf_bus_stop_again(struct i40e_vf_device *xdev, const u8 *command)
{
	struct pci_dev *pdev = xdev->core_device.pdev;

	i40e_vf_lock_registers(xdev);
	mutex_lock(&xdev->migration.lock);
	if (xdev->bus_stopped) {
		if (command)
			xdev->bus_master = *command & PCI_COMMAND_MASTER;
		i40e_vf_mask_msix(pdev, true);
		pci_clear_master(pdev);
	}
	mutex_unlock(&xdev->migration.lock);
	i40e_vf_unlock_registers(xdev);
}

/* While the device is stopped bus master is kept off, and what the user wrote kept. */
ssize_t i40e_vf_write(struct vfio_device *core_vdev, const char __user *buf,
		      size_t count, loff_t *ppos)
{
	struct i40e_vf_device *xdev = i40e_vf_of_vdev(core_vdev);
	const u64 offset = *ppos;
	ssize_t ret;
	u8 value = 0;

	if (i40e_vf_rings_watch(xdev, offset, count))
		return i40e_vf_rings_write(xdev, buf, count, ppos);
	if (VFIO_PCI_OFFSET_TO_INDEX(offset) != VFIO_PCI_CONFIG_REGION_INDEX)
		return vfio_pci_core_write(core_vdev, buf, count, ppos);

	if (i40e_vf_has_command(offset, count) &&
	    get_user(value, (u8 __user *)buf + PCI_COMMAND - (offset & VFIO_PCI_OFFSET_MASK)))
		return -EFAULT;
	ret = vfio_pci_core_write(core_vdev, buf, count, ppos);
	if (ret > 0)
		i40e_vf_bus_stop_again(xdev, i40e_vf_has_command(offset, ret) ? &value : NULL);
	return ret;
}

u32 i40e_vf_read_register(struct i40e_vf_device *xdev, u8 bar, u32 offset)
{
	return ioread32(xdev->bar[bar] + offset);
}

void i40e_vf_write_register(struct i40e_vf_device *xdev, u8 bar, u32 offset, u32 value)
{
	iowrite32(value, xdev->bar[bar] + offset);
}
