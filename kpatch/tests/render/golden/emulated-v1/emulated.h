/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Software device: VFIO driver with the v1 migration region
 *
 * Generated from emulated.toml; edit that file or the templates, not this one.
 */
#ifndef EMULATED_VFIO_H
#define EMULATED_VFIO_H

#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/vfio.h>
#include <linux/vfio_pci_core.h>
#include <linux/workqueue.h>

#include "compat.h"

/* The struct has the first page to itself, so that the rest can be mapped. */
#define EMULATED_DATA_OFFSET	PAGE_SIZE
#define EMULATED_DATA_SIZE		0x10000
#define EMULATED_REGION_SIZE	(EMULATED_DATA_OFFSET + EMULATED_DATA_SIZE)

/* What the device says that it is. */
#define EMULATED_VENDOR		0x1234
#define EMULATED_DEVICE		0x5646

/* One value for every register that makes up the device state. */
#define EMULATED_NR_VALUES		1049

/**
 * struct emulated_range - contiguous part of a region
 * @offset: first byte, relative to the region
 * @size: bytes
 */
struct emulated_range {
	u64 offset;
	u64 size;
};

/**
 * struct emulated_layout - which parts of a BAR may be mapped
 * @index: VFIO region index of the BAR
 * @whole: the run-time layout
 * @traps: what the driver has to see while saving, ascending and disjoint; the
 *         saving layout has all pages without any of it, which may be none
 * @nr_traps: number of @traps
 */
struct emulated_layout {
	unsigned int index;
	struct emulated_range whole;
	const struct emulated_range *traps;
	unsigned int nr_traps;
};

/**
 * struct emulated_ledger - what is mapped outside the saving layouts
 * @lock: protects @conflicts and @saving. Innermost: nothing is locked and
 *        nothing sleeps under it, so it can be taken under mmap_lock as well
 *        as for a change of the device state.
 * @conflicts: pages mapped outside the saving layouts, over all processes
 * @saving: the device state has _SAVING, no conflict may be added
 */
struct emulated_ledger {
	spinlock_t lock; /* innermost, see above */
	u64 conflicts;
	bool saving;
};

/**
 * struct emulated_migration - the migration region of an open device
 * @lock: protects all members but @data. Taken inside the lock of the
 *        registers, see emulated_lock_registers(); user memory is not
 *        accessed under it.
 * @state: device_state, VFIO_DEVICE_STATE_V1_*
 * @data: data section, shared with user space, which may write it at any time
 * @stream: the frame that is being sent or received, private to the kernel
 * @length: valid bytes in @stream
 * @position: bytes of @stream that the user has consumed
 * @staged: bytes of @stream after @position that are in @data
 * @identified: an identity frame was received, and no state after it
 * @complete: the last frame that was received was a state
 * @invalid: what was received is not sound, or not meant for this device
 * @values: the registers of a stopped device, in the order of the description
 */
struct emulated_migration {
	struct mutex lock; /* inside the lock of the registers, see above */
	u32 state;
	void *data;
	u8 *stream;
	size_t length;
	size_t position;
	size_t staged;
	bool identified;
	bool complete;
	bool invalid;
	u32 *values;
};

/**
 * struct emulated_engine - what makes the device move
 * @lock: protects @running, and so that @work is queued only while the device
 *        runs. Innermost: nothing is locked and nothing sleeps under it.
 * @running: the counter counts and doorbells are served
 * @work: one tick; takes no lock of the driver but @lock, since the device is
 *        stopped, and the work waited for, under the others
 */
struct emulated_engine {
	spinlock_t lock; /* innermost, see above */
	bool running;
	struct delayed_work work;
};

/**
 * struct emulated_device - a software device
 * @vdev: what VFIO knows of it
 * @ledger: what is mapped
 * @migration: the migration region
 * @registers_lock: one reset, change of the device state or access to @config
 *                  at a time
 * @bar: memory of each BAR while the device is open, which user space may map
 *       and write at any time; NULL where there is none
 * @config: PCI configuration space
 * @engine: what makes it move
 */
struct emulated_device {
	struct vfio_device vdev;
	struct emulated_ledger ledger;
	struct emulated_migration migration;
	struct mutex registers_lock; /* before the lock of the migration */
	void *bar[PCI_STD_NUM_BARS];
	u8 config[PCI_CFG_SPACE_SIZE];
	struct emulated_engine engine;
};

static inline struct emulated_device *emulated_of_vdev(struct vfio_device *vdev)
{
	return container_of(vdev, struct emulated_device, vdev);
}

/* config.c */
void emulated_config_reset(struct emulated_device *xdev);
ssize_t emulated_config_rw(struct emulated_device *xdev, char __user *buf, size_t count,
			   u64 pos, bool iswrite);

/* engine.c */
int emulated_engine_setup(void);
void emulated_engine_teardown(void);
void emulated_engine_init(struct emulated_engine *engine);
void emulated_engine_start(struct emulated_device *xdev);
void emulated_engine_stop(struct emulated_device *xdev);
void emulated_engine_kick(struct emulated_device *xdev);

/* memory.c */
extern const resource_size_t emulated_bar_sizes[PCI_STD_NUM_BARS];
int emulated_memory_alloc(struct emulated_device *xdev);
void emulated_memory_free(struct emulated_device *xdev);
void emulated_memory_reset(struct emulated_device *xdev);
ssize_t emulated_memory_rw(struct emulated_device *xdev, unsigned int bar,
			   char __user *buf, size_t count, u64 pos, bool iswrite);
int emulated_memory_mmap(struct emulated_device *xdev, struct vm_area_struct *vma);
void emulated_lock_registers(struct emulated_device *xdev);
void emulated_unlock_registers(struct emulated_device *xdev);
u32 emulated_read_register(struct emulated_device *xdev, u8 bar, u32 offset, u8 width);
void emulated_write_register(struct emulated_device *xdev, u8 bar, u32 offset, u8 width,
			     u32 value);

/* mappings.c */
const struct emulated_layout *emulated_find_layout(unsigned int index);
int emulated_add_areas(struct vfio_info_cap *caps, u16 id,
		       const struct emulated_range *areas, unsigned int nr_areas);
int emulated_add_saving(struct vfio_info_cap *caps, const struct emulated_layout *layout);
void emulated_ledger_init(struct emulated_ledger *ledger);
int emulated_ledger_add(struct emulated_ledger *ledger, struct vm_area_struct *vma);
void emulated_vma_open(struct vm_area_struct *vma);
void emulated_vma_close(struct vm_area_struct *vma);
int emulated_ledger_begin_saving(struct emulated_ledger *ledger);
void emulated_ledger_end_saving(struct emulated_ledger *ledger);

/* registers.c */
int emulated_device_stop(struct emulated_device *xdev);
void emulated_device_start(struct emulated_device *xdev);
void emulated_device_save(struct emulated_device *xdev);
void emulated_device_restore(struct emulated_device *xdev);

/* stream.c */
int emulated_alloc_stream(struct emulated_migration *mig);
void emulated_free_stream(struct emulated_migration *mig);
void emulated_drop_stream(struct emulated_migration *mig);
void emulated_send_identity(struct emulated_device *xdev);
void emulated_send_state(struct emulated_device *xdev, bool after_identity);
int emulated_receive_stream(struct emulated_device *xdev, const u8 *from, size_t size);
bool emulated_received(const struct emulated_migration *mig);

/* region.c */
void emulated_migration_init(struct emulated_migration *mig);
void emulated_migration_destroy(struct emulated_migration *mig);
int emulated_migration_open(struct emulated_device *xdev);
void emulated_migration_close(struct emulated_device *xdev);
void emulated_migration_reset(struct emulated_device *xdev);
ssize_t emulated_migration_rw(struct emulated_device *xdev, char __user *buf, size_t count,
			      u64 pos, bool iswrite);
int emulated_migration_mmap(struct emulated_device *xdev, struct vm_area_struct *vma,
			    u64 start);
int emulated_migration_add_capability(struct vfio_info_cap *caps);

#endif /* EMULATED_VFIO_H */
