/*
 * Finding tracemalloc's tables; see pytracefind.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * From 3.12 on they hang on _PyRuntime, at an offset that differs between
 * builds: it is tried where the table of layouts has it, then around. Before,
 * they are static variables of the module that holds the runtime: by symbol,
 * or the word of its data that leads to a table of traces, which is told by
 * where its tracebacks lead.
 */
#include "pyheap/census/pytracefind.h"

#include <elf.h>
#include <inttypes.h>

#include "image/symbols.h"
#include "pyheap/runtime/pycalibrate.h"

enum {
	LIMIT_MAX = UINT16_MAX,		/* frames of a traceback */
	EVIDENCE_ENOUGH = 4,		/* of five things that must hold */
	ENTRIES_TRIED = 32,
	BUCKETS_TRIED = 4096,
	WORDS_AROUND = 32,		/* how far apart the variables may be */
};

/* A block of more bytes than there are addresses is none. */
#define SIZE_OF_BLOCK_MAX (UINT64_C(1) << 47)

struct search {
	const struct pyh_runtime *runtime;
	struct memory_reader *memory;
	struct findings *findings;
};

bool pyh_trace_of_entry(const struct pyh_runtime *runtime,
			struct memory_reader *memory,
			const struct pyh_hashentry *entry,
			struct pyh_trace *ret)
{
	*ret = (struct pyh_trace){
		.address = entry->key, .domain = entry->extra,
	};
	return pyh_field(runtime, memory, entry->value, PYH_TRACE_SIZE,
			 &ret->size) &&
	       pyh_field(runtime, memory, entry->value, PYH_TRACE_TRACEBACK,
			 &ret->traceback) &&
	       ret->size <= SIZE_OF_BLOCK_MAX;
}

/* --- in _PyRuntime -------------------------------------------------------- */

/** What a place would mean as a _tracemalloc_runtime_state. */
struct candidate {
	uint64_t at;
	uint64_t tracing, limit, traced, peak, traces_at, domains_at;
	enum pyh_found traces, domains;
	struct pyh_hashtable table;
	unsigned int evidence;
};

static enum pyh_found look_at_table(const struct search *search, uint64_t at,
				    uint64_t *ret_address,
				    struct pyh_hashtable *ret)
{
	if (!memory_try_u64(search->memory, at, ret_address))
		return PYH_FOUND_BAD;
	return pyh_hashtable_read(search->runtime, search->memory,
				  *ret_address, ret);
}

static void look(const struct search *search, uint64_t at,
		 struct candidate *ret)
{
	const struct pyh_runtime *runtime = search->runtime;
	struct memory_reader *memory = search->memory;
	uint64_t config = at + pyh_offset(runtime, PYH_TRACEMALLOC_CONFIG);
	struct pyh_hashtable domains;

	*ret = (struct candidate){
		.at = at, .traces = PYH_FOUND_BAD, .domains = PYH_FOUND_BAD,
	};
	if (!pyh_field(runtime, memory, config, PYH_TRACECONFIG_TRACING,
		       &ret->tracing) ||
	    !pyh_field(runtime, memory, config, PYH_TRACECONFIG_MAX_NFRAME,
		       &ret->limit) ||
	    !pyh_field(runtime, memory, at, PYH_TRACEMALLOC_TRACED_MEMORY,
		       &ret->traced) ||
	    !pyh_field(runtime, memory, at, PYH_TRACEMALLOC_PEAK_TRACED_MEMORY,
		       &ret->peak))
		return;
	ret->traces = look_at_table(search, at + pyh_offset(runtime,
						PYH_TRACEMALLOC_TRACES),
				    &ret->traces_at, &ret->table);
	ret->domains = look_at_table(search, at + pyh_offset(runtime,
						PYH_TRACEMALLOC_DOMAINS),
				     &ret->domains_at, &domains);
	if (ret->traces == PYH_FOUND_BAD && ret->domains == PYH_FOUND_BAD)
		return;
	ret->evidence = (ret->tracing <= 1) +
			(ret->limit >= 1 && ret->limit <= LIMIT_MAX) +
			(ret->traced <= ret->peak &&
			 ret->peak <= SIZE_OF_BLOCK_MAX) +
			(ret->traces != PYH_FOUND_BAD) +
			(ret->domains != PYH_FOUND_BAD);
}

/** The place where the table of layouts has it, else the best one around. */
static bool find_in_runtime(const struct search *search, struct candidate *ret)
{
	uint64_t at = search->runtime->address +
		      pyh_offset(search->runtime, PYH_RUNTIME_TRACEMALLOC);
	struct candidate other;

	look(search, at, ret);
	for (int64_t step = 8; ret->evidence < EVIDENCE_ENOUGH &&
	     step <= PYH_CALIBRATE_WINDOW; step += 8) {
		for (int sign = -1; sign <= 1; sign += 2) {
			look(search, at + (uint64_t)(sign * step), &other);
			if (other.evidence > ret->evidence)
				*ret = other;
		}
	}
	return ret->evidence >= EVIDENCE_ENOUGH;
}

/** To stop tracing empties the tables: a flag that they contradict is wrong. */
static bool is_tracing(const struct search *search,
		       const struct candidate *found)
{
	bool entries = found->traces == PYH_FOUND && found->table.entries > 0;

	if (found->tracing == 1 || (found->tracing == 0 && !entries))
		return found->tracing == 1;
	findings_add(search->findings, "tracemalloc-state",
		     found->at + pyh_offset(search->runtime,
					    PYH_TRACECONFIG_TRACING),
		     "tracemalloc's flag is not set, but there are traces");
	return entries;
}

static void state_of_runtime(const struct search *search,
			     struct pyh_trace_state *ret)
{
	struct candidate found;

	if (!find_in_runtime(search, &found) || !is_tracing(search, &found))
		return;
	ret->limit = found.limit;
	ret->traced = found.traced;
	ret->peak = found.peak;
	ret->totals_known = found.traced <= found.peak;
	ret->at = found.at + pyh_offset(search->runtime,
					PYH_TRACEMALLOC_TRACES);
	ret->domains = found.domains_at;
	ret->traces = found.table;
	ret->tracing = found.traces == PYH_FOUND ? PYH_TRACING_ON :
		       found.traces == PYH_FOUND_MISSING ?
			       PYH_TRACING_MISSING : PYH_TRACING_LOST;
}

/* --- static variables ----------------------------------------------------- */

static bool symbol_value(const struct search *search, const char *name,
			 uint64_t *ret_at, uint64_t *ret)
{
	const struct pyh_runtime *runtime = search->runtime;
	struct symbol symbol;

	if (!runtime->module ||
	    !symbols_lookup(runtime->module, runtime->image->memory, name,
			    &symbol) ||
	    !memory_try_u64(search->memory, symbol.address, ret))
		return false;
	*ret_at = symbol.address;
	return true;
}

/** What entries of a table are as traces. */
struct trial {
	const struct search *search;
	unsigned int tried, good;
};

/** A trace leads to a traceback, and that to the name of a file. */
static bool try_entry(void *context, const struct pyh_hashentry *entry)
{
	struct trial *trial = context;
	const struct search *search = trial->search;
	struct pyh_tracer tracer = { .runtime = search->runtime };
	struct pyh_alloc_traceback traceback;
	struct pyh_alloc_frame frame;
	struct pyh_trace trace;
	char name[8];

	trial->tried++;
	if (pyh_trace_of_entry(search->runtime, search->memory, entry,
			       &trace) &&
	    pyh_alloc_traceback(&tracer, search->memory, trace.traceback,
				&traceback) == PYH_FOUND &&
	    pyh_alloc_frame(&tracer, search->memory, &traceback, 0, &frame) &&
	    pyh_alloc_filename(&tracer, search->memory, frame.filename, name,
			       sizeof(name)))
		trial->good++;
	return trial->tried < ENTRIES_TRIED;
}

static bool holds_traces(const struct search *search,
			 const struct pyh_hashtable *table)
{
	struct trial trial = { .search = search };
	uint64_t buckets = table->buckets < BUCKETS_TRIED ? table->buckets :
							    BUCKETS_TRIED;

	(void)pyh_hashtable_each(search->runtime, search->memory, table, 0,
				 buckets, NULL, try_entry, &trial);
	// Some may be damaged.
	return trial.good > 0 && trial.good * 4 >= trial.tried * 3;
}

/** At address: a pointer to a table of traces. */
static bool traces_at(const struct search *search, uint64_t address,
		      struct pyh_hashtable *ret)
{
	uint64_t pointer;

	return look_at_table(search, address, &pointer, ret) == PYH_FOUND &&
	       ret->entries > 0 && holds_traces(search, ret);
}

static bool search_range(const struct search *search, uint64_t start,
			 uint64_t end, struct pyh_trace_state *ret)
{
	for (uint64_t at = (start + 7) & ~UINT64_C(7); at + 8 <= end; at += 8)
		if (traces_at(search, at, &ret->traces)) {
			ret->at = at;
			return true;
		}
	return false;
}

/** Search the writable data of the module that holds the runtime. */
static bool search_module(const struct search *search,
			  struct pyh_trace_state *ret)
{
	const struct pyh_runtime *runtime = search->runtime;
	const struct memory *memory = runtime->image->memory;
	const struct module *module = runtime->module ? runtime->module :
		modules_find(runtime->image->modules, runtime->address);
	const struct memory_range *range;

	if (!module)
		return false;
	for (uint64_t at = module->start; at < module->end; at = range->end) {
		uint64_t end;

		range = memory_find_above(memory, at);
		if (!range || range->start >= module->end)
			return false;
		end = range->end < module->end ? range->end : module->end;
		if (range->start > at)
			at = range->start;
		if (range->state == MEMORY_CAPTURED &&
		    range->protection & PF_W &&
		    search_range(search, at, end, ret))
			return true;
	}
	return false;
}

/** At address: a pointer to a table whose values are tables of traces. */
static bool domains_at(const struct search *search, uint64_t address)
{
	struct pyh_hashtable table, traces;
	struct pyh_hashentry entry;
	uint64_t pointer, head;

	if (look_at_table(search, address, &pointer, &table) != PYH_FOUND ||
	    table.entries == 0)
		return false;
	for (uint64_t i = 0; i < table.buckets && i < BUCKETS_TRIED; i++) {
		if (!memory_try_u64(search->memory, table.heads + i * 8,
				    &head) || head == 0)
			continue;
		return pyh_field(search->runtime, search->memory, head,
				 PYH_HASHENTRY_KEY, &entry.key) &&
		       pyh_field(search->runtime, search->memory, head,
				 PYH_HASHENTRY_VALUE, &entry.value) &&
		       entry.key <= UINT32_MAX &&
		       pyh_hashtable_read(search->runtime, search->memory,
					  entry.value, &traces) == PYH_FOUND &&
		       holds_traces(search, &traces);
	}
	return false;
}

/** 3.8 has one table for all domains; later ones a variable near the other. */
static void find_domains(const struct search *search,
			 struct pyh_trace_state *ret)
{
	uint64_t at;

	if (search->runtime->minor == 8 ||
	    symbol_value(search, "tracemalloc_domains", &at, &ret->domains))
		return;
	at = ret->at - WORDS_AROUND * 8;
	for (unsigned int i = 0; i <= 2 * WORDS_AROUND; i++, at += 8)
		if (at != ret->at && domains_at(search, at)) {
			(void)memory_try_u64(search->memory, at,
					     &ret->domains);
			return;
		}
}

/** The configuration is exported; false where it is not to be had. */
static bool read_config(const struct search *search, uint64_t *ret_tracing,
			uint64_t *ret_limit)
{
	const struct pyh_runtime *runtime = search->runtime;
	uint64_t at, word;

	return symbol_value(search, "_Py_tracemalloc_config", &at, &word) &&
	       pyh_field(runtime, search->memory, at, PYH_TRACECONFIG_TRACING,
			 ret_tracing) &&
	       pyh_field(runtime, search->memory, at,
			 PYH_TRACECONFIG_MAX_NFRAME, ret_limit) &&
	       *ret_tracing <= 1 && *ret_limit >= 1 && *ret_limit <= LIMIT_MAX;
}

static void state_of_statics(const struct search *search,
			     struct pyh_trace_state *ret)
{
	uint64_t tracing = 0, at, pointer;
	bool known = read_config(search, &tracing, &ret->limit);
	enum pyh_found found = PYH_FOUND_BAD;

	if (known && tracing == 0)
		return;
	if (symbol_value(search, "tracemalloc_traces", &ret->at, &pointer))
		found = look_at_table(search, ret->at, &pointer, &ret->traces);
	else if (search_module(search, ret))
		found = PYH_FOUND;
	else if (!known)
		return;
	ret->tracing = found == PYH_FOUND ? PYH_TRACING_ON :
		       found == PYH_FOUND_MISSING ? PYH_TRACING_MISSING :
						    PYH_TRACING_LOST;
	if (ret->tracing != PYH_TRACING_ON)
		return;
	find_domains(search, ret);
	ret->totals_known =
		symbol_value(search, "tracemalloc_traced_memory", &at,
			     &ret->traced) &&
		symbol_value(search, "tracemalloc_peak_traced_memory", &at,
			     &ret->peak) && ret->traced <= ret->peak;
}

/* -------------------------------------------------------------------------- */

void pyh_trace_state_find(const struct pyh_runtime *runtime,
			  struct memory_reader *memory,
			  struct pyh_trace_state *ret)
{
	struct search search = {
		.runtime = runtime, .memory = memory,
		.findings = runtime->image->findings,
	};

	*ret = (struct pyh_trace_state){ .tracing = PYH_TRACING_OFF };
	if (pyh_has(runtime, PYH_RUNTIME_TRACEMALLOC))
		state_of_runtime(&search, ret);
	else
		state_of_statics(&search, ret);
	if (ret->tracing == PYH_TRACING_LOST)
		findings_add(search.findings, "tracemalloc-table", ret->at,
			     "tracemalloc was on, but its table of traces is "
			     "not where this leads");
	else if (ret->tracing == PYH_TRACING_ON && ret->traces.repaired)
		findings_add(search.findings, "tracemalloc-table",
			     ret->traces.address, "the number of buckets of "
			     "tracemalloc's table of traces is damaged; they "
			     "are %llu", (unsigned long long)
			     ret->traces.buckets);
}
