/*
 * A dump opened for the commands; see opened.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/opened.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/analysis.h"
#include "analyzer/kept/index.h"
#include "analyzer/kept/kept.h"
#include "analyzer/ledger/residency.h"
#include "analyzer/scan_options.h"
#include "analyzer/show/scan_progress.h"
#include "analyzer/tensors/tensors.h"
#include "image/base/guard.h"
#include "image/base/tempfile.h"
#include "image/base/workers.h"
#include "image/live/live.h"
#include "image/live/room.h"
#include "pyheap/census/pyevidence.h"
#include "pyheap/references/pykeep.h"

static const uint64_t CACHE_LEAST = UINT64_C(64) << 20;

struct opened {
	const struct options *options;	/* borrowed */
	char *name;
	struct image *image;
	struct pyh_runtime *runtime;
	struct pyh_types *types;
	struct pyh_census *census;
	struct pyh_shapes *shapes;
	struct analysis *analysis;
	struct ledger *ledger;
	struct residency *residency;
	struct tensors *tensors;
	struct index *index;	/* NULL: none is wanted, or none to be had */
	struct kept *kept;	/* what was in it; NULL: nothing */
	uint64_t findings;	/* those that opening the dump made */
	bool settled;
	/* why there is no runtime, census: to be said again when asked again */
	struct error *no_runtime, *no_census, *no_index, *dropped;
};

/* Signal handlers have no other way to reach a capture. */
static atomic_bool capturing, capture_stop;

bool opened_interrupt(void)
{
	atomic_store(&capture_stop, true);
	return atomic_load(&capturing);
}

bool opened_is_pid(const char *name)
{
	return name[0] && name[strspn(name, "0123456789")] == '\0';
}

static void tell_capture(void *context, const struct live_progress *progress)
{
	progress_tell(context, progress->frozen ?
		      "capturing (the process stands still)" :
		      "storing (the process runs again)",
		      progress->done, progress->total);
}

static struct error *capture(const char *name, const struct options *options,
			     const struct image_options *image_options,
			     struct image **ret)
{
	static const struct model *const models[] = { &pyh_model, NULL };
	struct live_options live_options = {
		.snapshot = true,
		// Read once and thrown away: not worth the compression.
		.no_compress = true,
		.content = SELECT_HEAP,
		.models = models,
		.workers = (unsigned int)options->threads,
		.stop = &capture_stop,
		.progress = tell_capture,
	};
	CLEANUP(close_fd) int fd = -1;
	struct live_result result;
	unsigned long pid = strtoul(name, NULL, 10);
	struct error *err;

	if (pid == 0 || pid > INT_MAX)
		return error_new(ERROR_USAGE, "%s is no process number", name);
	atomic_store(&capturing, true);
	err = live_dump_to_fd((pid_t)pid, &live_options, options->tmp_dir, &fd,
			      &result);
	atomic_store(&capturing, false);
	if (err)
		return err;
	return image_open_fd(fd, name, image_options, ret);
}

/**
 * Bytes for decompressed frames. The analysis goes over all of memory many times,
 * so where the machine has room, they are worth more than what is asked for
 * everything else.
 */
static uint64_t cache_bytes(const struct options *options)
{
	uint64_t eighth = room_left(getpid()) / 8;

	// The rest of the budget is for what the commands collect.
	if (options->memory)
		return options->memory / 4;
	return eighth > CACHE_LEAST ? eighth : CACHE_LEAST;
}

static struct image_options image_options_from(const struct options *options)
{
	return (struct image_options){
		.sysroot = options->sysroot &&
			   strcmp(options->sysroot, "none") == 0 ?
				   "" : options->sysroot,
		.debuginfod = options->debuginfod,
		.tmp_dir = options->tmp_dir,
		.cache_bytes = cache_bytes(options),
		.progress = progress_tell,
	};
}

/** Results are kept of files, as they are before anything is read. */
static struct error *find_index(struct opened *opened)
{
	const struct options *options = opened->options;
	struct index_options index_options = {
		.folder = options->index,
		// By other files types may have other names.
		.circumstances = options->sysroot ? options->sysroot : "",
		.workers = opened_workers(opened),
	};

	return options->no_index || opened_is_pid(opened->name) ? NULL :
		index_open(backing_fd(opened->image->backing), &index_options,
			   &opened->index);
}

struct error *opened_create(const char *name, const struct options *options,
			    struct opened **ret)
{
	struct image_options image_options = image_options_from(options);
	struct opened *opened = calloc(1, sizeof(*opened));
	struct error *err = NULL;

	if (!opened)
		return error_no_memory();
	opened->options = options;
	opened->name = strdup(name);
	if (!opened->name)
		err = error_no_memory();
	else if (opened_is_pid(name))
		err = capture(name, options, &image_options, &opened->image);
	else
		err = image_open(name, &image_options, &opened->image);
	if (!err)
		opened->no_index = find_index(opened);
	if (err) {
		opened_destroy(opened);
		return err;
	}
	*ret = opened;
	return NULL;
}

void opened_destroy(struct opened *opened)
{
	if (!opened)
		return;
	free(opened->ledger);
	tensors_destroy(opened->tensors);
	residency_destroy(opened->residency);
	analysis_destroy(opened->analysis);
	pyh_shapes_destroy(opened->shapes);
	pyh_census_destroy(opened->census);
	kept_close(opened->kept);
	pyh_types_destroy(opened->types);
	index_close(opened->index);
	pyh_runtime_close(opened->runtime);
	image_close(opened->image);
	error_free(opened->no_runtime);
	error_free(opened->no_census);
	error_free(opened->no_index);
	error_free(opened->dropped);
	free(opened->name);
	free(opened);
}

struct image *opened_image(struct opened *opened)
{
	return opened->image;
}

const char *opened_name(const struct opened *opened)
{
	return opened->name;
}

/** A copy of an error, as the receiver of an error frees it. */
static struct error *again(const struct error *err)
{
	return error_new(err->kind, "%s", err->message);
}

struct error *opened_runtime(struct opened *opened, struct pyh_runtime **ret)
{
	if (!opened->runtime && !opened->no_runtime)
		opened->no_runtime = pyh_runtime_open(opened->image,
						      &opened->runtime);
	if (opened->no_runtime)
		return again(opened->no_runtime);
	*ret = opened->runtime;
	return NULL;
}

/** Take up what is in a file of results, if all of it can be right. */
static struct error *take_up(struct opened *opened, const struct store *store,
			     bool believed)
{
	struct error *err = kept_open(store, opened->types, &opened->kept);

	if (!err && !believed)
		err = kept_check(opened->kept, opened_workers(opened));
	if (!err)
		err = kept_analysis(opened->kept, opened->types,
				    &opened->analysis);
	if (err)
		return err;
	opened->ledger = TAKE(opened->kept->ledger);
	// For what views make of it.
	opened->analysis->heap->spill.folder = opened_tmp_dir(opened);
	opened->analysis->heap->spill.budget = opened_memory(opened);
	return NULL;
}

/** What an earlier run kept, if it did; what is of no use is remembered. */
static void find_kept(struct opened *opened)
{
	const struct store *store = NULL;
	bool believed;

	opened->dropped = index_find(opened->index, &believed, &store);
	if (!store)
		return;
	opened->dropped = take_up(opened, store, believed);
	if (!opened->dropped) {
		index_believe(opened->index);
		return;
	}
	kept_close(TAKE(opened->kept));
	free(TAKE(opened->ledger));
	index_drop(opened->index);
}

static struct error *make_types(struct opened *opened)
{
	struct error *err = pyh_types_create(opened->runtime, &opened->types);

	if (!err && opened->index)
		find_kept(opened);
	// Of those that were taken up before it went wrong nothing may stay.
	if (!err && opened->dropped) {
		pyh_types_destroy(TAKE(opened->types));
		err = pyh_types_create(opened->runtime, &opened->types);
	}
	opened->findings = findings_total(opened->image->findings);
	return err;
}

struct error *opened_types(struct opened *opened, struct pyh_types **ret)
{
	struct pyh_runtime *runtime = NULL;
	struct error *err = opened_runtime(opened, &runtime);

	if (!err && !opened->types)
		err = make_types(opened);
	if (!err)
		*ret = opened->types;
	return err;
}

unsigned int opened_workers(const struct opened *opened)
{
	return opened->options->threads ?
		       (unsigned int)opened->options->threads :
		       workers_available();
}

uint64_t opened_memory(const struct opened *opened)
{
	// Three quarters; the cache of frames has the fourth.
	return opened->options->memory ? opened->options->memory / 4 * 3 :
					 UINT64_C(1) << 30;
}

const char *opened_tmp_dir(const struct opened *opened)
{
	return tempfile_folder(opened->options->tmp_dir);
}

struct analysis **opened_analysis(struct opened *opened)
{
	return &opened->analysis;
}

struct tensors **opened_tensors(struct opened *opened)
{
	return &opened->tensors;
}

struct residency **opened_residency(struct opened *opened)
{
	return &opened->residency;
}

struct ledger **opened_ledger(struct opened *opened)
{
	return &opened->ledger;
}

struct error *opened_index(struct opened *opened, struct index **ret)
{
	struct image *image = opened->image;

	*ret = NULL;
	if (opened->no_index)
		return again(opened->no_index);
	// Findings are not kept, so that they are found each time.
	if (opened->index &&
	    (findings_total(image->findings) != opened->findings ||
	     backing_shrank(image->backing)))
		return error_new(ERROR_FORMAT, "the dump is damaged");
	*ret = opened->index;
	return NULL;
}

const char *opened_dropped(const struct opened *opened)
{
	return opened->dropped ? opened->dropped->message : NULL;
}

/** Damaged objects, of which only those who refer to them know. */
static struct error *report_refused(struct opened *opened)
{
	struct pyh_shapes *shapes;
	struct error *err = opened_shapes(opened, &shapes);

	return err ? err : pyh_evidence_report_refused(opened->runtime,
						       opened->census, shapes);
}

struct error *opened_check_heap(const struct opened *opened)
{
	const char *content = core_notes_fact(&opened->image->notes,
					      FORMAT_FACT_CONTENT);

	if (content && strcmp(content, "stacks") == 0)
		return error_new(ERROR_UNSUPPORTED, "the dump was made with "
				 "--content stacks: it has the threads and the "
				 "runtime, the objects are not in it");
	return image_check_private(opened->image);
}

static struct error *take_census(struct opened *opened,
				 const struct pyh_visitor *visitor)
{
	struct pyh_census_options options = {
		.workers = opened_workers(opened),
		.visitor = visitor,
		.progress = progress_tell,
	};
	struct pyh_types *types;
	struct error *err = opened_types(opened, &types);

	if (err)
		return err;
	opened->no_census = opened_check_heap(opened);
	if (!opened->no_census)
		opened->no_census = pyh_census_take(opened->runtime, types,
						    &options, &opened->census);
	if (!opened->no_census)
		opened->no_census = report_refused(opened);
	// What is printed next says whether it is whole.
	(void)backing_shrank(opened->image->backing);
	return opened->no_census ? again(opened->no_census) : NULL;
}

struct error *opened_census(struct opened *opened, struct pyh_census **ret)
{
	struct error *err = opened->no_census ? again(opened->no_census) :
			    opened->census ? NULL :
			    take_census(opened, NULL);

	if (!err)
		*ret = opened->census;
	return err;
}

struct error *opened_census_visited(struct opened *opened,
				    const struct pyh_visitor *visitor,
				    struct pyh_census **ret)
{
	struct error *err = opened->no_census ? again(opened->no_census) :
			    opened->census ?
				    pyh_census_visit(opened->census,
						     visitor->visit,
						     visitor->context) :
				    take_census(opened, visitor);

	if (!err)
		*ret = opened->census;
	return err;
}

struct error *opened_counts(struct opened *opened, struct type_counts *ret)
{
	struct pyh_census *census;
	struct pyh_types *types;
	struct error *err = opened_types(opened, &types);
	const struct kept *kept = opened->kept;

	if (!err && kept && !opened->census) {
		*ret = (struct type_counts){ kept->totals, kept->num_totals,
					     &kept->coverage };
		return NULL;
	}
	if (!err)
		err = opened_census(opened, &census);
	if (!err)
		*ret = (struct type_counts){ pyh_census_type(census, 0),
					     pyh_census_num_types(census),
					     pyh_census_coverage(census) };
	return err;
}

struct error *opened_shapes(struct opened *opened, struct pyh_shapes **ret)
{
	struct pyh_types *types;
	struct error *err = opened_types(opened, &types);

	if (!err && !opened->shapes)
		err = pyh_shapes_create(opened->runtime, types,
					&opened->shapes);
	if (!err)
		*ret = opened->shapes;
	return err;
}

struct error *opened_settle(struct opened *opened)
{
	struct pyh_shapes *shapes;
	struct error *err;

	if (opened->settled)
		return NULL;
	err = opened_shapes(opened, &shapes);
	if (!err)
		err = pyh_evidence_settle(opened->runtime, opened->census,
					  shapes);
	opened->settled = !err;
	return err;
}

struct error *opened_settle_few(struct opened *opened,
				struct pyh_object *objects, size_t count)
{
	struct pyh_shapes *shapes;
	struct error *err = opened_shapes(opened, &shapes);

	return err ? err : pyh_evidence_settle_few(opened->runtime,
						   opened->census, shapes,
						   objects, count);
}

struct pyh_runtime *opened_runtime_if_found(const struct opened *opened)
{
	return opened->runtime;
}

const struct pyh_coverage *
opened_coverage_if_known(const struct opened *opened)
{
	return opened->census ? pyh_census_coverage(opened->census) :
	       opened->kept ? &opened->kept->coverage : NULL;
}

bool opened_partial(const struct opened *opened)
{
	return image_partial(opened->image);
}
