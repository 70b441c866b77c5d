/*
 * What pyheap says objects refer to, for tests that compare it with what
 * Python says.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: refdump [--count] [--doubt] [--words FILE] CORE [SYSROOT]
 *
 * Prints for every object of the census a line "object ADDRESS TYPE", then for
 * every reference "KIND ADDRESS KEY INDEX HOLD NAME": addresses in hexadecimal
 * without 0x, HOLD "traversed", "untraversed", "guessed" or "none", or "deferred"
 * (it holds without a count), NAME "-" for none.
 *
 * With --words the references go to FILE, as there are millions: three 64-bit
 * words each, who refers, what is referred to, and what kind of reference it
 * is, by its number. The first of each object is to its type. Printed are the
 * kinds, in the order of their numbers: "KIND HOLD NAME".
 *
 * With --doubt what an object refers to that only looks like one is "guessed",
 * as it is for a graph; with --words only.
 *
 * With --count only how many there are, by what the objects are, and what that
 * took beyond looking at all objects: "KIND OBJECTS REFERENCES NANOSECONDS", the
 * last two for each object. KIND is that of the object, a number of enum
 * pyh_kind.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "image/base/guard.h"
#include "image/base/hashmap.h"
#include "image/image.h"
#include "pyheap/census/pycensus.h"
#include "pyheap/references/pyrefsquick.h"
#include "pyheap/runtime/pyruntime.h"
#include "pyheap/types/pytypes.h"

enum { TIMES = 5 };

struct tally {
	uint64_t objects, references, nanoseconds;
};

struct dump {
	bool count;
	struct tally tallies[PYH_NUM_KINDS];
	struct tally *tally;
	struct pyh_runtime *runtime;
	struct pyh_shapes *shapes;
	FILE *words;			/* NULL: print text */
	bool doubt, doubted;		/* --doubt; the referrer is in doubt */
	uint64_t referrer;
	struct hashmap numbers;		/* of kinds of references, by hash */
	struct error *err;
};

static const char *const kinds[] = {
	[PYH_REF_TYPE] = "type", [PYH_REF_FIELD] = "field",
	[PYH_REF_DICT] = "dict", [PYH_REF_ATTRIBUTE] = "attribute",
	[PYH_REF_ITEM] = "item", [PYH_REF_KEY] = "key",
	[PYH_REF_VALUE] = "value", [PYH_REF_LOCAL] = "local",
	[PYH_REF_GUESS] = "guess",
};

static const char *const holds[] = {
	[PYH_HOLD_TRAVERSED] = "traversed",
	[PYH_HOLD_UNTRAVERSED] = "untraversed",
	[PYH_HOLD_GUESSED] = "guessed", [PYH_HOLD_NONE] = "none",
};

static const char *hold_of(const struct pyh_ref *ref)
{
	return ref->deferred ? "deferred" : holds[ref->hold];
}

/** FNV-1a; two kinds of one hash would be seen as one, which is unlikely. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
	do {
		hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001B3);
	} while (*text++);
	return hash;
}

/** The number of this kind of reference, which is printed when it is new. */
static uint32_t number_of(struct dump *dump, const struct pyh_ref *ref)
{
	const char *hold = hold_of(ref);
	const char *name = ref->name ? ref->name : "-";
	uint64_t hash = hash_text(hash_text(UINT64_C(0xCBF29CE484222325),
					    kinds[ref->kind]), hold);
	uint32_t number;

	hash = hash_text(hash, name) | 1;
	if (hashmap_get(&dump->numbers, hash, &number))
		return number;
	number = (uint32_t)dump->numbers.count;
	printf("%s %s %s\n", kinds[ref->kind], hold, name);
	if (!dump->err)
		dump->err = hashmap_put(&dump->numbers, hash, number);
	return number;
}

static bool write_ref(void *context, const struct pyh_ref *ref)
{
	struct dump *dump = context;
	struct pyh_ref told = *ref;
	uint64_t words[3] = { dump->referrer, ref->address };

	if (dump->doubted && ref->hold != PYH_HOLD_NONE) {
		told.hold = PYH_HOLD_GUESSED;
		told.deferred = false;
	}
	words[2] = number_of(dump, &told);

	return fwrite(words, sizeof(words), 1, dump->words) == 1;
}

static bool print_ref(void *context, const struct pyh_ref *ref)
{
	(void)context;
	printf("%s %" PRIx64 " %" PRIx64 " %" PRIu64 " %s %s\n",
	       kinds[ref->kind], ref->address, ref->key, ref->index,
	       hold_of(ref),
	       ref->name ? ref->name : "-");
	return true;
}

static bool count_ref(void *context, const struct pyh_ref *ref)
{
	struct dump *dump = context;

	(void)ref;
	dump->tally->references++;
	return true;
}

static uint64_t now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/**
 * The best of several times, as the first waits for memory and others wait for
 * other processes; the clock's own time is taken off.
 */
static void count_refs(struct dump *dump, const struct pyh_referrer *referrer)
{
	uint64_t best = UINT64_MAX, clock = UINT64_MAX;

	dump->tally = &dump->tallies[referrer->type->kind];
	dump->tally->objects++;
	for (int i = 0; i < TIMES; i++) {
		uint64_t start = now(), middle, end;

		pyh_refs_each(referrer, count_ref, dump);
		middle = now();
		end = now();
		if (middle - start < best)
			best = middle - start;
		if (end - middle < clock)
			clock = end - middle;
	}
	if (best > clock)
		dump->tally->nanoseconds += best - clock;
}

static void print_counts(const struct dump *dump)
{
	for (int kind = 0; kind < PYH_NUM_KINDS; kind++) {
		const struct tally *tally = &dump->tallies[kind];

		if (tally->objects)
			printf("%d %" PRIu64 " %.2f %.1f\n", kind,
			       tally->objects,
			       (double)tally->references / TIMES /
				       (double)tally->objects,
			       (double)tally->nanoseconds /
				       (double)tally->objects);
	}
}

/* --- the quick way says the same ------------------------------------------- */

struct comparing {
	struct pyh_quick_refs quick;
	size_t count;
	bool differs;
};

static bool compare_ref(void *context, const struct pyh_ref *ref)
{
	struct comparing *comparing = context;
	const struct pyh_quick_ref *quick =
		&comparing->quick.refs[comparing->count];

	comparing->differs |= comparing->count >= comparing->quick.count ||
			      quick->address != ref->address ||
			      quick->kind != ref->kind ||
			      quick->hold != ref->hold || ref->deferred;
	comparing->count++;
	return !comparing->differs;
}

/** @param before  bytes of its block before the object */
static void compare(struct dump *dump, const struct pyh_referrer *referrer,
		    uint32_t before)
{
	struct comparing comparing = { .count = 0 };
	struct pyh_quick_type type = pyh_quick_type(
		dump->runtime, dump->shapes, referrer->type);

	if (before < referrer->type->presize ||
	    !pyh_refs_quick(referrer, &type, &comparing.quick))
		return;
	pyh_refs_each(referrer, compare_ref, &comparing);
	if ((comparing.differs || comparing.count != comparing.quick.count) &&
	    !dump->err)
		dump->err = error_new(ERROR_FORMAT, "quick references of a %s "
				      "at 0x%" PRIx64 " are others",
				      referrer->type->name, referrer->address);
}

static void visit(void *context, const struct pyh_visit *visit)
{
	struct dump *dump = context;
	struct pyh_referrer referrer = pyh_referrer(dump->runtime,
						    dump->shapes, visit);

	if (dump->count) {
		count_refs(dump, &referrer);
		return;
	}

	compare(dump, &referrer, visit->before);
	if (dump->words) {
		dump->referrer = visit->object.address;
		dump->doubted = dump->doubt &&
				visit->alone == PYH_EVIDENCE_GUESSED;
		pyh_refs_each(&referrer, write_ref, dump);
		return;
	}
	printf("object %" PRIx64 " %" PRIx64 "\n", visit->object.address,
	       visit->object.type->address);
	pyh_refs_each(&referrer, print_ref, NULL);
}

static struct error *close_words(struct dump *dump)
{
	bool failed = ferror(dump->words);

	failed |= fclose(dump->words) != 0;
	return failed ? error_os(errno, "writing the words") : NULL;
}

static struct error *run(const char *path, const char *sysroot,
			 FILE *words, bool count, bool doubt)
{
	struct pyh_census_options options = { .workers = 1 };
	struct dump dump = { .words = words, .count = count, .doubt = doubt };
	struct pyh_types *types = NULL;
	struct pyh_census *census = NULL;
	struct image *image = NULL;
	struct error *err;

	err = image_open(path, &(struct image_options){ .sysroot = sysroot },
			 &image);
	if (!err)
		err = pyh_runtime_open(image, &dump.runtime);
	if (!err)
		err = pyh_types_create(dump.runtime, &types);
	if (!err)
		err = pyh_census_take(dump.runtime, types, &options, &census);
	if (!err)
		err = pyh_shapes_create(dump.runtime, types, &dump.shapes);
	if (!err)
		err = pyh_census_visit(census, visit, &dump);
	if (!err)
		err = dump.err;
	if (words && !err)
		err = close_words(&dump);
	if (count && !err)
		print_counts(&dump);
	hashmap_deinit(&dump.numbers);
	pyh_shapes_destroy(dump.shapes);
	pyh_census_destroy(census);
	pyh_types_destroy(types);
	pyh_runtime_close(dump.runtime);
	image_close(image);
	return err;
}

int main(int argc, char **argv)
{
	FILE *words = NULL;
	struct error *err;
	bool doubt, count = argc > 1 && strcmp(argv[1], "--count") == 0;

	argc -= count;
	argv += count;
	doubt = argc > 1 && strcmp(argv[1], "--doubt") == 0;
	argc -= doubt;
	argv += doubt;

	if (argc > 2 && strcmp(argv[1], "--words") == 0) {
		words = fopen(argv[2], "wb");
		if (!words) {
			perror(argv[2]);
			return 1;
		}
		argc -= 2;
		argv += 2;
	}
	if (argc != 2 && argc != 3) {
		fprintf(stderr,
			"usage: refdump [--count] [--doubt] [--words FILE] CORE "
			"[SYSROOT]\n");
		return 2;
	}
	err = run(argv[1], argc == 3 ? argv[2] : NULL, words, count, doubt);
	if (err) {
		fprintf(stderr, "refdump: %s\n", err->message);
		error_free(err);
		return 1;
	}
	return 0;
}
