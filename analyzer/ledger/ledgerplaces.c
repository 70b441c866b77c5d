/*
 * The ledger: stacks, and what is left of each mapping; see ledgerparts.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/ledger/ledgerparts.h"

#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/base/units.h"
#include "image/nativestacks.h"
#include "image/registers.h"

enum {
	PAGE = 4096,
	/* From where a thread pointer points to the end of glibc's struct
	   pthread, at most: 0x900 in 2.36, a little more since. */
	THREAD_STRUCT = 0xA00,
	THREAD_STRUCT_ALIGN = 64,
	SEARCH = 2 * PAGE,		/* from the end of a stack, for it */
	TLS_MAX = 1 << 20,		/* of the first thread's mapping */
	VIEW = 1 << 16,			/* bytes of variables looked at at once */
};

/* --- stacks ------------------------------------------------------------------- */

static uint64_t left_of(const struct resident_mapping *mapping)
{
	return mapping->resident - mapping->told;
}

/** Bytes of a range, as far as they have no row yet. */
static void tell_left_of(struct ledger_making *making,
			 struct resident_mapping *mapping, uint64_t start,
			 uint64_t end, enum ledger_category category)
{
	uint64_t bytes = residency_of(making->residency, start, end,
				      &making->hint);

	if (bytes > left_of(mapping))
		bytes = left_of(mapping);
	ledger_tell_left(making, mapping, bytes, category);
}

/** Memory of the process's own that no file is behind. */
static bool is_anonymous(const struct ledger_making *making,
			 const struct resident_mapping *mapping)
{
	return *mapping->name != '/' &&
	       !(mapping->flags & FORMAT_MAPPING_SHARED) &&
	       !modules_find(making->image->modules, mapping->start);
}

static void tell_stack(struct ledger_making *making,
		       const struct core_thread *thread)
{
	uint16_t machine = making->image->machine;
	struct residency *residency = making->residency;
	struct resident_mapping *mapping, *local;
	uint64_t stack, tls, end;

	if (!core_register(thread, machine, CORE_TLS, &tls))
		tls = 0;
	local = tls ? residency_at(residency, tls) : NULL;
	if (!core_register(thread, machine, CORE_SP, &stack))
		return;
	stack = native_stack_pointer(making->image->memory, stack);
	mapping = residency_at(residency, stack);
	if (mapping && is_anonymous(making, mapping)) {
		end = mapping->end;
		// What follows a thread's own memory may be somebody else's.
		if (local == mapping && tls > stack &&
		    end - tls > THREAD_STRUCT)
			end = (tls + THREAD_STRUCT + PAGE - 1) &
			      ~(uint64_t)(PAGE - 1);
		tell_left_of(making, mapping, stack, end, LEDGER_STACKS);
		// One that ends in the mapping may begin in it as well.
		if (!mapping->is_malloc)
			tell_left_of(making, mapping, mapping->start, stack,
				     LEDGER_STACKS_BELOW);
		making->ledger->rows[LEDGER_STACKS].count++;
	}
	// The first thread's lies in memory of the loader's.
	if (local && local != mapping && is_anonymous(making, local) &&
	    left_of(local) <= TLS_MAX)
		ledger_tell_left(making, local, left_of(local), LEDGER_TLS);
}

/**
 * A stack that libc keeps for the next thread: behind a guard, and at its end
 * the struct pthread of the last one, which holds its own address twice.
 * Source: glibc nptl/allocatestack.c, sysdeps/x86_64/nptl/tls.h (tcbhead_t).
 */
static bool is_ended_stack(struct ledger_making *making,
			   struct memory_reader *memory,
			   const struct resident_mapping *mapping)
{
	const struct residency *residency = making->residency;
	uint64_t size = mapping->end - mapping->start;
	uint64_t tail = size < SEARCH ? size : SEARCH;
	const struct resident_mapping *guard = mapping - 1;
	uint64_t words[3];

	if (making->image->machine != EM_X86_64 ||
	    mapping == residency->mappings || guard->end != mapping->start ||
	    guard->protection != 0)
		return false;
	for (uint64_t at = mapping->end - tail; at < mapping->end;
	     at += THREAD_STRUCT_ALIGN)
		if (memory_try_read(memory, at, words, sizeof(words)) &&
		    words[0] == at && words[2] == at)
			return true;
	return false;
}

static struct error *tell_ended_stacks(struct ledger_making *making)
{
	struct residency *residency = making->residency;
	struct memory_reader memory;
	struct error *err = memory_reader_init(&memory, making->image->memory);

	if (err)
		return err;
	for (size_t i = 0; i < residency->count; i++) {
		struct resident_mapping *mapping = &residency->mappings[i];

		if (left_of(mapping) == 0 || !is_anonymous(making, mapping) ||
		    !is_ended_stack(making, &memory, mapping))
			continue;
		ledger_tell_left(making, mapping, left_of(mapping),
				 LEDGER_STACKS_ENDED);
		making->ledger->rows[LEDGER_STACKS_ENDED].count++;
	}
	memory_reader_deinit(&memory);
	return NULL;
}

/* --- mappings ----------------------------------------------------------------- */

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

static enum ledger_category category_of(const struct ledger_making *making,
					const struct resident_mapping *mapping)
{
	static const struct {
		const char *begin;
		enum ledger_category category;
	} names[] = {
		{ "/dev/shm/", LEDGER_SHARED }, { "/memfd:", LEDGER_SHARED },
		{ "/SYSV", LEDGER_SHARED }, { "/dev/zero", LEDGER_SHARED },
		{ "[anon_shmem", LEDGER_SHARED },
		// What cudaHostAlloc() gives is a mapping of this one.
		{ "/dev/nvidiactl", LEDGER_PINNED_HOST },
		{ "/dev/", LEDGER_DRIVER }, { "anon_inode:", LEDGER_DRIVER },
		{ "[stack", LEDGER_STACKS_BELOW },
		{ "[v", LEDGER_KERNEL }, { "[uprobes", LEDGER_KERNEL },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (begins(mapping->name, names[i].begin))
			return names[i].category;
	if (modules_find(making->image->modules, mapping->start))
		return mapping->protection & PF_X ? LEDGER_MODULE_CODE :
		       mapping->protection & PF_W ? LEDGER_MODULE_DATA :
						    LEDGER_MODULE_CONSTANTS;
	return *mapping->name == '/' ? LEDGER_FILES :
	       mapping->flags & FORMAT_MAPPING_SHARED ? LEDGER_SHARED :
							LEDGER_UNEXPLAINED;
}

/* What takes the most of a category. */
struct most {
	char name[96];
	uint64_t bytes;
};

struct mosts {
	struct most most[LEDGER_NUM_CATEGORIES];
	struct most last[LEDGER_NUM_CATEGORIES];	/* the file looked at */
};

static void weigh(struct mosts *mosts, enum ledger_category category,
		  const char *name, uint64_t bytes)
{
	struct most *last = &mosts->last[category];

	// A file's mappings follow one another.
	if (strncmp(last->name, name, sizeof(last->name) - 1) != 0)
		*last = (struct most){ 0 };
	(void)snprintf(last->name, sizeof(last->name), "%s", name);
	last->bytes += bytes;
	if (last->bytes > mosts->most[category].bytes)
		mosts->most[category] = *last;
}

static void tell_rest_of(struct ledger_making *making, struct mosts *mosts,
			 struct resident_mapping *mapping,
			 enum ledger_category category, const char *name)
{
	uint64_t left = left_of(mapping);
	char address[32];
	const char *slash = strrchr(name, '/');

	if (left == 0)
		return;
	if (*name == '\0' || *name == '[') {
		(void)snprintf(address, sizeof(address), "0x%" PRIx64,
			       mapping->start);
		name = address;
	} else if (slash && category != LEDGER_SHARED &&
		   category != LEDGER_DRIVER) {
		name = slash + 1;
	}
	weigh(mosts, category, name, left);
	ledger_tell_left(making, mapping, left, category);
	making->ledger->rows[category].count++;
}

/* --- mappings of modules' own --------------------------------------------------- */

/* A mapping that nothing explains, and which module has its address. */
struct mystery {
	struct resident_mapping *mapping;
	const struct module *module;	/* NULL: none */
	bool at_start;			/* the very address it begins at */
};

struct mysteries {
	struct mystery *items;		/* by address */
	size_t count;
	uint64_t start, end;		/* of all of them */
};

static void consider(struct mysteries *mysteries, uint64_t word,
		     const struct module *module)
{
	size_t low = 0, high = mysteries->count;
	struct mystery *one;

	if (word < mysteries->start || word >= mysteries->end)
		return;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (mysteries->items[middle].mapping->end <= word)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == mysteries->count ||
	    mysteries->items[low].mapping->start > word)
		return;
	one = &mysteries->items[low];
	if (one->module && (one->at_start || word != one->mapping->start))
		return;
	one->module = module;
	one->at_start = word == one->mapping->start;
}

/** Hold the variables of a module against what is not explained. */
static void look_at_variables(struct ledger_making *making,
			      struct memory_reader *memory,
			      struct mysteries *mysteries,
			      const struct resident_mapping *mapping)
{
	const struct module *module = modules_find(making->image->modules,
						   mapping->start);
	const struct residency *residency = making->residency;
	uint64_t at = mapping->start;

	for (; at < mapping->end; at += VIEW) {
		uint64_t size = mapping->end - at < VIEW ? mapping->end - at :
							   VIEW;
		const uint8_t *bytes;

		if (residency_of(residency, at, at + size, &making->hint) == 0)
			continue;
		bytes = memory_view(memory, at, (size_t)size);
		for (size_t i = 0; bytes && i + 8 <= size; i += 8) {
			uint64_t word;

			memcpy(&word, bytes + i, sizeof(word));
			consider(mysteries, word, module);
		}
	}
}

static struct error *find_mappers(struct ledger_making *making,
				  struct mysteries *mysteries)
{
	const struct residency *residency = making->residency;
	struct memory_reader memory;
	struct error *err = memory_reader_init(&memory, making->image->memory);

	for (size_t i = 0; !err && i < residency->count; i++)
		if (category_of(making, &residency->mappings[i]) ==
		    LEDGER_MODULE_DATA)
			look_at_variables(making, &memory, mysteries,
					  &residency->mappings[i]);
	if (!err)
		memory_reader_deinit(&memory);
	return err;
}

/**
 * Is all known that may have such a mapping? Where Python's heap, or malloc's, is
 * there and could not be read, a word that leads to it proves nothing.
 */
static bool others_are_told(const struct ledger_making *making)
{
	const struct ledger *ledger = making->ledger;

	return !*ledger->no_malloc &&
	       (!*ledger->no_python ||
		(!opened_runtime_if_found(making->opened) &&
		 !opened_partial(making->opened)));
}

/** What nothing explains is left for the last. */
static struct error *tell_mysteries(struct ledger_making *making,
				    struct mosts *mosts,
				    struct mysteries *mysteries)
{
	// An allocator that is there and was not read has memory somewhere.
	enum ledger_category nobodys =
		*making->ledger->rows[LEDGER_ALLOCATOR].detail ?
			LEDGER_ALLOCATOR : LEDGER_UNEXPLAINED;
	struct error *err = NULL;

	if (mysteries->count > 0 && others_are_told(making)) {
		mysteries->start = mysteries->items[0].mapping->start;
		mysteries->end =
			mysteries->items[mysteries->count - 1].mapping->end;
		err = find_mappers(making, mysteries);
	}
	for (size_t i = 0; !err && i < mysteries->count; i++) {
		const struct mystery *one = &mysteries->items[i];

		if (one->module)
			tell_rest_of(making, mosts, one->mapping, LEDGER_MAPPED,
				     one->module->path);
		else
			tell_rest_of(making, mosts, one->mapping,
				     nobodys, one->mapping->name);
	}
	return err;
}

static struct error *tell_mappings(struct ledger_making *making,
				   struct mosts *mosts)
{
	struct residency *residency = making->residency;
	struct mysteries mysteries = { 0 };
	CLEANUP(free_pointer) struct mystery *items =
		calloc(residency->count + 1, sizeof(*items));

	if (!items)
		return error_no_memory();
	mysteries.items = items;
	for (size_t i = 0; i < residency->count; i++) {
		struct resident_mapping *mapping = &residency->mappings[i];
		enum ledger_category category = category_of(making, mapping);

		if (left_of(mapping) == 0)
			continue;
		if (category == LEDGER_UNEXPLAINED)
			items[mysteries.count++].mapping = mapping;
		else
			tell_rest_of(making, mosts, mapping, category,
				     mapping->name);
	}
	return tell_mysteries(making, mosts, &mysteries);
}

struct error *ledger_places(struct ledger_making *making)
{
	const struct core_notes *notes = &making->image->notes;
	CLEANUP(free_pointer) struct mosts *mosts = calloc(1, sizeof(*mosts));
	struct error *err = mosts ? NULL : error_no_memory();

	for (size_t i = 0; !err && i < notes->num_threads; i++)
		tell_stack(making, &notes->threads[i]);
	if (!err)
		err = tell_ended_stacks(making);
	if (!err)
		err = tell_mappings(making, mosts);
	for (int i = 0; !err && i < LEDGER_NUM_CATEGORIES; i++) {
		char size[UNITS_TEXT_MAX];

		if (mosts->most[i].bytes)
			(void)snprintf(making->ledger->rows[i].detail,
				       LEDGER_DETAIL, "%s, %s",
				       mosts->most[i].name,
				       units_size(mosts->most[i].bytes, size));
	}
	return err;
}
