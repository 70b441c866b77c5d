/*
 * What words, links and claims of the census lead to: objects outside of
 * arenas, and damage; see pycensuswords.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pycensuswords.h"

#include <inttypes.h>
#include <stdlib.h>

#include "pyheap/sizes/pysize.h"

void census_push_task(struct census_worker *worker, struct task task)
{
	struct tasks *tasks = &worker->found;

	if (tasks->count == tasks->room) {
		size_t room = tasks->room ? tasks->room * 2 : 256;
		struct task *grown;

		grown = realloc(tasks->tasks, room * sizeof(*grown));
		if (!grown) {
			worker->no_memory = true;
			return;
		}
		tasks->tasks = grown;
		tasks->room = room;
	}
	tasks->tasks[tasks->count++] = task;
}

/* --- what looks like an object and is none ------------------------------- */

/**
 * A reference count below PYH_REFCOUNT_LARGE and a type, in no GC list, and yet
 * no object: if that is because of what it says of itself, nobody claims it as
 * a buffer, and another object refers to it, it is a damaged one.
 *
 * @param at  where in bytes it begins; in front of it there is a GC head at
 *	most
 * @param size  bytes it may take; 0: not known
 */
static void check_refused(struct census_worker *worker, uint64_t address,
			  const uint8_t *bytes, size_t at, size_t size,
			  size_t available)
{
	const struct pyh_runtime *runtime = worker->census->runtime;
	const uint8_t *body = bytes + at;
	const struct pyh_type *type;
	struct pyh_measure measure;

	if (worker->num_refused == REFUSED_MAX)
		return;
	type = pyh_type_find(&worker->types, pyh_word(body, 8));
	if (!type || type->presize != (at ? PYH_GC_HEAD : 0) ||
	    type->kind == PYH_KIND_OTHER || type->kind == PYH_KIND_TYPE ||
	    (at && (pyh_word(body - PYH_GC_HEAD, 0) ||
		    pyh_word(body - PYH_GC_HEAD, 8))) ||
	    (pyh_measure(runtime, type, address, body, available,
			 &worker->memory, &measure) != PYH_MEASURE_REFUSED &&
	     (size == 0 || at + measure.extent <= size)))
		return;
	worker->refused[worker->num_refused].address = address;
	worker->refused[worker->num_refused++].type = type;
}

/* --- words --------------------------------------------------------------- */

/**
 * Data of a module other than Python's own: it has structures there whose second
 * word is a type, as many as it likes, and no objects but types.
 */
static bool is_of_extension(const struct pyh_runtime *runtime, uint64_t address)
{
	const struct modules *modules = runtime->image->modules;
	const struct module *module = modules_find(modules, address);

	return module && module != modules_find(modules, runtime->address);
}

/** The same for what a word outside of arenas leads to. */
static void refuse_outside(struct census_worker *worker, uint64_t address)
{
	uint8_t bytes[PYH_GC_HEAD + 64];
	const struct pyh_type *type;

	// Where there are no GC heads, nothing tells what was an object.
	if (worker->census->runtime->free_threaded ||
	    !memory_try_read(&worker->memory, address - PYH_GC_HEAD, bytes,
			     sizeof(bytes)))
		return;
	// Where nothing was asked about a type, there was no count.
	type = pyh_type_known(&worker->types,
			      pyh_word(bytes + PYH_GC_HEAD, 8));
	if (type &&
	    pyh_word(bytes + PYH_GC_HEAD, 0) - 1 < PYH_REFCOUNT_LARGE - 1 &&
	    !is_of_extension(worker->census->runtime, address))
		check_refused(worker, address, type->presize ? bytes :
			      bytes + PYH_GC_HEAD,
			      type->presize ? PYH_GC_HEAD : 0, 0, 64);
}

/** Look at an address outside of arenas; if it is an object, mark and queue. */
__attribute__((noinline))
static void consider_outside(struct census_worker *worker, uint64_t address)
{
	struct pyh_census *census = worker->census;
	size_t slot = (size_t)(address >> 3 ^ address >> 15) % RECENT_WORDS;
	struct pyh_candidate candidate;

	if (worker->recent[slot] == address)
		return;
	worker->recent[slot] = address;
	if (pyh_space_marked(&census->space, address, PYH_MARK_OBJECT))
		return;
	if (!pyh_object_outside(&census->rules, &worker->types,
				&worker->outside, &worker->memory, address,
				&candidate)) {
		refuse_outside(worker, address);
		return;
	}
	if (pyh_space_mark(&census->space, address, PYH_MARK_OBJECT))
		census_push_task(worker, (struct task){ .address = address });
}

/** Look at a word: it may be the address of an object. */
__attribute__((noinline))
void census_consider(struct census_worker *worker, uint64_t word)
{
	const struct pyh_space *space = &worker->census->space;

	if (!(word & 7) && pyh_space_may_be_other(space, word) &&
	    pyh_space_page(space, word) == PYH_PAGE_OTHER)
		consider_outside(worker, word);
}

__attribute__((noinline))
void census_consider_words(struct census_worker *worker, const uint8_t *bytes,
			   uint32_t size)
{
	for (uint32_t at = 0; at < size; at += 8)
		census_consider(worker, pyh_word(bytes, at));
}

/* --- GC lists ------------------------------------------------------------ */

/**
 * Whether an address is one of the heads that GC lists begin and end with.
 *
 * @param unknown  what to say if not all of them are known
 */
static bool is_list_head(const struct pyh_runtime *runtime, uint64_t address,
			 bool unknown)
{
	for (size_t i = 0; i < runtime->num_interpreters; i++) {
		const uint64_t *heads = runtime->interpreters[i].gc_heads;

		for (int j = 0; j < PYH_GC_LISTS; j++) {
			if (heads[j] == address)
				return true;
			// Not known, so it may be this one.
			if (heads[j] == 0 && unknown)
				return true;
		}
	}
	return false;
}

/** The part of census_consider_neighbour() for those that may be outside. */
__attribute__((noinline))
void census_look_at_neighbour(struct census_worker *worker, uint64_t head)
{
	struct pyh_census *census = worker->census;
	uint64_t address = head + PYH_GC_HEAD;

	if (pyh_space_page(&census->space, address) != PYH_PAGE_OTHER)
		return;
	census_consider(worker, address);
	if (!pyh_space_marked(&census->space, address, PYH_MARK_OBJECT) &&
	    !census->rules.collecting &&
	    !is_list_head(census->runtime, head, /* unknown= */ true))
		findings_add(census->runtime->image->findings, "gc-object",
			     address, "a GC list leads here, but there is no "
			     "object that could be in one");
}

/** Whether a GC head lies here: that of a list, or before an object. */
static bool is_head(struct census_worker *worker, uint64_t head)
{
	const struct pyh_census *census = worker->census;
	const struct pyh_type *type;
	uint64_t words[2];

	if (is_list_head(census->runtime, head, /* unknown= */ false))
		return true;
	if (!memory_try_read(&worker->memory, head + PYH_GC_HEAD, words,
			     sizeof(words)) ||
	    !pyh_may_be_refcount(&census->rules, words[0]))
		return false;
	type = pyh_type_find(&worker->types, words[1]);
	return type && type->has_gc;
}

/**
 * A head names one before it that does not lead to it: say which of the two is
 * damaged. The one before is not if it is linked with another.
 *
 * @param shift  from a head to the address to be shown for it
 */
__attribute__((noinline))
static void report_link(struct census_worker *worker, uint64_t head,
			uint64_t before, uint64_t shift)
{
	struct findings *findings = worker->census->runtime->image->findings;
	uint64_t next, back;

	if (!memory_try_u64(&worker->memory, before, &next) ||
	    ((next & ~UINT64_C(3)) != before &&
	     memory_try_u64(&worker->memory, (next & ~UINT64_C(3)) + 8,
			    &back) && (back & ~UINT64_C(3)) == before) ||
	    !is_head(worker, before)) {
		findings_add(findings, "gc-list", head + shift, "its GC list "
			     "is damaged here: it leads back to 0x%" PRIx64
			     ", which does not lead on to this", before);
		return;
	}
	findings_add(findings, "gc-list", is_list_head(
			     worker->census->runtime, before, false) ?
			     before : before + PYH_GC_HEAD, "its GC list is "
		     "damaged here: it does not lead on to 0x%" PRIx64
		     ", which leads back to this", head + shift);
}

/** The GC list leads from one object to its neighbours. */
void census_follow_link(struct census_worker *worker,
			const struct pyh_candidate *object)
{
	if (object->link != PYH_LINK_HOLDS)
		return;
	census_consider_neighbour(worker, object->gc_next);
	census_consider_neighbour(worker, object->gc_prev);
	if (object->link_damaged)
		report_link(worker, object->address - PYH_GC_HEAD,
			    object->gc_prev, PYH_GC_HEAD);
}

/** The same for the head of a list, whose ends nobody else looks at. */
void census_check_list(struct census_worker *worker, uint64_t head)
{
	uint64_t words[2], back;

	if (head == 0 || worker->census->rules.collecting ||
	    !memory_try_read(&worker->memory, head, words, sizeof(words)))
		return;
	words[1] &= ~UINT64_C(3);
	// One that lies in what the dump lacks proves nothing.
	if (memory_try_u64(&worker->memory, words[1], &back) ?
		    (back & ~UINT64_C(3)) == head :
		    memory_state_at(worker->census->runtime->image->memory,
				    words[1]) == MEMORY_NOT_CAPTURED)
		return;
	report_link(worker, head, words[1], 0);
}

/** Whether two words are a GC head whose neighbours both lead back to it. */
static bool is_linked(struct census_worker *worker, uint64_t head,
		      const uint8_t *bytes)
{
	const struct pyh_space *space = &worker->census->space;
	uint64_t next, prev, back;

	memcpy(&next, bytes, sizeof(next));
	memcpy(&prev, bytes + 8, sizeof(prev));
	next &= ~UINT64_C(3);
	prev &= ~UINT64_C(3);
	return pyh_space_page(space, next) != PYH_PAGE_ABSENT &&
	       pyh_space_page(space, prev) != PYH_PAGE_ABSENT &&
	       memory_try_u64(&worker->memory, prev, &back) &&
	       (back & ~UINT64_C(3)) == head &&
	       memory_try_u64(&worker->memory, next + 8, &back) &&
	       (back & ~UINT64_C(3)) == head;
}

/**
 * A block that is no object, and yet its neighbours in a GC list know it, was
 * one before its header was damaged.
 */
void census_check_raw(struct census_worker *worker, uint64_t block,
		      const uint8_t *bytes, uint32_t size)
{
	const struct pyh_object_rules *rules = &worker->census->rules;
	uint32_t at = rules->prefix, end = size - (rules->overhead - at);

	// In 3.11 and later two more words may come before the GC head.
	for (int i = 0; i < 2 && at + 2 * PYH_GC_HEAD <= size;
	     i++, at += PYH_GC_HEAD) {
		if (!is_linked(worker, block + at, bytes + at))
			continue;
		findings_add(rules->runtime->image->findings, "gc-object",
			     block + at + PYH_GC_HEAD, "a GC list leads here, "
			     "but reference count, type and size cannot be "
			     "those of an object");
		pyh_types_suspect(worker->census->types,
				  pyh_word(bytes + at, PYH_GC_HEAD + 8));
		return;
	}
	for (int i = 0; i < 2; i++) {
		uint32_t head = i * PYH_GC_HEAD;

		at = rules->prefix + head;
		if (at + 16 <= end && pyh_word(bytes + at, 0) - 1 <
					      PYH_REFCOUNT_LARGE - 1)
			check_refused(worker, block + at,
				      bytes + rules->prefix, head,
				      end - rules->prefix, end - at);
	}
}
