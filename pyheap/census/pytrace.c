/*
 * What tracemalloc knows; see pytrace.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/census/pytrace.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "image/base/workers.h"
#include "pyheap/census/pytracefind.h"
#include "pyheap/values/pystr.h"

enum {
	DOMAINS_MAX = 1 << 16,
	SHARD_BUCKETS = 1 << 13,
	TOTALS_AROUND = 32,	/* words */
};

/* --- opening -------------------------------------------------------------- */

/** Filling the list of domains. */
struct domain_list {
	struct pyh_tracer *tracer;
	struct memory_reader *memory;
	struct findings *findings;
	bool no_memory;
};

static bool add_domain(struct domain_list *list, uint32_t number,
		       const struct pyh_hashtable *traces)
{
	struct pyh_tracer *tracer = list->tracer;
	struct pyh_trace_domain *more =
		reallocarray(tracer->domains, tracer->num_domains + 1,
			     sizeof(*more));

	if (!more) {
		list->no_memory = true;
		return false;
	}
	tracer->domains = more;
	more[tracer->num_domains++] = (struct pyh_trace_domain){
		.number = number, .traces = *traces,
	};
	return tracer->num_domains < DOMAINS_MAX;
}

static bool take_domain(void *context, const struct pyh_hashentry *entry)
{
	struct domain_list *list = context;
	struct pyh_hashtable traces;

	if (pyh_hashtable_read(list->tracer->runtime, list->memory,
			       entry->value, &traces) == PYH_FOUND)
		return add_domain(list, (uint32_t)entry->key, &traces);
	findings_add(list->findings, "tracemalloc-table", entry->address,
		     "the traces of domain %" PRIu64 " cannot be read",
		     entry->key);
	return true;
}

static struct error *take_domains(struct pyh_tracer *tracer,
				  struct memory_reader *memory,
				  const struct pyh_trace_state *state)
{
	struct domain_list list = {
		.tracer = tracer, .memory = memory,
		.findings = tracer->runtime->image->findings,
	};
	struct pyh_hashtable domains;

	(void)add_domain(&list, 0, &state->traces);
	if (state->domains == 0 || list.no_memory)
		return list.no_memory ? error_no_memory() : NULL;
	if (pyh_hashtable_read(tracer->runtime, memory, state->domains,
			       &domains) != PYH_FOUND)
		findings_add(list.findings, "tracemalloc-table",
			     state->domains, "tracemalloc's table of domains "
			     "cannot be read");
	else
		(void)pyh_hashtable_each(tracer->runtime, memory, &domains, 0,
					 domains.buckets, list.findings,
					 take_domain, &list);
	return list.no_memory ? error_no_memory() : NULL;
}

struct error *pyh_tracer_open(const struct pyh_runtime *runtime,
			      struct memory_reader *memory,
			      struct pyh_tracer *ret)
{
	struct pyh_trace_state state;
	struct error *err;

	pyh_trace_state_find(runtime, memory, &state);
	*ret = (struct pyh_tracer){
		.runtime = runtime,
		.tracing = state.tracing,
		.limit = state.limit,
		.totals_known = state.totals_known,
		.traced = state.traced,
		.peak = state.peak,
		.found_at = state.at,
	};
	if (state.tracing != PYH_TRACING_ON)
		return NULL;
	err = take_domains(ret, memory, &state);
	if (err)
		pyh_tracer_deinit(ret);
	return err;
}

void pyh_tracer_deinit(struct pyh_tracer *tracer)
{
	free(tracer->domains);
	tracer->domains = NULL;
	tracer->num_domains = 0;
}

/** A word beside the one with the size: the peak, and no pointer? */
static bool may_be_peak(const struct memory_reader *memory, uint64_t word,
			uint64_t size)
{
	return word >= size && word / 256 < size &&
	       (word % 8 || memory_state_at(memory->memory, word) ==
			    MEMORY_UNMAPPED);
}

void pyh_tracer_find_totals(struct pyh_tracer *tracer,
			    struct memory_reader *memory, uint64_t size)
{
	uint64_t words[2 * TOTALS_AROUND + 1];
	bool below, above;

	if (tracer->totals_known || tracer->found_at == 0 || size == 0 ||
	    !memory_try_read(memory, tracer->found_at - TOTALS_AROUND * 8,
			     words, sizeof(words)))
		return;
	// The other one is a neighbour, on which side is up to the compiler.
	for (unsigned int i = 1; i < 2 * TOTALS_AROUND; i++) {
		if (words[i] != size)
			continue;
		below = may_be_peak(memory, words[i - 1], size);
		above = may_be_peak(memory, words[i + 1], size);
		tracer->totals_known = true;
		tracer->traced = size;
		if (below != above)
			tracer->peak = words[below ? i - 1 : i + 1];
		return;
	}
}

/* --- traces --------------------------------------------------------------- */

/** A pass over the tables of all domains, by several workers. */
struct pass {
	const struct pyh_tracer *tracer;
	struct findings *findings;
	pyh_trace_fn *fn;
	void *context;
	struct memory_reader *readers;	/* of each worker; memory NULL: none */
	struct pass_domain {
		size_t first_shard;
		_Atomic uint64_t count, size;	/* found */
	} *domains;
};

/** One shard of it. */
struct part {
	struct pass *pass;
	unsigned int worker;
	const struct pyh_trace_domain *domain;
	uint64_t count, size;
};

static bool see_entry(void *context, const struct pyh_hashentry *entry)
{
	struct part *part = context;
	struct pass *pass = part->pass;
	struct pyh_trace trace;

	part->count++;
	if (!pyh_trace_of_entry(pass->tracer->runtime,
				&pass->readers[part->worker], entry,
				&trace)) {
		findings_add(pass->findings, "tracemalloc-trace",
			     entry->address, "the trace of the block at 0x%"
			     PRIx64 " cannot be read", entry->key);
		return true;
	}
	if (part->domain->number)
		trace.domain = part->domain->number;
	part->size += trace.size;
	pass->fn(pass->context, part->worker, &trace);
	return true;
}

static size_t domain_of_shard(const struct pass *pass, size_t shard)
{
	size_t low = 0, high = pass->tracer->num_domains;

	while (high - low > 1) {
		size_t middle = (low + high) / 2;

		if (pass->domains[middle].first_shard <= shard)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static struct error *see_shard(void *context, unsigned int worker,
			       size_t shard)
{
	struct pass *pass = context;
	size_t domain = domain_of_shard(pass, shard);
	struct part part = {
		.pass = pass, .worker = worker,
		.domain = &pass->tracer->domains[domain],
	};
	const struct pyh_hashtable *table = &part.domain->traces;
	uint64_t first = (shard - pass->domains[domain].first_shard) *
			 SHARD_BUCKETS;
	struct memory_reader *reader = &pass->readers[worker];
	struct error *err;

	if (!reader->memory) {
		err = memory_reader_init(reader, pass->tracer->runtime->image
						 ->memory);
		if (err)
			return err;
	}
	(void)pyh_hashtable_each(pass->tracer->runtime, reader, table, first,
				 table->buckets - first < SHARD_BUCKETS ?
					table->buckets - first : SHARD_BUCKETS,
				 pass->findings, see_entry, &part);
	atomic_fetch_add(&pass->domains[domain].count, part.count);
	atomic_fetch_add(&pass->domains[domain].size, part.size);
	return NULL;
}

/**
 * Say where a table has not the entries that it says it has. One is counted
 * before it is put in, and its bytes after that: a dump of that moment is none
 * of a damaged table.
 */
static void check_counts(const struct pass *pass,
			 struct memory_reader *memory)
{
	struct pyh_tracer totals = *pass->tracer;
	const struct pyh_tracer *tracer = &totals;
	uint64_t size = 0;

	for (size_t i = 0; i < tracer->num_domains; i++)
		size += pass->domains[i].size;
	pyh_tracer_find_totals(&totals, memory, size);
	for (size_t i = 0; i < tracer->num_domains; i++) {
		const struct pyh_hashtable *table = &tracer->domains[i].traces;
		uint64_t found = pass->domains[i].count;

		if (found == table->entries ||
		    (found + 1 == table->entries && tracer->totals_known &&
		     size == tracer->traced))
			continue;
		findings_add(pass->findings, "tracemalloc-count",
			     table->address, "the table says that it has %"
			     PRIu64 " traces, and %" PRIu64 " were found: it "
			     "was just being rebuilt, or is damaged",
			     table->entries, found);
	}
}

static struct error *run_pass(struct pass *pass, unsigned int workers)
{
	const struct pyh_tracer *tracer = pass->tracer;
	size_t shards = 0;
	struct error *err;

	for (size_t i = 0; i < tracer->num_domains; i++) {
		pass->domains[i].first_shard = shards;
		shards += (size_t)((tracer->domains[i].traces.buckets +
				    SHARD_BUCKETS - 1) / SHARD_BUCKETS);
	}
	err = workers_run(workers, shards, see_shard, pass);
	for (unsigned int i = 0; !err && i < workers; i++)
		if (pass->readers[i].memory) {
			check_counts(pass, &pass->readers[i]);
			break;
		}
	for (unsigned int i = 0; i < workers; i++)
		if (pass->readers[i].memory)
			memory_reader_deinit(&pass->readers[i]);
	return err;
}

struct error *pyh_traces_each(const struct pyh_tracer *tracer,
			      unsigned int workers, pyh_trace_fn *fn,
			      void *context)
{
	struct pass pass = {
		.tracer = tracer,
		.findings = tracer->runtime->image->findings,
		.fn = fn, .context = context,
		.readers = calloc(workers, sizeof(*pass.readers)),
		.domains = calloc(tracer->num_domains + 1,
				  sizeof(*pass.domains)),
	};
	struct error *err = !pass.readers || !pass.domains ?
		error_no_memory() : run_pass(&pass, workers);

	free(pass.readers);
	free(pass.domains);
	return err;
}

bool pyh_trace_find(const struct pyh_tracer *tracer,
		    struct memory_reader *memory, uint64_t block,
		    struct pyh_trace *ret)
{
	const struct pyh_hashtable *traces;
	struct pyh_hashentry entry;

	if (tracer->num_domains == 0)
		return false;
	traces = &tracer->domains[0].traces;
	return pyh_hashtable_find(tracer->runtime, memory, traces, block,
				  &entry) &&
	       pyh_trace_of_entry(tracer->runtime, memory, &entry, ret);
}

/* --- tracebacks ----------------------------------------------------------- */

enum pyh_found pyh_alloc_traceback(const struct pyh_tracer *tracer,
				   struct memory_reader *memory,
				   uint64_t address,
				   struct pyh_alloc_traceback *ret)
{
	const struct pyh_runtime *runtime = tracer->runtime;
	uint64_t count, total = 0;

	if (!pyh_field(runtime, memory, address, PYH_ALLOCTRACEBACK_NFRAME,
		       &count))
		return PYH_FOUND_MISSING;
	(void)pyh_field(runtime, memory, address,
			PYH_ALLOCTRACEBACK_TOTAL_NFRAME, &total);
	if (count == 0 || count > UINT16_MAX ||
	    (pyh_has(runtime, PYH_ALLOCTRACEBACK_TOTAL_NFRAME) &&
	     total < count))
		return PYH_FOUND_BAD;
	*ret = (struct pyh_alloc_traceback){
		.frames = address +
			  pyh_offset(runtime, PYH_ALLOCTRACEBACK_FRAMES),
		.count = (uint32_t)count,
		.total = (uint32_t)total,
	};
	return PYH_FOUND;
}

bool pyh_alloc_frame(const struct pyh_tracer *tracer,
		     struct memory_reader *memory,
		     const struct pyh_alloc_traceback *traceback,
		     uint32_t index, struct pyh_alloc_frame *ret)
{
	const struct pyh_runtime *runtime = tracer->runtime;
	uint64_t at = traceback->frames + (uint64_t)index *
		      runtime->size_of[PYH_STRUCT_ALLOCFRAME];
	uint64_t line;

	if (!pyh_field(runtime, memory, at, PYH_ALLOCFRAME_FILENAME,
		       &ret->filename) ||
	    !pyh_field(runtime, memory, at, PYH_ALLOCFRAME_LINENO, &line))
		return false;
	ret->line = (uint32_t)line;
	return true;
}

/**
 * The name is a str object; in 3.15 (3.15.2 at least) a C string, which has no
 * type in its second word.
 */
bool pyh_alloc_filename(const struct pyh_tracer *tracer,
			struct memory_reader *memory, uint64_t filename,
			char *buffer, size_t size)
{
	const struct pyh_runtime *runtime = tracer->runtime;
	struct pyh_str str;
	uint64_t type;

	if (pyh_field(runtime, memory, filename, PYH_OBJECT_OB_TYPE, &type) &&
	    type != 0 && type == runtime->types.str)
		return pyh_str_read(runtime, memory, filename, &str) ==
			       PYH_FOUND &&
		       pyh_str_copy(memory, &str, buffer, size);
	return runtime->minor >= 15 &&
	       memory_try_string(memory, filename, buffer, size);
}
