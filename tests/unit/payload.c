/*
 * Payload: chunks of malloc, pointers in memory, and what models keep.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The memory that is looked at is this process's own, laid out by hand.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/live/chunks.h"
#include "image/live/payload.h"
#include "image/live/pointers.h"
#include "tests/lib/check.h"

enum {
	KIB = 1 << 10,
	MIB = 1 << 20,
	ROOM = 8 * MIB,
	FOUND_MAX = 16,
};

static uint64_t page;

/** Memory of ours as a process that stands still. */
struct scene {
	uint8_t *memory;
	uint64_t start;
	struct procmap map;
	struct select_range range;
	struct procmaps maps;
	struct selection selection;
	struct standing standing;
};

static bool never(const void *context)
{
	(void)context;
	return false;
}

/** Room at a multiple of align, all of it touched. */
static void set_scene(struct scene *scene, uint64_t align)
{
	struct standing_options options = {
		.pid = getpid(),
		.maps = &scene->maps,
		.selection = &scene->selection,
	};
	uint8_t *wide = mmap(NULL, ROOM + align, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	scene->start = ((uint64_t)(uintptr_t)wide + align - 1) & ~(align - 1);
	scene->memory = (uint8_t *)(uintptr_t)scene->start;
	memset(scene->memory, 0, ROOM);
	scene->map = (struct procmap){
		.start = scene->start, .end = scene->start + ROOM,
		.protection = PF_R | PF_W, .name = "",
	};
	scene->range = (struct select_range){
		.start = scene->start, .end = scene->start + ROOM,
		.reason = FORMAT_CAPTURED,
	};
	scene->maps = (struct procmaps){ .items = &scene->map, .count = 1 };
	scene->selection = (struct selection){ .ranges = &scene->range,
					       .count = 1 };
	CHECK("memory to look at",
	      standing_init(&scene->standing, &options) == NULL);
}

static void put_words(struct scene *scene, uint64_t at, uint64_t first,
		      uint64_t second)
{
	uint64_t words[2] = { first, second };

	memcpy(scene->memory + at, words, sizeof(words));
}

/** Fill with numbers that lead nowhere, and every so many words with one that does. */
static void put_numbers(struct scene *scene, uint64_t at, uint64_t size,
			uint64_t every)
{
	uint64_t number = 88172645463325252;

	for (uint64_t i = 0; i + 8 <= size; i += 8) {
		uint64_t word = number | UINT64_C(1) << 63;

		number ^= number << 13;
		number ^= number >> 7;
		number ^= number << 17;
		if (every && i / 8 % every == 0)
			word = scene->start + 64;
		memcpy(scene->memory + at + i, &word, sizeof(word));
	}
}

/* --- chunks -------------------------------------------------------------------- */

struct found {
	struct chunk chunks[FOUND_MAX];
	size_t count;
};

static struct error *note_chunk(void *context, const struct chunk *chunk)
{
	struct found *found = context;

	if (found->count < FOUND_MAX)
		found->chunks[found->count++] = *chunk;
	return NULL;
}

static void check_chunk(const char *name, const struct scene *scene,
			const struct found *found, size_t i, uint64_t start,
			uint64_t end)
{
	if (!CHECK(name, i < found->count))
		return;
	CHECK_U64(name, found->chunks[i].start - scene->start, start);
	CHECK_U64(name, found->chunks[i].end - scene->start, end);
}

static void check_mapped(void)
{
	struct found found = { 0 };
	struct select_span passed;
	struct scene scene;

	set_scene(&scene, MIB);
	// As to 2.42, as from 2.43 on, behind a page of something else, as
	// memalign() leaves it; one too small, one that ends nowhere.
	put_words(&scene, 0, 0, MIB | 2);
	put_words(&scene, MIB, 0, (MIB - 16) | 2);
	put_words(&scene, 2 * MIB, 7, 7);
	put_words(&scene, 2 * MIB + page + 48, 48, (MIB - 48) | 2);
	put_words(&scene, 3 * MIB + page, 0, 2 * page | 2);
	put_words(&scene, 4 * MIB, 0, 16 * MIB | 2);
	put_words(&scene, 5 * MIB, 0, MIB | 2);
	passed = (struct select_span){ scene.start + 5 * MIB,
				       scene.start + 5 * MIB + 1 };
	CHECK("mapped chunks: no error",
	      chunks_each(&scene.standing, &passed, 1, 64 * KIB, note_chunk,
			  &found) == NULL);
	CHECK_U64("mapped chunks: how many", found.count, 3);
	check_chunk("a chunk", &scene, &found, 0, 16, MIB);
	check_chunk("a chunk of 2.43", &scene, &found, 1, MIB + 16, 2 * MIB);
	check_chunk("an aligned chunk", &scene, &found, 2, 2 * MIB + page + 64,
		    3 * MIB + page);
	standing_deinit(&scene.standing);
}

/** A chain from at on; its sizes, ended by a 0. Returns where it ends. */
static uint64_t put_chain(struct scene *scene, uint64_t at,
			  const uint64_t *sizes)
{
	for (; *sizes; at += *sizes++)
		put_words(scene, at, 0, *sizes | 1);
	return at;
}

static void check_arena(void)
{
	const uint64_t sizes[] = { 32, 48, 128 * KIB, 32, 1 * MIB, 4096, 0 };
	struct found found = { 0 };
	struct scene scene;
	uint64_t info[4], first = 48 + 2200 / 16 * 16 + 16, end;

	set_scene(&scene, UINT64_C(64) << 20);
	end = put_chain(&scene, first, sizes);
	// The top takes the rest.
	put_words(&scene, end, 0, (2 * MIB - end) | 1);
	info[0] = scene.start + 48;
	info[1] = 0;
	info[2] = info[3] = 2 * MIB;
	memcpy(scene.memory, info, sizeof(info));
	CHECK("an arena: no error",
	      chunks_each(&scene.standing, NULL, 0, 64 * KIB, note_chunk,
			  &found) == NULL);
	CHECK_U64("an arena: large chunks", found.count, 3);
	check_chunk("the first large one", &scene, &found, 0,
		    first + 80 + 16, first + 80 + 128 * KIB);
	check_chunk("the top", &scene, &found, 2, end + 16, 2 * MIB);
	// The chain breaks off: what stands behind is passed over.
	found.count = 0;
	put_words(&scene, first + 80 + 128 * KIB, 0, 17);
	CHECK("a broken chain: no error",
	      chunks_each(&scene.standing, NULL, 0, 64 * KIB, note_chunk,
			  &found) == NULL);
	CHECK("a broken chain: no more than before it", found.count <= 1);
	standing_deinit(&scene.standing);
}

static void check_brk(void)
{
	uint64_t sizes[24] = { 0 };
	struct found found = { 0 };
	struct scene scene;
	uint64_t end;

	set_scene(&scene, MIB);
	scene.map.name = "[heap]";
	for (size_t i = 0; i < 22; i++)
		sizes[i] = 656;
	sizes[10] = 2 * MIB;
	end = put_chain(&scene, 0, sizes);
	put_words(&scene, end, 0, (ROOM - end) | 1);
	CHECK("the heap: no error",
	      chunks_each(&scene.standing, NULL, 0, 64 * KIB, note_chunk,
			  &found) == NULL);
	CHECK_U64("the heap: large chunks", found.count, 2);
	check_chunk("the heap's", &scene, &found, 0, 6560 + 16,
		    6560 + 2 * MIB);
	standing_deinit(&scene.standing);
}

/* --- pointers ------------------------------------------------------------------- */

static void note_holder(void *context, unsigned int worker, uint64_t holder,
			uint64_t target)
{
	uint64_t *found = context;

	(void)worker;
	found[0]++;
	found[1] = holder;
	found[2] = target;
}

static void check_pointers(void)
{
	struct scene scene;
	uint64_t found[3] = { 0 }, targets[2], word;
	struct select_span span;

	set_scene(&scene, MIB);
	put_numbers(&scene, 0, 4 * MIB, 0);
	CHECK("numbers are no pointers",
	      !pointers_abound(&scene.standing, scene.start,
			       scene.start + 4 * MIB, 64));
	put_numbers(&scene, 0, 4 * MIB, 200);
	CHECK("one in 200",
	      !pointers_abound(&scene.standing, scene.start,
			       scene.start + 4 * MIB, 64));
	put_numbers(&scene, 0, 4 * MIB, 24);
	CHECK("one in 24",
	      pointers_abound(&scene.standing, scene.start,
			      scene.start + 4 * MIB, 64));
	put_numbers(&scene, 0, 4 * MIB, 0);
	put_numbers(&scene, MIB, MIB, 3);
	CHECK("a table in one part",
	      pointers_abound(&scene.standing, scene.start,
			      scene.start + 4 * MIB, 64));
	CHECK("zeroes", !pointers_abound(&scene.standing,
					 scene.start + 5 * MIB,
					 scene.start + 6 * MIB, 64));

	// The last frames of a coroutine, at the end of an unused stack.
	put_numbers(&scene, 6 * MIB - 512, 512, 4);
	CHECK("a stack", pointers_abound(&scene.standing, scene.start + 5 * MIB,
					 scene.start + 6 * MIB, 64));
	memset(scene.memory + 5 * MIB, 0, MIB);

	targets[0] = scene.start + 4096;
	targets[1] = scene.start + MIB;
	word = targets[1];
	memcpy(scene.memory + 7 * MIB + 24, &word, sizeof(word));
	word = targets[1] + 8;
	memcpy(scene.memory + 7 * MIB + 48, &word, sizeof(word));
	span = (struct select_span){ scene.start + 6 * MIB, scene.start + ROOM };
	CHECK("a search: no error",
	      pointers_search(&scene.standing, &span, 1, targets, 2, 2,
			      note_holder, found) == NULL);
	CHECK_U64("a search finds one word", found[0], 1);
	CHECK_U64("where it is", found[1], scene.start + 7 * MIB + 24);
	CHECK_U64("what it is", found[2], targets[1]);
	standing_deinit(&scene.standing);
}

/* --- all together ----------------------------------------------------------------- */

/** Chunks of a MiB each, by number. */
enum { PLAIN, TABLE, OBJECT, OWNED, RESERVED, INCLUDED, OTHER, NUM_CHUNKS };

static uint64_t model_start;	/* of the scene; 0: the model fails */
static bool model_absent;

static struct error *fake_open(struct image *image, unsigned int workers,
			       void **ret)
{
	(void)image;
	(void)workers;
	*ret = model_absent ? NULL : &model_start;
	return model_start ? NULL : error_new(ERROR_UNSUPPORTED, "no idea");
}

static void fake_close(void *opened)
{
	(void)opened;
}

static struct error *fake_ranges(void *opened, model_range_fn *fn,
				 void *context)
{
	(void)opened;
	return fn(context, model_start + RESERVED * MIB + 5000,
		  model_start + RESERVED * MIB + 5001);
}

static bool fake_uses_malloc(void *opened)
{
	(void)opened;
	return true;
}

static bool fake_is_object(void *opened, unsigned int worker, uint64_t start,
			   uint64_t end)
{
	(void)opened;
	(void)worker;
	(void)end;
	return start == model_start + OBJECT * MIB + 16;
}

/** Whoever holds the first chunk's address does not need it. */
static bool fake_needs(void *opened, unsigned int worker, uint64_t holder,
		       uint64_t buffer)
{
	(void)opened;
	(void)worker;
	return holder == model_start + 7 * MIB + 512 &&
	       buffer == model_start + OWNED * MIB + 16;
}

static const struct model fake = {
	.name = "fake",
	.open = fake_open,
	.close = fake_close,
	.each_range = fake_ranges,
	.uses_malloc = fake_uses_malloc,
	.is_object = fake_is_object,
	.needs_buffer = fake_needs,
};

static bool is_payload(const struct scene *scene, const struct payload *payload,
		       unsigned int chunk)
{
	uint64_t at = scene->start + chunk * (uint64_t)MIB + MIB / 2;

	for (size_t i = 0; i < payload->count; i++)
		if (payload->spans[i].start <= at &&
		    at < payload->spans[i].end)
			return true;
	return false;
}

static void find(struct scene *scene, const struct select_rules *rules,
		 struct payload *payload)
{
	const struct model *const models[] = { &fake, NULL };
	struct payload_options options = {
		.models = models, .rules = rules, .workers = 2,
	};

	CHECK("payload is looked for",
	      payload_find(&scene->standing, &options, payload) == NULL);
}

static void find_beside_stack(struct scene *scene, const uint64_t *pointer,
			      struct payload *payload)
{
	const struct model *const models[] = { &fake, NULL };
	struct payload_options options = {
		.models = models, .workers = 1,
		.stack_pointers = pointer, .num_stack_pointers = 1,
	};

	CHECK("payload is looked for beside a stack",
	      payload_find(&scene->standing, &options, payload) == NULL);
}

static void lay_out(struct scene *scene)
{
	uint64_t words[2] = { scene->start + PLAIN * MIB + 16,
			      scene->start + OWNED * MIB + 16 };

	for (unsigned int i = 0; i < NUM_CHUNKS; i++) {
		put_numbers(scene, i * (uint64_t)MIB, MIB,
			    i == TABLE ? 8 : 0);
		put_words(scene, i * (uint64_t)MIB, 0, MIB | 2);
	}
	memcpy(scene->memory + 7 * MIB + 256, &words[0], sizeof(words[0]));
	memcpy(scene->memory + 7 * MIB + 512, &words[1], sizeof(words[1]));
}

/** Of the last chunk no more is there than so much. */
static void check_touched(uint64_t bytes, bool goes)
{
	struct select_rules rules = { 0 };
	struct payload payload;
	struct scene scene;
	struct select_range ranges[2];

	set_scene(&scene, MIB);
	lay_out(&scene);
	standing_deinit(&scene.standing);
	model_start = scene.start;
	ranges[0] = ranges[1] = scene.range;
	ranges[0].end = scene.start + OTHER * MIB + page + bytes;
	ranges[1].start = scene.start + (OTHER + 1) * MIB;
	scene.selection = (struct selection){ .ranges = ranges, .count = 2 };
	CHECK("memory with a gap",
	      standing_init(&scene.standing, &scene.standing.options) == NULL);
	find(&scene, &rules, &payload);
	CHECK("what was touched goes, if that is much",
	      is_payload(&scene, &payload, OTHER) == goes);
	CHECK("so do others", is_payload(&scene, &payload, PLAIN));
	payload_deinit(&payload);
	standing_deinit(&scene.standing);
}

static void check_payload(void)
{
	struct select_rules rules = { 0 };
	struct payload payload;
	struct scene scene;
	char range[64];

	set_scene(&scene, MIB);
	lay_out(&scene);
	model_start = scene.start;
	(void)snprintf(range, sizeof(range), "0x%" PRIx64 "-0x%" PRIx64,
		       scene.start + INCLUDED * MIB,
		       scene.start + (INCLUDED + 1) * MIB);
	error_free(select_rules_add(&rules, false, range));
	find(&scene, &rules, &payload);
	CHECK("numbers are payload", is_payload(&scene, &payload, PLAIN));
	CHECK("so are others", is_payload(&scene, &payload, OTHER));
	CHECK("a table stays", !is_payload(&scene, &payload, TABLE));
	CHECK("an object stays", !is_payload(&scene, &payload, OBJECT));
	CHECK("what is owned stays", !is_payload(&scene, &payload, OWNED));
	CHECK("a model's own stays", !is_payload(&scene, &payload, RESERVED));
	CHECK("what is asked for stays", !is_payload(&scene, &payload,
						     INCLUDED));
	if (CHECK("two holes", payload.count == 2)) {
		CHECK_U64("the beginning stays", payload.spans[0].start,
			  scene.start + page);
		CHECK_U64("a hole ends with its chunk", payload.spans[0].end,
			  scene.start + MIB);
	}
	payload_deinit(&payload);
	select_rules_deinit(&rules);
	standing_deinit(&scene.standing);
}

static void check_doubt(void)
{
	struct payload payload;
	struct scene scene;
	uint64_t stack;

	set_scene(&scene, MIB);
	lay_out(&scene);
	stack = scene.start + PLAIN * MIB + 5000;
	model_start = scene.start;
	find_beside_stack(&scene, &stack, &payload);
	CHECK("where a thread's stack is, all stays",
	      !is_payload(&scene, &payload, PLAIN));
	CHECK("and nothing else", is_payload(&scene, &payload, OTHER));
	payload_deinit(&payload);
	model_start = 0;
	find(&scene, NULL, &payload);
	CHECK("a model without an idea keeps all", payload.count == 0);
	CHECK("and says so", strcmp(payload.kept_because, "no idea") == 0);
	payload_deinit(&payload);

	model_start = scene.start;
	model_absent = true;
	find(&scene, NULL, &payload);
	CHECK("no model's process: an object is none",
	      is_payload(&scene, &payload, OBJECT));
	CHECK("no model's process: a table stays",
	      !is_payload(&scene, &payload, TABLE));
	payload_deinit(&payload);
	model_absent = false;

	scene.standing.options.holds = never;
	find(&scene, NULL, &payload);
	CHECK("one that runs again keeps all", payload.count == 0);
	CHECK("and says that, too", payload.kept_because[0] != '\0');
	payload_deinit(&payload);
	standing_deinit(&scene.standing);
}

/* --- holes in a selection ----------------------------------------------------------- */

static void check_holes(void)
{
	struct selection selection = { 0 };
	const struct select_range ranges[] = {
		{ 0x1000, 0x9000, 0, FORMAT_CAPTURED, false },
		{ 0x9000, 0xa000, 0, FORMAT_ZERO, true },
		{ 0xa000, 0xf000, 1, FORMAT_CAPTURED, false },
		{ 0xf000, 0x10000, 1, FORMAT_CAPTURED, true },
	};
	const struct select_span holes[] = {
		{ 0x2000, 0x3000 }, { 0x5000, 0xb000 }, { 0xe000, 0x10000 },
	};
	const uint64_t starts[] = { 0x1000, 0x2000, 0x3000, 0x5000, 0x9000,
				    0xa000, 0xb000, 0xe000, 0xf000 };

	selection.ranges = malloc(sizeof(ranges));
	memcpy(selection.ranges, ranges, sizeof(ranges));
	selection.count = 4;
	CHECK("holes", selection_leave_out(&selection, holes, 3,
					   FORMAT_PAYLOAD) == NULL);
	if (CHECK_U64("pieces", selection.count, 9))
		for (size_t i = 0; i < 9; i++)
			CHECK_U64("a piece", selection.ranges[i].start,
				  starts[i]);
	CHECK_U64("bytes left out", selection.bytes[FORMAT_PAYLOAD],
		  0x1000 + 0x4000 + 0x1000 + 0x1000);
	CHECK_U64("zeroes are not, nor those within",
		  selection.bytes[FORMAT_ZERO], 0x2000);
	CHECK_U64("bytes to read", selection.bytes_read, 0x6000);
	selection_deinit(&selection);
}

static void check_keep_only(void)
{
	struct selection selection = { 0 };
	const struct select_range ranges[] = {
		{ 0x1000, 0x9000, 0, FORMAT_CAPTURED, false },
		{ 0x9000, 0xa000, 0, FORMAT_ZERO, true },
		{ 0xa000, 0xc000, 1, FORMAT_SWAPPED, false },
		{ 0xc000, 0xd000, 1, FORMAT_CAPTURED, true },
	};
	const struct select_span spans[] = {
		{ 0x0, 0x2000 }, { 0x4000, 0x5000 }, { 0x8000, 0xb000 },
	};
	const struct select_range made[] = {
		{ 0x1000, 0x2000, 0, FORMAT_CAPTURED, false },
		{ 0x2000, 0x4000, 0, FORMAT_CONTENT, false },
		{ 0x4000, 0x5000, 0, FORMAT_CAPTURED, false },
		{ 0x5000, 0x8000, 0, FORMAT_CONTENT, false },
		{ 0x8000, 0x9000, 0, FORMAT_CAPTURED, false },
		{ 0x9000, 0xa000, 0, FORMAT_ZERO, true },
		{ 0xa000, 0xb000, 1, FORMAT_SWAPPED, false },
		{ 0xb000, 0xd000, 1, FORMAT_CONTENT, false },
	};

	selection.ranges = malloc(sizeof(ranges));
	memcpy(selection.ranges, ranges, sizeof(ranges));
	selection.count = 4;
	CHECK("spans", selection_keep_only(&selection, spans, 3,
					   FORMAT_CONTENT) == NULL);
	if (CHECK_U64("pieces", selection.count, 8))
		for (size_t i = 0; i < 8; i++) {
			const struct select_range *range =
				&selection.ranges[i];

			CHECK_U64("its start", range->start, made[i].start);
			CHECK_U64("its end", range->end, made[i].end);
			CHECK_U64("its reason", range->reason, made[i].reason);
			CHECK_U64("zero", range->known_zero,
				  made[i].known_zero);
		}
	CHECK_U64("bytes that are kept", selection.bytes_read, 0x3000);
	selection_deinit(&selection);
}

int main(void)
{
	page = (uint64_t)sysconf(_SC_PAGESIZE);
	check_mapped();
	check_arena();
	check_brk();
	check_pointers();
	check_payload();
	check_touched(16 * KIB, false);
	check_touched(64 * KIB, true);
	check_doubt();
	check_holes();
	check_keep_only();
	return check_result();
}
