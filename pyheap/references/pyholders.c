/*
 * Words outside of Python's knowledge that lead to objects; see pyholders.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/references/pyholders.h"

#include <elf.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/malloc/mallocchunk.h"
#include "image/nativestacks.h"
#include "image/symbols.h"
#include "pyheap/census/pywords.h"
#include "pyheap/threads/pystack.h"
#include "pyheap/types/pyobject.h"
#include "pyheap/values/pystr.h"

enum {
	STACK_CHUNKS_MAX = 1 << 16,
	STACK_CHUNK_MAX = 1 << 30,
	CLOSURE_ABI_MAX = 32,
	CLOSURE_ARGS_MAX = 1024,
	CLOSURE_TYPE_MAX = 32,	/* FFI_TYPE_LAST is 15 */
};

struct span {
	uint64_t start, end;
};

struct spans {
	struct span *items;
	size_t count, room;
};

struct hit {
	uint64_t address, word;
	uint64_t object_asked;	/* that the word leads to */
	enum pyh_place place;	/* RAW, OTHER, OBJECT: not known to refer */
	uint64_t object, type;	/* of OBJECT */
};

/** An object asked for. */
struct asked {
	uint64_t object;
	uint64_t text;	/* where what C code would hold of it begins, or 0 */
};

struct search {
	const struct pyh_runtime *runtime;
	struct pyh_census *census;
	struct pyh_shapes *shapes;
	struct asked *objects;	/* ascending */
	size_t count;
	bool (*begins)(void *context, uint64_t address);
	void *context;
	struct native_stacks stacks;
	struct spans passed;	/* where no words are looked at; by start */
	struct memory_reader memory;
	struct malloc_walk walk;
	struct span mapping;	/* that the word asked about last was in */
	pthread_mutex_t lock;	/* of what follows */
	struct hit *hits;
	size_t num_hits, room;
	atomic_bool over;	/* there are too many */
	struct error *err;
};

/* --- spans ---------------------------------------------------------------- */

static struct error *add_span(struct spans *spans, struct span span)
{
	if (spans->count == spans->room) {
		size_t room = spans->room ? spans->room * 2 : 256;
		struct span *grown = reallocarray(spans->items, room,
						  sizeof(*grown));

		if (!grown)
			return error_no_memory();
		spans->items = grown;
		spans->room = room;
	}
	spans->items[spans->count++] = span;
	return NULL;
}

static int by_start(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/** The last span that starts at or below an address, if it reaches there. */
static const struct span *span_at(const struct spans *spans, uint64_t address)
{
	size_t low = 0, high = spans->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (spans->items[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && address < spans->items[low - 1].end ?
		       &spans->items[low - 1] : NULL;
}

/** Where memory of one kind begins and ends around an address. */
static struct span mapping_around(const struct memory *memory, uint64_t address)
{
	const struct memory_range *at = memory_find(memory, address), *next;
	struct span ret = { 0 };

	if (!at)
		return ret;
	ret = (struct span){ .start = at->start, .end = at->end };
	while (ret.start > 0 &&
	       (next = memory_find(memory, ret.start - 1)) != NULL &&
	       next->protection == at->protection)
		ret.start = next->start;
	while ((next = memory_find(memory, ret.end)) != NULL &&
	       next->protection == at->protection)
		ret.end = next->end;
	return ret;
}

/* --- what is known -------------------------------------------------------- */

struct adding {
	struct search *search;
	struct error *err;
};

/** A word that is a root already. */
static bool pass_root(void *context, const struct pyh_root *root)
{
	struct adding *adding = context;

	if (root->holder != 0)
		adding->err = add_span(&adding->search->passed,
				       (struct span){ .start = root->holder,
						      .end = root->holder + 8 });
	return !adding->err;
}

/**
 * The data stack: of what is in use the roots have told, the rest is left over.
 * Source: CPython Include/cpython/pystate.h, struct _stack_chunk: {previous,
 * size in bytes, top}.
 */
static bool pass_data_stack(void *context, const struct pyh_thread *thread)
{
	struct adding *adding = context;
	struct search *search = adding->search;
	uint64_t at, chunk[2];

	if (!pyh_field(search->runtime, &search->memory, thread->address,
		       PYH_TSTATE_DATASTACK_CHUNK, &at))
		return true;
	for (int i = 0; i < STACK_CHUNKS_MAX && at != 0 && !adding->err; i++) {
		if (!memory_try_read(&search->memory, at, chunk,
				     sizeof(chunk)) ||
		    chunk[1] > STACK_CHUNK_MAX)
			break;
		adding->err = add_span(&search->passed,
				       (struct span){ .start = at,
						      .end = at + chunk[1] });
		at = chunk[0];
	}
	return !adding->err;
}

/** Sort, and join what overlaps. */
static void settle(struct spans *spans)
{
	size_t kept = 0;

	if (spans->count == 0)
		return;
	qsort(spans->items, spans->count, sizeof(*spans->items), by_start);
	for (size_t i = 1; i < spans->count; i++) {
		if (spans->items[i].start > spans->items[kept].end)
			spans->items[++kept] = spans->items[i];
		else if (spans->items[i].end > spans->items[kept].end)
			spans->items[kept].end = spans->items[i].end;
	}
	spans->count = kept + 1;
}

static struct error *find_passed(struct search *search)
{
	struct adding adding = { .search = search };

	adding.err = native_stacks_find(search->runtime->image,
					&search->stacks);
	if (!adding.err)
		pyh_roots_each(search->runtime, &search->memory, pass_root,
			       &adding);
	if (!adding.err)
		pyh_threads_each(search->runtime, &search->memory,
				 pass_data_stack, &adding);
	settle(&search->passed);
	return adding.err;
}

/* --- words ---------------------------------------------------------------- */

static int by_object(const void *a, const void *b)
{
	const struct asked *x = a, *y = b;

	return x->object < y->object ? -1 : x->object > y->object;
}

/** The object that a word leads to, if it is one of those asked for, or 0. */
static uint64_t asked_at(const struct search *search, uint64_t word)
{
	size_t low = 0, high = search->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (search->objects[middle].object <= word)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return 0;
	return word == search->objects[low - 1].object ||
			       word == search->objects[low - 1].text ?
		       search->objects[low - 1].object : 0;
}

/**
 * C code that wants the text of a str or bytes keeps a pointer to the text, and
 * with it the object: the documentation of a type of numpy, say.
 */
static uint64_t text_of(struct search *search, uint64_t object)
{
	const struct pyh_runtime *runtime = search->runtime;
	struct pyh_str str;
	uint64_t type, flags;

	if (!pyh_field(runtime, &search->memory, object, PYH_OBJECT_OB_TYPE,
		       &type) ||
	    !pyh_field(runtime, &search->memory, type, PYH_TYPE_TP_FLAGS,
		       &flags))
		return 0;
	if (flags & PYH_TPFLAGS_BYTES_SUBCLASS &&
	    pyh_has(runtime, PYH_BYTES_OB_SVAL))
		return object + pyh_offset(runtime, PYH_BYTES_OB_SVAL);
	if (flags & PYH_TPFLAGS_UNICODE_SUBCLASS &&
	    pyh_str_parse(runtime, &search->memory, object, NULL, 0, &str) ==
		    PYH_FOUND && str.compact && str.ascii)
		return str.data;
	return 0;
}

static void keep_hit(struct search *search, struct hit hit)
{
	pthread_mutex_lock(&search->lock);
	if (search->num_hits == search->room &&
	    search->room < PYH_HOLDERS_WORDS) {
		size_t room = search->room ? search->room * 2 : 1024;
		struct hit *grown = reallocarray(search->hits, room,
						 sizeof(*grown));

		if (grown) {
			search->hits = grown;
			search->room = room;
		} else if (!search->err) {
			search->err = error_no_memory();
		}
	}
	if (search->num_hits < search->room)
		search->hits[search->num_hits++] = hit;
	else
		atomic_store(&search->over, true);
	pthread_mutex_unlock(&search->lock);
}

/** A word in an object. */
struct asking {
	struct search *search;
	struct hit hit;
	bool known;		/* the object is known to have this reference */
};

static bool is_the_word(void *context, const struct pyh_ref *ref)
{
	struct asking *asking = context;

	asking->known = ref->address == asking->hit.object_asked;
	return !asking->known;
}

/**
 * True for a word that holds nothing: left over in a part of the object that is
 * not in use, as in frames whose variables are elsewhere; a pointer to the text
 * of what the object itself refers to, or another one does on its behalf: only
 * in types are there texts (of documentation) that nothing else holds.
 */
static bool is_idle_word(const struct asking *asking,
			 const struct pyh_visit *visit, uint64_t at)
{
	const struct pyh_type *type = visit->object.type;

	return at >= (uint64_t)type->basicsize || at >= visit->extent ||
	       (type->weaklistoffset > 0 &&
		at == (uint64_t)type->weaklistoffset) ||
	       type->kind == PYH_KIND_FRAME ||
	       type->kind == PYH_KIND_GENERATOR ||
	       (asking->hit.word != asking->hit.object_asked &&
		type->kind != PYH_KIND_TYPE && type->kind != PYH_KIND_CTYPE);
}

/** Does the object account for the word by a reference? Items always do. */
static void ask_object(void *context, const struct pyh_visit *visit)
{
	struct asking *asking = context;
	const struct pyh_type *type = visit->object.type;
	uint64_t at = asking->hit.address - visit->object.address;
	struct pyh_referrer referrer = pyh_referrer(asking->search->runtime,
						    asking->search->shapes,
						    visit);

	asking->hit.object = visit->object.address;
	asking->hit.type = type->address;
	asking->known = is_idle_word(asking, visit, at);
	if (!asking->known)
		pyh_refs_each(&referrer, is_the_word, asking);
}

/** True of the word that says of which type an object is. */
static bool is_type_of_object(const struct search *search, uint64_t address)
{
	const struct pyh_runtime *runtime = search->runtime;

	return search->begins && pyh_has(runtime, PYH_OBJECT_OB_TYPE) &&
	       search->begins(search->context, address -
			pyh_offset(runtime, PYH_OBJECT_OB_TYPE));
}

/** Below a stack's pointer nothing holds anything any more. */
static bool is_unused_stack(const struct search *search, uint64_t address)
{
	const struct native_stack *stack = native_stack_at(&search->stacks,
							   address);

	return stack && address < stack->start;
}

static void meet(void *context, unsigned int worker, uint64_t address,
		 uint64_t word)
{
	struct search *search = context;
	struct asking asking = { .search = search, .known = true,
				 .hit = { .address = address, .word = word } };

	if (is_type_of_object(search, address))
		return;
	asking.hit.object_asked = asked_at(search, word);
	if (asking.hit.object_asked == 0 || span_at(&search->passed, address))
		return;
	asking.hit.place = pyh_census_show(search->census, worker, address,
					   ask_object, &asking, NULL);
	// What is in an arena is in no stack.
	if (asking.hit.place == PYH_PLACE_OTHER &&
	    is_unused_stack(search, address))
		return;
	if (asking.hit.place == PYH_PLACE_RAW ||
	    asking.hit.place == PYH_PLACE_OTHER || !asking.known)
		keep_hit(search, asking.hit);
}

static struct error *find_words(struct search *search)
{
	CLEANUP(free_pointer) struct pyh_word_range *ranges =
		calloc(search->count * 2, sizeof(*ranges));
	size_t num_ranges = 0;
	struct error *err;

	if (!ranges)
		return error_no_memory();
	for (size_t i = 0; i < search->count; i++) {
		uint64_t object = search->objects[i].object;
		uint64_t text = search->objects[i].text;

		ranges[num_ranges++] = (struct pyh_word_range){ object,
								object + 1 };
		if (text)
			ranges[num_ranges++] = (struct pyh_word_range){
				text, text + 1 };
	}
	err = pyh_words_search(&(struct pyh_word_search){
		.memory = search->runtime->image->memory,
		.workers = pyh_census_workers(search->census),
		.ranges = ranges, .num_ranges = num_ranges,
		.fn = meet, .context = search, .stop = &search->over,
	});
	return err ? err : TAKE(search->err);
}

/* --- what a word is in ---------------------------------------------------- */

static void no_visit(void *context, const struct pyh_visit *visit)
{
	(void)context;
	(void)visit;
}

/**
 * True if a word lies in memory of malloc that an object owns, or that is free;
 * else root gets its place in the chunk.
 */
static bool is_taken(struct search *search, struct pyh_root *root)
{
	struct span *map = &search->mapping;
	struct malloc_chunk chunk;
	uint64_t buffer;

	if (root->holder < map->start || root->holder >= map->end)
		*map = mapping_around(search->runtime->image->memory,
				      root->holder);
	if (!malloc_chunk_at(&search->walk, map->start, map->end, root->holder,
			     &chunk))
		return false;
	root->name = "malloc";
	root->index = root->holder - chunk.start;
	(void)pyh_census_show(search->census, 0, root->holder, no_visit, NULL,
			      &buffer);
	return !chunk.in_use || buffer >= chunk.start;
}

/** True in writable data of a module; root gets its name and the symbol's. */
static bool is_static(const struct search *search, struct pyh_root *root)
{
	const struct image *image = search->runtime->image;
	const struct memory_range *range = memory_find(image->memory,
						       root->holder);
	struct module *module = modules_find(image->modules, root->holder);
	struct symbol symbol;
	const char *slash;

	// Where its header was not read, its .bss is what follows.
	if (!module && range && range->start > 0) {
		module = modules_find(image->modules, range->start - 1);
		if (module && module->has_bias)
			module = NULL;
	}
	if (!module)
		return false;
	slash = strrchr(module->path, '/');
	root->kind = PYH_ROOT_STATIC;
	root->module = slash ? slash + 1 : module->path;
	root->index = root->holder - module->start;
	if (symbols_at(module, image->memory, root->holder, &symbol)) {
		root->name = symbol.name;
		root->index = root->holder - symbol.address;
	}
	return true;
}

/** Whether what is at an address may be written to, or run. */
static bool allows(const struct search *search, uint64_t address,
		   uint32_t protection)
{
	const struct memory_range *range =
		memory_find(search->runtime->image->memory, address);

	return range && range->protection & protection;
}

/**
 * Whether this is what a closure of libffi hands its function. It is code, then
 * the interface, the function and this: so are callbacks of cffi, wherever the
 * memory is, which may not be the one that is run.
 * Source: libffi include/ffi.h.in, ffi_closure, ffi_cif {abi and nargs, 32 bits
 * each, arg_types, rtype}, ffi_type {size, alignment and type, 16 bits each}.
 */
static bool is_in_closure(struct search *search, uint64_t address)
{
	struct memory_reader *memory = &search->memory;
	uint64_t closure[2], cif[3], type[2];

	return memory_try_read(memory, address - sizeof(closure), closure,
			       sizeof(closure)) &&
	       allows(search, closure[1], PF_X) && closure[0] % 8 == 0 &&
	       memory_try_read(memory, closure[0], cif, sizeof(cif)) &&
	       (uint32_t)cif[0] <= CLOSURE_ABI_MAX &&
	       cif[0] >> 32 <= CLOSURE_ARGS_MAX && cif[2] % 8 == 0 &&
	       memory_try_read(memory, cif[2], type, sizeof(type)) &&
	       (uint16_t)(type[1] >> 16) <= CLOSURE_TYPE_MAX;
}

/** Memory of none of the allocators known: pools of libraries, code. */
static void name_other(struct search *search, struct pyh_root *root)
{
	if (is_in_closure(search, root->holder))
		root->name = PYH_HOLDER_CLOSURES;
	else if (allows(search, root->holder, PF_X))
		root->name = "executable memory";
	if (root->name)
		root->index = PYH_ROOT_NO_BLOCK;
}

/** Say what a word is in; false if it is in an object's memory, or constant. */
static bool describe(struct search *search, const struct hit *hit,
		     struct pyh_root *root)
{
	const struct native_stack *stack = native_stack_at(&search->stacks,
							   hit->address);
	struct pyh_lookup lookup;

	*root = (struct pyh_root){
		.kind = PYH_ROOT_NATIVE, .hold = PYH_HOLD_GUESSED,
		.address = hit->object_asked, .holder = hit->address,
	};
	if (!allows(search, hit->address, PF_W))
		return false;
	if (hit->place == PYH_PLACE_OBJECT) {
		if (is_static(search, root))
			return true;
		root->name = "object";
		root->type = hit->type;
		root->index = hit->address - hit->object;
		return true;
	}
	if (hit->place == PYH_PLACE_RAW) {
		pyh_census_lookup(search->census, hit->address, &lookup);
		root->name = search->runtime->free_threaded ? "mimalloc" :
							   "pymalloc";
		root->index = hit->address - lookup.block;
		return true;
	}
	if (stack && hit->address >= stack->start) {
		root->kind = PYH_ROOT_NATIVE_STACK;
		root->thread = stack->tid;
		root->index = hit->address - stack->start;
		return true;
	}
	if (is_static(search, root))
		return true;
	if (is_taken(search, root))
		return false;
	if (!root->name)
		name_other(search, root);
	return true;
}

static int by_address(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

static void search_deinit(struct search *search)
{
	memory_reader_deinit(&search->memory);
	pthread_mutex_destroy(&search->lock);
	free(search->objects);
	native_stacks_deinit(&search->stacks);
	free(search->passed.items);
	free(search->hits);
}

/** Tell that static objects begin with a count that nobody owns. */
static bool tell_static(struct search *search, pyh_root_fn *fn, void *context)
{
	for (size_t i = 0; i < search->count; i++) {
		struct pyh_root root = {
			.hold = PYH_HOLD_UNTRAVERSED,
			.address = search->objects[i].object,
			.holder = search->objects[i].object,
		};

		if (is_static(search, &root) && !fn(context, &root))
			return false;
	}
	return true;
}

bool pyh_holder_is_closure(const struct pyh_root *root)
{
	return root->kind == PYH_ROOT_NATIVE && root->name &&
	       strcmp(root->name, PYH_HOLDER_CLOSURES) == 0;
}

struct error *pyh_holders_each(const struct pyh_runtime *runtime,
			       struct pyh_census *census,
			       struct pyh_shapes *shapes,
			       const uint64_t *objects, size_t count,
			       bool (*begins)(void *context, uint64_t address),
			       pyh_root_fn *fn, void *context, bool *ret_all)
{
	CLEANUP(search_deinit) struct search search = {
		.runtime = runtime, .census = census, .shapes = shapes,
		.count = count, .lock = PTHREAD_MUTEX_INITIALIZER,
		.begins = begins, .context = context,
	};
	struct pyh_root root;
	struct error *err;

	*ret_all = true;
	if (count == 0)
		return NULL;
	search.objects = calloc(count, sizeof(*search.objects));
	if (!search.objects)
		return error_no_memory();
	search.walk.memory = &search.memory;
	err = memory_reader_init(&search.memory, runtime->image->memory);
	for (size_t i = 0; !err && i < count; i++)
		search.objects[i] = (struct asked){
			objects[i], text_of(&search, objects[i]) };
	qsort(search.objects, count, sizeof(*search.objects), by_object);
	if (!err)
		err = find_passed(&search);
	if (!err)
		err = find_words(&search);
	if (err)
		return err;
	*ret_all = !atomic_load(&search.over);
	if (!tell_static(&search, fn, context))
		return NULL;
	if (search.num_hits > 0)
		qsort(search.hits, search.num_hits, sizeof(*search.hits),
		      by_address);
	for (size_t i = 0; i < search.num_hits; i++) {
		if (describe(&search, &search.hits[i], &root) &&
		    !fn(context, &root))
			break;
	}
	return NULL;
}
