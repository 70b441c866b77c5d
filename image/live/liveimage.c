/*
 * A process that stands still, as an image; see liveimage.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/liveimage.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/live/procinfo.h"

static bool read_memory(void *context, uint64_t offset, void *buffer,
			size_t size)
{
	return standing_read(context, offset, buffer, size);
}

static void close_image(struct image **image)
{
	image_close(*image);
}

static void close_memory(struct memory **memory)
{
	memory_destroy(*memory);
}

/** What the notes of a dump would say of files and of the loader. */
static struct error *fill_notes(struct core_notes *notes,
				const struct standing *standing)
{
	const struct procmaps *maps = standing->options.maps;
	size_t size = 0;
	char *auxv = NULL;
	struct error *err = procinfo_file(standing->options.pid, "auxv", &auxv,
					  &size);

	// Without it the program is a library like others.
	error_free(err);
	notes->auxv = (uint64_t (*)[2])auxv;
	notes->num_auxv = auxv ? size / sizeof(*notes->auxv) : 0;
	notes->files = calloc(maps->count + 1, sizeof(*notes->files));
	if (!notes->files)
		return error_no_memory();
	for (size_t i = 0; i < maps->count; i++) {
		const struct procmap *map = &maps->items[i];

		if (procmap_is_file(map))
			notes->files[notes->num_files++] =
				(struct file_mapping){
					.start = map->start,
					.end = map->end,
					.file_offset = map->file_offset,
					.path = map->name,
				};
	}
	return NULL;
}

static struct error *add_ranges(struct memory *memory,
				const struct standing *standing)
{
	const struct selection *selection = standing->options.selection;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < selection->count; i++) {
		const struct select_range *from = &selection->ranges[i];
		struct memory_range range = {
			.start = from->start,
			.end = from->end,
			.state = MEMORY_NOT_CAPTURED,
			.protection = standing->options.maps
					      ->items[from->mapping].protection,
			.reason = from->reason,
			.offset = from->start,
		};

		if (from->known_zero) {
			range.state = MEMORY_ZERO;
		} else if (standing_has(standing, from)) {
			range.state = MEMORY_CAPTURED;
			range.source = MEMORY_FROM_CORE;
		}
		err = memory_add(memory, &range);
	}
	return err;
}

/** The ranges of the process alone, or with those of its files. */
static struct error *build_memory(struct image *image,
				  const struct standing *standing,
				  struct memory **ret)
{
	CLEANUP(close_memory) struct memory *memory = NULL;
	struct error *err = memory_create(image->backing, &memory);

	if (!err)
		err = add_ranges(memory, standing);
	if (!err && image->modules)
		err = modules_add_file_pages(image->modules, memory);
	if (!err)
		err = memory_seal(memory);
	if (!err)
		*ret = TAKE(memory);
	return err;
}

static struct error *find_modules(struct image *image,
				  const struct standing *standing)
{
	CLEANUP(close_memory) struct memory *memory = NULL;
	struct modules_options options = { .machine = image->machine };
	struct error *err = build_memory(image, standing, &memory);
	char root[40];

	// Its files are those of its own root.
	(void)snprintf(root, sizeof(root), "/proc/%d/root",
		       standing->options.pid);
	options.sysroot = root;
	if (!err)
		err = modules_create(&image->notes, memory, &options,
				     image->findings, &image->modules);
	return err;
}

static struct error *fill(struct image *image, struct standing *standing)
{
	struct backing_source source = {
		.read = read_memory,
		.context = standing,
		.size = UINT64_C(1) << 63,
	};
	struct error *err;

#if defined(__x86_64__)
	image->machine = EM_X86_64;
#else
	image->machine = EM_AARCH64;
#endif
	image->page_size = (uint32_t)sysconf(_SC_PAGESIZE);
	image->path = strdup("the process");
	if (!image->path)
		return error_no_memory();
	err = findings_create(&image->findings);
	if (!err)
		err = backing_open_source(&source, image->path,
					  &image->backing);
	if (!err)
		err = fill_notes(&image->notes, standing);
	if (!err)
		err = find_modules(image, standing);
	return err ? err : build_memory(image, standing, &image->memory);
}

struct error *live_image_open(struct standing *standing, struct image **ret)
{
	CLEANUP(close_image) struct image *image = calloc(1, sizeof(*image));
	struct error *err = image ? fill(image, standing) : error_no_memory();

	if (!err)
		*ret = TAKE(image);
	return err;
}
