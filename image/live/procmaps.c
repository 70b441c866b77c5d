/*
 * The mappings of a live process; see procmaps.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/procmaps.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"

/** What is built up while parsing; names are offsets until all are there. */
struct parser {
	struct procmap *items;
	size_t *names;
	size_t count, capacity;
	struct procinfo_sharing sharing;
	FILE *name_out;
	char *name_text;
	size_t name_size;
};

/** The kernel writes a newline in a path as \012 and nothing else so. */
static void write_name(FILE *out, const char *name, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (length - i >= 4 && memcmp(name + i, "\\012", 4) == 0) {
			(void)fputc('\n', out);
			i += 3;
		} else {
			(void)fputc(name[i], out);
		}
	}
	(void)fputc('\0', out);
}

static uint32_t parse_protection(const char *letters)
{
	return (letters[0] == 'r' ? PF_R : 0) | (letters[1] == 'w' ? PF_W : 0) |
	       (letters[2] == 'x' ? PF_X : 0);
}

static struct error *grow(struct parser *parser)
{
	size_t more = parser->capacity ? 2 * parser->capacity : 256;
	struct procmap *items;
	size_t *names;

	if (parser->count < parser->capacity)
		return NULL;
	items = reallocarray(parser->items, more, sizeof(*items));
	if (!items)
		return error_no_memory();
	parser->items = items;
	names = reallocarray(parser->names, more, sizeof(*names));
	if (!names)
		return error_no_memory();
	parser->names = names;
	parser->capacity = more;
	return NULL;
}

/** "55d0-55d1 r-xp 00001000 fe:00 1234      /usr/bin/x" */
static struct error *parse_header(struct parser *parser, char *line,
				  const char *file)
{
	static const char deleted[] = " (deleted)";
	struct procmap map = { 0 };
	char letters[5];
	unsigned int major, minor;
	int at = 0;
	size_t length;
	struct error *err;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %"
		   SCNu64 " %n", &map.start, &map.end, letters,
		   &map.file_offset, &major, &minor, &map.inode, &at) != 7 ||
	    at == 0 || map.start >= map.end || strlen(letters) != 4)
		return error_new(ERROR_FORMAT, "%s: unexpected line", file);
	map.protection = parse_protection(letters);
	map.device = major << 20 | minor;
	if (letters[3] == 's')
		map.flags |= FORMAT_MAPPING_SHARED;
	err = grow(parser);
	if (err)
		return err;
	length = strlen(line + at);
	if (length > sizeof(deleted) - 1 && map.inode != 0 &&
	    strcmp(line + at + length - (sizeof(deleted) - 1), deleted) == 0) {
		map.flags |= FORMAT_MAPPING_DELETED;
		length -= sizeof(deleted) - 1;
	}
	(void)fflush(parser->name_out);
	parser->names[parser->count] = length ? parser->name_size : 0;
	if (length > 0)
		write_name(parser->name_out, line + at, length);
	parser->items[parser->count++] = map;
	return NULL;
}

static void parse_flags(const char *text, struct procmap *map)
{
	static const struct {
		char letters[3];
		uint32_t flag;
	} known[] = {
		{ "io", PROCMAP_IO },
		{ "pf", PROCMAP_PFN },
		{ "dd", PROCMAP_DONTDUMP },
		{ "um", PROCMAP_UFFD },
		{ "ui", PROCMAP_UFFD },
		{ "ht", FORMAT_MAPPING_HUGETLB },
		{ "dc", FORMAT_MAPPING_DONTFORK },
		{ "wf", FORMAT_MAPPING_WIPEONFORK },
	};

	for (; text[0] && text[1]; text += 2 + (text[2] == ' ')) {
		for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
			if (memcmp(text, known[i].letters, 2) == 0)
				map->flags |= known[i].flag;
		while (text[2] && text[2] != ' ')
			text++;
	}
}

static void parse_field(const char *line, struct procmap *map,
			struct procinfo_sharing *sharing)
{
	const struct {
		const char *key;
		uint64_t *sum;
	} known[] = {
		{ "Rss:", &map->resident },
		{ "Anonymous:", &map->anonymous },
		{ "Swap:", &map->swapped },
		{ "Pss:", &sharing->pss },
		{ "Shared_Clean:", &sharing->shared_clean },
		{ "Shared_Dirty:", &sharing->shared_dirty },
		{ "Private_Clean:", &sharing->private_clean },
		{ "Private_Dirty:", &sharing->private_dirty },
	};

	if (strncmp(line, "VmFlags: ", 9) == 0) {
		parse_flags(line + 9, map);
		return;
	}
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		size_t length = strlen(known[i].key);

		if (strncmp(line, known[i].key, length) == 0) {
			*known[i].sum +=
				strtoull(line + length, NULL, 10) * 1024;
			sharing->known |= known[i].sum == &sharing->pss;
			return;
		}
	}
}

static struct error *parse_lines(struct parser *parser, FILE *in,
				 const char *file)
{
	CLEANUP(free_pointer) char *line = NULL;
	size_t capacity = 0;
	ssize_t length;

	while ((length = getline(&line, &capacity, in)) > 0) {
		if (line[length - 1] == '\n')
			line[length - 1] = '\0';
		// Mappings begin with an address, what follows with a capital.
		if ((line[0] >= '0' && line[0] <= '9') ||
		    (line[0] >= 'a' && line[0] <= 'f')) {
			struct error *err = parse_header(parser, line, file);

			if (err)
				return err;
		} else if (parser->count > 0) {
			parse_field(line, &parser->items[parser->count - 1],
				    &parser->sharing);
		}
	}
	return ferror(in) ? error_os(errno, "%s", file) : NULL;
}

struct error *procmaps_parse(FILE *in, const char *name, struct procmaps *ret)
{
	struct parser parser = { 0 };
	struct error *err;

	parser.name_out = open_memstream(&parser.name_text, &parser.name_size);
	if (!parser.name_out)
		return error_no_memory();
	(void)fputc('\0', parser.name_out);
	err = parse_lines(&parser, in, name);
	if (fclose(parser.name_out) != 0 && !err)
		err = error_no_memory();
	for (size_t i = 0; !err && i < parser.count; i++) {
		parser.items[i].name = parser.name_text + parser.names[i];
		if (i > 0 && parser.items[i].start < parser.items[i - 1].end)
			err = error_new(ERROR_FORMAT, "%s: out of order", name);
	}
	free(parser.names);
	if (err) {
		free(parser.items);
		free(parser.name_text);
		return err;
	}
	*ret = (struct procmaps){
		.items = parser.items,
		.count = parser.count,
		.names = parser.name_text,
		.names_size = parser.name_size,
		.sharing = parser.sharing,
	};
	return NULL;
}

static struct error *read_named(pid_t pid, const char *name,
				struct procmaps *ret)
{
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	CLEANUP(close_file) FILE *in = fopen(path, "re");
	if (!in)
		return error_os(errno, "%s", path);
	return procmaps_parse(in, path, ret);
}

struct error *procmaps_read(pid_t pid, struct procmaps *ret)
{
	return read_named(pid, "smaps", ret);
}

struct error *procmaps_read_lines(pid_t pid, struct procmaps *ret)
{
	return read_named(pid, "maps", ret);
}

bool procmap_is_same(const struct procmap *a, const struct procmap *b)
{
	const uint32_t told = FORMAT_MAPPING_SHARED | FORMAT_MAPPING_DELETED;

	return a->start == b->start && a->end == b->end &&
	       a->file_offset == b->file_offset && a->inode == b->inode &&
	       a->device == b->device && a->protection == b->protection &&
	       ((a->flags ^ b->flags) & told) == 0 &&
	       strcmp(a->name, b->name) == 0;
}

bool procmaps_complete(struct procmaps *maps, const struct procmaps *known)
{
	size_t at = 0;
	bool all = true;

	for (size_t i = 0; i < maps->count; i++) {
		struct procmap *map = &maps->items[i];

		while (at < known->count && known->items[at].start < map->start)
			at++;
		if (at < known->count &&
		    procmap_is_same(map, &known->items[at])) {
			map->flags = known->items[at].flags;
			map->resident = known->items[at].resident;
			map->swapped = known->items[at].swapped;
			map->anonymous = known->items[at].anonymous;
		} else {
			all = false;
		}
	}
	return all;
}

struct error *procmaps_add(struct procmaps *maps, const struct procmap *map)
{
	size_t length = strlen(map->name) + 1, at = maps->count;
	struct procmap *items = reallocarray(maps->items, maps->count + 1,
					     sizeof(*items));
	char *names = malloc(maps->names_size + length);

	if (items)
		maps->items = items;
	if (!items || !names) {
		free(names);
		return error_no_memory();
	}
	memcpy(names, maps->names, maps->names_size);
	memcpy(names + maps->names_size, map->name, length);
	for (size_t i = 0; i < maps->count; i++)
		items[i].name = names + (items[i].name - maps->names);
	free(maps->names);
	maps->names = names;
	while (at > 0 && items[at - 1].start > map->start)
		at--;
	memmove(&items[at + 1], &items[at],
		(maps->count - at) * sizeof(*items));
	items[at] = *map;
	items[at].name = names + maps->names_size;
	maps->names_size += length;
	maps->count++;
	return NULL;
}

void procmaps_deinit(struct procmaps *maps)
{
	free(maps->items);
	free(maps->names);
	*maps = (struct procmaps){ 0 };
}

const struct procmap *procmaps_find(const struct procmaps *maps,
				    uint64_t address)
{
	size_t low = 0, high = maps->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (maps->items[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < maps->count && maps->items[low].start <= address ?
		&maps->items[low] : NULL;
}

bool procmap_is_shared_memory(const struct procmap *map)
{
	static const char *const starts[] = {
		"/dev/zero", "/dev/shm/", "/run/shm/", "/memfd:", "/SYSV",
		"[anon_shmem:", "/anon_hugepage",
	};

	for (size_t i = 0; i < sizeof(starts) / sizeof(*starts); i++)
		if (strncmp(map->name, starts[i], strlen(starts[i])) == 0)
			return true;
	return map->name[0] == '\0';
}
