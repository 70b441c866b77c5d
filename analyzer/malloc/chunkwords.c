/*
 * Words of all captured memory that lead into chunks of malloc.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One pass in pieces, by all workers. What leads from chunk to chunk is an edge,
 * unless an object of Python has the other one anyway: of most heaps few are left.
 */
#include <elf.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/malloc/chunkownersparts.h"
#include "analyzer/show/scan_progress.h"
#include "image/base/guard.h"
#include "image/base/workers.h"
#include "image/registers.h"
#include "pyheap/census/pyblocks.h"
#include "pyheap/types/pyobject.h"

enum {
	PIECE = 1 << 20,		/* bytes searched at one go */
	PAGE = 4096,
	LOCAL_BELOW = 64 << 10,		/* of a thread pointer: static data */
	LOCAL_ABOVE = 16 << 10,		/* … and the thread's structure */
};

#define NO_MODULE UINT32_MAX

struct piece {
	uint64_t start, end;
	uint32_t module;		/* its number; NO_MODULE: none */
	bool no_memory;
	struct chunk_edge *edges;
	size_t num_edges, room;
};

struct sweep {
	struct chunkowners *owners;
	struct piece *pieces;
	size_t num_pieces, room;
	struct memory_reader *readers;	/* by worker: for pieces … */
	struct memory_reader *single;	/* … and for single words */
	_Atomic uint64_t done, total;	/* bytes */
	pthread_mutex_t lock;		/* of what follows, and owners' edges */
	pthread_cond_t turn;
	size_t next;			/* the piece whose edges come next */
};

/** Where words are that are being looked at. */
struct place {
	struct chunkowners *owners;
	struct piece *piece;
	unsigned int worker;
	struct memory_reader *reader;	/* of pieces */
	struct memory_reader *single;	/* for what lies elsewhere */
};

/* --- who has them ------------------------------------------------------------- */

static void add_edge(struct piece *piece, uint32_t from, uint32_t id,
		     bool begins)
{
	struct chunk_edge edge = { from,
				   id | (begins ? 0 : CHUNK_EDGE_INSIDE) };
	struct chunk_edge *grown;

	if (piece->num_edges) {
		const struct chunk_edge *last =
			&piece->edges[piece->num_edges - 1];

		if (last->from == edge.from && last->to == edge.to)
			return;
	}
	if (piece->num_edges == piece->room) {
		size_t room = piece->room ? 2 * piece->room : 64;

		grown = reallocarray(piece->edges, room, sizeof(*grown));
		if (!grown) {
			piece->no_memory = true;
			return;
		}
		piece->edges = grown;
		piece->room = room;
	}
	piece->edges[piece->num_edges++] = edge;
}

/**
 * A block that has a type where an object has it, and is none: one that was
 * freed, and that the runtime keeps at hand. What is left in it holds nothing.
 */
static bool is_dead_object(const struct place *place,
			   const struct pyh_lookup *lookup)
{
	struct memory_reader *reader = place->single;
	uint64_t words[4];

	if (lookup->block_size < sizeof(words) ||
	    !memory_try_read(reader, lookup->block, words, sizeof(words)))
		return false;
	// Behind two words of a GC head there may be.
	return chunk_type_at(place->owners, words[1]) ||
	       chunk_type_at(place->owners, words[3]);
}

/**
 * Whether an object may have a word of its block that its type does not tell of:
 * extensions ask for more. What is left by rounding holds nothing.
 */
static bool may_have(const struct pyh_lookup *lookup, uint64_t address)
{
	uint64_t end = lookup->object.address + lookup->extent;

	return !pyh_object_is_leaf(lookup->object.type) && address >= end &&
	       lookup->block &&
	       lookup->block + lookup->block_size - end >= PYH_BLOCK_ALIGN;
}

/** Who has a word of memory that is no stack and of no module; 0: nobody. */
static uint32_t key_by_census(const struct place *place, uint64_t address,
			      bool begins)
{
	const struct chunkowners *owners = place->owners;
	struct pyh_lookup lookup;
	uint32_t number;

	if (!owners->census)
		return chunk_key(CHUNK_BY_MEMORY, begins, 0);
	pyh_census_lookup_by(owners->census, place->worker, address, &lookup);
	switch (lookup.place) {
	case PYH_PLACE_OBJECT:
		// So marked, it does not matter who comes first.
		if (!may_have(&lookup, address) ||
		    !chunk_type_number(owners, lookup.object.type, &number))
			return 0;
		return chunk_key(CHUNK_BY_OBJECT, begins, number) &
		       ~CHUNK_KEY_FIRST;
	case PYH_PLACE_RAW:
		return is_dead_object(place, &lookup) ? 0 :
			chunk_key(CHUNK_BY_PYMALLOC, begins, 0);
	case PYH_PLACE_CLAIMED:
		// What is in use of a buffer was looked at with its object.
		if (lookup.block)
			return 0;
		break;
	case PYH_PLACE_FREE:
	case PYH_PLACE_POOL:
		return 0;
	case PYH_PLACE_OTHER:
	case PYH_PLACE_NOT_CAPTURED:
	case PYH_PLACE_UNMAPPED:
		break;
	}
	return chunk_key(CHUNK_BY_MEMORY, begins, 0);
}

static void meet_elsewhere(const struct place *place, uint64_t address,
			   uint32_t id, bool begins)
{
	struct chunkowners *owners = place->owners;
	const struct native_stack *stack;
	uint32_t key = chunk_known(owners, id);

	// Whoever else it was, it would be no news.
	if (chunk_key_owner(key) < CHUNK_BY_OBJECT ||
	    (chunk_key_owner(key) == CHUNK_BY_OBJECT && key & CHUNK_KEY_FIRST))
		return;
	if (place->piece->module != NO_MODULE) {
		key = chunk_key(CHUNK_BY_MODULE, begins, place->piece->module);
	} else {
		stack = native_stack_at(&owners->stacks, address);
		if (stack && address < stack->start)
			return;
		if (!stack)
			stack = native_stack_at(&owners->locals, address);
		key = stack ? chunk_key(CHUNK_BY_THREAD, begins,
					(uint32_t)stack->thread) :
			      key_by_census(place, address, begins);
	}
	chunk_offer(owners, id, key);
}

/** Whether a word of an object in a chunk is a number by its type. */
static bool is_number(const struct place *place, uint32_t chunk,
		      uint64_t address)
{
	const struct chunkowners *owners = place->owners;
	uint32_t key = chunk_known(owners, chunk & CHUNK_EDGE_ID), start, end;
	struct pyh_lookup lookup;

	if (chunk_key_owner(key) != CHUNK_OBJECT ||
	    !chunk_numbers_of(owners, owners->types[chunk_key_number(key)],
			      &start, &end))
		return false;
	pyh_census_lookup_by(owners->census, place->worker, address, &lookup);
	return lookup.place == PYH_PLACE_OBJECT &&
	       address >= lookup.object.address + start &&
	       address < lookup.object.address + end;
}

/** From a chunk, or CHUNK_NONE. */
static void meet(void *context, uint64_t address, uint32_t from, uint32_t id,
		 bool begins)
{
	const struct place *place = context;

	if (from == CHUNK_NONE)
		meet_elsewhere(place, address, id, begins);
	else if (id != (from & CHUNK_EDGE_ID) &&
		 chunk_key_owner(chunk_known(place->owners, id)) >
				       CHUNK_BY_OBJECT &&
		 !is_number(place, from, address))
		add_edge(place->piece, from, id, begins);
}

/* --- pieces of memory ----------------------------------------------------------- */

/**
 * Words of [start, end) between data of tensors: of large ones that is all that is
 * read, and the kernel is not to read more around it.
 */
static void search_few(const struct place *place, struct chunk_batch *batch,
		       uint64_t start, uint64_t end)
{
	uint64_t words[PAGE / 8];
	size_t size = (size_t)(end - start) & ~(size_t)7;

	if (memory_try_few(place->reader, start, words, size))
		chunk_words_add(batch, (const uint8_t *)words, size, start);
}

/** Words of [start, end), page by page where not all of it can be read. */
static void search_words(const struct place *place, struct chunk_batch *batch,
			 uint64_t start, uint64_t end)
{
	struct memory_reader *reader = place->reader;
	const uint8_t *bytes;

	start = (start + 7) & ~UINT64_C(7);
	if (end < start + 8)
		return;
	if (end - start <= PAGE && chunk_data_beside(place->owners, start, end)) {
		search_few(place, batch, start, end);
		return;
	}
	bytes = memory_view(reader, start, (size_t)(end - start));
	if (bytes) {
		chunk_words_add(batch, bytes, (size_t)(end - start), start);
		return;
	}
	for (uint64_t next; start < end; start = next) {
		next = (start + PAGE) & ~(uint64_t)(PAGE - 1);
		if (next > end)
			next = end;
		bytes = memory_view(reader, start, (size_t)(next - start));
		if (bytes)
			chunk_words_add(batch, bytes, (size_t)(next - start),
					start);
	}
}

static void search(const struct place *place, struct chunk_batch *batch,
		   uint32_t from, uint64_t start, uint64_t end)
{
	batch->from = from;
	while (start < end) {
		uint64_t data = chunk_data_skip(place->owners, &start, end);

		search_words(place, batch, start, data);
		start = data;
	}
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/** A chunk whose words may be pointers: free ones, text and numbers have none. */
static bool may_lead(const struct chunkowners *owners, uint32_t id)
{
	uint32_t key = chunk_known(owners, id);

	return chunk_is_used(owners->table, id) &&
	       (chunk_key_owner(key) != CHUNK_OBJECT ||
		!pyh_object_is_leaf(owners->types[chunk_key_number(key)]));
}

/** What a chunk is in its edges. */
static uint32_t name_from(const struct chunkowners *owners, uint32_t id,
			  uint64_t size)
{
	return size <= CHUNK_SMALL ||
	       chunk_key_owner(chunk_known(owners, id)) == CHUNK_OBJECT ?
		       id : id | CHUNK_EDGE_BUFFER;
}

/** What of a piece is a chunk, what is in a gap between them, and what is not
    looked at. */
static void search_chunks(const struct place *place, struct chunk_batch *batch,
			  uint32_t id)
{
	const struct chunktable *table = place->owners->table;
	const struct piece *piece = place->piece;
	struct chunk_cursor cursor;
	uint64_t user;

	chunk_cursor_set(&cursor, table, id);
	while (chunk_cursor_next(&cursor, &id, &user) &&
	       user < piece->end + CHUNK_HEADER) {
		bool gap = table->kinds[id] == CHUNK_GAP;
		uint64_t start = gap ? user - CHUNK_HEADER : user;
		uint64_t end = cursor.user ? cursor.user - CHUNK_HEADER :
					     piece->end;

		if (!gap && !may_lead(place->owners, id))
			continue;
		// The user has the first word of the next header, too.
		if (table->kinds[id] == GLIBC_USED)
			end += 8;
		search(place, batch, gap ? CHUNK_NONE :
		       name_from(place->owners, id, end - start),
		       start > piece->start ? start : piece->start,
		       least(end, piece->end));
	}
}

/**
 * Put the edges of a piece behind all others. They are in the order of memory, so
 * that all of one chunk follow each other: whoever is early waits for those before,
 * which are being searched by then.
 */
static struct error *append_edges(struct sweep *sweep, size_t shard)
{
	struct chunkowners *owners = sweep->owners;
	struct piece *piece = &sweep->pieces[shard];
	uint64_t count;
	struct error *err = piece->no_memory ? error_no_memory() : NULL;

	(void)pthread_mutex_lock(&sweep->lock);
	while (sweep->next != shard)
		(void)pthread_cond_wait(&sweep->turn, &sweep->lock);
	count = owners->num_edges + piece->num_edges;
	if (!err && piece->num_edges)
		err = spill_grow(&owners->edges_array,
				 count * sizeof(*owners->edges));
	if (!err && piece->num_edges) {
		owners->edges = owners->edges_array.data;
		memcpy(owners->edges + owners->num_edges, piece->edges,
		       piece->num_edges * sizeof(*piece->edges));
		owners->num_edges = count;
	}
	sweep->next = shard + 1;
	(void)pthread_cond_broadcast(&sweep->turn);
	(void)pthread_mutex_unlock(&sweep->lock);
	free(TAKE(piece->edges));
	return err;
}

static struct error *search_piece(void *context, unsigned int worker,
				  size_t shard)
{
	struct sweep *sweep = context;
	struct chunkowners *owners = sweep->owners;
	struct piece *piece = &sweep->pieces[shard];
	struct place place = { .owners = owners, .piece = piece,
			       .worker = worker,
			       .reader = &sweep->readers[worker],
			       .single = &sweep->single[worker] };
	struct chunk_batch batch = { .owners = owners, .fn = meet,
				     .context = &place };
	uint64_t first = rank_address(owners->table->users, 0);
	uint32_t id = rank_below(owners->table->users, piece->start +
						       CHUNK_HEADER);

	if (id == RANK_NONE) {
		search(&place, &batch, CHUNK_NONE, piece->start,
		       first ? least(piece->end, first - CHUNK_HEADER) :
			       piece->end);
		id = 0;
	}
	if (first)
		search_chunks(&place, &batch, id);
	chunk_words_end(&batch);
	progress_tell(NULL, "looking at who holds malloc's chunks",
		      atomic_fetch_add(&sweep->done, piece->end - piece->start),
		      sweep->total);
	return append_edges(sweep, shard);
}

/* --- which memory --------------------------------------------------------------- */

/**
 * Code and constants hold no such words. What else cannot be written to may have
 * been written before.
 */
static bool is_searched(const struct image *image,
			const struct memory_range *range)
{
	return range->state == MEMORY_CAPTURED &&
	       range->source == MEMORY_FROM_CORE &&
	       (range->protection & PF_W ||
		(!(range->protection & PF_X) &&
		 !modules_find(image->modules, range->start)));
}

static uint32_t module_number(const struct modules *modules,
			      const struct module *module)
{
	for (size_t i = 0; module && i < modules_count(modules); i++)
		if (modules_get(modules, i) == module)
			return (uint32_t)i;
	return NO_MODULE;
}

/**
 * The module whose data begins at an address of a range. The kernel may have
 * joined its .bss and what follows; where that is not known, it is all of it.
 *
 * @param ret_end  where the data ends
 */
static uint32_t module_at(const struct image *image,
			  const struct memory_range *range, uint64_t address,
			  uint64_t *ret_end)
{
	const struct module *module = modules_find(image->modules, address);

	*ret_end = range->end;
	if (module) {
		*ret_end = least(module->end, range->end);
	} else if (address == range->start && address > 0) {
		module = modules_find(image->modules, address - 1);
		if (module && module->has_bias)
			module = NULL;
	}
	return module_number(image->modules, module);
}

static struct error *add_piece(struct sweep *sweep, struct piece piece)
{
	struct piece *grown;

	if (sweep->num_pieces == sweep->room) {
		sweep->room = sweep->room ? 2 * sweep->room : 1024;
		grown = reallocarray(sweep->pieces, sweep->room,
				     sizeof(*grown));
		if (!grown)
			return error_no_memory();
		sweep->pieces = grown;
	}
	sweep->pieces[sweep->num_pieces++] = piece;
	sweep->total += piece.end - piece.start;
	return NULL;
}

static struct error *make_pieces(struct sweep *sweep)
{
	const struct image *image = sweep->owners->image;
	struct error *err = NULL;

	for (size_t i = 0; !err && i < memory_num_ranges(image->memory); i++) {
		const struct memory_range *range =
			memory_range(image->memory, i);
		uint64_t next, end = range->start;
		uint32_t module = NO_MODULE;

		if (range->state == MEMORY_NOT_CAPTURED &&
		    (range->protection & PF_W))
			sweep->owners->coverage.missing += range->end -
							   range->start;
		if (!is_searched(image, range))
			continue;
		for (uint64_t at = range->start; !err && at < range->end;
		     at = next) {
			if (at == end)
				module = module_at(image, range, at, &end);
			next = least((at | (PIECE - 1)) + 1, end);
			err = add_piece(sweep, (struct piece){
				.start = at, .end = next, .module = module });
		}
	}
	sweep->owners->coverage.scanned = sweep->total;
	return err;
}

/* --- threads ---------------------------------------------------------------------- */

static void see_registers(struct chunkowners *owners)
{
	const struct core_notes *notes = &owners->image->notes;

	for (size_t i = 0; i < notes->num_threads; i++) {
		uint64_t word;
		char name[16];
		bool begins;

		for (size_t j = 0; core_register_named(
			     &notes->threads[i], owners->image->machine, j,
			     name, &word); j++) {
			uint32_t id = chunk_led_to(owners->table, word,
						   &begins);

			if (id != CHUNK_NONE)
				chunk_offer(owners, id, chunk_key(
					CHUNK_BY_THREAD, begins, (uint32_t)i));
		}
	}
}

/**
 * Thread-local data of a thread whose stack glibc has not made: the first one,
 * or one on a signal's stack.
 */
static struct error *find_locals(struct chunkowners *owners)
{
	const struct native_stacks *stacks = &owners->stacks;
	struct native_stacks *locals = &owners->locals;

	if (stacks->count == 0)
		return NULL;
	locals->items = calloc(stacks->count, sizeof(*locals->items));
	if (!locals->items)
		return error_no_memory();
	for (size_t i = 0; i < stacks->count; i++) {
		const struct native_stack *stack = &stacks->items[i];
		const struct memory_range *range =
			memory_find(owners->image->memory, stack->local);
		struct native_stack *local = &locals->items[locals->count];

		if (stack->local == 0 || !range ||
		    native_stack_at(stacks, stack->local) == stack)
			continue;
		*local = *stack;
		local->room = local->start =
			stack->local - range->start > LOCAL_BELOW ?
				stack->local - LOCAL_BELOW : range->start;
		local->end = least(stack->local + LOCAL_ABOVE, range->end);
		locals->count++;
	}
	native_stacks_settle(locals);
	return NULL;
}

/* --- all of it --------------------------------------------------------------------- */

static void sweep_deinit(struct sweep *sweep)
{
	for (unsigned int i = 0; sweep->readers && i < 2 * sweep->owners->workers;
	     i++)
		memory_reader_deinit(&sweep->readers[i]);
	for (size_t i = 0; i < sweep->num_pieces; i++)
		free(sweep->pieces[i].edges);
	free(sweep->pieces);
	free(sweep->readers);
	(void)pthread_cond_destroy(&sweep->turn);
	(void)pthread_mutex_destroy(&sweep->lock);
}

struct error *chunk_words_find(struct chunkowners *owners)
{
	CLEANUP(sweep_deinit) struct sweep sweep = {
		.owners = owners, .lock = PTHREAD_MUTEX_INITIALIZER,
		.turn = PTHREAD_COND_INITIALIZER,
	};
	struct error *err = native_stacks_find(owners->image, &owners->stacks);

	sweep.readers = calloc(2 * (size_t)owners->workers,
			       sizeof(*sweep.readers));
	if (!err && !sweep.readers)
		err = error_no_memory();
	sweep.single = sweep.readers + owners->workers;
	for (unsigned int i = 0; !err && i < 2 * owners->workers; i++)
		err = memory_reader_init(&sweep.readers[i],
					 owners->image->memory);
	if (!err)
		err = find_locals(owners);
	if (!err)
		err = make_pieces(&sweep);
	// No word is more than one edge, and those are no larger than words.
	if (!err)
		err = spill_reserve(&owners->spill, sweep.total,
				    &owners->edges_array);
	if (err)
		return err;
	see_registers(owners);
	return workers_run(owners->workers, sweep.num_pieces, search_piece,
			   &sweep);
}
