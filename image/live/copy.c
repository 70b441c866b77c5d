/*
 * Reads the target's memory; see copy.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/copy.h"

#include <errno.h>
#include <stdatomic.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/base/hugemem.h"
#include "image/base/workers.h"
#include "image/live/missing.h"
#include "image/live/peek.h"

enum { VECTORS_AT_ONCE = 64 };

struct piece {
	uint64_t offset, address, size;
	const uint8_t *held;	/* its bytes, where they are at hand */
};

struct copy {
	struct copy_options options;
	struct peek peek;
	struct piece *pieces;
	size_t count, capacity;
	uint64_t total;
	uint8_t *gathered;	/* copy_gather()'s, of total bytes */
	atomic_uint_least64_t done;
	atomic_bool gone;
	struct missing missing;
};

struct error *copy_create(const struct copy_options *options,
			  struct copy **ret)
{
	struct copy *copy = calloc(1, sizeof(*copy));
	struct error *err;

	if (!copy)
		return error_no_memory();
	err = peek_open(options->pid, options->snapshot, &copy->peek);
	if (err) {
		free(copy);
		return err;
	}
	copy->options = *options;
	missing_init(&copy->missing);
	*ret = copy;
	return NULL;
}

void copy_destroy(struct copy *copy)
{
	if (!copy)
		return;
	peek_close(&copy->peek);
	missing_deinit(&copy->missing);
	hugemem_free(copy->gathered, copy->total);
	free(copy->pieces);
	free(copy);
}

static struct error *add_piece(struct copy *copy, const struct piece *piece)
{
	struct piece *last = copy->count ? &copy->pieces[copy->count - 1] : NULL;
	uint64_t size = piece->size;

	if (last && !last->held && !piece->held &&
	    last->offset + last->size == piece->offset &&
	    last->address + last->size == piece->address) {
		last->size += size;
		copy->total += size;
		return NULL;
	}
	if (copy->count == copy->capacity) {
		size_t more = copy->capacity ? 2 * copy->capacity : 256;
		struct piece *grown = reallocarray(copy->pieces, more,
						   sizeof(*grown));

		if (!grown)
			return error_no_memory();
		copy->pieces = grown;
		copy->capacity = more;
	}
	assert(copy->pieces);
	copy->pieces[copy->count++] = *piece;
	copy->total += size;
	return NULL;
}

struct error *copy_add(struct copy *copy, uint64_t offset, uint64_t address,
		       uint64_t size)
{
	const struct piece piece = { offset, address, size, NULL };

	return add_piece(copy, &piece);
}

struct error *copy_add_held(struct copy *copy, uint64_t offset,
			    uint64_t address, const uint8_t *data,
			    uint64_t size)
{
	const struct piece piece = { offset, address, size, data };

	return add_piece(copy, &piece);
}

static int by_offset(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

void copy_arrange(struct copy *copy)
{
	if (copy->count)
		qsort(copy->pieces, copy->count, sizeof(*copy->pieces),
		      by_offset);
}

/**
 * Read one range page by page, after a read of more has failed: to keep what
 * can be had. The mem file is the second way in; it reads pages that the
 * target itself may only execute.
 */
static void read_pages(struct copy *copy, uint64_t address, uint8_t *buffer,
		       size_t size)
{
	uint64_t page = copy->options.page_size;

	while (size > 0) {
		size_t want = page - (address & (page - 1));
		int os_errno;

		if (atomic_load(&copy->gone)) {
			memset(buffer, 0, size);
			missing_add(&copy->missing, address, address + size,
				    ESRCH);
			return;
		}
		if (want > size)
			want = size;
		if (!peek_read(&copy->peek, address, buffer, want)) {
			os_errno = errno;
			if (os_errno == ESRCH)
				atomic_store(&copy->gone, true);
			if (copy->gone ||
			    !peek_read_forced(&copy->peek, address, buffer,
					      want)) {
				memset(buffer, 0, want);
				missing_add(&copy->missing, address,
					    address + want, os_errno);
			}
		}
		address += want;
		buffer += want;
		size -= want;
	}
}

static bool holds(const struct copy *copy)
{
	return !copy->options.holds ||
	       copy->options.holds(copy->options.context);
}

/** Fill vectors with memory, or with zeroes where it cannot be had. */
static void fill_vectors(struct copy *copy, const struct iovec *local,
			 const struct iovec *remote, size_t count,
			 size_t wanted)
{
	size_t got = peek_vectors(&copy->peek, local, remote, count);
	size_t at = 0;

	if (got < wanted && errno == ESRCH)
		atomic_store(&copy->gone, true);
	// It stops at the first page that cannot be read: what comes after
	// that is tried by itself.
	for (size_t i = 0; i < count && got < wanted; i++) {
		size_t have = got > at ? got - at : 0;

		if (have < local[i].iov_len)
			read_pages(copy,
				   (uint64_t)(uintptr_t)remote[i].iov_base + have,
				   (uint8_t *)local[i].iov_base + have,
				   local[i].iov_len - have);
		at += local[i].iov_len;
	}
}

/** Read vectors that fill the buffer piece by piece. */
static void read_vectors(struct copy *copy, const struct iovec *local,
			 const struct iovec *remote, size_t count)
{
	size_t wanted = 0;

	for (size_t i = 0; i < count; i++)
		wanted += local[i].iov_len;
	if (wanted > 0 && holds(copy))
		fill_vectors(copy, local, remote, count, wanted);
	// Asked again: the target may have been let go while it was read.
	for (size_t i = 0; i < count && !holds(copy); i++) {
		uint64_t start = (uint64_t)(uintptr_t)remote[i].iov_base;

		memset(local[i].iov_base, 0, local[i].iov_len);
		missing_add(&copy->missing, start, start + local[i].iov_len,
			    copy->options.lost_errno);
	}
	atomic_fetch_add(&copy->done, wanted);
}

/** The first piece that ends above offset. */
static size_t first_piece(const struct copy *copy, uint64_t offset)
{
	size_t low = 0, high = copy->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct piece *piece = &copy->pieces[middle];

		if (piece->offset + piece->size <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool copy_read(struct copy *copy, uint64_t offset, uint8_t *buffer, size_t size)
{
	struct iovec local[VECTORS_AT_ONCE], remote[VECTORS_AT_ONCE];
	uint64_t at = offset, end = offset + size;
	size_t count = 0;
	bool any = false;

	for (size_t i = first_piece(copy, offset);
	     i < copy->count && copy->pieces[i].offset < end; i++) {
		const struct piece *piece = &copy->pieces[i];
		uint64_t low = piece->offset > offset ? piece->offset : offset;
		uint64_t high = piece->offset + piece->size;

		if (high > end)
			high = end;
		memset(buffer + (at - offset), 0, low - at);
		any = true;
		at = high;
		if (piece->held) {
			memcpy(buffer + (low - offset),
			       piece->held + (low - piece->offset), high - low);
			atomic_fetch_add(&copy->done, high - low);
			continue;
		}
		local[count].iov_base = buffer + (low - offset);
		remote[count].iov_base =
			(void *)(uintptr_t)(piece->address + low - piece->offset);
		local[count].iov_len = remote[count].iov_len = high - low;
		if (++count == VECTORS_AT_ONCE) {
			read_vectors(copy, local, remote, count);
			count = 0;
		}
	}
	memset(buffer + (at - offset), 0, end - at);
	read_vectors(copy, local, remote, count);
	return any;
}

/** A copy being gathered, and where in that memory each piece has its place. */
struct gathering {
	struct copy *copy;
	uint8_t **places;	/* NULL: it is at hand already */
};

static struct error *gather_piece(void *context, unsigned int worker, size_t i)
{
	const struct gathering *gathering = context;
	const struct piece *piece = &gathering->copy->pieces[i];
	struct iovec local = { gathering->places[i], piece->size };
	struct iovec remote = { (void *)(uintptr_t)piece->address,
				piece->size };

	(void)worker;
	if (local.iov_base)
		read_vectors(gathering->copy, &local, &remote, 1);
	return NULL;
}

struct error *copy_gather(struct copy *copy, unsigned int workers)
{
	CLEANUP(free_pointer) uint8_t **places =
		calloc(copy->count + 1, sizeof(*places));
	struct gathering gathering = { copy, places };
	uint8_t *at = hugemem_alloc(copy->total);
	struct error *err;

	if (!places || !at) {
		hugemem_free(at, copy->total);
		return error_no_memory();
	}
	copy->gathered = at;
	for (size_t i = 0; i < copy->count; i++) {
		places[i] = copy->pieces[i].held ? NULL : at;
		at += places[i] ? copy->pieces[i].size : 0;
	}
	err = workers_run(workers, copy->count, gather_piece, &gathering);
	for (size_t i = 0; !err && i < copy->count; i++)
		if (places[i])
			copy->pieces[i].held = places[i];
	// For who watches it is done when it has been stored.
	atomic_store(&copy->done, 0);
	return err;
}

uint64_t copy_total(const struct copy *copy)
{
	return copy->total;
}

uint64_t copy_done(const struct copy *copy)
{
	return atomic_load(&copy->done);
}

bool copy_target_gone(const struct copy *copy)
{
	return atomic_load(&copy->gone);
}

const struct format_skipped *copy_missing(struct copy *copy, size_t *ret_count)
{
	return missing_list(&copy->missing, ret_count);
}
