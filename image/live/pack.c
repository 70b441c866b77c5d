/*
 * Writes the container: frames made in parallel, put down in order; see pack.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "image/base/guard.h"
#include "image/format.h"
#include "image/seektable.h"

enum {
	FRAME_SIZE = 1 << FORMAT_FRAME_LOG2,
	STEP_BACK_NICE = 10,	/* a tenth of what others get, where it is scarce */
	SLOTS_PER_WORKER = 12,
	/*
	 * Written pages are pushed to the disk a chunk at a time, and dropped
	 * from the page cache a few chunks later: a dump larger than memory
	 * then evicts nobody else's pages, and the last fsync() is short.
	 */
	CHUNK = 8 << 20,
	CHUNKS_IN_FLIGHT = 4,
	/*
	 * Around the page cache, memory, offsets and sizes must be multiples
	 * of the device's block: this is one for all that are common, and a
	 * device that wants more refuses and is written to in the usual way.
	 */
	DIRECT_ALIGN = 4096,
	STAGE_SIZE = 1 << 20,
};

/** Where one frame waits to be written. */
struct slot {
	uint8_t *data;
	size_t size;		/* bytes to write */
	uint64_t holds;		/* the frame in it that is ready, plus 1 */
	bool hole;		/* nothing but zeroes: a sparse file skips it */
};

/** Where the file ends. */
struct sink {
	int fd;
	bool sparse;		/* a regular file, which may have holes */
	uint64_t start;		/* offset at which the file was handed over */
	uint64_t stored;	/* bytes so far */
	uint64_t synced;	/* up to which chunk writing was started */
	bool direct;		/* around the page cache */
	uint8_t *stage;		/* bytes that make no whole block yet */
	size_t staged;
};

/*
 * Those who take the frames in order, each in a thread of its own: hashing a
 * plain dump takes longer than writing it. Without a hash there is no hasher.
 */
enum consumer { WRITER, HASHER, NUM_CONSUMERS };

struct pack {
	struct pack_options options;
	uint64_t num_frames;
	struct slot *slots;
	unsigned int num_slots;
	unsigned int num_consumers;
	pthread_t threads[PACK_WORKERS_MAX + NUM_CONSUMERS];
	unsigned int num_threads;
	struct sink sink;		/* the writer's */
	struct sha256_ctx hash;		/* the hasher's */
	struct seektable table;

	atomic_uint_least64_t next;	/* frame to be filled next */
	atomic_uint_least64_t filled;	/* frames */
	pthread_mutex_t lock;
	pthread_cond_t room;	/* for workers: a slot is free, or stop */
	pthread_cond_t full;	/* for consumers: enough is ready, or stop */
	pthread_cond_t news;	/* for pack_wait() */
	/* under lock */
	uint64_t handed;	/* frames */
	uint64_t taken[NUM_CONSUMERS];	/* frames each is done with */
	uint64_t stored;	/* as in the sink */
	bool stop;
	unsigned int ended;	/* consumers that have */
	struct error *err;	/* the first one */
};

static void fail(struct pack *pack, struct error *err)
{
	(void)pthread_mutex_lock(&pack->lock);
	if (pack->err)
		error_free(err);
	else
		pack->err = err;
	pack->stop = true;
	(void)pthread_cond_broadcast(&pack->room);
	(void)pthread_cond_broadcast(&pack->full);
	(void)pthread_cond_broadcast(&pack->news);
	(void)pthread_mutex_unlock(&pack->lock);
}

static size_t frame_size(const struct pack *pack, uint64_t frame)
{
	uint64_t left = pack->options.size - frame * FRAME_SIZE;

	return left < FRAME_SIZE ? (size_t)left : FRAME_SIZE;
}

/* --- workers --------------------------------------------------------------- */

/** Frames that all consumers are done with. */
static uint64_t finished(const struct pack *pack)
{
	uint64_t least = pack->taken[WRITER];

	for (unsigned int i = 1; i < pack->num_consumers; i++)
		least = pack->taken[i] < least ? pack->taken[i] : least;
	return least;
}

/** Claim the next frame once its slot is free; NULL: there is no more. */
static struct slot *claim(struct pack *pack, uint64_t *ret_frame)
{
	uint64_t frame = atomic_fetch_add(&pack->next, 1);
	bool stop;

	if (frame >= pack->num_frames)
		return NULL;
	(void)pthread_mutex_lock(&pack->lock);
	while (!pack->stop && frame >= finished(pack) + pack->num_slots)
		(void)pthread_cond_wait(&pack->room, &pack->lock);
	stop = pack->stop;
	(void)pthread_mutex_unlock(&pack->lock);
	*ret_frame = frame;
	return stop ? NULL : &pack->slots[frame % pack->num_slots];
}

static void count_filled(struct pack *pack)
{
	if (atomic_fetch_add(&pack->filled, 1) + 1 < pack->num_frames)
		return;
	(void)pthread_mutex_lock(&pack->lock);
	(void)pthread_cond_broadcast(&pack->news);
	(void)pthread_mutex_unlock(&pack->lock);
}

static bool is_ready(const struct pack *pack, uint64_t frame)
{
	return frame < pack->num_frames &&
	       pack->slots[frame % pack->num_slots].holds == frame + 1;
}

/**
 * Whether a consumer has something to do that is worth waking it: the next
 * frame in order is ready, and half a ring with it (or no more will come).
 * Waking for every frame took 6 % more processor time, measured.
 */
static bool worth_taking(const struct pack *pack, enum consumer consumer)
{
	uint64_t taken = pack->taken[consumer];

	return is_ready(pack, taken) &&
	       (pack->handed - taken >= pack->num_slots / 2 ||
		pack->handed == pack->num_frames);
}

static bool any_worth_waking(const struct pack *pack)
{
	for (unsigned int i = 0; i < pack->num_consumers; i++) {
		if (worth_taking(pack, (enum consumer)i))
			return true;
	}
	return false;
}

static void hand_over(struct pack *pack, struct slot *slot, uint64_t frame,
		      size_t size)
{
	(void)pthread_mutex_lock(&pack->lock);
	slot->size = size;
	slot->holds = frame + 1;
	pack->handed++;
	if (any_worth_waking(pack))
		(void)pthread_cond_broadcast(&pack->full);
	(void)pthread_mutex_unlock(&pack->lock);
}

static bool all_zero(const uint8_t *data, size_t size)
{
	return data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

static void close_context(ZSTD_CCtx **context)
{
	(void)ZSTD_freeCCtx(*context);
}

/**
 * Heaps repeat in words of 8 bytes: looking for matches of 7 (level 1 takes 5
 * or 6 here) by a table that stays in the first-level cache makes level 1
 * faster. Measured with checksums, one thread, MB/s and ratio, beside plain
 * level 1: tests/bench/heap.py 1096 at 6.6 (852 at 6.6), memeater.py 1326 at
 * 9.8 (1138 at 9.8), syntax trees 816 at 7.0 (763 at 7.3), sentences of
 * English 593 at 3.2 (447 at 4.0).
 */
static const struct {
	ZSTD_cParameter parameter;
	int value;
} for_heaps[] = {
	{ ZSTD_c_minMatch, 7 },
	{ ZSTD_c_hashLog, 10 },
};

static struct error *make_context(const struct pack *pack, ZSTD_CCtx **ret)
{
	CLEANUP(close_context) ZSTD_CCtx *context = ZSTD_createCCtx();
	int level = pack->options.level;
	size_t count = sizeof(for_heaps) / sizeof(*for_heaps);
	bool bad;

	if (!context)
		return error_no_memory();
	bad = ZSTD_isError(ZSTD_CCtx_setParameter(
		context, ZSTD_c_compressionLevel, level));
	bad |= ZSTD_isError(ZSTD_CCtx_setParameter(
		context, ZSTD_c_checksumFlag, 1));
	for (size_t i = 0; level == 1 && i < count; i++)
		bad |= ZSTD_isError(ZSTD_CCtx_setParameter(
			context, for_heaps[i].parameter, for_heaps[i].value));
	if (bad)
		return error_new(ERROR_USAGE, "zstd refuses level %d", level);
	*ret = TAKE(context);
	return NULL;
}

/** What one worker has for itself. */
struct bench {
	ZSTD_CCtx *context;
	uint8_t *input;
	uint8_t zeroes[64];	/* a whole frame of zeroes, compressed */
	size_t zeroes_size;	/* 0: not made yet, or larger */
};

static void clear_bench(struct bench *bench)
{
	(void)ZSTD_freeCCtx(bench->context);
	free(bench->input);
}

/** Compress what is in the input; the same zeroes only once. */
static struct error *compress(struct bench *bench, size_t size, bool any,
			      struct slot *slot, size_t *ret_size)
{
	bool zeroes = !any && size == FRAME_SIZE;
	size_t stored;

	if (zeroes && bench->zeroes_size > 0) {
		memcpy(slot->data, bench->zeroes, bench->zeroes_size);
		*ret_size = bench->zeroes_size;
		return NULL;
	}
	stored = ZSTD_compress2(bench->context, slot->data,
				ZSTD_compressBound(FRAME_SIZE), bench->input,
				size);
	if (ZSTD_isError(stored))
		return error_new(ERROR_OS, "zstd: %s",
				 ZSTD_getErrorName(stored));
	if (zeroes && stored <= sizeof(bench->zeroes)) {
		memcpy(bench->zeroes, slot->data, stored);
		bench->zeroes_size = stored;
	}
	*ret_size = stored;
	return NULL;
}

/** Fetch, compress, hand over, until there is no more. */
static struct error *work(struct pack *pack)
{
	CLEANUP(clear_bench) struct bench bench = { 0 };
	struct error *err = NULL;
	uint64_t frame;
	struct slot *slot;

	if (pack->options.compress) {
		err = make_context(pack, &bench.context);
		if (err)
			return err;
		bench.input = malloc(FRAME_SIZE);
		if (!bench.input)
			return error_no_memory();
	}
	while (!err && (slot = claim(pack, &frame)) != NULL) {
		uint8_t *content = bench.input ? bench.input : slot->data;
		size_t size = frame_size(pack, frame);
		bool any = pack->options.fill(pack->options.context,
					      frame * FRAME_SIZE, content, size);

		count_filled(pack);
		if (bench.input)
			err = compress(&bench, size, any, slot, &size);
		else
			slot->hole = !any || all_zero(content, size);
		if (!err)
			hand_over(pack, slot, frame, size);
	}
	return err;
}

static void *worker_main(void *argument)
{
	struct pack *pack = argument;
	struct error *err;

	// Of threads, on Linux, not of the process. Not allowed: no matter.
	if (pack->options.step_back)
		(void)setpriority(PRIO_PROCESS, (id_t)gettid(), STEP_BACK_NICE);
	err = work(pack);
	if (err)
		fail(pack, err);
	return NULL;
}

/* --- consumers ------------------------------------------------------------- */

static void drop_behind(struct sink *sink)
{
	uint64_t behind = (uint64_t)CHUNKS_IN_FLIGHT * CHUNK;
	uint64_t end = sink->start + sink->stored;

	while (sink->sparse && end - sink->synced >= CHUNK) {
		(void)sync_file_range(sink->fd, (off_t)sink->synced, CHUNK,
				      SYNC_FILE_RANGE_WRITE);
		if (sink->synced >= behind) {
			off_t old = (off_t)(sink->synced - behind);

			(void)sync_file_range(sink->fd, old, CHUNK,
					      SYNC_FILE_RANGE_WAIT_BEFORE |
					      SYNC_FILE_RANGE_WRITE |
					      SYNC_FILE_RANGE_WAIT_AFTER);
			(void)posix_fadvise(sink->fd, old, CHUNK,
					    POSIX_FADV_DONTNEED);
		}
		sink->synced += CHUNK;
	}
}

/** Go on through the page cache. */
static void leave_direct(struct sink *sink)
{
	int flags = fcntl(sink->fd, F_GETFL);

	if (flags >= 0)
		(void)fcntl(sink->fd, F_SETFL, flags & ~O_DIRECT);
	sink->direct = false;
	sink->synced = sink->start + sink->stored;
}

/** Write all of the vectors, which are used up, at the end of the file. */
static struct error *put(struct sink *sink, struct iovec *vectors,
			 size_t count)
{
	while (count > 0) {
		ssize_t done = sink->sparse ?
			pwritev(sink->fd, vectors, (int)count,
				(off_t)(sink->start + sink->stored)) :
			writev(sink->fd, vectors, (int)count);
		size_t left = done > 0 ? (size_t)done : 0;

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EINVAL && sink->direct) {
			leave_direct(sink);
			continue;
		}
		if (done < 0)
			return error_os(errno, "writing the dump");
		sink->stored += left;
		for (; count > 0 && left >= vectors->iov_len; count--)
			left -= vectors++->iov_len;
		if (count > 0) {
			vectors->iov_base = (uint8_t *)vectors->iov_base + left;
			vectors->iov_len -= left;
		}
	}
	if (!sink->direct)
		drop_behind(sink);
	return NULL;
}

/** Write what is staged, the last part of a block included. */
static struct error *flush(struct sink *sink)
{
	struct iovec vector = { sink->stage, sink->staged };

	if (sink->staged == 0)
		return NULL;
	if (sink->staged % DIRECT_ALIGN)
		leave_direct(sink);
	sink->staged = 0;
	return put(sink, &vector, 1);
}

static struct error *stage(struct sink *sink, const uint8_t *bytes, size_t size)
{
	while (size > 0) {
		size_t room = STAGE_SIZE - sink->staged;
		size_t part = size < room ? size : room;
		struct error *err = NULL;

		memcpy(sink->stage + sink->staged, bytes, part);
		sink->staged += part;
		bytes += part;
		size -= part;
		if (sink->staged == STAGE_SIZE)
			err = flush(sink);
		if (err)
			return err;
	}
	return NULL;
}

static bool are_aligned(const struct iovec *vectors, size_t count)
{
	uintptr_t all = 0;

	for (size_t i = 0; i < count; i++)
		all |= (uintptr_t)vectors[i].iov_base | vectors[i].iov_len;
	return all % DIRECT_ALIGN == 0;
}

/** Write all of the vectors, which are used up. */
static struct error *sink_write(struct sink *sink, struct iovec *vectors,
				size_t count)
{
	struct error *err = NULL;

	if (!sink->direct && sink->staged == 0)
		return put(sink, vectors, count);
	if (sink->staged == 0 && are_aligned(vectors, count))
		return put(sink, vectors, count);
	for (size_t i = 0; !err && i < count; i++)
		err = stage(sink, vectors[i].iov_base, vectors[i].iov_len);
	return err;
}

/** Leave bytes out of a sparse file: they read as zeroes. */
static struct error *sink_skip(struct sink *sink, size_t size)
{
	struct error *err = flush(sink);

	sink->stored += size;
	return err;
}

/** All frames at once: the file system takes them in large folios then. */
static struct error *write_frames(struct pack *pack, uint64_t first,
				  uint64_t count)
{
	struct iovec vectors[SLOTS_PER_WORKER * PACK_WORKERS_MAX];
	struct sink *sink = &pack->sink;
	struct error *err = NULL;
	size_t gathered = 0;

	for (uint64_t frame = first; !err && frame < first + count; frame++) {
		const struct slot *slot = &pack->slots[frame % pack->num_slots];

		if (pack->options.compress)
			err = seektable_add(&pack->table, slot->size,
					    frame_size(pack, frame));
		if (!err && slot->hole && sink->sparse) {
			err = sink_write(sink, vectors, gathered);
			gathered = 0;
			if (!err)
				err = sink_skip(sink, slot->size);
		} else {
			vectors[gathered++] =
				(struct iovec){ slot->data, slot->size };
		}
	}
	return err ? err : sink_write(sink, vectors, gathered);
}

static void hash_frames(struct pack *pack, uint64_t first, uint64_t count)
{
	for (uint64_t frame = first; frame < first + count; frame++) {
		const struct slot *slot = &pack->slots[frame % pack->num_slots];

		sha256_update(&pack->hash, slot->size, slot->data);
	}
}

/**
 * Wait for frames; how many are ready in a row, 0 to stop. Half a ring at
 * most: the workers fill the other half meanwhile.
 */
static uint64_t await_frames(struct pack *pack, enum consumer consumer)
{
	uint64_t first = pack->taken[consumer], count = 0;

	(void)pthread_mutex_lock(&pack->lock);
	while (!worth_taking(pack, consumer) && !pack->stop)
		(void)pthread_cond_wait(&pack->full, &pack->lock);
	while (!pack->stop && count < pack->num_slots / 2 &&
	       is_ready(pack, first + count))
		count++;
	(void)pthread_mutex_unlock(&pack->lock);
	return count;
}

/** Slots that both consumers are done with go back to the workers. */
static void finish_frames(struct pack *pack, enum consumer consumer,
			  uint64_t count)
{
	(void)pthread_mutex_lock(&pack->lock);
	pack->taken[consumer] += count;
	if (consumer == WRITER)
		pack->stored = pack->sink.stored + pack->sink.staged;
	(void)pthread_cond_broadcast(&pack->room);
	(void)pthread_mutex_unlock(&pack->lock);
}

static struct error *consume(struct pack *pack, enum consumer consumer)
{
	while (pack->taken[consumer] < pack->num_frames) {
		uint64_t first = pack->taken[consumer];
		uint64_t count = await_frames(pack, consumer);
		struct error *err = NULL;

		if (count == 0)
			return NULL;
		if (consumer == WRITER)
			err = write_frames(pack, first, count);
		else
			hash_frames(pack, first, count);
		if (err)
			return err;
		finish_frames(pack, consumer, count);
	}
	return NULL;
}

static void *consumer_main(struct pack *pack, enum consumer consumer)
{
	struct error *err = consume(pack, consumer);

	if (err)
		fail(pack, err);
	(void)pthread_mutex_lock(&pack->lock);
	pack->ended++;
	(void)pthread_cond_broadcast(&pack->news);
	(void)pthread_mutex_unlock(&pack->lock);
	return NULL;
}

static void *writer_main(void *argument)
{
	return consumer_main(argument, WRITER);
}

static void *hasher_main(void *argument)
{
	return consumer_main(argument, HASHER);
}

/* --- the caller's side ------------------------------------------------------ */

static struct error *make_slots(struct pack *pack)
{
	size_t size = pack->options.compress ? ZSTD_compressBound(FRAME_SIZE) :
					       FRAME_SIZE;

	size = (size + DIRECT_ALIGN - 1) & ~(size_t)(DIRECT_ALIGN - 1);

	pack->num_slots = SLOTS_PER_WORKER * pack->options.workers;
	pack->slots = calloc(pack->num_slots, sizeof(*pack->slots));
	if (!pack->slots)
		return error_no_memory();
	for (unsigned int i = 0; i < pack->num_slots; i++) {
		pack->slots[i].data = aligned_alloc(DIRECT_ALIGN, size);
		if (!pack->slots[i].data)
			return error_no_memory();
	}
	return NULL;
}

/**
 * Write around the page cache where the file system can: nobody else's pages
 * make room for the dump, the target's cgroup pays for none of it, no
 * processor time goes into a copy, and nothing is left for the last fsync().
 */
static struct error *enter_direct(struct sink *sink)
{
	int flags = fcntl(sink->fd, F_GETFL);

	if (sink->start % DIRECT_ALIGN || flags < 0 ||
	    fcntl(sink->fd, F_SETFL, flags | O_DIRECT) != 0)
		return NULL;
	sink->stage = aligned_alloc(DIRECT_ALIGN, STAGE_SIZE);
	if (!sink->stage)
		return error_no_memory();
	sink->direct = true;
	return NULL;
}

static struct error *open_sink(struct pack *pack)
{
	struct stat status;

	if (fstat(pack->options.fd, &status) != 0)
		return error_os(errno, "the output");
	pack->sink.fd = pack->options.fd;
	pack->sink.sparse = S_ISREG(status.st_mode);
	if (pack->sink.sparse) {
		off_t at = lseek(pack->options.fd, 0, SEEK_CUR);
		int flags = fcntl(pack->options.fd, F_GETFL);

		// ">> file" puts every write at the end: no holes there.
		if (at < 0 || flags < 0 || (flags & O_APPEND))
			pack->sink.sparse = false;
		else
			pack->sink.start = pack->sink.synced = (uint64_t)at;
	}
	sha256_init(&pack->hash);
	return pack->options.own_file && pack->sink.sparse ?
		       enter_direct(&pack->sink) : NULL;
}

static struct error *start_threads(struct pack *pack)
{
	sigset_t all, before;
	int result = 0;

	// Signals are for whoever waits, so that a wait ends early.
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	while (result == 0 && pack->num_threads <
			      pack->num_consumers + pack->options.workers) {
		void *(*run)(void *) =
			pack->num_threads >= pack->num_consumers ? worker_main :
			pack->num_threads == WRITER ? writer_main : hasher_main;

		result = pthread_create(&pack->threads[pack->num_threads], NULL,
					run, pack);
		if (result == 0)
			pack->num_threads++;
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	// One worker is enough to go on with.
	return pack->num_threads <= pack->num_consumers ?
		error_os(result, "starting a thread") : NULL;
}

struct error *pack_start(const struct pack_options *options, struct pack **ret)
{
	struct pack *pack = calloc(1, sizeof(*pack));
	pthread_condattr_t attributes;
	struct error *err;

	if (!pack)
		return error_no_memory();
	pack->options = *options;
	pack->num_consumers = options->hash ? NUM_CONSUMERS : WRITER + 1;
	if (pack->options.workers > PACK_WORKERS_MAX)
		pack->options.workers = PACK_WORKERS_MAX;
	pack->num_frames = (options->size + FRAME_SIZE - 1) / FRAME_SIZE;
	(void)pthread_mutex_init(&pack->lock, NULL);
	(void)pthread_cond_init(&pack->room, NULL);
	(void)pthread_cond_init(&pack->full, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&pack->news, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	err = open_sink(pack);
	if (!err)
		err = make_slots(pack);
	if (!err)
		err = start_threads(pack);
	if (err) {
		pack_destroy(pack);
		return err;
	}
	*ret = pack;
	return NULL;
}

bool pack_wait(struct pack *pack, unsigned int timeout_ms,
	       struct pack_progress *ret)
{
	struct timespec deadline;
	bool was_filled, done;
	int result = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_nsec += (long)timeout_ms * 1000000;
	deadline.tv_sec += deadline.tv_nsec / 1000000000;
	deadline.tv_nsec %= 1000000000;
	(void)pthread_mutex_lock(&pack->lock);
	was_filled = atomic_load(&pack->filled) == pack->num_frames;
	while (pack->ended < pack->num_consumers && !pack->stop && result == 0 &&
	       (was_filled || atomic_load(&pack->filled) < pack->num_frames))
		result = pthread_cond_timedwait(&pack->news, &pack->lock,
						&deadline);
	done = pack->ended == pack->num_consumers || pack->stop;
	*ret = (struct pack_progress){
		.filled = atomic_load(&pack->filled) * FRAME_SIZE,
		.written = pack->taken[WRITER] * FRAME_SIZE,
		.stored = pack->stored,
		.all_filled = atomic_load(&pack->filled) == pack->num_frames,
	};
	(void)pthread_mutex_unlock(&pack->lock);
	return done;
}

static void join_threads(struct pack *pack)
{
	while (pack->num_threads > 0)
		(void)pthread_join(pack->threads[--pack->num_threads], NULL);
}

/** Write and hash what comes after the frames. */
static struct error *append(struct pack *pack, const void *data, size_t size)
{
	struct iovec vector = { (void *)(uintptr_t)data, size };

	if (pack->options.hash)
		sha256_update(&pack->hash, size, data);
	return sink_write(&pack->sink, &vector, 1);
}

static struct error *write_final(struct pack *pack, const void *notes,
				 size_t notes_size)
{
	uint8_t header[SKIPPABLE_HEADER_SIZE];
	CLEANUP(free_pointer) uint8_t *table = NULL;
	struct error *err = NULL;

	if (notes_size > UINT32_MAX)
		return error_new(ERROR_LIMIT, "too many final notes");
	skippable_header(FORMAT_SKIPPABLE_NOTES, (uint32_t)notes_size, header);
	if (pack->options.compress)
		err = seektable_add(&pack->table, sizeof(header) + notes_size, 0);
	if (!err)
		err = append(pack, header, sizeof(header));
	if (!err)
		err = append(pack, notes, notes_size);
	if (err)
		return err;
	table = malloc(seektable_serialized_size(&pack->table));
	if (!table)
		return error_no_memory();
	seektable_serialize(&pack->table, table);
	return append(pack, table, seektable_serialized_size(&pack->table));
}

struct error *pack_finish(struct pack *pack, const void *notes,
			  size_t notes_size, struct pack_result *ret)
{
	struct pack_result result;
	struct error *err;

	join_threads(pack);
	err = pack->err;
	pack->err = NULL;
	if (!err)
		err = write_final(pack, notes, notes_size);
	if (!err)
		err = flush(&pack->sink);
	if (err)
		return err;
	result.stored = pack->sink.stored;
	result.hashed = pack->options.hash;
	sha256_digest(&pack->hash, sizeof(result.sha256), result.sha256);
	*ret = result;
	return NULL;
}

void pack_destroy(struct pack *pack)
{
	if (!pack)
		return;
	(void)pthread_mutex_lock(&pack->lock);
	pack->stop = true;
	(void)pthread_cond_broadcast(&pack->room);
	(void)pthread_cond_broadcast(&pack->full);
	(void)pthread_mutex_unlock(&pack->lock);
	join_threads(pack);
	for (unsigned int i = 0; pack->slots && i < pack->num_slots; i++)
		free(pack->slots[i].data);
	free(pack->slots);
	free(pack->sink.stage);
	seektable_deinit(&pack->table);
	error_free(pack->err);
	(void)pthread_mutex_destroy(&pack->lock);
	(void)pthread_cond_destroy(&pack->room);
	(void)pthread_cond_destroy(&pack->full);
	(void)pthread_cond_destroy(&pack->news);
	free(pack);
}
