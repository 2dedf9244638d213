/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What rings.c, pins.c and dma_log.c use of the kernel, for a program of user space. Each of
 * the kernel's headers that they include is this file.
 */
#ifndef SHIM_H
#define SHIM_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef u32 __le32;
typedef struct { int unused; } spinlock_t;
typedef struct { int unused; } wait_queue_head_t;

#define __user
#define __iomem
#define PAGE_SHIFT			12
#define PAGE_SIZE			4096UL
#define GFP_KERNEL_ACCOUNT		0
#define IOMMU_READ			1
#define IOMMU_WRITE			2
#define U32_MAX				(~(u32)0)
#define PCI_STD_NUM_BARS		6
#define VFIO_PIN_PAGES_MAX_ENTRIES	512
#define VFIO_PCI_OFFSET_SHIFT		40
#define VFIO_PCI_OFFSET_MASK		((1ULL << VFIO_PCI_OFFSET_SHIFT) - 1)
#define VFIO_PCI_OFFSET_TO_INDEX(pos)	((pos) >> VFIO_PCI_OFFSET_SHIFT)
#define VFIO_PCI_BAR5_REGION_INDEX	5

#define ARRAY_SIZE(a)			(sizeof(a) / sizeof((a)[0]))
#define DIV_ROUND_UP(a, b)		(((a) + (b) - 1) / (b))
#define DIV_ROUND_UP_ULL(a, b)		DIV_ROUND_UP((unsigned long long)(a), b)
#define round_down(x, y)		((x) & ~((__typeof__(x))(y) - 1))
#define IS_ALIGNED(x, a)		(!((x) & ((__typeof__(x))(a) - 1)))
#define min(a, b)			((a) < (b) ? (a) : (b))
#define max(a, b)			((a) > (b) ? (a) : (b))
#define min_t(type, a, b)		((type)(a) < (type)(b) ? (type)(a) : (type)(b))
#define offset_in_page(p)		((unsigned long)(p) & (PAGE_SIZE - 1))
#define le32_to_cpu(x)			(x)
#define __ffs(x)			__builtin_ctz(x)
#define container_of(p, type, member)	((type *)((char *)(p) - offsetof(type, member)))
#define get_user(x, p)			((x) = *(p), 0)
#define KBUILD_MODNAME			"shim"
#define dev_name(dev)			((void)(dev), "device")
#define mutex_init(m)			((m)->held = 0)
#define mutex_destroy(m)		((void)(m))
#define debugfs_create_dir(name, up)	((void)(name), (struct dentry *)(up))
#define debugfs_create_u64(name, mode, dir, value) ((void)(dir), (void)(value))
#define debugfs_remove_recursive(dir)	((void)(dir))
#define dev_warn_ratelimited(dev, ...)	((void)(dev))
#define kvfree				free
#define MODULE_IMPORT_NS(ns)		_Static_assert(1, "")

#define BITS				(8 * sizeof(long))
#define BIT(nr)				(1UL << (nr))
#define BITS_TO_LONGS(nr)		DIV_ROUND_UP(nr, BITS)
#define test_bit(nr, map)		((map)[(nr) / BITS] >> (nr) % BITS & 1)
#define for_each_set_bitrange_from(bit, next, map, size) \
	for (; (bit) = find_bit(map, size, bit, true), \
	     (next) = find_bit(map, size, bit, false), (bit) < (size); (bit) = (next))

struct mutex {
	int held;
};

#define mutex_lock(m)			do { if ((m)->held++) abort(); } while (0)
#define mutex_unlock(m)			do { if (--(m)->held) abort(); } while (0)
#define lockdep_assert_held(m)		do { if (!(m)->held) abort(); } while (0)

struct device;
struct file;
struct vfio_info_cap;
struct vm_area_struct;
struct vm_operations_struct {
	int unused;
};

enum vfio_device_mig_state {
	VFIO_DEVICE_STATE_RUNNING,
	VFIO_DEVICE_STATE_PRE_COPY,
	VFIO_DEVICE_STATE_STOP_COPY,
};

struct rb_root_cached;
struct iova_bitmap;
struct vfio_device;

struct interval_tree_node {
	unsigned long start;
	unsigned long last;
};

struct vfio_log_ops {
	int (*log_start)(struct vfio_device *device, struct rb_root_cached *ranges, u32 nnodes,
			 u64 *page_size);
	int (*log_stop)(struct vfio_device *device);
	int (*log_read_and_clear)(struct vfio_device *device, unsigned long iova,
				  unsigned long length, struct iova_bitmap *dirty);
};

struct vfio_device {
	struct device *dev;
	const struct vfio_log_ops *log_ops;
};

struct vfio_pci_core_device {
	struct vfio_device vdev;
};

struct page {
	u8 data[4096];
};

void *kvcalloc(size_t n, size_t size, int flags);
int vfio_pin_pages(struct vfio_device *vdev, u64 iova, int npage, int prot, struct page **pages);
void vfio_unpin_pages(struct vfio_device *vdev, u64 iova, int npage);
ssize_t vfio_pci_core_write(struct vfio_device *vdev, const char *buf, size_t count, loff_t *ppos);

struct interval_tree_node *interval_tree_iter_first(struct rb_root_cached *root,
						    unsigned long start, unsigned long last);
struct interval_tree_node *interval_tree_iter_next(struct interval_tree_node *node,
						   unsigned long start, unsigned long last);
void iova_bitmap_set(struct iova_bitmap *bitmap, unsigned long iova, size_t length);

static inline unsigned long find_bit(const unsigned long *map, unsigned long size,
				     unsigned long bit, bool set)
{
	while (bit < size && test_bit(bit, map) != set)
		bit++;
	return bit;
}

static inline void bitmap_clear(unsigned long *map, unsigned int start, unsigned int len)
{
	for (; len; len--, start++)
		map[start / BITS] &= ~BIT(start % BITS);
}

static inline void bitmap_set(unsigned long *map, unsigned int start, unsigned int len)
{
	for (; len; len--, start++)
		map[start / BITS] |= BIT(start % BITS);
}

static inline void memcpy_from_page(char *to, struct page *page, size_t offset, size_t len)
{
	if (offset + len > sizeof(page->data))
		abort();
	memcpy(to, page->data + offset, len);
}

#endif /* SHIM_H */
