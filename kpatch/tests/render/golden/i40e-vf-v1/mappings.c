// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel Ethernet 700 series virtual function: what is mapped, and what may be while saving
 *
 * Generated from i40e-vf.toml; edit that file or the templates, not this one.
 *
 * A device may enter _SAVING only while no process maps a page outside the
 * saving layouts. The ledger is one number, the count of such pages. It stays
 * exact because every way to gain or lose a mapping of the device goes through
 * one of three places, each of which sees the true extent of the vma:
 *
 *  - mmap() adds the pages of the new vma.
 *  - close() subtracts the pages that the vma has when it goes away, which are
 *    fewer than at mmap() if it was split since.
 *  - open() adds the pages of a copy, made by fork() or mremap(). It is called
 *    for the new part of a split as well, which adds no page: the old vma is
 *    about to lose the pages of the new one, without a call.
 *
 * open() recognizes a split by looking up the address of the new vma in its own
 * mm. Split, fork and mremap() all hold the mmap_lock of that mm for writing. The
 * new part of a split is not in the tree yet, so the lookup finds the old vma,
 * which still spans both parts. A copy made by mremap() is where nothing else is
 * mapped. In fork() the lookup finds the copy itself or, in a tree that was
 * duplicated as a whole, the vma of the parent, which belongs to another mm.
 *
 * A split that fails after open() (only possible up to 6.2) closes a vma that was
 * made empty before, which subtracts nothing. Mappings of a device are never
 * merged or expanded, vfio-pci-core makes them VM_IO | VM_PFNMAP | VM_DONTEXPAND.
 *
 * The cost is that one lookup for a copy, however many mappings there are. A
 * state change takes no mmap_lock, and the lock of the ledger is innermost, so no
 * lock order can be inverted.
 */

#include <linux/slab.h>

#include "i40e_vf.h"

/* BAR0: the trapped ranges */
static const struct i40e_vf_range i40e_vf_bar0_traps[] = {
	{ .offset = 0x2000, .size = 0x1000 },
	{ .offset = 0x6000, .size = 0x1000 },
	{ .offset = 0x7000, .size = 0x1000 },
	{ .offset = 0x8000, .size = 0x1000 },
};

static const struct i40e_vf_layout i40e_vf_layouts[] = {
	{
		.index = VFIO_PCI_BAR0_REGION_INDEX,
		.whole = { .offset = 0, .size = 0x10000 },
		.traps = i40e_vf_bar0_traps,
		.nr_traps = ARRAY_SIZE(i40e_vf_bar0_traps),
	},
};

/* Returns the layouts of a region, NULL if its mappings are not restricted. */
const struct i40e_vf_layout *i40e_vf_find_layout(unsigned int index)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(i40e_vf_layouts); i++)
		if (i40e_vf_layouts[i].index == index)
			return &i40e_vf_layouts[i];
	return NULL;
}

/*
 * Steps from an area of the saving layout to the next one: what lies between the
 * pages with a trap. An area of size 0 comes before the first. Pages can be larger
 * than those that the device was made for, so this is not a table.
 */
static bool i40e_vf_next_area(const struct i40e_vf_layout *layout,
			      struct i40e_vf_range *area)
{
	u64 start = area->offset + area->size;
	u64 end = layout->whole.size;
	unsigned int i;

	for (i = 0; i < layout->nr_traps; i++) {
		const struct i40e_vf_range *trap = &layout->traps[i];
		u64 first = round_down(trap->offset, PAGE_SIZE);

		if (first > start) {
			end = first;
			break;
		}
		start = max_t(u64, start, round_up(trap->offset + trap->size, PAGE_SIZE));
	}
	if (start >= end)
		return false;

	area->offset = start;
	area->size = end - start;
	return true;
}

/* As vfio_info_add_capability() does when it fails: not every caller frees them. */
static void i40e_vf_free_caps(struct vfio_info_cap *caps)
{
	kfree(caps->buf);
	caps->buf = NULL;
	caps->size = 0;
}

/*
 * Adds a capability with the layout of vfio_region_info_cap_sparse_mmap, which
 * VFIO_REGION_INFO_CAP_SPARSE_MMAP_SAVING shares.
 */
int i40e_vf_add_areas(struct vfio_info_cap *caps, u16 id,
		      const struct i40e_vf_range *areas, unsigned int nr_areas)
{
	struct vfio_region_info_cap_sparse_mmap *sparse;
	size_t size = struct_size(sparse, areas, nr_areas);
	unsigned int i;
	int ret;

	sparse = kzalloc(size, GFP_KERNEL);
	if (!sparse) {
		i40e_vf_free_caps(caps);
		return -ENOMEM;
	}

	sparse->header.id = id;
	sparse->header.version = 1;
	sparse->nr_areas = nr_areas;
	for (i = 0; i < nr_areas; i++) {
		sparse->areas[i].offset = areas[i].offset;
		sparse->areas[i].size = areas[i].size;
	}

	ret = vfio_info_add_capability(caps, &sparse->header, size);
	kfree(sparse);
	return ret;
}

/* Adds the capability with the saving layout. */
int i40e_vf_add_saving(struct vfio_info_cap *caps, const struct i40e_vf_layout *layout)
{
	struct i40e_vf_range area = { .offset = 0, .size = 0 };
	struct i40e_vf_range *areas;
	unsigned int nr_areas = 0;
	int ret;

	/* One before each trap, and one behind the last. */
	areas = kcalloc(layout->nr_traps + 1, sizeof(*areas), GFP_KERNEL);
	if (!areas) {
		i40e_vf_free_caps(caps);
		return -ENOMEM;
	}
	while (i40e_vf_next_area(layout, &area))
		areas[nr_areas++] = area;

	ret = i40e_vf_add_areas(caps, VFIO_REGION_INFO_CAP_SPARSE_MMAP_SAVING, areas, nr_areas);
	kfree(areas);
	return ret;
}

/* Counts the pages of @vma outside the saving layout of its region. */
static unsigned long i40e_vf_conflicts(struct vm_area_struct *vma)
{
	const u64 offset = compat_vfio_pci_vma_offset(vma);
	struct i40e_vf_range area = { .offset = 0, .size = 0 };
	const struct i40e_vf_layout *layout;
	unsigned long pages = vma_pages(vma);
	u64 start, end;

	layout = i40e_vf_find_layout(VFIO_PCI_OFFSET_TO_INDEX(offset));
	if (!layout)
		return 0;

	start = offset & VFIO_PCI_OFFSET_MASK;
	end = start + ((u64)pages << PAGE_SHIFT);
	while (i40e_vf_next_area(layout, &area)) {
		u64 from = max(start, area.offset);
		u64 to = min(end, area.offset + area.size);

		if (from < to)
			pages -= (to - from) >> PAGE_SHIFT;
	}
	return pages;
}

static struct i40e_vf_ledger *i40e_vf_vma_ledger(const struct vm_area_struct *vma)
{
	return container_of(vma->vm_ops, struct i40e_vf_ledger, vm_ops);
}

/* Is it the new part of a split, or a copy? See the top of this file. */
static bool i40e_vf_is_split(const struct vm_area_struct *vma)
{
	struct vm_area_struct *found = find_vma(vma->vm_mm, vma->vm_start);

	return found && found != vma && found->vm_mm == vma->vm_mm &&
	       found->vm_start < vma->vm_end;
}

static void i40e_vf_vma_open(struct vm_area_struct *vma)
{
	struct i40e_vf_ledger *ledger = i40e_vf_vma_ledger(vma);

	if (!i40e_vf_is_split(vma)) {
		/*
		 * While saving there is nothing to copy: entering it found no
		 * page in conflict, and mmap() has let none in since.
		 */
		spin_lock(&ledger->lock);
		ledger->conflicts += i40e_vf_conflicts(vma);
		spin_unlock(&ledger->lock);
	}

	if (ledger->core_vm_ops->open)
		ledger->core_vm_ops->open(vma);
}

static void i40e_vf_vma_close(struct vm_area_struct *vma)
{
	struct i40e_vf_ledger *ledger = i40e_vf_vma_ledger(vma);

	if (ledger->core_vm_ops->close)
		ledger->core_vm_ops->close(vma);

	spin_lock(&ledger->lock);
	ledger->conflicts -= i40e_vf_conflicts(vma);
	spin_unlock(&ledger->lock);
}

void i40e_vf_ledger_init(struct i40e_vf_ledger *ledger)
{
	spin_lock_init(&ledger->lock);
}

/**
 * i40e_vf_ledger_add - enter a vma that was just mapped
 * @ledger: ledger of the device
 * @vma: set up by vfio-pci-core, not visible to anybody else yet
 *
 * A vma inside the saving layout is left alone, no part of it can ever conflict.
 *
 * Return: 0, -EBUSY if the device is _SAVING and @vma has a page outside the
 * saving layout, -EOPNOTSUPP if vfio-pci-core treats it unlike those before.
 */
int i40e_vf_ledger_add(struct i40e_vf_ledger *ledger, struct vm_area_struct *vma)
{
	/* Constant once it is set, before the first vma gets it. */
	struct vm_operations_struct *const vm_ops = (void *)&ledger->vm_ops;
	unsigned long conflicts = i40e_vf_conflicts(vma);
	int ret = 0;

	if (!conflicts)
		return 0;

	spin_lock(&ledger->lock);
	if (!ledger->core_vm_ops) {
		ledger->core_vm_ops = vma->vm_ops;
		*vm_ops = *vma->vm_ops;
		vm_ops->open = i40e_vf_vma_open;
		vm_ops->close = i40e_vf_vma_close;
	}
	if (ledger->saving)
		ret = -EBUSY;
	else if (vma->vm_ops != ledger->core_vm_ops)
		ret = -EOPNOTSUPP;
	else
		ledger->conflicts += conflicts;
	spin_unlock(&ledger->lock);
	if (ret)
		return ret;

	vma->vm_ops = &ledger->vm_ops;
	return 0;
}

/**
 * i40e_vf_ledger_begin_saving - refuse conflicting mappings from now on
 * @ledger: ledger of the device
 *
 * Return: 0, or -EBUSY if there is such a mapping, and then nothing changed.
 */
int i40e_vf_ledger_begin_saving(struct i40e_vf_ledger *ledger)
{
	int ret = 0;

	spin_lock(&ledger->lock);
	if (ledger->conflicts)
		ret = -EBUSY;
	else
		ledger->saving = true;
	spin_unlock(&ledger->lock);
	return ret;
}

void i40e_vf_ledger_end_saving(struct i40e_vf_ledger *ledger)
{
	spin_lock(&ledger->lock);
	ledger->saving = false;
	spin_unlock(&ledger->lock);
}
