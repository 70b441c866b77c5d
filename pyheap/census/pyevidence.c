/*
 * Who is referred to by an object; see pyevidence.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pyevidence.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "image/base/guard.h"
#include "pyheap/census/pywords.h"
#include "pyheap/references/pyrefs.h"

struct settling {
	const struct pyh_runtime *runtime;
	struct pyh_census *census;
	struct pyh_shapes *shapes;
};

static bool hold(void *context, const struct pyh_ref *ref)
{
	if (ref->kind != PYH_REF_GUESS && ref->kind != PYH_REF_TYPE)
		pyh_census_hold(context, ref->address);
	return true;
}

static void follow(void *context, const struct pyh_visit *visit)
{
	const struct settling *settling = context;
	struct pyh_referrer referrer;

	// What only looks like an object proves nothing.
	if (visit->alone == PYH_EVIDENCE_GUESSED)
		return;
	referrer = pyh_referrer(settling->runtime, settling->shapes, visit);
	pyh_refs_each(&referrer, hold, settling->census);
}

/* --- of a few objects ------------------------------------------------------ */

/*
 * Words that lead to one of them are much quicker to find than references. An
 * object that such a word lies in is asked for its references; for memory that
 * an object owns, the owner is found by the words that lead to that memory. At
 * first only until there is one word for each: most often it is the right one,
 * and not far away. Only where words do not tell, all references of all objects
 * are gone through.
 */

enum {
	BUFFERS_MAX = 256,	/* that owners are looked for of */
	BUFFER_HEAD = 256,	/* bytes of a buffer that its owner leads to */
	NEAR_BELOW = 4096,	/* bytes below a word that a structure begins in */
};

/** Memory with a word that leads to a wanted object, and is in none itself. */
struct buffer {
	uint64_t start;		/* as claimed; 0: not known */
	uint64_t word;		/* address of the word */
	bool claimed;		/* surely by an object */
	atomic_bool owned;	/* an object leads to it */
};

/** A few objects that are looked for. */
struct search {
	struct settling settling;
	uint64_t *wanted;		/* addresses, sorted */
	atomic_bool *found;		/* for each: it is referred to */
	atomic_bool *met;		/* … or there is a word for it */
	size_t count;
	atomic_size_t left, unmet;
	bool thorough;			/* one word is not enough */
	uint64_t filter;		/* of bits of the addresses */
	atomic_bool over;		/* nothing is left to be found */
	struct buffer buffers[BUFFERS_MAX];
	atomic_size_t num_buffers;	/* more than BUFFERS_MAX: too many */
};

static inline uint64_t filter_bit(uint64_t address)
{
	return UINT64_C(1) << ((address >> 4 ^ address >> 12) & 63);
}

static int compare_addresses(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/** Which of the wanted an address is; false: none. */
static bool is_wanted(const struct search *search, uint64_t address,
		      size_t *ret)
{
	const uint64_t *hit = bsearch(&address, search->wanted, search->count,
				      sizeof(*search->wanted),
				      compare_addresses);

	*ret = hit ? (size_t)(hit - search->wanted) : 0;
	return hit != NULL;
}

/** There is a word for it, which is enough for a first try. */
static void set_met(struct search *search, size_t i)
{
	if (!atomic_exchange(&search->met[i], true) &&
	    atomic_fetch_sub(&search->unmet, 1) == 1 && !search->thorough)
		atomic_store(&search->over, true);
}

static bool look(void *context, const struct pyh_ref *ref)
{
	struct search *search = context;
	size_t i;

	if (!(search->filter & filter_bit(ref->address)) ||
	    ref->kind == PYH_REF_GUESS || ref->kind == PYH_REF_TYPE)
		return true;
	if (is_wanted(search, ref->address, &i) &&
	    !atomic_exchange(&search->found[i], true)) {
		pyh_census_hold(search->settling.census, ref->address);
		if (atomic_fetch_sub(&search->left, 1) == 1)
			atomic_store(&search->over, true);
		set_met(search, i);
	}
	return true;
}

static void look_in(void *context, const struct pyh_visit *visit)
{
	struct search *search = context;
	struct pyh_referrer referrer;

	if (visit->alone == PYH_EVIDENCE_GUESSED)
		return;
	referrer = pyh_referrer(search->settling.runtime,
				search->settling.shapes, visit);
	pyh_refs_each(&referrer, look, search);
}

/** A word leads to a wanted object: ask the object that it lies in. */
static void meet(void *context, unsigned int worker, uint64_t address,
		 uint64_t word)
{
	struct search *search = context;
	enum pyh_place place;
	uint64_t start;
	size_t wanted, i;

	if (!is_wanted(search, word, &wanted) ||
	    atomic_load(&search->found[wanted]))
		return;
	place = pyh_census_show(search->settling.census, worker, address,
				look_in, search, &start);
	// Blocks that no object claims may be a structure of one all the same.
	if (place != PYH_PLACE_CLAIMED && place != PYH_PLACE_OTHER &&
	    place != PYH_PLACE_RAW)
		return;
	i = atomic_fetch_add(&search->num_buffers, 1);
	if (i < BUFFERS_MAX)
		search->buffers[i] = (struct buffer){
			.start = start, .word = address,
			.claimed = place == PYH_PLACE_CLAIMED ||
				   (start && address - start < NEAR_BELOW),
		};
	else
		atomic_store(&search->over, true);
	if (start != 0)
		set_met(search, wanted);
}

/** True if an object that has this word leads to a buffer by it. */
static bool leads_to(const struct buffer *buffer, uint64_t word)
{
	return (buffer->start && word >= buffer->start &&
		word < buffer->start + BUFFER_HEAD) ||
	       (word <= buffer->word && buffer->word - word <= NEAR_BELOW);
}

/** A word leads to a buffer: ask the object that it lies in. */
static void meet_owner(void *context, unsigned int worker, uint64_t address,
		       uint64_t word)
{
	struct search *search = context;

	if (pyh_census_show(search->settling.census, worker, address, look_in,
			    search, NULL) != PYH_PLACE_OBJECT)
		return;
	for (size_t i = 0; i < atomic_load(&search->num_buffers); i++) {
		if (leads_to(&search->buffers[i], word))
			atomic_store(&search->buffers[i].owned, true);
	}
}

/** Find words that lead into ranges, from around what is wanted outwards. */
static struct error *search_words(struct search *search,
				  struct pyh_word_range *ranges, size_t count,
				  size_t num_near,
				  void (*fn)(void *context, unsigned int worker,
					     uint64_t address, uint64_t word))
{
	return pyh_words_search(&(struct pyh_word_search){
		.memory = search->settling.runtime->image->memory,
		.workers = pyh_census_workers(search->settling.census),
		.ranges = ranges, .num_ranges = count,
		.near = search->wanted, .num_near = num_near,
		.fn = fn, .context = search, .stop = &search->over,
	});
}

/** Ask the objects that words lie in which lead to what is still wanted. */
static struct error *search_holders(struct search *search, size_t num_near)
{
	CLEANUP(free_pointer) struct pyh_word_range *ranges =
		calloc(search->count, sizeof(*ranges));
	size_t count = 0;

	if (!ranges)
		return error_no_memory();
	for (size_t i = 0; i < search->count; i++) {
		if (!atomic_load(&search->found[i]))
			ranges[count++] = (struct pyh_word_range){
				search->wanted[i], search->wanted[i] + 1 };
	}
	return search_words(search, ranges, count, num_near, meet);
}

/** Ask the objects that own the memory where such words were found. */
static struct error *search_owners(struct search *search, size_t num_near)
{
	struct pyh_word_range ranges[BUFFERS_MAX * 2];
	size_t num_buffers = atomic_load(&search->num_buffers), count = 0;

	for (size_t i = 0; i < num_buffers; i++) {
		const struct buffer *buffer = &search->buffers[i];

		if (buffer->start)
			ranges[count++] = (struct pyh_word_range){
				buffer->start, buffer->start + BUFFER_HEAD };
		ranges[count++] = (struct pyh_word_range){
			buffer->word < NEAR_BELOW ? 0 :
						    buffer->word - NEAR_BELOW,
			buffer->word + 1 };
	}
	return count == 0 ? NULL :
			    search_words(search, ranges, count, num_near,
					 meet_owner);
}

/** True if something may hold what is left that words did not tell of. */
static bool is_in_doubt(const struct search *search)
{
	size_t num_buffers = atomic_load(&search->num_buffers);

	for (size_t i = 0; i < num_buffers && i < BUFFERS_MAX; i++) {
		if (search->buffers[i].claimed &&
		    !atomic_load(&search->buffers[i].owned))
			return true;
	}
	return num_buffers > BUFFERS_MAX;
}

/** One try by words, of which the holders' ends early unless thorough. */
static struct error *try_words(struct search *search, size_t num_near,
			       bool thorough)
{
	struct error *err;

	search->thorough = thorough;
	atomic_store(&search->num_buffers, 0);
	atomic_store(&search->over, false);
	err = search_holders(search, num_near);
	if (err || atomic_load(&search->left) == 0 ||
	    atomic_load(&search->num_buffers) > BUFFERS_MAX)
		return err;
	atomic_store(&search->over, false);
	return search_owners(search, num_near);
}

static struct error *run_search(struct search *search, size_t num_near)
{
	struct error *err = try_words(search, num_near, false);
	size_t left = atomic_load(&search->left);

	// One that there was no word for has kept the first try from ending early,
	// and what was found by it may be what holds others.
	if (!err && left > 0 && (left < search->count ||
				 atomic_load(&search->unmet) == 0))
		err = try_words(search, num_near, true);
	if (err || atomic_load(&search->left) == 0 || !is_in_doubt(search))
		return err;
	atomic_store(&search->over, false);
	return pyh_census_search(search->settling.census, search->wanted,
				 num_near, look_in, search, &search->over);
}

/** Raise the evidence of those known to be held; the others' addresses. */
static size_t still_open(const struct pyh_census *census,
			 struct pyh_object *objects, size_t count,
			 uint64_t *addresses)
{
	size_t open = 0;

	for (size_t i = 0; i < count; i++) {
		if (pyh_census_held(census, objects[i].address))
			objects[i].evidence = PYH_EVIDENCE_CERTAIN;
		else if (objects[i].evidence != PYH_EVIDENCE_CERTAIN)
			addresses[open++] = objects[i].address;
	}
	return open;
}

/** Large objects are not in arenas; what is as old as they are is. */
static size_t add_anchor(const struct pyh_runtime *runtime, uint64_t *near,
			 size_t count)
{
	if (runtime->num_interpreters > 0)
		near[count++] = runtime->interpreters[0].modules;
	return count;
}

struct error *pyh_evidence_settle_few(const struct pyh_runtime *runtime,
				      struct pyh_census *census,
				      struct pyh_shapes *shapes,
				      struct pyh_object *objects, size_t count)
{
	CLEANUP(free_pointer) struct search *search = calloc(1, sizeof(*search));
	CLEANUP(free_pointer) uint64_t *wanted = calloc(count + 1,
							sizeof(*wanted));
	CLEANUP(free_pointer) atomic_bool *found = calloc(count + 1,
							  sizeof(*found));
	CLEANUP(free_pointer) atomic_bool *met = calloc(count + 1,
							sizeof(*met));
	struct error *err;

	if (!search || !wanted || !found || !met)
		return error_no_memory();
	*search = (struct search){ .settling = { runtime, census, shapes },
				   .wanted = wanted, .found = found,
				   .met = met };
	search->count = still_open(census, objects, count, wanted);
	if (search->count == 0)
		return NULL;
	atomic_store(&search->left, search->count);
	atomic_store(&search->unmet, search->count);
	for (size_t i = 0; i < search->count; i++)
		search->filter |= filter_bit(wanted[i]);
	qsort(wanted, search->count, sizeof(*wanted), compare_addresses);
	err = run_search(search, add_anchor(runtime, wanted, search->count));
	(void)still_open(census, objects, count, wanted);
	return err;
}

struct error *pyh_evidence_report_refused(const struct pyh_runtime *runtime,
					  struct pyh_census *census,
					  struct pyh_shapes *shapes)
{
	CLEANUP(free_pointer) struct pyh_object *refused = NULL;
	size_t count = pyh_census_refused(census, &refused);
	struct error *err;

	if (count == 0)
		return NULL;
	err = pyh_evidence_settle_few(runtime, census, shapes, refused, count);
	for (size_t i = 0; !err && i < count; i++) {
		if (refused[i].evidence == PYH_EVIDENCE_CERTAIN)
			findings_add(runtime->image->findings, "object",
				     refused[i].address, "%s is damaged: what "
				     "it says of its size or its contents "
				     "cannot be true; it is not counted",
				     refused[i].type->name);
	}
	return err;
}

/* --- of all ----------------------------------------------------------------- */

struct error *pyh_evidence_settle(const struct pyh_runtime *runtime,
				  struct pyh_census *census,
				  struct pyh_shapes *shapes)
{
	struct settling settling = { runtime, census, shapes };

	return pyh_census_visit(census, follow, &settling);
}
