/*
 * What the machine can do at best, for the ratios of the benchmarks.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	benchtool memcpy FILE THREADS        copy FILE's bytes once from the
 *	                                     page cache into a small buffer
 *	benchtool decompress FILE THREADS    decompress every frame of FILE
 *	benchtool compress FILE THREADS      zstd level 1 of FILE's bytes in
 *	                                     memory, frames of 256 KiB with
 *	                                     checksums, as the zstd command does
 *	benchtool readwrite PID OUT          process_vm_readv of PID's anonymous
 *	                                     memory and write, synced; the disk
 *	                                     is kept busy from the start
 * Prints "bytes seconds" (uncompressed bytes).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "image/base/error.h"
#include "image/base/workers.h"

enum {
	PIECE = 256 << 10,
	/* Of 128 KiB to 8 MiB the fastest to read and write, measured. */
	COPY_PIECE = 2 << 20,
	/* Left to itself the kernel writes most of it during fsync(). */
	SYNC_PIECE = 8 << 20,
	WORKERS_MAX = 64,
};

struct job {
	const uint8_t *bytes;
	size_t size;
	size_t *frames;			/* offsets of compressed frames */
	size_t num_frames;
	uint8_t *scratch[WORKERS_MAX];
	ZSTD_CCtx *compress[WORKERS_MAX];
	ZSTD_DCtx *decompress[WORKERS_MAX];
	_Atomic uint64_t done;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	fprintf(stderr, "benchtool: %s: %s\n", what, strerror(errno));
	exit(1);
}

static size_t piece_size(const struct job *job, size_t shard)
{
	size_t at = shard * PIECE;

	return job->size - at < PIECE ? job->size - at : PIECE;
}

static struct error *copy_piece(void *context, unsigned int worker,
				size_t shard)
{
	struct job *job = context;

	memcpy(job->scratch[worker], job->bytes + shard * PIECE,
	       piece_size(job, shard));
	job->done += piece_size(job, shard);
	return NULL;
}

static struct error *compress_piece(void *context, unsigned int worker,
				    size_t shard)
{
	struct job *job = context;

	ZSTD_compress2(job->compress[worker], job->scratch[worker], 2 * PIECE,
		       job->bytes + shard * PIECE, piece_size(job, shard));
	job->done += piece_size(job, shard);
	return NULL;
}

static struct error *decompress_frame(void *context, unsigned int worker,
				      size_t shard)
{
	struct job *job = context;
	size_t at = job->frames[shard];
	size_t got = ZSTD_decompressDCtx(job->decompress[worker],
					 job->scratch[worker], 8 << 20,
					 job->bytes + at,
					 job->frames[shard + 1] - at);

	if (ZSTD_isError(got))
		return error_new(ERROR_FORMAT, "%s", ZSTD_getErrorName(got));
	job->done += got;
	return NULL;
}

static void find_frames(struct job *job)
{
	size_t at = 0, room = 1024;

	job->frames = malloc((room + 1) * sizeof(*job->frames));
	while (at < job->size) {
		size_t size = ZSTD_findFrameCompressedSize(job->bytes + at,
							   job->size - at);

		if (ZSTD_isError(size))
			break;
		if (job->num_frames == room) {
			room *= 2;
			job->frames = realloc(job->frames,
					      (room + 1) * sizeof(*job->frames));
		}
		job->frames[job->num_frames++] = at;
		at += size;
	}
	job->frames[job->num_frames] = at;
}

static void map_file(struct job *job, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		fail(path);
	job->size = (size_t)status.st_size;
	job->bytes = mmap(NULL, job->size, PROT_READ, MAP_SHARED, fd, 0);
	if (job->bytes == MAP_FAILED)
		fail(path);
	close(fd);
}

static int run(const char *what, const char *path, unsigned int workers)
{
	struct job job = { 0 };
	workers_shard_fn *fn = copy_piece;
	struct error *err;
	size_t shards;
	double start;

	map_file(&job, path);
	shards = (job.size + PIECE - 1) / PIECE;
	if (strcmp(what, "compress") == 0)
		fn = compress_piece;
	if (strcmp(what, "decompress") == 0) {
		fn = decompress_frame;
		find_frames(&job);
		shards = job.num_frames;
	}
	for (unsigned int i = 0; i < workers && i < WORKERS_MAX; i++) {
		job.scratch[i] = malloc(8 << 20);
		memset(job.scratch[i], 1, 8 << 20);
		job.compress[i] = ZSTD_createCCtx();
		ZSTD_CCtx_setParameter(job.compress[i], ZSTD_c_compressionLevel,
				       1);
		ZSTD_CCtx_setParameter(job.compress[i], ZSTD_c_checksumFlag, 1);
		job.decompress[i] = ZSTD_createDCtx();
	}
	// Once to bring the pages in, once for the figure.
	if (fn == copy_piece)
		error_free(workers_run(workers, shards, fn, &job));
	if (fn == compress_piece) {
		volatile uint8_t sum = 0;

		for (size_t i = 0; i < job.size; i += 4096)
			sum ^= job.bytes[i];
		(void)sum;
	}
	job.done = 0;
	start = now();
	err = workers_run(workers, shards, fn, &job);
	printf("%" PRIu64 " %.6f\n", job.done, now() - start);
	if (err)
		fprintf(stderr, "benchtool: %s\n", err->message);
	return err ? 1 : 0;
}

static void write_and_push(int fd, const uint8_t *data, ssize_t size,
			   uint64_t *total)
{
	uint64_t before = *total / SYNC_PIECE;

	if (write(fd, data, (size_t)size) != size)
		fail("write");
	*total += (uint64_t)size;
	if (*total / SYNC_PIECE != before)
		(void)sync_file_range(fd, (off_t)(before * SYNC_PIECE),
				      SYNC_PIECE, SYNC_FILE_RANGE_WRITE);
}

static int read_and_write(int pid, const char *out)
{
	static uint8_t buffer[COPY_PIECE];
	char name[64], line[512];
	uint64_t total = 0;
	double start;
	int fd;
	FILE *maps;

	memset(buffer, 1, sizeof(buffer));
	(void)unlink(out);
	start = now();
	fd = open(out, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	snprintf(name, sizeof(name), "/proc/%d/maps", pid);
	maps = fopen(name, "re");
	if (fd < 0 || !maps)
		fail(out);
	while (fgets(line, sizeof(line), maps)) {
		uint64_t from, to, inode;
		char protection[8];

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*s %*s %" SCNu64,
			   &from, &to, protection, &inode) != 4 ||
		    inode != 0 || protection[1] != 'w')
			continue;
		while (from < to) {
			size_t want = to - from < sizeof(buffer) ?
					      (size_t)(to - from) :
					      sizeof(buffer);
			struct iovec here = { buffer, want };
			struct iovec there = { (void *)(uintptr_t)from, want };
			ssize_t got = process_vm_readv(pid, &here, 1, &there,
						       1, 0);

			if (got <= 0)
				break;
			write_and_push(fd, buffer, got, &total);
			from += (uint64_t)got;
		}
	}
	fclose(maps);
	if (fsync(fd) < 0)
		fail(out);
	close(fd);
	printf("%" PRIu64 " %.6f\n", total, now() - start);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "readwrite") == 0)
		return read_and_write(atoi(argv[2]), argv[3]);
	if (argc == 4)
		return run(argv[1], argv[2], (unsigned int)atoi(argv[3]));
	fprintf(stderr, "usage: benchtool memcpy|decompress|compress FILE "
			"THREADS | readwrite PID OUT\n");
	return 2;
}
