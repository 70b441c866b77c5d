/*
 * The mappings of a process by its core; see coremaps.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/coremaps.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** What is built up; names are offsets until all are there. */
struct builder {
	const struct corestream *stream;
	const struct core_notes *notes;
	const struct procmaps *seen;
	struct procmap *items;
	size_t *names;
	size_t count, capacity;
	FILE *name_out;
	char *name_text;
	size_t name_size;
};

static struct error *append(struct builder *builder, const struct procmap *map)
{
	if (builder->count == builder->capacity) {
		size_t more = builder->capacity ? 2 * builder->capacity : 256;
		struct procmap *items = reallocarray(builder->items, more,
						     sizeof(*items));
		size_t *names;

		if (!items)
			return error_no_memory();
		builder->items = items;
		names = reallocarray(builder->names, more, sizeof(*names));
		if (!names)
			return error_no_memory();
		builder->names = names;
		builder->capacity = more;
	}
	builder->names[builder->count] = 0;
	if (map->name[0] != '\0') {
		(void)fflush(builder->name_out);
		builder->names[builder->count] = builder->name_size;
		(void)fwrite(map->name, strlen(map->name) + 1, 1,
			     builder->name_out);
	}
	builder->items[builder->count++] = *map;
	return NULL;
}

/** What smaps said of a mapping, for the part of it from start to end. */
static struct procmap part_of(const struct procmap *map, uint64_t start,
			      uint64_t end)
{
	struct procmap part = *map;

	part.start = start;
	part.end = end;
	part.file_offset += map->inode ? start - map->start : 0;
	if (start == map->start && end == map->end)
		part.flags |= PROCMAP_COUNTED;
	else
		part.resident = part.swapped = part.anonymous = 0;
	return part;
}

/** The file that was mapped at address, or the next one above; NULL: none. */
static const struct file_mapping *file_at(const struct core_notes *notes,
					  uint64_t address)
{
	size_t low = 0, high = notes->num_files;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (notes->files[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < notes->num_files ? &notes->files[low] : NULL;
}

/** The same number for all mappings of a file that lie together. */
static uint64_t number_of(const struct core_notes *notes,
			  const struct file_mapping *file)
{
	while (file > notes->files && strcmp(file[-1].path, file->path) == 0)
		file--;
	return (uint64_t)(file - notes->files) + 1;
}

/** Add a part that smaps knew nothing of; *at moves on behind it. */
static struct error *add_by_file(struct builder *builder,
				 const struct corestream_segment *segment,
				 uint64_t *at, uint64_t end)
{
	static const char deleted[] = " (deleted)";
	const struct file_mapping *file = file_at(builder->notes, *at);
	struct procmap map = {
		.start = *at,
		.protection = segment->protection,
		.name = "",
	};
	char *name = NULL;
	struct error *err;

	if (file && file->start <= *at) {
		size_t length = strlen(file->path);

		end = file->end < end ? file->end : end;
		map.file_offset = file->file_offset + (*at - file->start);
		map.inode = number_of(builder->notes, file);
		if (length >= sizeof(deleted) &&
		    strcmp(file->path + length - (sizeof(deleted) - 1),
			   deleted) == 0) {
			map.flags |= FORMAT_MAPPING_DELETED;
			length -= sizeof(deleted) - 1;
		}
		name = strndup(file->path, length);
		if (!name)
			return error_no_memory();
		map.name = name;
	} else if (file && file->start < end) {
		end = file->start;
	}
	map.end = *at = end;
	err = append(builder, &map);
	free(name);
	return err;
}

/** The first mapping of smaps that ends above address. */
static size_t first_seen(const struct procmaps *seen, uint64_t address)
{
	size_t low = 0, high = seen->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (seen->items[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct error *add_segment(struct builder *builder,
				 const struct corestream_segment *segment)
{
	const struct procmaps *seen = builder->seen;
	uint64_t at = segment->start;
	struct error *err = NULL;

	while (!err && at < segment->end) {
		size_t i = first_seen(seen, at);
		const struct procmap *map = i < seen->count ? &seen->items[i] :
							      NULL;
		uint64_t end = segment->end;

		if (map && map->start <= at) {
			end = map->end < end ? map->end : end;
			struct procmap part = part_of(map, at, end);

			at = end;
			err = append(builder, &part);
			continue;
		}
		if (map && map->start < end)
			end = map->start;
		err = add_by_file(builder, segment, &at, end);
	}
	return err;
}

/** What smaps had between two segments. */
static struct error *add_gap(struct builder *builder, uint64_t start,
			     uint64_t end)
{
	const struct procmaps *seen = builder->seen;
	struct error *err = NULL;

	for (size_t i = first_seen(seen, start);
	     !err && i < seen->count && seen->items[i].start < end; i++) {
		const struct procmap *map = &seen->items[i];
		uint64_t low = map->start > start ? map->start : start;
		uint64_t high = map->end < end ? map->end : end;
		struct procmap part = part_of(map, low, high);

		err = append(builder, &part);
	}
	return err;
}

static struct error *add_all(struct builder *builder)
{
	const struct corestream *stream = builder->stream;
	struct error *err = NULL;
	uint64_t at = 0;

	for (size_t i = 0; !err && i < stream->num_segments; i++) {
		err = add_gap(builder, at, stream->segments[i].start);
		if (!err)
			err = add_segment(builder, &stream->segments[i]);
		at = stream->segments[i].end;
	}
	return err ? err : add_gap(builder, at, UINT64_MAX);
}

struct error *core_mappings(const struct corestream *stream,
			    const struct core_notes *notes,
			    const struct procmaps *seen, struct procmaps *ret)
{
	struct builder builder = {
		.stream = stream,
		.notes = notes,
		.seen = seen,
	};
	struct error *err;

	builder.name_out = open_memstream(&builder.name_text,
					  &builder.name_size);
	if (!builder.name_out)
		return error_no_memory();
	(void)fputc('\0', builder.name_out);
	err = add_all(&builder);
	if (fclose(builder.name_out) != 0 && !err)
		err = error_no_memory();
	for (size_t i = 0; !err && i < builder.count; i++)
		builder.items[i].name = builder.name_text + builder.names[i];
	free(builder.names);
	if (err) {
		free(builder.items);
		free(builder.name_text);
		return err;
	}
	*ret = (struct procmaps){
		.items = builder.items,
		.count = builder.count,
		.names = builder.name_text,
		.names_size = builder.name_size,
	};
	return NULL;
}

bool core_mapping_is_clean(const struct procmap *map)
{
	if (map->inode == 0 || (map->protection & PF_W))
		return false;
	// A linker's read-only data was written to before it was protected.
	return map->flags & PROCMAP_COUNTED ? map->anonymous == 0 :
					      (map->protection & PF_X) != 0;
}
