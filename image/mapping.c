/*
 * Mapped files that may shrink; see mapping.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/mapping.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/base/workers.h"

enum {
	FORGET_PART = 8 << 20,	/* bytes of a mapping given back at once */
	FORGET_PARTS_LEAST = 4,	/* fewer are no work for many */
};

/*
 * What the handler may look at. Static, because it must be there for as long
 * as any thread can be inside the handler. A slot is in use while end is not
 * 0; start is written before end and end is cleared before start.
 */
static struct guarded {
	atomic_uintptr_t start, end;
	atomic_int fd;			/* -1: closed by its owner */
	atomic_uint_fast64_t lost_start, lost_end;	/* offsets */
} guarded[MAPPING_GUARDED_MAX];

static atomic_int guarded_used;		/* slots above were never in use */
static pthread_mutex_t guarded_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous;
static long page_size;

static int guarded_take(uintptr_t start, size_t size, int fd)
{
	int found = -1;

	(void)pthread_mutex_lock(&guarded_lock);
	for (int i = 0; i < MAPPING_GUARDED_MAX && found < 0; i++) {
		if (atomic_load(&guarded[i].end) == 0)
			found = i;
	}
	if (found >= 0) {
		struct guarded *slot = &guarded[found];

		atomic_store(&slot->fd, fd);
		atomic_store(&slot->lost_start, UINT64_MAX);
		atomic_store(&slot->lost_end, 0);
		atomic_store(&slot->start, start);
		atomic_store(&slot->end, start + size);
		if (found >= atomic_load(&guarded_used))
			atomic_store(&guarded_used, found + 1);
	}
	(void)pthread_mutex_unlock(&guarded_lock);
	return found;
}

struct error *mapping_init(struct mapping *mapping, int fd, bool fd_stays,
			   uint64_t size, const char *name)
{
	void *data;

	if (size == 0 || size > SIZE_MAX / 2)
		return error_new(ERROR_LIMIT,
				 "%s cannot be mapped: it has %llu bytes",
				 name, (unsigned long long)size);
	// No madvise(): over 1 GB in the page cache a pass reads 18 GB/s (as
	// fast as memcpy) with MADV_SEQUENTIAL, MADV_HUGEPAGE, MADV_WILLNEED and
	// without, from a disk 3 GB/s in all cases; MADV_POPULATE_READ in steps
	// makes it 12, and MADV_RANDOM makes the disk 40 times slower.
	// Private, so that libelf may be let to expand sections in place.
	data = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return error_os(errno, "mapping %s", name);
	*mapping = (struct mapping){
		.data = data,
		.size = (size_t)size,
		.slot = guarded_take((uintptr_t)data, (size_t)size,
				     fd_stays ? fd : -1),
	};
	return NULL;
}

static struct error *forget_part(void *context, unsigned int worker,
				 size_t shard)
{
	const struct mapping *mapping = context;
	size_t at = shard * FORGET_PART, left = mapping->size - at;

	(void)worker;
	(void)madvise((void *)(uintptr_t)(mapping->data + at),
		      left < FORGET_PART ? left : FORGET_PART, MADV_DONTNEED);
	return NULL;
}

/**
 * Page after page of a large file is given back: a tenth of all that a look at
 * it takes, unless by all processors.
 */
static void forget(struct mapping *mapping)
{
	size_t parts = (mapping->size + FORGET_PART - 1) / FORGET_PART;

	if (parts >= FORGET_PARTS_LEAST)
		error_free(workers_run(workers_available(), parts, forget_part,
				       mapping));
}

void mapping_deinit(struct mapping *mapping)
{
	if (!mapping->data)
		return;
	if (mapping->slot >= 0) {
		(void)pthread_mutex_lock(&guarded_lock);
		atomic_store(&guarded[mapping->slot].end, 0);
		atomic_store(&guarded[mapping->slot].start, 0);
		(void)pthread_mutex_unlock(&guarded_lock);
	}
	forget(mapping);
	(void)munmap((void *)(uintptr_t)mapping->data, mapping->size);
	*mapping = (struct mapping){ .slot = -1 };
}

bool mapping_lost(const struct mapping *mapping, uint64_t *ret_start,
		  uint64_t *ret_end)
{
	uint64_t start, end;

	if (!mapping->data || mapping->slot < 0)
		return false;
	start = atomic_load(&guarded[mapping->slot].lost_start);
	end = atomic_load(&guarded[mapping->slot].lost_end);
	if (start >= end)
		return false;
	*ret_start = start;
	*ret_end = end < mapping->size ? end : mapping->size;
	return true;
}

static void widen(struct guarded *slot, uint64_t start, uint64_t end)
{
	uint_fast64_t seen = atomic_load(&slot->lost_end);

	while (seen < end &&
	       !atomic_compare_exchange_weak(&slot->lost_end, &seen, end))
		;
	seen = atomic_load(&slot->lost_start);
	while (seen > start &&
	       !atomic_compare_exchange_weak(&slot->lost_start, &seen, start))
		;
}

/**
 * Put zero pages under address. In a signal handler: only system calls and
 * lock-free atomics. (mmap is not on POSIX's list of safe functions, but on
 * Linux it is the bare system call.)
 */
static bool mend(struct guarded *slot, uintptr_t address)
{
	uintptr_t mask = (uintptr_t)page_size - 1;
	uintptr_t start = atomic_load(&slot->start);
	uintptr_t end = (atomic_load(&slot->end) + mask) & ~mask;
	uintptr_t page = address & ~mask;
	int fd = atomic_load(&slot->fd);
	struct stat status;

	// A shrunk file has lost everything from here on. Where the file still
	// reaches this page the disk failed, and the next page may be good.
	if (fd < 0 || fstat(fd, &status) != 0 ||
	    (uint64_t)status.st_size > page - start)
		end = page + (uintptr_t)page_size;
	// Writable, as libdw may be writing to its private copy.
	if (mmap((void *)page, end - page, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return false;
	widen(slot, page - start, end - start);
	return true;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	uintptr_t address = (uintptr_t)info->si_addr;
	int saved = errno, used = atomic_load(&guarded_used);
	bool sent = info->si_code <= 0;	/* by kill(), not by a fault */

	(void)context;
	for (int i = 0; i < used && !sent; i++) {
		uintptr_t end = atomic_load(&guarded[i].end);

		if (address < end && address >= atomic_load(&guarded[i].start) &&
		    mend(&guarded[i], address)) {
			errno = saved;
			return;
		}
	}
	// Not ours: the instruction faults again, into the previous handler.
	(void)sigaction(SIGBUS, &previous, NULL);
	if (sent)
		(void)raise(number);
	errno = saved;
}

static void install(void)
{
	struct sigaction action = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO | SA_ONSTACK,
	};

	page_size = sysconf(_SC_PAGESIZE);
	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGBUS, &action, &previous);
}

void mapping_guard_sigbus(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, install);
}
