/*
 * The census: every object of a CPython heap, counted by type; see pycensus.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Three steps. (1) Arenas, in address order on all workers: each live block
 * is an object or raw memory; what an object owns is marked as a claim; words
 * that point out of the arenas are looked at as objects of their own.
 * (2) What lies outside of arenas (large, static, foreign-allocated objects)
 * is followed from there and from the roots until nothing new turns up.
 * (3) Blocks that look like an object but are somebody's buffer are taken
 * back.
 *
 * Every tally is a sum and every mark a set, so the result does not depend on
 * how the work was divided.
 */
#include "pyheap/census/pycensus.h"

#include <elf.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/workers.h"
#include "pyheap/census/pycensusworker.h"
#include "pyheap/references/pycounts.h"

static void worker_deinit(struct census_worker *worker)
{
	pyh_type_reader_deinit(&worker->types);
	memory_reader_deinit(&worker->arena);
	memory_reader_deinit(&worker->outside);
	memory_reader_deinit(&worker->words);
	memory_reader_deinit(&worker->memory);
	free(worker->tallies);
	free(worker->found.tasks);
	free(worker->raws);
}

static struct error *worker_init(struct census_worker *worker,
				 struct pyh_census *census)
{
	const struct memory *memory = census->runtime->image->memory;
	struct error *err;

	worker->census = census;
	worker->number = (unsigned int)(worker - census->workers);
	err = pyh_type_reader_init(&worker->types, census->types);
	if (!err)
		err = memory_reader_init(&worker->arena, memory);
	if (!err)
		err = memory_reader_init(&worker->outside, memory);
	if (!err)
		err = memory_reader_init(&worker->words, memory);
	if (!err)
		err = memory_reader_init(&worker->memory, memory);
	return err;
}

void pyh_census_destroy(struct pyh_census *census)
{
	if (!census)
		return;
	for (unsigned int i = 0; census->workers && i < census->num_workers;
	     i++)
		worker_deinit(&census->workers[i]);
	free(census->workers);
	native_stacks_deinit(&census->stacks);
	free(census->tasks.tasks);
	free(census->totals);
	pyh_space_deinit(&census->space);
	pyh_arenas_deinit(&census->arenas);
	pyh_mi_deinit(&census->mi);
	hashmap_deinit(&census->counts_beside);
	free(census);
}

/** Say what every page is, before workers ask. */
static struct error *classify_pages(struct pyh_census *census)
{
	const struct memory *memory = census->runtime->image->memory;
	struct error *err = pyh_space_init(&census->space);

	for (size_t i = 0; !err && i < memory_num_ranges(memory); i++) {
		const struct memory_range *range = memory_range(memory, i);

		// Code holds no objects; constants of the program may.
		if (range->state == MEMORY_CAPTURED &&
		    !(range->protection & PF_X))
			err = pyh_space_classify(&census->space, range->start,
						 range->end, PYH_PAGE_OTHER);
	}
	// Of a segment only pages have objects that live.
	for (size_t i = 0; !err && i < census->mi.num_segments; i++)
		err = pyh_space_classify(&census->space,
					 census->mi.segments[i].start,
					 census->mi.segments[i].limit,
					 PYH_PAGE_ABSENT);
	for (size_t i = 0; !err && i < census->arenas.count; i++)
		err = pyh_space_classify(&census->space,
					 census->arenas.arenas[i].start,
					 census->arenas.arenas[i].limit,
					 PYH_PAGE_ARENA);
	if (!err)
		pyh_space_seal(&census->space);
	return err;
}

/** Where the blocks of each size begin in a pool. */
static void mark_starts(struct pyh_census *census)
{
	for (uint32_t i = 0; i < PYH_BLOCK_SIZES; i++) {
		uint32_t size = (i + 1) * PYH_BLOCK_ALIGN;
		uint64_t *words = census->starts[i].words;

		for (uint32_t at = PYH_POOL_HEADER;
		     at + size <= census->arenas.pool_size; at += size)
			words[at / 512] |= UINT64_C(1) << at / 8 % 64;
	}
}

static int by_size(const void *a, const void *b)
{
	const struct pyh_type_total *x = a, *y = b;
	int order;

	if (x->size != y->size)
		return x->size > y->size ? -1 : 1;
	order = strcmp(x->type->name, y->type->name);
	if (order)
		return order;
	return x->type->address < y->type->address ? -1 :
	       x->type->address > y->type->address;
}

static void add_coverage(struct pyh_coverage *sum,
			 const struct pyh_coverage *part)
{
	sum->arenas += part->arenas;
	sum->arena_bytes += part->arena_bytes;
	sum->pools += part->pools;
	sum->pools_free += part->pools_free;
	sum->blocks_in_use += part->blocks_in_use;
	sum->blocks_in_use_bytes += part->blocks_in_use_bytes;
	sum->blocks_object += part->blocks_object;
	sum->blocks_claimed += part->blocks_claimed;
	sum->free_bytes += part->free_bytes;
	sum->overhead_bytes += part->overhead_bytes;
	sum->objects_outside += part->objects_outside;
	sum->gc_tracked += part->gc_tracked;
}

static struct error *add_up(struct pyh_census *census)
{
	uint32_t count = pyh_types_count(census->types);
	struct pyh_coverage *coverage = &census->coverage;

	census->totals = calloc(count ? count : 1, sizeof(*census->totals));
	if (!census->totals)
		return error_no_memory();
	for (unsigned int i = 0; i < census->num_workers; i++)
		census_settle_plans(&census->workers[i]);
	for (uint32_t id = 0; id < count; id++) {
		struct pyh_type_total total = {
			.type = pyh_types_get(census->types, id),
			.size_exact = true,
		};

		for (unsigned int i = 0; i < census->num_workers; i++) {
			const struct census_worker *worker =
				&census->workers[i];

			if (id >= worker->num_tallies)
				continue;
			total.count += worker->tallies[id].count;
			total.size += worker->tallies[id].size;
			total.footprint += worker->tallies[id].footprint;
			total.refcounts += worker->tallies[id].refcounts;
			total.immortal += worker->tallies[id].immortal;
			total.size_exact &= !worker->tallies[id].inexact;
		}
		if (total.count > 0)
			census->totals[census->num_totals++] = total;
	}
	qsort(census->totals, census->num_totals, sizeof(*census->totals),
	      by_size);
	for (unsigned int i = 0; i < census->num_workers; i++)
		add_coverage(coverage, &census->workers[i].coverage);
	if (census->runtime->free_threaded)
		census_mi_cover(census);
	if (coverage->blocks_in_use >
	    coverage->blocks_object + coverage->blocks_claimed)
		coverage->blocks_other = coverage->blocks_in_use -
					 coverage->blocks_object -
					 coverage->blocks_claimed;
	return NULL;
}

/** Step 1 goes over all arenas once, and hardly anything else does. */
static void pass_arenas(struct pyh_census *census, bool pass)
{
	for (unsigned int i = 0; i < census->num_workers; i++) {
		memory_reader_pass(&census->workers[i].arena, pass);
		memory_reader_pass(&census->workers[i].memory, pass);
	}
}

static struct error *run_steps(struct pyh_census *census)
{
	struct error *err;

	pass_arenas(census, true);
	err = workers_run(census->num_workers, census->arenas.count,
			  census->mi.count ? census_mi_page : census_arena,
			  census);
	pass_arenas(census, false);
	if (!err)
		err = census_follow_outside(census);
	if (!err)
		err = workers_run(census->num_workers, census->num_workers,
				  census_check_raws_far, census);
	if (!err)
		err = workers_run(census->num_workers, census->arenas.count,
				  census_prune_arena, census);
	if (err)
		return err;
	census_prune_outside(census);
	census_hold_roots(&census->workers[0]);
	for (unsigned int i = 0; i < census->num_workers; i++) {
		if (census->workers[i].no_memory)
			return error_no_memory();
	}
	return atomic_load(&census->space.no_memory) ? error_no_memory() :
						       add_up(census);
}

/** What this model cannot enumerate, said in a sentence. */
static struct error *check_supported(const struct pyh_runtime *runtime)
{
	if (runtime->trace_refs)
		return error_new(ERROR_UNSUPPORTED,
				 "this CPython 3.%u was built with "
				 "--with-trace-refs; its objects cannot be "
				 "enumerated in this version (info works)",
				 runtime->minor);
	return NULL;
}

static struct error *read_counts_beside(struct pyh_census *census)
{
	struct memory_reader memory;
	struct error *err;

	if (!census->runtime->free_threaded)
		return NULL;
	err = memory_reader_init(&memory, census->runtime->image->memory);
	if (err)
		return err;
	err = pyh_counts_beside(census->runtime, &memory,
				     &census->counts_beside);
	memory_reader_deinit(&memory);
	census->rules.beside = &census->counts_beside;
	return err;
}

struct error *pyh_census_take(const struct pyh_runtime *runtime,
			      struct pyh_types *types,
			      const struct pyh_census_options *options,
			      struct pyh_census **ret)
{
	static const _Atomic uint64_t all = 0, nothing = UINT64_MAX;
	struct pyh_census *census;
	struct error *err = check_supported(runtime);

	if (err)
		return err;
	census = calloc(1, sizeof(*census));
	if (!census)
		return error_no_memory();
	census->runtime = runtime;
	census->types = types;
	census->options = options;
	census->least = !options->visitor ? &nothing :
			options->visitor->least ? options->visitor->least :
						  &all;
	census->num_workers = options->workers ? options->workers :
						 workers_available();
	census->workers = calloc(census->num_workers,
				 sizeof(*census->workers));
	if (!census->workers) {
		err = error_no_memory();
		goto fail;
	}
	pyh_object_rules_init(&census->rules, runtime);
	census->rules.stacks = &census->stacks;
	err = native_stacks_find(runtime->image, &census->stacks);
	if (!err)
		err = read_counts_beside(census);
	if (err)
		goto fail;
	err = runtime->free_threaded ?
		      census_mi_find(census) :
		      pyh_arenas_find(runtime, &census->arenas);
	if (!err && census->arenas.count > census->mi.count)
		census->pymalloc_end = PYH_BLOCK_MAX + 1;
	mark_starts(census);
	if (!err)
		err = classify_pages(census);
	for (unsigned int i = 0; !err && i < census->num_workers; i++)
		err = worker_init(&census->workers[i], census);
	if (!err)
		err = run_steps(census);
	census->options = NULL;
	if (!err) {
		*ret = census;
		return NULL;
	}
fail:
	pyh_census_destroy(census);
	return err;
}

size_t pyh_census_num_types(const struct pyh_census *census)
{
	return census->num_totals;
}

const struct pyh_type_total *pyh_census_type(const struct pyh_census *census,
					     size_t i)
{
	return &census->totals[i];
}

const struct pyh_coverage *pyh_census_coverage(const struct pyh_census *census)
{
	return &census->coverage;
}
