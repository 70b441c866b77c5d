/*
 * A target that records what malloc gave it, and what it gave back.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: malloctarget
 *
 * Prints "USED ADDRESS SIZE" (what malloc_usable_size() says) and "FREED
 * ADDRESS" lines, "INFO" and the fields of mallinfo2(), which it has called
 * last, what malloc_info() says, and "READY PID"; waits until its input ends.
 * Of another allocator, preloaded, "OTHER NAME NUMBER" lines with what it says
 * of itself come before "READY".
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* mallinfo2() is of 2.33; before that numbers had 32 bits. */
#if __GLIBC_PREREQ(2, 33)
typedef struct mallinfo2 malloc_totals;
#define get_totals mallinfo2
#else
typedef struct mallinfo malloc_totals;
#define get_totals mallinfo
#endif

enum {
	THREADS = 3,
	RECORDS = 20000,
	ROUNDS = 4000,
	MAPPED = 5,
	FIELDS = 10,		/* of struct mallinfo2 */
	MIB = 1 << 20,
};

struct record {
	void *made;
	size_t usable;
	uint8_t freed;
};

/* Of no malloc: what is looked at must not change what it shows. */
static struct record records[THREADS + 1][RECORDS];
static size_t counts[THREADS + 1];
static char output[MIB];
static pthread_barrier_t done;

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void keep(unsigned int thread, void *made)
{
	struct record *record = &records[thread][counts[thread]++];

	if (!made || counts[thread] >= RECORDS)
		exit(1);
	record->made = made;
	record->usable = malloc_usable_size(made);
	// What is large need not be touched to be there.
	memset(made, 0x5A, record->usable < 4096 ? record->usable : 64);
}

static void give_back(struct record *record)
{
	if (record->freed)
		return;
	free(record->made);
	record->freed = 1;
}

/** Sizes of all bins: small ones often, large ones now and then. */
static size_t some_size(uint32_t *seed)
{
	uint32_t number = next_random(seed);

	switch (number % 16) {
	case 0:
		return 1024 + next_random(seed) % 30000;
	case 1:
		return 30000 + next_random(seed) % 80000;
	case 2:
	case 3:
		return 500 + next_random(seed) % 1000;
	default:
		return next_random(seed) % 500;
	}
}

static void use_malloc(unsigned int thread)
{
	uint32_t seed = thread + 1;

	for (int i = 0; i < ROUNDS; i++)
		keep(thread, malloc(some_size(&seed)));
	for (size_t i = 0; i < counts[thread]; i++)
		if (next_random(&seed) % 3 == 0)
			give_back(&records[thread][i]);
	// Some of what lies free is taken again, some stays in each list.
	for (int i = 0; i < ROUNDS / 8; i++)
		keep(thread, malloc(some_size(&seed)));
	for (size_t size = 8; size < 1200; size += 16) {
		for (int i = 0; i < 12; i++)
			keep(thread, malloc(size));
		for (int i = 0; i < 12; i += 1 + (i & 1))
			give_back(&records[thread][counts[thread] - 12 +
						   (size_t)i]);
	}
	// More than a tcache takes, and nothing after that consolidates.
	for (size_t size = 8; size < 120; size += 16) {
		for (int i = 0; i < 50; i++)
			keep(thread, malloc(size));
		for (int i = 0; i < 50; i++)
			give_back(&records[thread][counts[thread] - 50 +
						   (size_t)i]);
	}
}

/** More than one heap of 64 MiB for the arena of a thread. */
static void use_heaps(unsigned int thread)
{
	for (int i = 0; i < 900; i++)
		keep(thread, malloc(100000));
	for (int i = 0; i < 900; i += 7)
		give_back(&records[thread][counts[thread] - 900 + (size_t)i]);
}

static void *in_thread(void *number)
{
	unsigned int thread = (unsigned int)(uintptr_t)number;

	if (thread == 1)
		use_heaps(thread);
	use_malloc(thread);
	pthread_barrier_wait(&done);
	pthread_barrier_wait(&done);
	return NULL;
}

static void use_mappings(void)
{
	size_t alignments[] = { 64, 4096, 65536 };

	for (size_t i = 0; i < MAPPED; i++)
		keep(0, malloc(MIB + i * 70000));
	for (size_t i = 0; i < sizeof(alignments) / sizeof(*alignments); i++) {
		void *made = NULL;

		if (posix_memalign(&made, alignments[i], 2 * MIB) != 0)
			exit(1);
		keep(0, made);
	}
	give_back(&records[0][counts[0] - 5]);
}

/* What jemalloc's mallctl() and tcmalloc's extensions say. */
static const char *const names[] = {
	"stats.allocated", "stats.active", "stats.mapped", "stats.retained",
	"generic.current_allocated_bytes", "generic.heap_size",
	"tcmalloc.current_total_thread_cache_bytes",
	"tcmalloc.transfer_cache_free_bytes",
	"tcmalloc.central_cache_free_bytes", "tcmalloc.pageheap_free_bytes",
	"tcmalloc.pageheap_unmapped_bytes",
};
static size_t others[sizeof(names) / sizeof(*names)];
static uint8_t known[sizeof(names) / sizeof(*names)];

typedef int control(const char *, void *, size_t *, void *, size_t);
typedef int number_of(const char *, size_t *);
typedef void release(size_t);

static control *mallctl;
static number_of *get;
static release *give;

/** Whichever allocator is there; what is not found takes memory, too. */
static void find_other(void)
{
	mallctl = (control *)(uintptr_t)dlsym(RTLD_DEFAULT, "mallctl");
	get = (number_of *)(uintptr_t)dlsym(
		RTLD_DEFAULT, "MallocExtension_GetNumericProperty");
	give = (release *)(uintptr_t)dlsym(
		RTLD_DEFAULT, "MallocExtension_ReleaseToSystem");
}

static void ask_other(void)
{
	uint64_t epoch = 1;
	size_t size = sizeof(epoch);

	if (give)
		give(4 * MIB);
	if (mallctl)
		(void)mallctl("epoch", &epoch, &size, &epoch, sizeof(epoch));
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		size = sizeof(others[i]);
		known[i] = (mallctl && mallctl(names[i], &others[i], &size,
					       NULL, 0) == 0) ||
			   (get && get(names[i], &others[i]));
	}
}

int main(void)
{
	pthread_t threads[THREADS];
	malloc_totals totals;

	find_other();
	(void)setvbuf(stdout, output, _IOFBF, sizeof(output));
	// Freeing a large one must not move the threshold.
	(void)mallopt(M_MMAP_THRESHOLD, 256 << 10);
	(void)pthread_barrier_init(&done, NULL, THREADS + 1);
	for (uintptr_t i = 1; i <= THREADS; i++)
		if (pthread_create(&threads[i - 1], NULL, in_thread,
				   (void *)i) != 0)
			return 1;
	use_mappings();
	use_malloc(0);
	pthread_barrier_wait(&done);
	ask_other();
	totals = get_totals();
	for (size_t i = 0; i <= THREADS; i++)
		for (size_t j = 0; j < counts[i]; j++) {
			const struct record *record = &records[i][j];

			if (record->freed)
				printf("FREED %" PRIuPTR "\n",
				       (uintptr_t)record->made);
			else
				printf("USED %" PRIuPTR " %zu\n",
				       (uintptr_t)record->made,
				       record->usable);
		}
	printf("INFO");
	for (size_t i = 0; i < FIELDS; i++) {
		// In the order of the structure, whichever it is.
		size_t value = 0;

		memcpy(&value, (char *)&totals + i * sizeof(totals.arena),
		       sizeof(totals.arena));
		printf(" %zu", value);
	}
	putchar('\n');
	(void)malloc_info(0, stdout);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (known[i])
			printf("OTHER %s %zu\n", names[i], others[i]);
	printf("READY %d\n", (int)getpid());
	(void)fflush(stdout);
	// Not through a buffer, which would be asked for first.
	while (read(0, output, sizeof(output)) > 0)
		continue;
	return 0;
}
