/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Intel Ethernet 700 series virtual function: VFIO variant driver with the v2 migration protocol
 *
 * Generated from i40e-vf.toml; edit that file or the templates, not this one.
 */
#ifndef I40E_VF_VFIO_PCI_H
#define I40E_VF_VFIO_PCI_H

#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/vfio.h>
#include <linux/vfio_pci_core.h>
#include <linux/wait.h>

#include "compat.h"

/* One value for every register that makes up the device state. */
#define I40E_VF_NR_VALUES		151

/**
 * struct i40e_vf_range - contiguous part of a region
 * @offset: first byte, relative to the region
 * @size: bytes
 */
struct i40e_vf_range {
	u64 offset;
	u64 size;
};

/**
 * struct i40e_vf_layout - which parts of a BAR may be mapped
 * @index: VFIO region index of the BAR
 * @whole: the run-time layout
 * @traps: what the driver has to see while saving, ascending and disjoint; the
 *         saving layout has all pages without any of it, which may be none
 * @nr_traps: number of @traps
 */
struct i40e_vf_layout {
	unsigned int index;
	struct i40e_vf_range whole;
	const struct i40e_vf_range *traps;
	unsigned int nr_traps;
};

/**
 * struct i40e_vf_ledger - what is mapped outside the saving layouts
 * @lock: protects @conflicts, @saving and the one assignment of @core_vm_ops
 *        and @vm_ops. Innermost: nothing is locked and nothing sleeps under
 *        it, so it can be taken under mmap_lock as well as for a change of
 *        the device state.
 * @conflicts: pages mapped outside the saving layouts, over all processes
 * @saving: the device is saved, no conflict may be added
 * @core_vm_ops: what vfio-pci-core does with a mapping of a BAR
 * @vm_ops: the same, with the bookkeeping around open and close
 */
struct i40e_vf_ledger {
	spinlock_t lock; /* innermost, see above */
	u64 conflicts;
	bool saving;
	const struct vm_operations_struct *core_vm_ops;
	const struct vm_operations_struct vm_ops;
};

/**
 * struct i40e_vf_session - what a data_fd stands for; lives as long as the file
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
struct i40e_vf_session {
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
 * struct i40e_vf_migration - the migration state of a device
 * @lock: protects all members. Taken inside the lock of the registers, see
 *        i40e_vf_lock_registers(); user memory is not accessed under it.
 * @state: where the state machine is
 * @session: the stream that is being sent or received, NULL if there is none
 * @stream: that of @session
 * @length: bytes of @stream that were put there to be sent or that are loaded
 * @identified: an identity frame is loaded, and no state after it
 * @complete: the last frame that is loaded is a state
 * @values: the registers of a stopped device, in the order of the description
 */
struct i40e_vf_migration {
	struct mutex lock; /* inside the lock of the registers, see above */
	enum vfio_device_mig_state state;
	struct i40e_vf_session *session;
	u8 *stream;
	size_t length;
	bool identified;
	bool complete;
	u32 *values;
};

/**
 * struct i40e_vf_slot - the buffer of a descriptor
 * @iova: its first page
 * @nr_pages: how many of them are pinned, 0 if there is no buffer
 */
struct i40e_vf_slot {
	u64 iova;
	u32 nr_pages;
};

/**
 * struct i40e_vf_ring - a ring of descriptors that is followed
 * @base: address of the first descriptor
 * @length: number of descriptors
 * @next: the first descriptor that was not read yet
 * @size: bytes of a buffer at most
 * @nr_pages: number of @pages
 * @pages: those of the ring, which are pinned; NULL if it is not followed
 * @slots: the buffer of each descriptor; NULL in a ring without buffers
 * @enabled: the queue is enabled after the write at hand
 * @idle: the device has no descriptor to work on until then
 */
struct i40e_vf_ring {
	u64 base;
	u32 length;
	u32 next;
	u32 size;
	u32 nr_pages;
	struct page **pages;
	struct i40e_vf_slot *slots;
	bool enabled;
	bool idle;
};

/**
 * struct i40e_vf_rings - what the device may write to, see rings.c
 * @lock: protects all members, and orders writes of ring registers and changes of the
 *        device state. Outermost: the lock of the registers, those of VFIO's IOMMU
 *        driver and mmap_lock are taken inside. A reset cannot take it.
 * @following: the device is saved, and its rings are looked at
 * @unsure: something could not be followed since saving began
 * @narrowed: VFIO reports pinned pages only; once it does it does so for good
 * @doubts: how often something could not be followed
 * @debugfs: shows @doubts since the driver was bound
 * @ring: the rings, in the order of the description
 */
struct i40e_vf_rings {
	struct mutex lock; /* outermost, see above */
	bool following;
	bool unsure;
	bool narrowed;
	u64 doubts;
	struct dentry *debugfs;
	struct i40e_vf_ring ring[2];
};

/**
 * struct i40e_vf_tracked - a range of guest memory of which writes are logged
 * @start: first address
 * @last: last address
 * @bit: of the page of @start
 */
struct i40e_vf_tracked {
	unsigned long start;
	unsigned long last;
	unsigned long bit;
};

/**
 * struct i40e_vf_log - which pages the device may have written
 * @lock: protects all members; inside the lock of the rings. mmap_lock is taken
 *        inside, for the bitmap of the user.
 * @tracked: the ranges, ascending
 * @nr_tracked: how many
 * @dirty: a bit for each page of them; NULL while nothing is logged
 */
struct i40e_vf_log {
	struct mutex lock; /* inside that of the rings, see above */
	struct i40e_vf_tracked *tracked;
	u32 nr_tracked;
	unsigned long *dirty;
};

/**
 * struct i40e_vf_device - a function that is passed through
 * @core_device: what vfio-pci-core knows of it
 * @ledger: what is mapped
 * @rings: what it may write to
 * @log: what it may have written
 * @migration: the migration state, and its session
 * @bar: the registers
 * @bus_stopped: bus master is off because the device is stopped. Protected by the
 *               lock of the migration, as the next one.
 * @bus_master: it is to be on when the device starts
 * @memory_off: the user has memory decoding off. Protected by memory_lock, which
 *              is held for writing while it is on nevertheless.
 */
struct i40e_vf_device {
	struct vfio_pci_core_device core_device;
	struct i40e_vf_ledger ledger;
	struct i40e_vf_rings rings;
	struct i40e_vf_log log;
	struct i40e_vf_migration migration;
	void __iomem *bar[PCI_STD_NUM_BARS];
	bool bus_stopped;
	bool bus_master;
	bool memory_off;
};

static inline struct i40e_vf_device *i40e_vf_of_vdev(struct vfio_device *vdev)
{
	return container_of(vdev, struct i40e_vf_device, core_device.vdev);
}

/* bus.c */
bool i40e_vf_registers_enabled(struct i40e_vf_device *xdev);
int i40e_vf_bus_stop(struct i40e_vf_device *xdev);
void i40e_vf_bus_start(struct i40e_vf_device *xdev);
void i40e_vf_bus_stop_again(struct i40e_vf_device *xdev, const u8 *command);
ssize_t i40e_vf_read(struct vfio_device *core_vdev, char __user *buf, size_t count, loff_t *ppos);
ssize_t i40e_vf_write(struct vfio_device *core_vdev, const char __user *buf, size_t count,
		      loff_t *ppos);
void i40e_vf_lock_registers(struct i40e_vf_device *xdev);
void i40e_vf_unlock_registers(struct i40e_vf_device *xdev);
u32 i40e_vf_read_register(struct i40e_vf_device *xdev, u8 bar, u32 offset);
void i40e_vf_write_register(struct i40e_vf_device *xdev, u8 bar, u32 offset, u32 value);

/* mappings.c */
const struct i40e_vf_layout *i40e_vf_find_layout(unsigned int index);
int i40e_vf_add_areas(struct vfio_info_cap *caps, u16 id,
		      const struct i40e_vf_range *areas, unsigned int nr_areas);
int i40e_vf_add_saving(struct vfio_info_cap *caps, const struct i40e_vf_layout *layout);
void i40e_vf_ledger_init(struct i40e_vf_ledger *ledger);
int i40e_vf_ledger_add(struct i40e_vf_ledger *ledger, struct vm_area_struct *vma);
int i40e_vf_ledger_begin_saving(struct i40e_vf_ledger *ledger);
void i40e_vf_ledger_end_saving(struct i40e_vf_ledger *ledger);

/* dma_log.c */
void i40e_vf_log_init(struct vfio_device *vdev, struct i40e_vf_log *log);
void i40e_vf_log_destroy(struct i40e_vf_log *log);
void i40e_vf_log_close(struct i40e_vf_log *log);
void i40e_vf_log_add(struct i40e_vf_log *log, unsigned long start, unsigned long last);
bool i40e_vf_log_is_on(struct i40e_vf_log *log);

/* rings.c */
void i40e_vf_rings_init(struct i40e_vf_device *xdev);
void i40e_vf_rings_destroy(struct i40e_vf_device *xdev);
bool i40e_vf_rings_watch(struct i40e_vf_device *xdev, u64 offset, size_t count);
ssize_t i40e_vf_rings_write(struct i40e_vf_device *xdev, const char __user *buf, size_t count,
			    loff_t *ppos);
int i40e_vf_rings_begin(struct i40e_vf_device *xdev);
void i40e_vf_rings_end(struct i40e_vf_device *xdev);
void i40e_vf_rings_close(struct i40e_vf_device *xdev);
bool i40e_vf_rings_untrusted(struct i40e_vf_device *xdev);
void i40e_vf_rings_log(struct i40e_vf_device *xdev);
void i40e_vf_dma_unmap(struct vfio_device *vdev, u64 iova, u64 length);

/* registers.c */
int i40e_vf_device_stop(struct i40e_vf_device *xdev);
void i40e_vf_device_start(struct i40e_vf_device *xdev);
void i40e_vf_device_save(struct i40e_vf_device *xdev);
void i40e_vf_device_restore(struct i40e_vf_device *xdev);
u32 i40e_vf_kept(struct i40e_vf_device *xdev, u8 bar, u32 offset);

/* stream.c */
extern const size_t i40e_vf_stream_size;
void i40e_vf_send_identity(struct i40e_vf_device *xdev);
void i40e_vf_send_state(struct i40e_vf_device *xdev, bool after_identity);
bool i40e_vf_stream_fits(struct i40e_vf_device *xdev, const u8 *stream, size_t length);
int i40e_vf_parse_stream(struct i40e_vf_migration *mig);

/* session.c */
struct i40e_vf_session *i40e_vf_session_begin(struct i40e_vf_device *xdev, bool resuming);
void i40e_vf_session_publish(struct i40e_vf_session *session, size_t length, bool precopy);
int i40e_vf_session_received(struct i40e_vf_session *session, size_t *length);
void i40e_vf_session_end(struct i40e_vf_session *session);

/* fsm.c */
void i40e_vf_migration_init(struct vfio_device *vdev, struct i40e_vf_migration *mig);
void i40e_vf_migration_destroy(struct i40e_vf_migration *mig);
int i40e_vf_migration_open(struct i40e_vf_device *xdev);
void i40e_vf_migration_close(struct i40e_vf_device *xdev);
void i40e_vf_migration_reset(struct i40e_vf_device *xdev);

#endif /* I40E_VF_VFIO_PCI_H */
