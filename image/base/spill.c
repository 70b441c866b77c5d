/*
 * Large arrays in memory or in files; see spill.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/base/hugemem.h"
#include "image/base/tempfile.h"
#include "image/base/units.h"

enum { SMALL_PAGE = 64 << 10 };	/* a multiple of the page of any machine */

/** Small arrays are not worth a huge page each. */
static uint64_t whole(uint64_t size)
{
	uint64_t page = size < HUGEMEM_PAGE ? SMALL_PAGE : HUGEMEM_PAGE;

	return (size + page - 1) & ~(page - 1);
}

static struct error *no_room(const struct spill *spill, uint64_t size,
			     int errnum)
{
	char text[UNITS_TEXT_MAX];

	return error_new(errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG ?
				 ERROR_LIMIT : ERROR_OS,
			 "a table of %s in %s: %s; name a folder with more "
			 "space (--tmp DIR), or allow more memory (--memory "
			 "SIZE)", units_size(size, text), spill->folder,
			 strerror(errnum));
}

/* --- what released arrays left ---------------------------------------------- */

/** At the begin of memory that nobody uses: whole huge pages. */
struct spill_spare {
	struct spill_spare *next;
	uint64_t size;		/* bytes, this included */
};

static void add_spare(struct spill *spill, void *memory, uint64_t size)
{
	struct spill_spare *spare = memory;

	spare->size = size;
	spare->next = atomic_load(&spill->spares);
	while (!atomic_compare_exchange_weak(&spill->spares, &spare->next,
					     spare))
		;
}

/** @return false if there were none */
static bool drop_spares(struct spill *spill)
{
	struct spill_spare *spare = atomic_exchange(&spill->spares, NULL);
	bool any = spare != NULL;

	while (spare) {
		struct spill_spare *next = spare->next;

		(void)atomic_fetch_sub(&spill->used, spare->size);
		(void)munmap(spare, spare->size);
		spare = next;
	}
	return any;
}

/** Move memory to the end of an array, which has room for it. */
static bool move_spare(struct spill_array *array, void *memory, uint64_t size)
{
	if (mremap(memory, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
		   (uint8_t *)array->data + array->size) == MAP_FAILED)
		return false;
	array->size += size;
	return true;
}

/** Give an array up to size bytes of spares. */
static void take_spares(struct spill_array *array, uint64_t size)
{
	struct spill *spill = array->spill;
	// Others may want some at the same time: they find none.
	struct spill_spare *spare = atomic_exchange(&spill->spares, NULL);

	while (spare) {
		struct spill_spare *next = spare->next;
		uint64_t have = spare->size, wanted = size - array->size;

		if (wanted > have)
			wanted = have;
		if (wanted == 0 || !move_spare(array, spare, wanted))
			add_spare(spill, spare, have);
		else if (wanted < have)
			add_spare(spill, (uint8_t *)spare + wanted,
				  have - wanted);
		spare = next;
	}
}

void spill_deinit(struct spill *spill)
{
	(void)drop_spares(spill);
}

/* --- arrays ------------------------------------------------------------------ */

static bool put(int fd, const uint8_t *bytes, uint64_t size)
{
	uint64_t done = 0;

	while (done < size) {
		ssize_t n = pwrite(fd, bytes + done, size - done,
				   (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (uint64_t)n;
	}
	return true;
}

/** Bytes up to size in the file of an array, mapped where its memory is. */
static struct error *extend_file(struct spill_array *array, uint64_t size)
{
	uint64_t begin = array->size;
	int result = posix_fallocate(array->fd, (off_t)begin,
				     (off_t)(size - begin));
	void *at = (uint8_t *)array->data + begin;

	if (result != 0)
		return no_room(array->spill, size, result);
	if (mmap(at, size - begin, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, array->fd, (off_t)begin) == MAP_FAILED)
		return error_os(errno, "mapping a temporary file");
	array->size = size;
	return NULL;
}

/** What is in memory goes into a file, at the same addresses. */
static struct error *move_to_file(struct spill_array *array)
{
	uint64_t size = array->size;
	CLEANUP(close_fd) int fd = -1;
	struct error *err = tempfile_create(array->spill->folder, &fd);

	if (err)
		return err;
	if (size > 0 && !put(fd, array->data, size))
		return no_room(array->spill, size, errno);
	if (size > 0 && mmap(array->data, size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return error_os(errno, "mapping a temporary file");
	(void)atomic_fetch_sub(&array->spill->used, size);
	array->fd = fd;
	fd = -1;
	return NULL;
}

static struct error *extend_memory(struct spill_array *array, uint64_t size)
{
	uint8_t *at = (uint8_t *)array->data + array->size;

	if (mprotect(at, size - array->size, PROT_READ | PROT_WRITE) != 0)
		return errno == ENOMEM ? error_no_memory() :
					 error_os(errno, "mprotect");
	if (size - array->size >= HUGEMEM_PAGE)
		(void)madvise(at, size - array->size, MADV_HUGEPAGE);
	array->size = size;
	return NULL;
}

struct error *spill_reserve(struct spill *spill, uint64_t most,
			    struct spill_array *ret)
{
	uint64_t wanted = whole(most), before;
	uint8_t *memory;

	*ret = (struct spill_array){ .fd = -1, .spill = spill };
	if (wanted < most || wanted > UINT64_MAX / 2)
		return error_no_memory();
	wanted = wanted ? wanted : SMALL_PAGE;
	memory = mmap(NULL, wanted + HUGEMEM_PAGE, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return error_no_memory();
	before = -(uintptr_t)memory & (HUGEMEM_PAGE - 1);
	if (before > 0)
		(void)munmap(memory, before);
	(void)munmap(memory + before + wanted, HUGEMEM_PAGE - before);
	ret->data = memory + before;
	ret->reserved = wanted;
	return NULL;
}

struct error *spill_grow(struct spill_array *array, uint64_t size)
{
	struct spill *spill = array->spill;
	uint64_t more, used;
	struct error *err = NULL;

	if (size <= array->size)
		return NULL;
	if (size > array->reserved)
		return error_no_memory();
	size = whole(size);
	more = size - array->size;
	if (array->fd >= 0)
		return extend_file(array, size);
	used = atomic_fetch_add(&spill->used, more) + more;
	if (used > spill->budget && drop_spares(spill))
		used = atomic_load(&spill->used);
	if (used <= spill->budget) {
		err = extend_memory(array, size);
		if (err)
			(void)atomic_fetch_sub(&spill->used, more);
		return err;
	}
	(void)atomic_fetch_sub(&spill->used, more);
	err = move_to_file(array);
	return err ? err : extend_file(array, size);
}

struct error *spill_alloc(struct spill *spill, uint64_t size,
			  struct spill_array *ret)
{
	struct error *err = spill_reserve(spill, size, ret);

	if (!err)
		err = spill_grow(ret, size ? size : 1);
	if (err)
		spill_free(ret);
	return err;
}

struct error *spill_alloc_unset(struct spill *spill, uint64_t size,
				struct spill_array *ret)
{
	struct error *err = spill_reserve(spill, size, ret);

	if (!err && whole(size) >= HUGEMEM_PAGE)
		take_spares(ret, whole(size));
	if (!err)
		err = spill_grow(ret, size ? size : 1);
	if (err)
		spill_free(ret);
	return err;
}

void spill_trim(struct spill_array *array, uint64_t size)
{
	uint64_t kept = whole(size);

	if (!array->data || kept >= array->reserved)
		return;
	(void)munmap((uint8_t *)array->data + kept, array->reserved - kept);
	if (array->size > kept) {
		if (array->fd < 0)
			(void)atomic_fetch_sub(&array->spill->used,
					       array->size - kept);
		else
			(void)!ftruncate(array->fd, (off_t)kept);
		array->size = kept;
	}
	array->reserved = kept;
}

void spill_free(struct spill_array *array)
{
	uint64_t kept = array->fd < 0 && array->size >= HUGEMEM_PAGE ?
				array->size : 0;

	if (!array->data)
		return;
	if (array->reserved > kept)
		(void)munmap((uint8_t *)array->data + kept,
			     array->reserved - kept);
	if (array->fd >= 0)
		(void)close(array->fd);
	else if (kept)
		add_spare(array->spill, array->data, kept);
	else
		(void)atomic_fetch_sub(&array->spill->used, array->size);
	*array = (struct spill_array){ .fd = -1 };
}
