/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Software device: VFIO driver with the v2 migration protocol
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
#include <linux/wait.h>

#include "compat.h"

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
 * @saving: the device is saved, no conflict may be added
 */
struct emulated_ledger {
	spinlock_t lock; /* innermost, see above */
	u64 conflicts;
	bool saving;
};

/**
 * struct emulated_session - what a data_fd stands for; lives as long as the file
 * @filp: the file
 * @vdev: the device, which may be gone once @disabled is set
 * @io_lock: serializes read() and write(); user memory is accessed under it, so
 *           it comes before mmap_lock and is never taken to change the state
 * @lock: protects the members below; nothing else is locked inside
 * @wait: where poll() waits for data or the end of the session
 * @disabled: the session has ended
 * @precopy: more will be sent, the end of @stream is not the end
 * @spoiled: what was received can never be loaded
 * @length: valid bytes in @stream
 * @position: bytes that were read
 * @stream: the bytes; below @length they never change
 */
struct emulated_session {
	struct file *filp;
	struct vfio_device *vdev;
	struct mutex io_lock; /* one transfer at a time, see above */
	struct mutex lock; /* innermost, see above */
	wait_queue_head_t wait;
	bool disabled;
	bool precopy;
	bool spoiled;
	size_t length;
	size_t position;
	u8 stream[];
};

/**
 * struct emulated_migration - the migration state of a device
 * @lock: protects all members. Taken inside the lock of the registers, see
 *        emulated_lock_registers(); user memory is not accessed under it.
 * @state: where the state machine is
 * @session: the stream that is being sent or received, NULL if there is none
 * @stream: that of @session
 * @length: bytes of @stream that were put there to be sent or that are loaded
 * @identified: an identity frame is loaded, and no state after it
 * @complete: the last frame that is loaded is a state
 * @values: the registers of a stopped device, in the order of the description
 */
struct emulated_migration {
	struct mutex lock; /* inside the lock of the registers, see above */
	enum vfio_device_mig_state state;
	struct emulated_session *session;
	u8 *stream;
	size_t length;
	bool identified;
	bool complete;
	u32 *values;
};

/**
 * struct emulated_tracked - a range of guest memory of which writes are logged
 * @start: first address
 * @last: last address
 * @bit: of the page of @start
 */
struct emulated_tracked {
	unsigned long start;
	unsigned long last;
	unsigned long bit;
};

/**
 * struct emulated_log - which pages the device has written
 * @lock: protects all members. Held while the device writes to memory, so no
 *        lock under which the device is stopped is taken inside.
 * @tracked: the ranges, ascending
 * @nr_tracked: how many
 * @dirty: a bit for each page of them; NULL while nothing is logged
 */
struct emulated_log {
	struct mutex lock; /* the device waits for it, see above */
	struct emulated_tracked *tracked;
	u32 nr_tracked;
	unsigned long *dirty;
};

/**
 * struct emulated_engine - what makes the device move
 * @lock: protects @running, and so that @work is queued only while the device
 *        runs. Innermost: nothing is locked and nothing sleeps under it.
 * @running: the counter counts and doorbells are served
 * @work: one tick; takes no lock of the driver but @lock and that of the log,
 *        since the device is stopped, and the work waited for, under the others
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
 * @migration: the migration state, and its session
 * @registers_lock: one reset, change of the device state or access to @config
 *                  at a time
 * @bar: memory of each BAR while the device is open, which user space may map
 *       and write at any time; NULL where there is none
 * @config: PCI configuration space
 * @engine: what makes it move
 * @log: which guest memory it has written
 */
struct emulated_device {
	struct vfio_device vdev;
	struct emulated_ledger ledger;
	struct emulated_migration migration;
	struct mutex registers_lock; /* before the lock of the migration */
	void *bar[PCI_STD_NUM_BARS];
	u8 config[PCI_CFG_SPACE_SIZE];
	struct emulated_engine engine;
	struct emulated_log log;
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

/* dma_log.c */
void emulated_log_init(struct vfio_device *vdev, struct emulated_log *log);
void emulated_log_destroy(struct emulated_log *log);
void emulated_log_close(struct emulated_log *log);
void emulated_dma_write(struct emulated_device *xdev, u64 iova, __le32 value);

/* registers.c */
int emulated_device_stop(struct emulated_device *xdev);
void emulated_device_start(struct emulated_device *xdev);
void emulated_device_save(struct emulated_device *xdev);
void emulated_device_restore(struct emulated_device *xdev);

/* stream.c */
extern const size_t emulated_stream_size;
void emulated_send_identity(struct emulated_device *xdev);
void emulated_send_state(struct emulated_device *xdev, bool after_identity);
bool emulated_stream_fits(struct emulated_device *xdev, const u8 *stream, size_t length);
int emulated_parse_stream(struct emulated_migration *mig);

/* session.c */
struct emulated_session *emulated_session_begin(struct emulated_device *xdev, bool resuming);
void emulated_session_publish(struct emulated_session *session, size_t length, bool precopy);
int emulated_session_received(struct emulated_session *session, size_t *length);
void emulated_session_end(struct emulated_session *session);

/* fsm.c */
void emulated_migration_init(struct vfio_device *vdev, struct emulated_migration *mig);
void emulated_migration_destroy(struct emulated_migration *mig);
int emulated_migration_open(struct emulated_device *xdev);
void emulated_migration_close(struct emulated_device *xdev);
void emulated_migration_reset(struct emulated_device *xdev);

#endif /* EMULATED_VFIO_H */
