/*
 * Fuzz target: a census of a real, small Python process whose memory was
 * damaged in named ways.
 * SPDX-License-Identifier: Apache-2.0
 *
 * HEAPSCAN_FUZZ_BASE names an uncompressed core of a Python process; without
 * it, one of python3 is made. The input
 * is a list of damages of 8 bytes each: where (32 bits), what (8 bits), and an
 * argument (24 bits). A quarter of the damages is spread over all writable
 * words; the others are in what most depends on: the runtime, interpreters,
 * threads and types, the headers of pools, stacks and frames. Whatever the
 * damage, the census and what is made of it, the graph with its roots,
 * dominators, cycles and ways, and stacks must end, stay inside their memory,
 * and not crash.
 *
 * With HEAPSCAN_FUZZ_TELL set, standard error says how far each input came.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "analyzer/graph/components.h"
#include "analyzer/graph/dominators.h"
#include "analyzer/graph/domtree.h"
#include "analyzer/graph/reach.h"
#include "analyzer/heap/collector.h"
#include "analyzer/heap/heapgraph.h"
#include "analyzer/heap/heaproots.h"
#include "analyzer/threads/threadstacks.h"
#include "image/image.h"
#include "image/live/live.h"
#include "image/registers.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/census/pyevidence.h"
#include "pyheap/references/pyedge.h"
#include "pyheap/references/pyholders.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/threads/pyexception.h"
#include "pyheap/threads/pythreading.h"
#include "pyheap/types/pytypes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	SEGMENTS_MAX = 512,
	DAMAGES_MAX = 4096,
	PLACES_MAX = 4096,
	KINDS = 10,		/* of damage */
	POOL_HEADER_WORDS = 6,
	POOL_LOG2 = 12,		/* the smallest pools */
	PATHS = 64,		/* objects whose native holders are found */
};

struct base {
	uint8_t *bytes;
	size_t size;
	struct {
		uint64_t address, offset, size;
	} segments[SEGMENTS_MAX];
	size_t num_segments;
	uint64_t words;		/* in all writable segments */
	struct place {
		uint64_t address, size;
	} places[PLACES_MAX];
	size_t num_places;
};

/** A dump of a Python that does nothing; -1 if that cannot be had. */
static int dump_python(void)
{
	struct live_options options = { .no_compress = true };
	struct live_result result;
	int input[2], output[2], fd = -1;
	struct error *err;
	char ready;
	pid_t pid;

	if (pipe(input) < 0 || pipe(output) < 0)
		abort();
	pid = fork();
	if (pid == 0) {
		(void)dup2(input[0], STDIN_FILENO);
		(void)dup2(output[1], STDOUT_FILENO);
		execlp("python3", "python3", "-c", "import sys; "
		       "print(end='.', flush=True); sys.stdin.read()", NULL);
		_exit(127);
	}
	close(output[1]);
	if (pid > 0 && read(output[0], &ready, 1) == 1) {
		err = live_dump_to_fd(pid, &options, "/tmp", &fd, &result);
		if (err)
			fprintf(stderr, "%s\n", err->message);
		error_free(err);
	}
	close(input[0]);
	close(input[1]);
	close(output[0]);
	(void)waitpid(pid, NULL, 0);
	return fd;
}

static bool load_base(struct base *base, int fd)
{
	struct stat status;
	Elf64_Ehdr header;

	if (fd < 0 || fstat(fd, &status) < 0)
		return false;
	base->size = (size_t)status.st_size;
	base->bytes = mmap(NULL, base->size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (base->bytes == MAP_FAILED)
		return false;
	memcpy(&header, base->bytes, sizeof(header));
	for (unsigned int i = 0; i < header.e_phnum; i++) {
		Elf64_Phdr segment;

		memcpy(&segment,
		       base->bytes + header.e_phoff + i * sizeof(segment),
		       sizeof(segment));
		if (segment.p_type != PT_LOAD || !(segment.p_flags & PF_W) ||
		    segment.p_filesz < 8 ||
		    base->num_segments == SEGMENTS_MAX)
			continue;
		base->segments[base->num_segments].address = segment.p_vaddr;
		base->segments[base->num_segments].offset = segment.p_offset;
		base->segments[base->num_segments++].size = segment.p_filesz;
		base->words += segment.p_filesz / 8;
	}
	return base->words > 0;
}

/** The file offset and address of the n-th writable word. */
static uint64_t word_at(const struct base *base, uint64_t n, uint64_t *address)
{
	size_t i = 0;

	n %= base->words;
	while (n >= base->segments[i].size / 8)
		n -= base->segments[i++].size / 8;
	*address = base->segments[i].address + n * 8;
	return base->segments[i].offset + n * 8;
}

/** The file offset of a writable word; false if it is none. */
static bool offset_of(const struct base *base, uint64_t address,
		      uint64_t *offset)
{
	for (size_t i = 0; i < base->num_segments; i++) {
		uint64_t at = address - base->segments[i].address;

		if (at < base->segments[i].size &&
		    base->segments[i].size - at >= 8) {
			*offset = base->segments[i].offset + at;
			return true;
		}
	}
	return false;
}

/** Where a damage goes: the file offset and address of a word. */
static uint64_t choose_word(const struct base *base, uint32_t where,
			    unsigned int region, uint64_t *address)
{
	uint64_t offset = word_at(base, where, address), other, at;

	if (region == 1) {
		at = (*address & ~((UINT64_C(1) << POOL_LOG2) - 1)) +
		     where % POOL_HEADER_WORDS * 8;
	} else if (region > 1 && base->num_places) {
		const struct place *place =
			&base->places[where % base->num_places];

		at = place->address + where / base->num_places %
					      (place->size / 8) * 8;
	} else {
		return offset;
	}
	if (!offset_of(base, at, &other))
		return offset;
	*address = at;
	return other;
}

/** What one damage makes of a word. */
static uint64_t damaged(const struct base *base, uint64_t word, uint64_t here,
			unsigned int kind, uint32_t argument)
{
	uint64_t other, value;

	switch (kind % KINDS) {
	case 0: return 0;
	case 1: return here;
	case 2: return here - 16;
	case 3: return UINT64_C(1) << (argument & 63);
	case 4: return word ^ UINT64_C(1) << (argument & 63);
	case 5: return UINT64_MAX - argument;
	case 6: return argument;
	case 7:
		(void)word_at(base, (uint64_t)argument * 2654435761u, &other);
		return other;
	case 8:
		memcpy(&value,
		       base->bytes + word_at(base,
					     (uint64_t)argument * 40503u,
					     &other), 8);
		return value;
	default: return word + 8 * (int64_t)(argument % 64) - 256;
	}
}

static bool see_object(void *context, const struct pyh_object *object)
{
	uint64_t *sum = context;

	*sum += object->address ^ object->size ^ strlen(object->type->name);
	return true;
}

/** What holds the heap from outside, and what paths are called. */
struct paths {
	struct pyh_naming naming;
	struct pyh_shapes *shapes;
	struct pyh_edge edge;
	uint64_t objects[PATHS];
	size_t num_objects;
};

static bool see_root(void *context, const struct pyh_root *root)
{
	struct paths *paths = context;
	char text[256];

	pyh_path_text(&paths->naming, root, NULL, 0, text, sizeof(text));
	if (paths->num_objects < PATHS)
		paths->objects[paths->num_objects++] = root->address;
	return true;
}

static bool see_ref(void *context, const struct pyh_ref *ref)
{
	struct paths *paths = context;
	char text[256];

	paths->edge.ref = *ref;
	pyh_path_text(&paths->naming, NULL, &paths->edge, 1, text,
		      sizeof(text));
	return true;
}

static void see_some(void *context, const struct pyh_visit *visit)
{
	struct paths *paths = context;
	struct pyh_referrer referrer;

	if (visit->worker != 0 || visit->object.address / 16 % 32 != 0)
		return;
	referrer = pyh_referrer(paths->naming.runtime, paths->shapes, visit);
	paths->edge = (struct pyh_edge){ .holder = visit->object.address,
					 .type = visit->object.type };
	pyh_refs_each(&referrer, see_ref, paths);
}

static struct error *see_paths(struct pyh_runtime *runtime,
			       struct pyh_types *types,
			       struct pyh_census *census,
			       struct pyh_shapes *shapes)
{
	static struct pyh_type_reader type_reader;
	struct memory_reader memory = { 0 };
	struct paths paths = { .shapes = shapes, .naming = {
		.runtime = runtime, .types = &type_reader, .memory = &memory } };
	struct error *err;
	bool all;

	err = memory_reader_init(&memory, runtime->image->memory);
	if (!err)
		err = pyh_type_reader_init(&type_reader, types);
	if (!err)
		err = pyh_value_reader_create(runtime, types, shapes,
					      &paths.naming.values);
	if (!err) {
		pyh_roots_each(runtime, &memory, see_root, &paths);
		err = pyh_census_visit(census, see_some, &paths);
	}
	if (!err)
		err = pyh_holders_each(runtime, census, shapes, paths.objects,
				       paths.num_objects, NULL, see_root, &paths,
				       &all);
	pyh_value_reader_destroy(paths.naming.values);
	pyh_type_reader_deinit(&type_reader);
	memory_reader_deinit(&memory);
	return err;
}

/* --- stacks --------------------------------------------------------------- */

static bool see_local(void *context, uint64_t index, uint64_t address)
{
	uint64_t *sum = context;

	*sum += index ^ address;
	return true;
}

static void see_exceptions(const struct pyh_runtime *runtime,
			   struct memory_reader *memory, uint64_t address)
{
	struct pyh_exception exception;

	for (int i = 0; i < PYH_EXCEPTIONS_MAX && address != 0 &&
	     pyh_exception_read(runtime, memory, address, &exception); i++)
		address = exception.cause ? exception.cause :
					    exception.context;
}

static void see_stack(const struct pyh_runtime *runtime,
		      struct memory_reader *memory,
		      const struct thread_stacks *stacks,
		      const struct thread_stack *stack)
{
	const struct source_place *places;
	uint64_t sum = 0;

	for (size_t i = 0; i < stack->num_python && i < 1000; i++)
		pyh_locals_each(runtime, memory, &stack->python[i], see_local,
				&sum);
	for (size_t i = 0; i < stack->num_native && i < 100; i++)
		(void)source_lines_at(stacks->lines,
				      stack->native[i].frame.pc - 1, &places);
	see_exceptions(runtime, memory, stack->exceptions.raised);
	see_exceptions(runtime, memory, stack->exceptions.handled);
}

static struct error *see_stacks(struct pyh_runtime *runtime,
				struct pyh_types *types,
				struct pyh_shapes *shapes)
{
	static struct pyh_type_reader type_reader;
	struct memory_reader memory = { 0 };
	struct pyh_thread_name *names = NULL;
	struct thread_stacks stacks = { 0 };
	size_t count;
	struct error *err = memory_reader_init(&memory, runtime->image->memory);

	if (!err)
		err = pyh_type_reader_init(&type_reader, types);
	if (!err)
		err = pyh_thread_names(runtime, &type_reader, shapes, &memory,
				       &names, &count);
	if (!err)
		err = thread_stacks_gather(runtime->image, runtime, &stacks);
	for (size_t i = 0; i < stacks.count; i++)
		see_stack(runtime, &memory, &stacks, &stacks.items[i]);
	thread_stacks_deinit(&stacks);
	free(names);
	pyh_type_reader_deinit(&type_reader);
	memory_reader_deinit(&memory);
	return err;
}

static void add_place(struct base *base, uint64_t address, uint64_t size)
{
	if (base->num_places < PLACES_MAX && address && size >= 8)
		base->places[base->num_places++] =
			(struct place){ address, size };
}

/** Native stacks, Python's frames and their code. */
static void add_stacks(struct base *base, const struct pyh_runtime *runtime)
{
	struct thread_stacks stacks;
	struct error *err = thread_stacks_gather(runtime->image, runtime,
						 &stacks);

	for (size_t i = 0; !err && i < stacks.count; i++) {
		const struct thread_stack *stack = &stacks.items[i];
		uint64_t sp;

		for (int j = 0; j < 32 && stack->core &&
		     core_register(stack->core, runtime->image->machine,
				   CORE_SP, &sp); j++)
			add_place(base, sp & ~UINT64_C(7), 2048);
		for (size_t j = 0; j < stack->num_python; j++) {
			add_place(base, stack->python[j].address, 96);
			add_place(base, stack->python[j].code, 192);
		}
	}
	if (!err)
		thread_stacks_deinit(&stacks);
	error_free(err);
}

/** What is worth damaging, as an undamaged base tells it. */
static void find_places(struct base *base, const struct pyh_runtime *runtime,
			const struct pyh_types *types)
{
	const uint32_t *size_of = runtime->size_of;

	// As likely as a type, each: there are fewer of them.
	for (int i = 0; i < 16; i++)
		add_place(base, runtime->address, 4096);
	for (size_t i = 0; i < runtime->num_interpreters * 16; i++) {
		const struct pyh_interpreter *interpreter =
			&runtime->interpreters[i / 16];

		add_place(base, interpreter->address,
			  size_of[PYH_STRUCT_INTERP]);
		add_place(base, interpreter->first_thread,
			  size_of[PYH_STRUCT_TSTATE]);
		add_place(base, interpreter->obmalloc, 1024);
		add_place(base, interpreter->gc, 256);
	}
	add_stacks(base, runtime);
	for (uint32_t id = 0; id < pyh_types_count(types); id++)
		add_place(base, pyh_types_get(types, id)->address,
			  size_of[PYH_STRUCT_HEAPTYPE]);
}

/* --- the graph ------------------------------------------------------------ */

struct taken {
	struct pyh_census *census;
	struct pyh_shapes *shapes;
};

static struct error *visit_census(void *context,
				  const struct pyh_visitor *visitor,
				  struct pyh_census **ret,
				  struct pyh_shapes **ret_shapes)
{
	const struct taken *taken = context;

	*ret = taken->census;
	*ret_shapes = taken->shapes;
	return pyh_census_visit(taken->census, visitor->visit,
				visitor->context);
}

/** Who keeps what; and that all of it is accounted for. */
static struct error *walk_dominators(struct heapgraph *heap,
				     const struct heaproots *roots)
{
	struct dominators dominators = { 0 };
	struct domtree tree = { 0 };
	uint64_t sum = 0;
	uint32_t count = 0;
	const uint32_t *top = NULL;
	struct error *err;

	err = dominators_find(&heap->graph, &(struct dominators_options){
		.workers = 2, .mask = GRAPH_MASK_STRONG, .roots = &roots->held,
		.weights = heap->footprints, .spill = &heap->spill },
		&dominators);
	if (!err)
		err = domtree_make(&dominators, &heap->spill, &tree);
	if (!err)
		top = domtree_children(&tree, DOMINATOR_ROOT, &count);
	for (uint32_t i = 0; i < count; i++)
		sum += dominators.retained[top[i]];
	if (!err && sum != dominators.reached_weight)
		abort();
	domtree_deinit(&tree);
	dominators_deinit(&dominators);
	return err;
}

static struct error *walk_ways(struct heapgraph *heap,
			       const struct heaproots *roots)
{
	const struct node_set *starts = &roots->held;
	struct reach_tree tree = { 0 };
	uint32_t *way = NULL, count;
	struct error *err = reach_tree_make(&heap->graph, GRAPH_MASK_STRONG,
					    &starts, 1, NULL, &heap->spill,
					    &tree);

	for (uint32_t i = 0; !err && i < heap->count; i += 97) {
		err = reach_tree_way(&tree, i, &way, &count);
		free(way);
		way = NULL;
	}
	reach_tree_deinit(&tree);
	return err;
}

static struct error *walk_graph(const struct pyh_runtime *runtime,
				struct pyh_types *types,
				struct pyh_shapes *shapes,
				struct pyh_census *census)
{
	struct taken taken = { census, shapes };
	struct heapgraph *heap = NULL;
	struct heaproots roots = { 0 };
	struct collector collector = { 0 };
	struct components components = { 0 };
	struct error *err;

	err = heapgraph_build(&(struct heapgraph_options){
		.runtime = runtime, .types = types,
		.workers = 2, .memory = UINT64_C(1) << 30, .tmp_dir = "/tmp",
		.census = visit_census, .context = &taken }, &heap);
	if (!err)
		err = heaproots_find(heap, runtime, 2, &roots);
	if (!err)
		err = walk_dominators(heap, &roots);
	if (!err)
		err = walk_ways(heap, &roots);
	if (!err)
		err = collector_replay(heap, runtime, shapes, &collector);
	if (!err)
		err = components_find(&heap->graph,
				      &(struct components_options){
					      .mask = GRAPH_MASK_STRONG,
					      .spill = &heap->spill },
				      &components);
	components_deinit(&components);
	collector_deinit(&collector);
	heaproots_deinit(&roots);
	heapgraph_destroy(heap);
	return err;
}

static void see_nothing(void *context, const struct pyh_visit *visit)
{
	(void)context;
	(void)visit;
}

/** Where objects begin, by both of the ways in which that is told. */
static void see_shown(void *context, const struct pyh_visit *visit)
{
	if (visit->taken_back)
		rank_unmark(context, visit->object.address);
	else
		rank_mark(context, visit->object.address);
}

static void see_begins(void *context, uint64_t address, const uint64_t *marks,
		       size_t count)
{
	for (size_t i = 0; i < count; i++)
		rank_mark_bits(context, address + 512 * i, marks[i]);
}

/** Whether two say the same of a type. */
static bool is_same(const struct pyh_type_total *a,
		    const struct pyh_type_total *b)
{
	return a->type == b->type && a->count == b->count &&
	       a->size == b->size && a->footprint == b->footprint &&
	       a->refcounts == b->refcounts && a->immortal == b->immortal &&
	       a->size_exact == b->size_exact;
}

struct comparison {
	struct rank *begins;
	uint32_t count;		/* objects that are in it as well */
};

static void find_begin(void *context, const struct pyh_visit *visit)
{
	struct comparison *comparison = context;

	if (rank_id(comparison->begins, visit->object.address) == RANK_NONE)
		abort();
	comparison->count++;
}

/** Where objects begin, by a visitor that asks for no more than that. */
static struct error *compare_begins(const struct pyh_runtime *runtime,
				    struct pyh_types *types,
				    struct pyh_census *shown)
{
	struct comparison comparison = { 0 };
	struct pyh_census *census = NULL;
	uint32_t count;
	struct error *err = rank_create(&comparison.begins);

	if (err)
		return err;
	err = pyh_census_take(runtime, types, &(struct pyh_census_options){
		.workers = 1, .visitor = &(struct pyh_visitor){
			.visit = see_shown, .begins = see_begins,
			.context = comparison.begins } }, &census);
	if (!err)
		err = rank_seal(comparison.begins, GRAPH_MAX_NODES, &count);
	if (!err)
		err = pyh_census_visit(shown, find_begin, &comparison);
	if (!err && comparison.count != count)
		abort();
	pyh_census_destroy(census);
	rank_destroy(comparison.begins);
	return err;
}

/**
 * When somebody wants to see all objects, each is looked at by all the rules;
 * when nobody does, most are counted by what is known of their type. That must
 * be the same, whatever is damaged.
 */
static struct error *take_shown(const struct pyh_runtime *runtime,
				struct pyh_types *types,
				const struct pyh_census *quick)
{
	struct pyh_census_options options = {
		.workers = 1,
		.visitor = &(struct pyh_visitor){ .visit = see_nothing },
	};
	struct pyh_census *census = NULL;
	struct error *err = pyh_census_take(runtime, types, &options, &census);

	if (err)
		return err;
	if (pyh_census_num_types(census) != pyh_census_num_types(quick) ||
	    memcmp(pyh_census_coverage(census), pyh_census_coverage(quick),
		   sizeof(struct pyh_coverage)) != 0)
		abort();
	for (size_t i = 0; i < pyh_census_num_types(census); i++) {
		if (!is_same(pyh_census_type(census, i),
			     pyh_census_type(quick, i)))
			abort();
	}
	err = compare_begins(runtime, types, census);
	pyh_census_destroy(census);
	return err;
}

/**
 * Take the census of an image.
 *
 * @param undamaged  the base, which is told what the image is made of; or NULL
 * @return how far it came
 */
static const char *take_census(struct image *image, struct base *undamaged)
{
	struct pyh_census_options options = { .workers = 2 };
	struct pyh_runtime *runtime = NULL;
	struct pyh_types *types = NULL;
	struct pyh_census *census = NULL;
	struct pyh_shapes *shapes = NULL;
	const char *reached = "image";
	struct error *err;
	uint64_t sum = 0;

	err = pyh_runtime_open(image, &runtime);
	if (!err) {
		reached = "runtime";
		err = pyh_types_create(runtime, &types);
	}
	if (!err) {
		reached = "types";
		err = pyh_census_take(runtime, types, &options, &census);
	}
	if (!err)
		err = take_shown(runtime, types, census);
	if (!err)
		err = pyh_shapes_create(runtime, types, &shapes);
	if (!err)
		err = pyh_evidence_settle(runtime, census, shapes);
	if (!err)
		err = pyh_census_each(census, see_object, &sum);
	if (!err)
		err = see_paths(runtime, types, census, shapes);
	if (!err)
		reached = pyh_census_coverage(census)->blocks_object > 1000 ?
				  "objects" : "census";
	if (!err)
		err = walk_graph(runtime, types, shapes, census);
	if (!err)
		err = see_stacks(runtime, types, shapes);
	if (!err && undamaged)
		find_places(undamaged, runtime, types);
	error_free(err);
	pyh_shapes_destroy(shapes);
	pyh_census_destroy(census);
	pyh_types_destroy(types);
	pyh_runtime_close(runtime);
	return reached;
}

static void open_and_take(int fd, struct base *undamaged)
{
	static const struct image_options options = { .sysroot = "/" };
	const char *reached = "nothing";
	struct image *image = NULL;
	struct error *err;

	err = image_open_fd(fd, "mutated", &options, &image);
	if (!err)
		reached = take_census(image, undamaged);
	if (getenv("HEAPSCAN_FUZZ_TELL"))
		fprintf(stderr, "reached %s\n", reached);
	error_free(err);
	image_close(image);
}

static bool prepare(struct base *base)
{
	const char *path = getenv("HEAPSCAN_FUZZ_BASE");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : dump_python();
	bool loaded = load_base(base, fd);

	if (loaded)
		open_and_take(fd, base);
	if (fd >= 0)
		close(fd);
	return loaded;
}

static void apply(const struct base *base, uint8_t *copy, const uint8_t *damage)
{
	uint64_t address, offset, word;
	uint32_t where, what;
	unsigned int kind;

	memcpy(&where, damage, 4);
	memcpy(&what, damage + 4, 4);
	kind = what & 0xFF;
	offset = choose_word(base, where, kind / KINDS % 4, &address);
	memcpy(&word, copy + offset, 8);
	word = damaged(base, word, address, kind, what >> 8);
	memcpy(copy + offset, &word, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct base base;
	uint8_t *copy;
	int fd;

	if (!base.bytes && !prepare(&base)) {
		fprintf(stderr, "there is no core to damage\n");
		exit(1);
	}
	fd = memfd_create("mutated", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)base.size) < 0)
		abort();
	copy = mmap(NULL, base.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (copy == MAP_FAILED)
		abort();
	memcpy(copy, base.bytes, base.size);
	for (size_t i = 0; i + 8 <= size && i / 8 < DAMAGES_MAX; i += 8)
		apply(&base, copy, data + i);
	munmap(copy, base.size);
	open_and_take(fd, NULL);
	close(fd);
	return 0;
}
