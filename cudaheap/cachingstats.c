/*
 * What a device's caching allocator has counted; see cachingdevice.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Numbers and bytes of blocks and segments, each of all, of the small and of the
 * large pool; then how often it had to give back, and failed.
 *
 * Source: PyTorch c10/core/CachingDeviceAllocator.h (DeviceStats), and
 * c10/cuda/CUDACachingAllocator.h before 2.3.
 */
#include "cudaheap/cachingdevice.h"

#include <string.h>

static struct torch_stat stat_at(const uint8_t *bytes, uint32_t offset)
{
	struct torch_stat stat;

	memcpy(&stat, bytes + offset, sizeof(stat));
	return stat;
}

static void stats_at(const uint8_t *bytes, uint32_t offset,
		     struct torch_stat ret[TORCH_STAT_KINDS])
{
	memcpy(ret, bytes + offset, TORCH_STAT_KINDS * sizeof(*ret));
}

static int64_t number_at(const uint8_t *bytes, uint32_t offset)
{
	int64_t number;

	memcpy(&number, bytes + offset, sizeof(number));
	return number;
}

void caching_stats_read(struct memory_reader *memory,
			struct torch_device *device)
{
	enum { ARRAY = sizeof(struct torch_stat) * TORCH_STAT_KINDS };
	const struct caching_layout *layout = &device->layout;
	struct torch_device_stats *stats = &device->stats;
	uint8_t bytes[CACHING_DEVICE_MAX];
	uint32_t at = layout->retries;

	_Static_assert(ARRAY == 96, "as PyTorch's StatArray");
	if (layout->large > sizeof(bytes) ||
	    !memory_try_read(memory, device->address + CACHING_STATS, bytes,
			     layout->large - CACHING_STATS))
		return;		// neither can be: it was looked at before
	stats_at(bytes, 0 * ARRAY, stats->allocation);
	stats_at(bytes, 1 * ARRAY, stats->segment);
	stats_at(bytes, 2 * ARRAY, stats->active);
	stats_at(bytes, 3 * ARRAY, stats->inactive_split);
	stats_at(bytes, 4 * ARRAY, stats->allocated_bytes);
	stats_at(bytes, 5 * ARRAY, stats->reserved_bytes);
	stats_at(bytes, layout->active_bytes, stats->active_bytes);
	stats_at(bytes, layout->active_bytes + ARRAY,
		 stats->inactive_split_bytes);
	stats->has_requested = layout->requested_bytes != 0;
	if (stats->has_requested)
		stats_at(bytes, layout->requested_bytes,
			 stats->requested_bytes);
	stats->num_alloc_retries = number_at(bytes, at);
	stats->num_ooms = number_at(bytes, at + 8);
	stats->oversize_allocations = stat_at(bytes, at + 16);
	stats->oversize_segments = stat_at(bytes, at + 48);
	stats->has_counters = layout->num_counters >= 3;
	if (stats->has_counters) {
		stats->num_sync_all_streams = number_at(bytes, at + 80);
		stats->num_device_alloc = number_at(bytes, at + 88);
		stats->num_device_free = number_at(bytes, at + 96);
	}
	stats->max_split_size = number_at(bytes, layout->max_split_size);
}
