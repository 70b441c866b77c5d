/*
 * PyTorch's caching allocator of device memory: devices, segments, blocks.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All of it lies in the process's own memory: what is on the device is not
 * looked at. Segments are what was got from the driver, blocks what they are cut
 * into; what torch.cuda.memory._snapshot() tells is made of these.
 *
 *	struct caching_allocator *allocator;
 *	err = caching_allocator_open(image, &allocator);
 *	for (size_t i = 0; i < allocator->num_devices; i++)
 *		…
 *	caching_allocator_close(allocator);
 *
 * Sources: see cachinglayout.h.
 */
#ifndef CUDAHEAP_CACHINGALLOCATOR_H
#define CUDAHEAP_CACHINGALLOCATOR_H

#include "cudaheap/cachinglayout.h"
#include "image/image.h"

enum {
	CACHING_CLASS_MAX = 128,
	CACHING_OBJECT_MAX = 64 << 10,	/* bytes of an allocator: what it has in
					   front of its devices is tables of blocks */
};

enum caching_state {
	CACHING_ACTIVE,		/* "active_allocated" */
	CACHING_PENDING,	/* "active_pending_free": freed, and a stream may
				   still use it */
	CACHING_FREE,		/* "inactive" */
	CACHING_UNMAPPED,	/* addresses without memory: in no segment */
};

struct torch_block {
	uint64_t address;	/* of the Block, in the process */
	uint64_t data;		/* of its bytes, on the device */
	uint64_t size;		/* bytes of them */
	uint64_t requested;	/* bytes, as last asked for; 0 where the release
				   does not keep it */
	uint64_t stream;	/* cudaStream_t; 0: the default one */
	uint64_t context;	/* c10::GatheredContext of who asked; 0: none */
	uint64_t history;	/* 1.13, 2.0: History in its place; 0: none */
	uint32_t segment;	/* number in its device; UINT32_MAX: none */
	uint32_t pool;		/* number in its device */
	uint8_t state;		/* enum caching_state */
};

struct torch_segment {
	uint64_t address;	/* on the device */
	uint64_t total;		/* bytes */
	uint64_t allocated;	/* bytes of blocks that are allocated */
	uint64_t active;	/* … and of those pending */
	uint64_t requested;	/* bytes asked for, of the active ones */
	uint64_t stream;
	uint64_t context;	/* of who made it need memory; 0: none */
	uint32_t first_block, num_blocks;	/* in its device, by address */
	uint32_t pool;		/* number in its device */
	bool is_expandable;	/* one run of one that can grow */
	bool is_whole;		/* one free block: can be given back */
};

/** Small and large of a device, and of each private pool, are pools each. */
struct torch_pool {
	uint64_t address;	/* of the BlockPool */
	uint64_t owner;		/* PrivatePool; 0: those of the device */
	uint64_t id[2];		/* MempoolId_t; {0, 0}: those of the device */
	bool knows_id;		/* false: no map leads to it */
	bool is_small;
	int32_t use_count;	/* of a private one: of who may allocate in it */
};

/** As PyTorch's Stat. */
struct torch_stat {
	int64_t current, peak, allocated, freed;
};

/** PyTorch's order: "all", "small_pool", "large_pool". */
enum { TORCH_STAT_ALL, TORCH_STAT_SMALL, TORCH_STAT_LARGE, TORCH_STAT_KINDS };

struct torch_device_stats {
	/* numbers of */
	struct torch_stat allocation[TORCH_STAT_KINDS],
		segment[TORCH_STAT_KINDS], active[TORCH_STAT_KINDS],
		inactive_split[TORCH_STAT_KINDS];
	/* and bytes */
	struct torch_stat allocated_bytes[TORCH_STAT_KINDS],
		reserved_bytes[TORCH_STAT_KINDS], active_bytes[TORCH_STAT_KINDS],
		inactive_split_bytes[TORCH_STAT_KINDS],
		requested_bytes[TORCH_STAT_KINDS];
	struct torch_stat oversize_allocations, oversize_segments;
	int64_t num_alloc_retries, num_ooms;
	int64_t num_sync_all_streams, num_device_alloc, num_device_free;
	int64_t max_split_size;	/* bytes; -1: none */
	bool has_requested, has_counters;	/* num_sync_all_streams … */
};

/** All of its arrays are by address on the device. */
struct torch_device {
	int index;
	uint64_t address;	/* of the DeviceCachingAllocator */
	uint32_t size;		/* bytes of it that may be looked at */
	bool is_known;		/* false: it could not be read at all */
	struct caching_layout layout;
	struct torch_device_stats stats;
	bool agrees;		/* what statistics say is what there is */
	bool is_locked;		/* a thread was in it: sums may differ */
	uint32_t locked_by;	/* tid */
	struct torch_block *blocks;	/* the unmapped ones last */
	size_t num_blocks;		/* without those */
	size_t num_unmapped;
	struct torch_segment *segments;
	size_t num_segments;
	struct torch_pool *pools;
	size_t num_pools;
	/* what was added up of the blocks, in bytes */
	uint64_t reserved, allocated, active, requested;
	uint64_t total;		/* memory of the device; 0: not known */
	char name[64];		/* of the device; "": not known */
};

/** How it may allocate; what is not known is said to be so. */
struct torch_settings {
	char conf[1024];	/* PYTORCH_CUDA_ALLOC_CONF; "": not set */
	const char *source;	/* of the settings, in words; NULL: not known */
	int64_t max_split_size;	/* bytes; -1: none */
	int64_t max_non_split_rounding;
	double garbage_collection_threshold;	/* 0: none */
	bool expandable_segments;
	uint64_t roundup_power2_divisions[16];	/* for 1 MiB, 2 MiB, …, 32 GiB and
						   more; 0: none */
	uint64_t pinned_num_register_threads;
	bool release_lock_on_cudamalloc, pinned_use_cuda_host_register;
};

enum caching_kind {
	CACHING_ABSENT,		/* no PyTorch with CUDA */
	CACHING_NATIVE,
	CACHING_ASYNC,		/* cudaMallocAsync's */
	CACHING_PLUGGABLE,
	CACHING_OTHER,		/* class_name says which */
	CACHING_UNKNOWN,	/* CUDA is there, and no allocator was found */
};

struct caching_allocator {
	enum caching_kind kind;
	char class_name[CACHING_CLASS_MAX];	/* of its C++ class; "": not known */
	const char *found_by;	/* "symbol", "structure"; NULL: not found */
	uint64_t address;	/* of the object; 0: not known */
	const char *module;	/* path of the library; borrowed from the image */
	bool is_hip;
	struct torch_device *devices;	/* none: CUDA was never used */
	size_t num_devices;
	bool unread;		/* there are some, but where they are was not
				   captured */
	struct torch_settings settings;
};

/**
 * Find and read it. Damage is a finding; what can be read still is.
 *
 * @return NULL also where there is none (kind says so); errors are those of
 *	this machine
 */
struct error *caching_allocator_open(struct image *image,
				     struct caching_allocator **ret);
/** NULL is fine. */
void caching_allocator_close(struct caching_allocator *allocator);
static inline void
caching_allocator_release(struct caching_allocator **allocator)
{
	caching_allocator_close(*allocator);
}

/** "active_allocated", "active_pending_free", "inactive", "unmapped". */
const char *caching_state_name(enum caching_state state);

/**
 * The block that holds an address of the device, or NULL: by bisection.
 */
const struct torch_block *caching_block_at(const struct torch_device *device,
					   uint64_t data);

#endif
