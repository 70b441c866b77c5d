/*
 * Finds what a dump of threads and runtime alone must hold; see stacks.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/stacks.h"

#include <elf.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/linkmap.h"
#include "image/live/liveimage.h"
#include "image/live/page_set.h"

enum {
	RED_ZONE = 128,		/* bytes in use below a stack pointer */
	/* Around a thread pointer: static thread-local data lies below, the
	   thread's own structure above (glibc: 2,304 bytes). */
	LOCAL_BELOW = 64 << 10,
	LOCAL_ABOVE = 16 << 10,
	BSS_MAX = 16 << 20,	/* of a module's data that is in no file */
};

struct finder {
	struct standing *standing;
	const struct stacks_options *options;
	struct page_set read;
	struct select_span *spans;
	size_t count, capacity;
	char *why;
};

static void close_image(struct image **image)
{
	image_close(*image);
}

static void finder_deinit(struct finder *finder)
{
	finder->standing->read = NULL;
	page_set_deinit(&finder->read);
	free(finder->spans);
}

/** Whole pages. */
static struct error *keep(struct finder *finder, uint64_t start, uint64_t end)
{
	uint64_t mask = finder->options->page_size - 1;

	if (start >= end || end > UINT64_MAX - mask)
		return NULL;
	if (finder->count == finder->capacity) {
		size_t more = finder->capacity ? 2 * finder->capacity : 256;
		struct select_span *grown = reallocarray(finder->spans, more,
							 sizeof(*grown));

		if (!grown)
			return error_no_memory();
		finder->spans = grown;
		finder->capacity = more;
	}
	finder->spans[finder->count++] = (struct select_span){
		start & ~mask, (end + mask) & ~mask,
	};
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = ((const struct select_span *)a)->start;
	uint64_t y = ((const struct select_span *)b)->start;

	return (x > y) - (x < y);
}

/** Sort, and join what overlaps or touches. */
static size_t join(struct select_span *spans, size_t count)
{
	size_t last = 0;

	if (count == 0)
		return 0;
	qsort(spans, count, sizeof(*spans), compare);
	for (size_t i = 1; i < count; i++) {
		if (spans[i].start > spans[last].end)
			spans[++last] = spans[i];
		else if (spans[i].end > spans[last].end)
			spans[last].end = spans[i].end;
	}
	return last + 1;
}

/* --- modules -------------------------------------------------------------- */

/** A module's data that is zero at first has no file, and lies behind it. */
static bool is_bss(const struct procmap *below, const struct procmap *map)
{
	return map->inode == 0 && map->name[0] == '\0' &&
	       (map->protection & PF_W) && map->start == below->end;
}

static struct error *keep_modules(struct finder *finder)
{
	const struct procmaps *maps = finder->standing->options.maps;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < maps->count; i++) {
		const struct procmap *map = &maps->items[i];
		uint64_t end = map->end;

		if (strcmp(map->name, "[vdso]") == 0) {
			err = keep(finder, map->start, map->end);
			continue;
		}
		if (!select_is_module(maps, i))
			continue;
		if (i + 1 < maps->count && is_bss(map, map + 1))
			end = map[1].end - end < BSS_MAX ? map[1].end :
							   end + BSS_MAX;
		err = keep(finder, map->start, end);
	}
	return err;
}

/* --- threads -------------------------------------------------------------- */

static uint64_t down(uint64_t from, uint64_t by)
{
	return from > by ? from - by : 0;
}

/**
 * The stack from its pointer up. Where glibc made it, the thread's structure is
 * at its top; another one may share its mapping with anything above it.
 */
static struct error *keep_stack(struct finder *finder,
				const struct procmap *map,
				const struct stacks_thread *thread)
{
	uint64_t end = map->end;

	if (thread->local > thread->stack && thread->local < end &&
	    end - thread->local > LOCAL_ABOVE)
		end = thread->local + LOCAL_ABOVE;
	if (end - thread->stack > STACKS_STACK_MAX)
		end = thread->stack + STACKS_STACK_MAX;
	return keep(finder, down(thread->stack, RED_ZONE), end);
}

static struct error *keep_thread(struct finder *finder,
				 const struct stacks_thread *thread)
{
	const struct procmaps *maps = finder->standing->options.maps;
	const struct procmap *stack = procmaps_find(maps, thread->stack);
	const struct procmap *local = procmaps_find(maps, thread->local);
	uint64_t start = down(thread->local, LOCAL_BELOW);
	struct error *err = NULL;

	// On a signal's own stack: the frames below the signal's are elsewhere.
	if (local && stack != local && !(local->protection & PF_X))
		start = down(thread->local, STACKS_STACK_MAX / 8);
	if (stack)
		err = keep_stack(finder, stack, thread);
	if (!err && local)
		err = keep(finder, start < local->start ? local->start : start,
			   local->end - thread->local < LOCAL_ABOVE ?
				   local->end : thread->local + LOCAL_ABOVE);
	return err;
}

static struct error *keep_threads(struct finder *finder)
{
	const struct procmaps *maps = finder->standing->options.maps;
	const struct stacks_options *options = finder->options;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < options->num_threads &&
	     i < STACKS_THREADS_MAX; i++)
		err = keep_thread(finder, &options->threads[i]);
	// The main thread's also where its registers are not known, or it is
	// on another stack.
	for (size_t i = 0; !err && i < maps->count; i++) {
		const struct procmap *map = &maps->items[i];

		if (strcmp(map->name, "[stack]") == 0)
			err = keep(finder,
				   map->end - map->start > STACKS_STACK_MAX ?
					   map->end - STACKS_STACK_MAX :
					   map->start, map->end);
	}
	return err;
}

/* --- what is read ----------------------------------------------------------- */

/** Keep what has been read, and begin anew. */
static struct error *keep_pages(struct finder *finder)
{
	size_t capacity = finder->count + finder->read.count + 1;
	struct select_span *grown = reallocarray(finder->spans, capacity,
						 sizeof(*grown));

	if (!grown)
		return error_no_memory();
	finder->spans = grown;
	finder->capacity = capacity;
	page_set_spans(&finder->read, finder->spans, &finder->count);
	page_set_clear(&finder->read);
	return NULL;
}

static struct error *keep_range(void *context, uint64_t start, uint64_t end)
{
	page_set_add(context, start, end);
	return NULL;
}

static void tell(struct finder *finder, const char *text)
{
	(void)snprintf(finder->why, STACKS_WHY_MAX, "%s", text);
}

/** Why there is nothing of a model is no reason not to dump. */
static struct error *ask_model(struct finder *finder, struct image *image,
			       const struct model *model)
{
	bool found = false;
	struct error *err = model->each_of_threads(image, keep_range,
						   &finder->read, &found);

	// Looking for what is not there reads all there is.
	if (!found)
		page_set_clear(&finder->read);
	else
		finder->why[0] = '\0';
	if (err && err->kind != ERROR_NO_MEMORY) {
		tell(finder, err->message);
		error_free(err);
		err = NULL;
	}
	if (finder->read.full)
		tell(finder, "the pages of runtime and frames come to more "
			     "than 64 MiB, some are not in the dump");
	return err ? err : keep_pages(finder);
}

/** The loader's list of modules, which debuggers follow: it is on the heap. */
static struct error *read_loader(struct image *image)
{
	struct memory_reader reader = { 0 };
	const struct module *program = NULL;
	struct linkmap_entry entry;
	uint64_t address, previous = 0;
	char path[PATH_MAX];
	struct error *err = memory_reader_init(&reader, image->memory);

	if (err)
		return err;
	if (core_notes_auxv(&image->notes, AT_PHDR, &address))
		program = modules_find(image->modules, address);
	address = linkmap_find(&reader, &image->notes, program,
			       image->page_size);
	for (size_t i = 0; address != 0 && i < LINKMAP_MAX; i++) {
		if (!linkmap_read(&reader, address, previous, &entry))
			break;
		(void)memory_try_string(&reader, entry.name, path,
					sizeof(path));
		previous = address;
		address = entry.next;
	}
	memory_reader_deinit(&reader);
	return NULL;
}

static struct error *read_all(struct finder *finder)
{
	CLEANUP(close_image) struct image *image = NULL;
	const struct model *const *models = finder->options->models;
	struct error *err = live_image_open(finder->standing, &image);

	if (!err)
		err = read_loader(image);
	if (!err)
		err = keep_pages(finder);
	tell(finder, "no runtime of a language was found");
	for (size_t i = 0; !err && models && models[i]; i++)
		err = ask_model(finder, image, models[i]);
	return err;
}

static struct error *keep_read(struct finder *finder)
{
	struct error *err;

	finder->standing->read = &finder->read;
	err = read_all(finder);
	finder->standing->read = NULL;
	if (err && err->kind == ERROR_NO_MEMORY)
		return err;
	if (err) {
		tell(finder, err->message);
		error_free(err);
	}
	return NULL;
}

/* --- what is asked for ------------------------------------------------------ */

static struct error *keep_included(struct finder *finder)
{
	const struct procmaps *maps = finder->standing->options.maps;
	const struct select_rules *rules = finder->options->rules;
	struct error *err = NULL;

	for (size_t i = 0; !err && rules && i < rules->count; i++) {
		const struct select_rules one = { &rules->items[i], 1 };
		const struct select_rule *rule = &rules->items[i];

		if (rule->exclude)
			continue;
		if (rule->end != 0) {
			err = keep(finder, rule->start, rule->end);
			continue;
		}
		for (size_t k = 0; !err && k < maps->count; k++)
			if (select_is_included(&one, &maps->items[k],
					       maps->items[k].start))
				err = keep(finder, maps->items[k].start,
					   maps->items[k].end);
	}
	return err;
}

/* -------------------------------------------------------------------------- */

struct error *stacks_find(struct standing *standing,
			  const struct stacks_options *options,
			  struct stacks *ret)
{
	CLEANUP(finder_deinit) struct finder finder = {
		.standing = standing,
		.options = options,
		.why = ret->native_only,
	};
	struct error *err;

	*ret = (struct stacks){ 0 };
	err = page_set_init(&finder.read, options->page_size, STACKS_READ_MAX);
	if (!err)
		err = keep_modules(&finder);
	// What is kept anyway takes no room among what is read.
	finder.count = join(finder.spans, finder.count);
	if (!err)
		err = page_set_except(&finder.read, finder.spans, finder.count);
	if (!err)
		err = keep_threads(&finder);
	if (!err)
		err = keep_included(&finder);
	if (!err)
		err = keep_read(&finder);
	if (err)
		return err;
	ret->count = join(finder.spans, finder.count);
	ret->spans = TAKE(finder.spans);
	return NULL;
}

void stacks_deinit(struct stacks *stacks)
{
	free(stacks->spans);
	*stacks = (struct stacks){ 0 };
}
