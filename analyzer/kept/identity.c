/*
 * Which dump a file holds; see identity.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/kept/identity.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <nettle/sha2.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/base/mixhash.h"
#include "image/base/workers.h"

enum {
	LOOK_BYTES = 64 << 10,		/* of the head, and of the end */
	PIECE = 1 << 20,		/* bytes hashed at one go */
	BUILD_ID_MAX = 64,
	/* how coarse the kernel's times may be: a tick of the slowest clock,
	   and some more */
	TIME_GRAIN_NS = 20000000,
};

/* --- files ----------------------------------------------------------------- */

static int64_t nanoseconds(struct timespec time)
{
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int64_t now(void)
{
	struct timespec time = { 0 };

	(void)clock_gettime(CLOCK_REALTIME, &time);
	return nanoseconds(time);
}

struct error *file_state_of(int fd, struct file_state *ret)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return error_os(errno, "fstat");
	*ret = (struct file_state){ 0 };
	// What is written within the same tick leaves the times as they are.
	if (now() - nanoseconds(status.st_ctim) > TIME_GRAIN_NS)
		*ret = (struct file_state){
			.device = status.st_dev, .inode = status.st_ino,
			.size = (uint64_t)status.st_size,
			.modified = nanoseconds(status.st_mtim),
			.changed = nanoseconds(status.st_ctim),
		};
	return NULL;
}

bool file_state_same(const struct file_state *a, const struct file_state *b)
{
	return a->inode != 0 && a->device == b->device &&
	       a->inode == b->inode && a->size == b->size &&
	       a->modified == b->modified && a->changed == b->changed;
}

void file_state_settle(int fd)
{
	struct stat status;
	int64_t left;

	if (fstat(fd, &status) != 0)
		return;
	left = nanoseconds(status.st_ctim) + TIME_GRAIN_NS - now();
	if (left >= 0 && left <= TIME_GRAIN_NS)
		(void)nanosleep(&(struct timespec){ .tv_nsec = left + 1000 },
				NULL);
}

/** As many bytes as there are; short only at the end of the file. */
static struct error *read_at(int fd, void *buffer, size_t size, uint64_t offset,
			     size_t *ret)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, (uint8_t *)buffer + done, size - done,
				  (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_os(errno, "reading the dump");
		if (n == 0)
			break;
		done += (size_t)n;
	}
	*ret = done;
	return NULL;
}

static struct error *size_of(int fd, uint64_t *ret)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return error_os(errno, "fstat");
	*ret = (uint64_t)status.st_size;
	return NULL;
}

/* --- a look ---------------------------------------------------------------- */

struct build_id {
	uint8_t bytes[BUILD_ID_MAX];
	size_t size;
};

static bool take_build_id(struct build_id *ret, const uint8_t *notes,
			  size_t size)
{
	size_t at = 0;

	while (size - at >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *note = (const void *)(notes + at);
		size_t name = at + sizeof(*note);
		size_t content = name + ((note->n_namesz + 3u) & ~3u);

		if (note->n_type == NT_GNU_BUILD_ID &&
		    note->n_namesz == sizeof("GNU") &&
		    memcmp(notes + name, "GNU", sizeof("GNU")) == 0 &&
		    note->n_descsz <= BUILD_ID_MAX) {
			memcpy(ret->bytes, notes + content, note->n_descsz);
			ret->size = note->n_descsz;
			return true;
		}
		at = content + ((note->n_descsz + 3u) & ~3u);
		if (at > size)
			break;
	}
	return false;
}

/** Of this program: the first that is told. */
static int see_program(struct dl_phdr_info *info, size_t size, void *context)
{
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];

		if (header->p_type == PT_NOTE &&
		    take_build_id(context,
				  (const uint8_t *)(info->dlpi_addr +
						    header->p_vaddr),
				  header->p_memsz))
			break;
	}
	return 1;
}

/** What another build found out, or lays out otherwise, is of no use. */
static void hash_build(struct sha256_ctx *hash)
{
	static const char version[] = "heapscan " HEAPSCAN_VERSION;
	struct build_id id = { .size = 0 };

	(void)dl_iterate_phdr(see_program, &id);
	sha256_update(hash, sizeof(version), (const uint8_t *)version);
	sha256_update(hash, id.size, id.bytes);
}

static struct error *hash_part(struct sha256_ctx *hash, int fd, uint64_t offset,
			       uint64_t size)
{
	CLEANUP(free_pointer) uint8_t *buffer = malloc(LOOK_BYTES);
	struct error *err;
	size_t got = 0;

	if (!buffer)
		return error_no_memory();
	err = read_at(fd, buffer, size < LOOK_BYTES ? size : LOOK_BYTES, offset,
		      &got);
	if (!err)
		sha256_update(hash, got, buffer);
	return err;
}

struct error *identity_look(int fd, const char *circumstances,
			    uint8_t key[IDENTITY_KEY])
{
	struct sha256_ctx hash;
	uint64_t size;
	struct error *err = size_of(fd, &size);

	if (err)
		return err;
	sha256_init(&hash);
	hash_build(&hash);
	sha256_update(&hash, strlen(circumstances) + 1,
		      (const uint8_t *)circumstances);
	sha256_update(&hash, sizeof(size), (const uint8_t *)&size);
	err = hash_part(&hash, fd, 0, size);
	if (!err)
		err = hash_part(&hash, fd,
				size < LOOK_BYTES ? 0 : size - LOOK_BYTES,
				size);
	if (!err)
		sha256_digest(&hash, IDENTITY_KEY, key);
	return err;
}

/* --- all of it ------------------------------------------------------------- */

struct hashing {
	int fd;
	uint64_t (*pieces)[2];
	uint8_t **buffers;		/* by worker */
};

static struct error *hash_piece(void *context, unsigned int worker,
				size_t shard)
{
	const struct hashing *hashing = context;
	uint8_t **buffer = &hashing->buffers[worker];
	struct error *err;
	size_t got;

	if (!*buffer)
		*buffer = malloc(PIECE);
	if (!*buffer)
		return error_no_memory();
	err = read_at(hashing->fd, *buffer, PIECE, (uint64_t)shard * PIECE,
		      &got);
	for (unsigned int i = 0; !err && i < 2; i++)
		hashing->pieces[shard][i] = mixhash(*buffer, got, i);
	return err;
}

struct error *identity_content(int fd, unsigned int workers, uint64_t ret[2])
{
	struct hashing hashing = { .fd = fd };
	uint64_t size;
	size_t count;
	struct error *err = size_of(fd, &size);

	if (err)
		return err;
	workers = workers ? workers : 1;
	count = (size_t)((size + PIECE - 1) / PIECE);
	hashing.pieces = calloc(count + 1, sizeof(*hashing.pieces));
	hashing.buffers = calloc(workers, sizeof(*hashing.buffers));
	if (!hashing.pieces || !hashing.buffers)
		err = error_no_memory();
	if (!err)
		err = workers_run(workers, count, hash_piece, &hashing);
	for (unsigned int i = 0; !err && i < 2; i++)
		ret[i] = mixhash(hashing.pieces,
				 (count + 1) * sizeof(*hashing.pieces), i);
	for (unsigned int i = 0; hashing.buffers && i < workers; i++)
		free(hashing.buffers[i]);
	free(hashing.buffers);
	free(hashing.pieces);
	return err;
}
