/*
 * A file of columns; see store.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/kept/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/base/mixhash.h"
#include "image/base/workers.h"
#include "image/mapping.h"

enum {
	PIECE = 4 << 20,	/* bytes that have a checksum */
	ALIGNMENT = 4096,
};

static const char magic[8] = "heapscan";

struct header {
	char magic[8];
	uint32_t version;
	uint32_t num_columns;
	struct store_owner owner;
	uint64_t file_size;
	uint64_t num_pieces;	/* of all columns */
	uint64_t checksum;	/* of header (this as 0), table, checksums */
};

struct entry {
	uint32_t id, width;
	uint64_t count;
	uint64_t offset;
	uint64_t first_piece;	/* in the checksums */
};

/* --- where everything lies ------------------------------------------------- */

static uint64_t aligned(uint64_t offset)
{
	return (offset + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
}

static uint64_t pieces_of(uint64_t bytes)
{
	return bytes / PIECE + (bytes % PIECE != 0);
}

/** Bytes of header, table and checksums. */
static uint64_t head_size(size_t num_columns, uint64_t num_pieces)
{
	return sizeof(struct header) + num_columns * sizeof(struct entry) +
	       num_pieces * sizeof(uint64_t);
}

/** Fill in where the columns go; header but for its checksum. */
static void plan(const struct store_part *parts, size_t count,
		 struct header *header, struct entry *table)
{
	uint64_t num_pieces = 0, at;

	for (size_t i = 0; i < count; i++) {
		table[i] = (struct entry){
			.id = parts[i].id, .width = parts[i].width,
			.count = parts[i].count, .first_piece = num_pieces };
		num_pieces += pieces_of(parts[i].count * parts[i].width);
	}
	at = head_size(count, num_pieces);
	for (size_t i = 0; i < count; i++) {
		table[i].offset = at = aligned(at);
		at += parts[i].count * parts[i].width;
	}
	memcpy(header->magic, magic, sizeof(header->magic));
	header->version = STORE_VERSION;
	header->num_columns = (uint32_t)count;
	header->num_pieces = num_pieces;
	header->file_size = at;
}

uint64_t store_size(const struct store_part *parts, size_t count)
{
	struct entry table[STORE_COLUMNS_MAX];
	struct header header;

	plan(parts, count, &header, table);
	return header.file_size;
}

static uint64_t head_checksum(const struct header *header, const void *rest,
			      size_t rest_size)
{
	struct header hashed = *header;

	hashed.checksum = 0;
	return mixhash(rest, rest_size, mixhash(&hashed, sizeof(hashed), 0));
}

/* --- writing --------------------------------------------------------------- */

struct writing {
	int fd;
	const struct store_part *parts;
	const struct entry *table;
	size_t count;
	uint64_t *checksums;
};

static struct error *put(int fd, const void *bytes, size_t size,
			 uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pwrite(fd, (const uint8_t *)bytes + done,
				   size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_os(n < 0 ? errno : EIO, "writing");
		done += (size_t)n;
	}
	return NULL;
}

/** The column that a piece is of: the last that begins at or before it. */
static size_t column_of(const struct entry *table, size_t count, uint64_t piece)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		if (table[i].first_piece <= piece && table[i].count > 0)
			found = i;
	return found;
}

/** Bytes of a piece, and where in its column they begin. */
static size_t piece_size(const struct entry *entry, uint64_t piece,
			 uint64_t *ret_at)
{
	uint64_t bytes = entry->count * entry->width;

	*ret_at = (piece - entry->first_piece) * PIECE;
	return (size_t)(bytes - *ret_at < PIECE ? bytes - *ret_at : PIECE);
}

static struct error *write_piece(void *context, unsigned int worker,
				 size_t shard)
{
	const struct writing *writing = context;
	size_t i = column_of(writing->table, writing->count, shard);
	const uint8_t *data = writing->parts[i].data;
	uint64_t at;
	size_t size = piece_size(&writing->table[i], shard, &at);

	(void)worker;
	writing->checksums[shard] = mixhash(data + at, size, shard);
	return put(writing->fd, data + at, size,
		   writing->table[i].offset + at);
}

static struct error *write_all(struct writing *writing, struct header *header,
			       uint8_t *head, unsigned int workers)
{
	size_t size = (size_t)head_size(writing->count, header->num_pieces);
	int result = posix_fallocate(writing->fd, 0,
				     (off_t)header->file_size);
	struct error *err;

	if (result != 0)
		return error_os(result, "taking space");
	err = workers_run(workers, (size_t)header->num_pieces, write_piece,
			  writing);
	if (err)
		return err;
	header->checksum = head_checksum(header, head + sizeof(*header),
					 size - sizeof(*header));
	memcpy(head, header, sizeof(*header));
	return put(writing->fd, head, size, 0);
}

struct error *store_write(int fd, const struct store_owner *owner,
			  const struct store_part *parts, size_t count,
			  unsigned int workers)
{
	struct entry table[STORE_COLUMNS_MAX];
	struct header header = { .owner = *owner };
	struct error *err;
	uint8_t *head;

	if (count > STORE_COLUMNS_MAX)
		return error_new(ERROR_LIMIT, "too many columns");
	plan(parts, count, &header, table);
	head = calloc(1, (size_t)head_size(count, header.num_pieces));
	if (!head)
		return error_no_memory();
	memcpy(head + sizeof(header), table, count * sizeof(*table));
	err = write_all(&(struct writing){
		.fd = fd, .parts = parts, .table = table, .count = count,
		.checksums = (void *)(head + head_size(count, 0)) },
		&header, head, workers);
	free(head);
	return err;
}

/* --- reading --------------------------------------------------------------- */

struct store {
	struct mapping mapping;
	struct header header;
	struct entry table[STORE_COLUMNS_MAX];
	const uint64_t *checksums;
};

static bool is_whole(const struct store *store)
{
	const struct header *header = &store->header;
	uint64_t size = store->mapping.size;

	return header->num_columns <= STORE_COLUMNS_MAX &&
	       header->num_pieces <= size / sizeof(uint64_t) &&
	       header->file_size == size &&
	       head_size(header->num_columns, header->num_pieces) <= size;
}

/** In the file, behind the head, and with pieces of its own. */
static bool is_entry_sound(const struct store *store,
			   const struct entry *entry, uint64_t *next_piece)
{
	const struct header *header = &store->header;
	uint64_t size = store->mapping.size, bytes;

	if (entry->width == 0 || entry->width > ALIGNMENT ||
	    entry->offset % ALIGNMENT || entry->offset > size ||
	    entry->offset < head_size(header->num_columns,
				      header->num_pieces) ||
	    entry->count > (size - entry->offset) / entry->width ||
	    entry->first_piece != *next_piece)
		return false;
	bytes = entry->count * entry->width;
	*next_piece += pieces_of(bytes);
	return true;
}

static bool read_head(struct store *store)
{
	const uint8_t *data = store->mapping.data;
	const struct header *header = &store->header;
	uint64_t piece = 0;
	size_t table_size;

	memcpy(&store->header, data, sizeof(store->header));
	if (!is_whole(store) ||
	    header->checksum !=
		    head_checksum(header, data + sizeof(*header),
				  (size_t)head_size(header->num_columns,
						    header->num_pieces) -
					  sizeof(*header)))
		return false;
	table_size = header->num_columns * sizeof(*store->table);
	memcpy(store->table, data + sizeof(*header), table_size);
	store->checksums = (const void *)(data + sizeof(*header) + table_size);
	for (uint32_t i = 0; i < header->num_columns; i++)
		if (!is_entry_sound(store, &store->table[i], &piece))
			return false;
	return piece == header->num_pieces;
}

static struct error *map(struct store *store, int fd, const char *name)
{
	struct stat status;
	struct error *err;

	if (fstat(fd, &status) != 0)
		return error_os(errno, "%s", name);
	if (status.st_size < (off_t)sizeof(struct header))
		return error_new(ERROR_FORMAT, "%s is cut off", name);
	err = mapping_init(&store->mapping, fd, true, (uint64_t)status.st_size,
			   name);
	if (err)
		return err;
	if (memcmp(store->mapping.data, magic, sizeof(magic)) != 0)
		return error_new(ERROR_FORMAT, "%s is no file of kept results",
				 name);
	memcpy(&store->header, store->mapping.data, sizeof(store->header));
	if (store->header.version != STORE_VERSION)
		return error_new(ERROR_FORMAT, "%s is of version %u, not %u",
				 name, store->header.version, STORE_VERSION);
	return read_head(store) ? NULL :
		error_new(ERROR_FORMAT, "%s is damaged or cut off", name);
}

struct error *store_open(int fd, const char *name, struct store **ret)
{
	struct store *store = calloc(1, sizeof(*store));
	struct error *err;

	if (!store)
		return error_no_memory();
	store->mapping.slot = -1;
	err = map(store, fd, name);
	if (err)
		store_close(store);
	else
		*ret = store;
	return err;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	mapping_deinit(&store->mapping);
	free(store);
}

const struct store_owner *store_owner(const struct store *store)
{
	return &store->header.owner;
}

static struct error *verify_piece(void *context, unsigned int worker,
				  size_t shard)
{
	const struct store *store = context;
	size_t i = column_of(store->table, store->header.num_columns, shard);
	const struct entry *entry = &store->table[i];
	uint64_t at;
	size_t size = piece_size(entry, shard, &at);

	(void)worker;
	return mixhash(store->mapping.data + entry->offset + at, size,
		       shard) == store->checksums[shard] ? NULL :
		error_new(ERROR_FORMAT, "column %u is damaged", entry->id);
}

struct error *store_verify(const struct store *store, unsigned int workers)
{
	return workers_run(workers, (size_t)store->header.num_pieces,
			   verify_piece, (void *)(uintptr_t)store);
}

const void *store_column(const struct store *store, uint32_t id, uint32_t width,
			 uint64_t *ret_count)
{
	for (uint32_t i = 0; i < store->header.num_columns; i++) {
		const struct entry *entry = &store->table[i];

		if (entry->id != id || entry->width != width)
			continue;
		*ret_count = entry->count;
		return store->mapping.data + entry->offset;
	}
	return NULL;
}
