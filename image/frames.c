/*
 * The cache of decompressed frames; see frames.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/frames.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "image/base/guard.h"
#include "image/base/hugemem.h"

enum {
	LIMIT_FIRST = 24 << 20,	/* bytes kept before frames are wanted again */
	STAYING_MOST = 16 << 20,	/* … which those that pass leave to others */
	SPARED_MAX = 64,	/* frames passed over when one has to go */
	SLAB_SLOT_LEAST = 4096,	/* bytes */
	SLABS_LEAST = 8 << 20,	/* bytes of budget */
};

/* Where one frame lies in the file. */
struct frame {
	uint64_t stored_at;	/* offset in the file */
	uint32_t stored;	/* bytes */
	uint32_t expanded;	/* bytes */
};

/* One decompressed frame. */
struct slot {
	uint8_t *data;
	size_t capacity;	/* bytes */
	size_t frame;
	unsigned int pins;
	atomic_bool loading;	/* some thread is filling it, outside the lock */
	bool of_slab;		/* and not allocated by itself */
	bool passes;		/* its frame goes by once, says who loaded it */
	/* for frames_copy(), which holds no lock: how often it has lost a frame,
	   and whether it was looked at since it was passed over */
	atomic_uint emptied;
	atomic_bool looked_at;
	struct slot *older, *newer;	/* in the list of unpinned ones */
};

/* Unpinned slots, the least recently used first. */
struct queue {
	struct slot *oldest, *newest;
};

/* Slots whose data share a huge page. */
struct slab {
	struct slab *next;
	uint8_t *memory;	/* HUGEMEM_PAGE bytes */
	struct slot slots[];
};

struct frames {
	int fd;
	const struct mapping *mapping;	/* borrowed; may be NULL */
	const char *name;	/* borrowed */
	struct findings *findings;	/* borrowed */
	uint64_t budget;

	struct frame *frames;
	size_t count;
	uint64_t size;
	unsigned int shift;	/* all frames but the last have 1 << shift */
	uint64_t *offsets;	/* count + 1, where they have not; else NULL */

	pthread_mutex_t lock;
	pthread_cond_t loaded;
	_Atomic(struct slot *) *slots;	/* by frame; NULL: not in the cache */
	struct queue staying, passing;
	size_t slab_slot;	/* bytes of the slots of slabs; 0: none */
	struct slab *slabs;
	struct slot *spare;	/* of slabs; by newer */
	uint64_t resident, peak;
	uint64_t resident_passing;	/* of these, bytes of frames that pass */
	/*
	 * What resident is kept below. A pass in the order of addresses wants
	 * few frames twice, and memory that is used again is cheaper than fresh
	 * memory: it begins low, and grows up to the budget by each frame that
	 * would have been found if there had been more.
	 */
	atomic_uint_fast64_t limit;	/* bytes; changed with the lock only */
	bool *loaded_once;		/* by frame */
	atomic_uint_fast64_t pinned;	/* bytes; changed with the lock only */
	atomic_uchar *lost;	/* by frame */
	atomic_size_t num_lost;
};

struct frames_decoder {
	bool passes;
	ZSTD_DCtx *context;
	uint8_t *input;
	size_t input_size;
};

static struct error *index_frames(struct frames *frames,
				  const struct seektable *table)
{
	uint64_t at = 0;

	for (size_t i = 0; i < table->count; i++)
		frames->count += table->entries[i].expanded > 0;
	frames->frames = calloc(frames->count + 1, sizeof(*frames->frames));
	frames->slots = calloc(frames->count + 1, sizeof(*frames->slots));
	frames->lost = calloc(frames->count + 1, sizeof(*frames->lost));
	frames->loaded_once = calloc(frames->count + 1,
				     sizeof(*frames->loaded_once));
	if (!frames->frames || !frames->slots || !frames->lost ||
	    !frames->loaded_once)
		return error_no_memory();
	for (size_t i = 0, n = 0; i < table->count; i++) {
		const struct seektable_entry *entry = &table->entries[i];

		if (entry->expanded > 0) {
			frames->frames[n++] = (struct frame){
				.stored_at = at,
				.stored = entry->stored,
				.expanded = entry->expanded,
			};
			frames->size += entry->expanded;
		}
		at += entry->stored;
	}
	return NULL;
}

/** Power-of-two frames are found by a shift, all others need a table. */
static struct error *index_offsets(struct frames *frames)
{
	uint32_t first = frames->count ? frames->frames[0].expanded : 1;
	bool regular = (first & (first - 1)) == 0;
	uint64_t at = 0;

	for (size_t i = 0; i < frames->count && regular; i++) {
		uint32_t here = frames->frames[i].expanded;

		regular = here == first ||
			  (i + 1 == frames->count && here < first);
	}
	frames->shift = (unsigned int)__builtin_ctz(first);
	if (regular)
		return NULL;
	frames->offsets = calloc(frames->count + 1, sizeof(*frames->offsets));
	if (!frames->offsets)
		return error_no_memory();
	for (size_t i = 0; i < frames->count; i++) {
		frames->offsets[i] = at;
		at += frames->frames[i].expanded;
	}
	frames->offsets[frames->count] = at;
	return NULL;
}

/** Frames of one size, several to a huge page, and many of those. */
static void choose_slabs(struct frames *frames)
{
	size_t size = (size_t)1 << frames->shift;

	if (!frames->offsets && size >= SLAB_SLOT_LEAST &&
	    size <= HUGEMEM_PAGE / 2 && frames->budget >= SLABS_LEAST)
		frames->slab_slot = size;
}

struct error *frames_create(const struct seektable *table,
			    const struct frames_options *options,
			    struct frames **ret)
{
	struct frames *frames = calloc(1, sizeof(*frames));
	struct error *err;

	if (!frames)
		return error_no_memory();
	frames->fd = options->fd;
	frames->mapping = options->mapping;
	frames->name = options->name;
	frames->findings = options->findings;
	frames->budget = options->cache_bytes;
	frames->limit = frames->budget < LIMIT_FIRST ? frames->budget :
						       LIMIT_FIRST;
	(void)pthread_mutex_init(&frames->lock, NULL);
	(void)pthread_cond_init(&frames->loaded, NULL);
	err = index_frames(frames, table);
	if (!err)
		err = index_offsets(frames);
	if (!err)
		choose_slabs(frames);
	if (err) {
		frames_destroy(frames);
		return err;
	}
	*ret = frames;
	return NULL;
}

static void slot_free(struct frames *frames, struct slot *slot)
{
	frames->resident -= slot->capacity;
	if (slot->of_slab) {
		slot->newer = frames->spare;
		frames->spare = slot;
		return;
	}
	free(slot->data);
	free(slot);
}

void frames_destroy(struct frames *frames)
{
	if (!frames)
		return;
	for (size_t i = 0; frames->slots && i < frames->count; i++) {
		if (frames->slots[i])
			slot_free(frames, frames->slots[i]);
	}
	while (frames->slabs) {
		struct slab *slab = frames->slabs;

		frames->slabs = slab->next;
		hugemem_free(slab->memory, HUGEMEM_PAGE);
		free(slab);
	}
	free(frames->slots);
	free(frames->lost);
	free(frames->loaded_once);
	free(frames->offsets);
	free(frames->frames);
	(void)pthread_cond_destroy(&frames->loaded);
	(void)pthread_mutex_destroy(&frames->lock);
	free(frames);
}

size_t frames_count(const struct frames *frames)
{
	return frames->count;
}

uint64_t frames_size(const struct frames *frames)
{
	return frames->size;
}

uint64_t frames_offset(const struct frames *frames, size_t frame)
{
	return frames->offsets ? frames->offsets[frame] :
				 (uint64_t)frame << frames->shift;
}

size_t frames_find(const struct frames *frames, uint64_t offset)
{
	size_t low = 0, high = frames->count;

	if (!frames->offsets)
		return (size_t)(offset >> frames->shift);
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (frames->offsets[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

struct error *frames_decoder_create(struct frames_decoder **ret)
{
	struct frames_decoder *decoder = calloc(1, sizeof(*decoder));

	if (decoder)
		decoder->context = ZSTD_createDCtx();
	if (!decoder || !decoder->context) {
		free(decoder);
		return error_no_memory();
	}
	*ret = decoder;
	return NULL;
}

void frames_decoder_pass(struct frames_decoder *decoder, bool pass)
{
	decoder->passes = pass;
}

void frames_decoder_destroy(struct frames_decoder *decoder)
{
	if (!decoder)
		return;
	(void)ZSTD_freeDCtx(decoder->context);
	free(decoder->input);
	free(decoder);
}

/* --- filling a slot, outside the lock ------------------------------------ */

/** Read the stored frame; NULL with the reason in *why. */
static const uint8_t *read_stored(const struct frames *frames,
				  struct frames_decoder *decoder,
				  const struct frame *frame, const char **why)
{
	size_t done = 0;
	ssize_t got;

	if (decoder->input_size < frame->stored) {
		free(decoder->input);
		decoder->input_size = 0;
		decoder->input = malloc(frame->stored);
		if (!decoder->input) {
			*why = "out of memory";
			return NULL;
		}
		decoder->input_size = frame->stored;
	}
	while (done < frame->stored) {
		got = pread(frames->fd, decoder->input + done,
			    frame->stored - done,
			    (off_t)(frame->stored_at + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			*why = got ? "it cannot be read" : "the file ends in it";
			return NULL;
		}
		done += (size_t)got;
	}
	return decoder->input;
}

/**
 * True if the mapping has, as far as anyone noticed, all of a stored frame.
 * In the last page of a file that shrank there are zeroes without a fault.
 */
static bool is_mapped(const struct frames *frames, const struct frame *frame)
{
	uint64_t frame_end = frame->stored_at + frame->stored, start, end;
	struct stat status;

	if (!frames->mapping || frame_end > frames->mapping->size ||
	    fstat(frames->fd, &status) != 0 ||
	    frame_end > (uint64_t)status.st_size)
		return false;
	return !mapping_lost(frames->mapping, &start, &end) ||
	       frame->stored_at >= end || frame_end <= start;
}

/** Decompress stored bytes into slot; returns NULL or why it cannot be done. */
static const char *expand_into(struct slot *slot, const struct frame *frame,
			       struct frames_decoder *decoder,
			       const uint8_t *stored)
{
	size_t size = ZSTD_decompressDCtx(decoder->context, slot->data,
					  frame->expanded, stored,
					  frame->stored);

	if (ZSTD_isError(size))
		return ZSTD_getErrorName(size);
	return size == frame->expanded ? NULL : "it expands to another size";
}

/** Get a frame into slot; returns NULL or why it cannot be done. */
static const char *load(const struct frames *frames,
			struct frames_decoder *decoder, struct slot *slot)
{
	const struct frame *frame = &frames->frames[slot->frame];
	const char *why = NULL;
	const uint8_t *stored;

	// An honest frame is hardly larger than what it holds.
	if (frame->stored / 2 > frame->expanded + (64U << 10))
		return "its stored size is out of all proportion";
	if (is_mapped(frames, frame)) {
		why = expand_into(slot, frame, decoder, frames->mapping->data +
							frame->stored_at);
		// Bytes that went missing meanwhile were zeroes to it.
		if (is_mapped(frames, frame))
			return why;
	}
	// Reading tells what became of them.
	stored = read_stored(frames, decoder, frame, &why);
	return stored ? expand_into(slot, frame, decoder, stored) : why;
}

/* --- bookkeeping, with the lock ------------------------------------------ */

/** Add to the bytes that are pinned; bytes may be negative, modulo 2^64. */
static void count_pinned(struct frames *frames, uint64_t bytes)
{
	atomic_fetch_add_explicit(&frames->pinned, bytes, memory_order_relaxed);
}

static struct queue *queue_of(struct frames *frames, const struct slot *slot)
{
	return slot->passes ? &frames->passing : &frames->staying;
}

static void queue_remove(struct frames *frames, struct slot *slot)
{
	struct queue *queue = queue_of(frames, slot);

	*(slot->older ? &slot->older->newer : &queue->oldest) = slot->newer;
	*(slot->newer ? &slot->newer->older : &queue->newest) = slot->older;
	slot->older = slot->newer = NULL;
}

static void queue_append(struct frames *frames, struct slot *slot)
{
	struct queue *queue = queue_of(frames, slot);

	slot->older = queue->newest;
	slot->newer = NULL;
	*(queue->newest ? &queue->newest->newer : &queue->oldest) = slot;
	queue->newest = slot;
}

/** No frame is in a slot any more, and who copies from it will notice. */
static void empty(struct frames *frames, struct slot *slot)
{
	atomic_store_explicit(&frames->slots[slot->frame], NULL,
			      memory_order_relaxed);
	atomic_fetch_add_explicit(&slot->emptied, 1, memory_order_relaxed);
	// Before anything is written into it.
	atomic_thread_fence(memory_order_release);
}

/** Bytes that frames that pass may have: a share of the limit. */
static uint64_t passing_most(const struct frames *frames)
{
	uint64_t least = frames->limit / 3;

	return frames->limit < STAYING_MOST + least ?
		       least : frames->limit - STAYING_MOST;
}

/**
 * Take the least recently used slot of a queue out of the cache. Those that were
 * looked at without a pin are as good as used.
 */
static struct slot *evict(struct frames *frames, const struct queue *queue)
{
	struct slot *slot = queue->oldest;

	for (int i = 0; i < SPARED_MAX && slot->newer &&
			atomic_load_explicit(&slot->looked_at,
					     memory_order_relaxed); i++) {
		atomic_store_explicit(&slot->looked_at, false,
				      memory_order_relaxed);
		queue_remove(frames, slot);
		queue_append(frames, slot);
		slot = queue->oldest;
	}
	queue_remove(frames, slot);
	if (slot->passes)
		frames->resident_passing -= slot->capacity;
	empty(frames, slot);
	return slot;
}

/**
 * The queue that must give up a slot for size more bytes; NULL if none must, or
 * has any. What passes makes room for what stays down to a third, and for itself.
 */
static const struct queue *crowded(const struct frames *frames, size_t size,
				   bool passes)
{
	const struct queue *staying = &frames->staying;
	const struct queue *passing = &frames->passing;
	uint64_t rest = frames->limit > size ? frames->limit - size : 0;

	if (passing->oldest &&
	    passes && frames->resident_passing + size > passing_most(frames))
		return passing;
	if (frames->resident <= rest)
		return NULL;
	if (passing->oldest && (!staying->oldest ||
				frames->resident_passing > frames->limit / 3))
		return passing;
	return staying->oldest ? staying : NULL;
}

static struct slot *slot_alloc(size_t size)
{
	struct slot *slot = calloc(1, sizeof(*slot));

	if (slot)
		slot->data = malloc(size);
	if (!slot || !slot->data) {
		free(slot);
		return NULL;
	}
	slot->capacity = size;
	return slot;
}

static bool add_slab(struct frames *frames)
{
	size_t count = HUGEMEM_PAGE / frames->slab_slot;
	struct slab *slab = calloc(1, sizeof(*slab) +
				      count * sizeof(*slab->slots));

	if (slab)
		slab->memory = hugemem_alloc(HUGEMEM_PAGE);
	if (!slab || !slab->memory) {
		free(slab);
		return false;
	}
	slab->next = frames->slabs;
	frames->slabs = slab;
	for (size_t i = count; i-- > 0;) {
		slab->slots[i] = (struct slot){
			.data = slab->memory + i * frames->slab_slot,
			.capacity = frames->slab_slot,
			.of_slab = true,
			.newer = frames->spare,
		};
		frames->spare = &slab->slots[i];
	}
	return true;
}

static struct slot *slot_of_slab(struct frames *frames)
{
	struct slot *slot;

	if (!frames->spare && !add_slab(frames))
		return NULL;
	slot = frames->spare;
	frames->spare = slot->newer;
	slot->newer = NULL;
	return slot;
}

/** A frame is loaded: keep more if it was here before. */
static void adapt_limit(struct frames *frames, size_t frame)
{
	uint64_t limit = frames->limit, more = frames->frames[frame].expanded;

	if (!frames->loaded_once[frame]) {
		frames->loaded_once[frame] = true;
		return;
	}
	frames->limit = frames->budget - limit < more ? frames->budget :
							limit + more;
}

/**
 * A slot with room for size bytes: in a full cache that of the least recently
 * used frame, so that a long pass does not go through the allocator.
 */
static struct slot *make_room(struct frames *frames, size_t size, bool passes)
{
	const struct queue *queue;
	struct slot *slot;

	while ((queue = crowded(frames, size, passes)) != NULL) {
		slot = evict(frames, queue);
		if (slot->capacity >= size &&
		    (slot->of_slab || slot->capacity / 2 <= size) &&
		    frames->resident <= frames->limit)
			return slot;
		slot_free(frames, slot);
	}
	slot = frames->slab_slot ? slot_of_slab(frames) : slot_alloc(size);
	if (!slot)
		return NULL;
	frames->resident += slot->capacity;
	if (frames->resident > frames->peak)
		frames->peak = frames->resident;
	return slot;
}

static void report_lost(const struct frames *frames, size_t frame,
			const char *why)
{
	const struct frame *at = &frames->frames[frame];
	uint64_t offset = frames_offset(frames, frame);

	findings_add(frames->findings, "frame-lost", 0,
		     "%s: frame %zu (stored bytes %" PRIu64 " to %" PRIu64
		     ") does not decompress: %s; bytes %" PRIu64 " to %" PRIu64
		     " of the core are lost",
		     frames->name, frame, at->stored_at,
		     at->stored_at + at->stored, why, offset,
		     offset + at->expanded);
	findings_set_partial(frames->findings);
}

/** Wait for the frame, or find it in the cache; false: nobody has it. */
static bool pin_cached(struct frames *frames, size_t frame, struct slot **ret)
{
	struct slot *slot;

	while ((slot = frames->slots[frame]) && slot->loading)
		(void)pthread_cond_wait(&frames->loaded, &frames->lock);
	if (slot && slot->pins++ == 0) {
		queue_remove(frames, slot);
		count_pinned(frames, slot->capacity);
	}
	*ret = slot;
	return slot || atomic_load(&frames->lost[frame]);
}

const uint8_t *frames_pin(struct frames *frames, struct frames_decoder *decoder,
			  size_t frame, size_t *ret_size)
{
	struct slot *slot;
	const char *why = "out of memory";

	(void)pthread_mutex_lock(&frames->lock);
	if (pin_cached(frames, frame, &slot)) {
		(void)pthread_mutex_unlock(&frames->lock);
		*ret_size = frames->frames[frame].expanded;
		return slot ? slot->data : NULL;
	}
	adapt_limit(frames, frame);
	slot = make_room(frames, frames->frames[frame].expanded,
			 decoder->passes);
	if (slot) {
		slot->frame = frame;
		slot->passes = decoder->passes;
		if (slot->passes)
			frames->resident_passing += slot->capacity;
		slot->pins = 1;
		slot->loading = true;
		slot->looked_at = false;
		atomic_store_explicit(&frames->slots[frame], slot,
				      memory_order_release);
		count_pinned(frames, slot->capacity);
		(void)pthread_mutex_unlock(&frames->lock);
		why = load(frames, decoder, slot);
		(void)pthread_mutex_lock(&frames->lock);
		slot->loading = false;
	}
	if (why) {
		atomic_store(&frames->lost[frame], 1);
		atomic_fetch_add(&frames->num_lost, 1);
		if (slot) {
			empty(frames, slot);
			count_pinned(frames, -slot->capacity);
			if (slot->passes)
				frames->resident_passing -= slot->capacity;
			slot_free(frames, slot);
		}
		slot = NULL;
	}
	(void)pthread_cond_broadcast(&frames->loaded);
	(void)pthread_mutex_unlock(&frames->lock);
	if (why) {
		report_lost(frames, frame, why);
		return NULL;
	}
	*ret_size = frames->frames[frame].expanded;
	return slot->data;
}

void frames_unpin(struct frames *frames, size_t frame)
{
	const struct queue *queue;
	struct slot *slot;

	(void)pthread_mutex_lock(&frames->lock);
	slot = frames->slots[frame];
	if (--slot->pins == 0) {
		queue_append(frames, slot);
		count_pinned(frames, -slot->capacity);
	}
	while ((queue = crowded(frames, 0, false)) != NULL)
		slot_free(frames, evict(frames, queue));
	(void)pthread_mutex_unlock(&frames->lock);
}

bool frames_copy(struct frames *frames, uint64_t offset, void *buffer,
		 size_t size)
{
	size_t frame = frames_find(frames, offset);
	uint64_t at = offset - frames_offset(frames, frame);
	unsigned int emptied;
	struct slot *slot;

	// Slots of slabs stay memory for as long as there are frames.
	if (!frames->slab_slot || frames->frames[frame].expanded < at + size)
		return false;
	slot = atomic_load_explicit(&frames->slots[frame],
				    memory_order_acquire);
	if (!slot)
		return false;
	emptied = atomic_load_explicit(&slot->emptied, memory_order_acquire);
	if (atomic_load_explicit(&slot->loading, memory_order_acquire))
		return false;
	memcpy(buffer, slot->data + at, size);
	// It has been this frame's all the while, or what was copied is nothing.
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&frames->slots[frame],
				 memory_order_relaxed) != slot ||
	    atomic_load_explicit(&slot->emptied, memory_order_relaxed) !=
		    emptied)
		return false;
	if (!atomic_load_explicit(&slot->looked_at, memory_order_relaxed))
		atomic_store_explicit(&slot->looked_at, true,
				      memory_order_relaxed);
	return true;
}

void frames_fetch(const struct frames *frames, uint64_t offset)
{
	size_t frame = frames_find(frames, offset);
	const struct slot *slot = frames->slab_slot ?
		atomic_load_explicit(&frames->slots[frame],
				     memory_order_relaxed) : NULL;

	if (slot)
		__builtin_prefetch(slot->data + offset -
				   frames_offset(frames, frame));
}

bool frames_crowded(const struct frames *frames)
{
	return atomic_load_explicit(&frames->pinned, memory_order_relaxed) >=
	       frames->limit / 2;
}

bool frames_lost(const struct frames *frames, uint64_t offset, uint64_t size)
{
	size_t last;

	if (size == 0 || offset >= frames->size ||
	    atomic_load(&frames->num_lost) == 0)
		return false;
	if (size > frames->size - offset)
		size = frames->size - offset;
	last = frames_find(frames, offset + size - 1);
	for (size_t i = frames_find(frames, offset); i <= last; i++) {
		if (atomic_load(&frames->lost[i]))
			return true;
	}
	return false;
}

uint64_t frames_resident(struct frames *frames, uint64_t *ret_peak)
{
	uint64_t resident;

	(void)pthread_mutex_lock(&frames->lock);
	resident = frames->resident;
	*ret_peak = frames->peak;
	(void)pthread_mutex_unlock(&frames->lock);
	return resident;
}
