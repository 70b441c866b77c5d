/*
 * Opening the CPython runtime of an image; see pyruntime.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Places found by evidence are each tried with the releases that are likely
 * there; the place whose structures hold together best is the runtime.
 */
#include "pyheap/runtime/pyruntime.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/units.h"
#include "image/symbols.h"
#include "pyheap/runtime/pycalibrate.h"
#include "pyheap/runtime/pydebugoffsets.h"
#include "pyheap/runtime/pyfind.h"
#include "pyheap/runtime/pypath.h"
#include "pyheap/runtime/pyversion.h"

bool pyh_field(const struct pyh_runtime *runtime, struct memory_reader *reader,
	       uint64_t structure, enum pyh_field field, uint64_t *ret)
{
	struct pyh_field_at at = runtime->at[field];
	uint64_t value = 0;

	// Little-endian: the bytes of a short field are the low ones.
	if (at.size == 0 || at.size > sizeof(value) ||
	    (at.size & (at.size - 1)) != 0 ||
	    !memory_try_read(reader, structure + at.offset, &value, at.size))
		return false;
	*ret = value;
	return true;
}

void pyh_runtime_close(struct pyh_runtime *runtime)
{
	if (!runtime)
		return;
	free(runtime->interpreters);
	free(runtime);
}

static bool has_table(unsigned int minor)
{
	return minor >= PYH_MINOR_FIRST && minor <= PYH_MINOR_LAST;
}

/* --- one place, one release ----------------------------------------------- */

/** A runtime that was tried, and how well it fits. */
struct trial {
	struct pyh_runtime *runtime;
	struct pyh_fit fit;
	unsigned int score;
	const struct pyh_place *place;
};

static void trial_deinit(struct trial *trial)
{
	pyh_runtime_close(trial->runtime);
	*trial = (struct trial){ 0 };
}

/** Keep the better one in best; the other is released. */
static void trial_keep(struct trial *best, struct trial *other)
{
	if (other->runtime && (!best->runtime || other->score > best->score)) {
		struct trial worse = *best;

		*best = *other;
		*other = worse;
	}
	trial_deinit(other);
}

/** Correct the table by what is known of micro releases. */
static void apply_variants(struct pyh_runtime *runtime)
{
	unsigned int micro;

	assert(runtime);
	micro = runtime->version >> 8 & 0xff;
	for (size_t i = 0; i < pyh_num_layout_variants; i++) {
		const struct pyh_layout_variant *variant =
			&pyh_layout_variants[i];

		if (!runtime->version_exact ||
		    variant->minor != runtime->minor ||
		    variant->free_threaded != runtime->free_threaded ||
		    micro < variant->first || micro > variant->last)
			continue;
		for (size_t j = 0; j < variant->num_fields; j++)
			runtime->at[variant->fields[j].field] =
				variant->fields[j].at;
		for (size_t j = 0; j < variant->num_sizes; j++)
			runtime->size_of[variant->sizes[j].structure] =
				variant->sizes[j].size;
		pyh_note(runtime->layout_by, sizeof(runtime->layout_by),
			 "as in %s", variant->name);
	}
}

static struct error *new_runtime(struct image *image,
				 const struct pyh_place *place,
				 const struct pyh_version_guess *guess,
				 unsigned int minor, struct pyh_runtime **ret)
{
	const struct pyh_layout *layout =
		guess->free_threaded ? pyh_layout_for_free_threaded(minor) :
				       pyh_layout_for(minor);
	struct pyh_runtime *runtime;

	if (!layout)
		return error_new(ERROR_UNSUPPORTED, "no layout of 3.%u", minor);
	runtime = calloc(1, sizeof(*runtime));
	if (!runtime)
		return error_no_memory();
	runtime->image = image;
	runtime->address = place->address;
	runtime->module = place->module;
	runtime->minor = minor;
	runtime->version = guess->version ? guess->version :
					    3u << 24 | minor << 16;
	runtime->version_exact = guess->exact;
	runtime->free_threaded = guess->free_threaded;
	runtime->layout = layout;
	memcpy(runtime->at, layout->at, sizeof(runtime->at));
	memcpy(runtime->size_of, layout->size_of, sizeof(runtime->size_of));
	pyh_note(runtime->layout_by, sizeof(runtime->layout_by), "table %s",
		 layout->release);
	*ret = runtime;
	return NULL;
}

static struct error *try_minor(struct image *image,
			       struct memory_reader *reader,
			       const struct pyh_place *place,
			       const struct pyh_version_guess *guess,
			       unsigned int minor, struct trial *ret)
{
	struct trial trial = { .place = place };
	struct pyh_probe probe = { .reader = reader };
	uint64_t initialized = 0;
	struct error *err;

	err = new_runtime(image, place, guess, minor, &trial.runtime);
	if (err)
		return err;
	apply_variants(trial.runtime);
	if (guess->debug_offsets)
		pyh_debug_offsets_apply(trial.runtime, reader);
	probe.runtime = trial.runtime;
	err = pyh_calibrate(&probe, &trial.fit);
	if (err) {
		trial_deinit(&trial);
		return err;
	}
	trial.score = pyh_fit_score(&trial.fit);
	(void)pyh_field(trial.runtime, reader, place->address,
			PYH_RUNTIME_INITIALIZED, &initialized);
	trial.score += trial.score != 0 && initialized == 1;
	*ret = trial;
	return NULL;
}

/**
 * If sys.hexversion tells more than was known, try once more with that.
 */
static struct error *try_again(struct image *image,
			       struct memory_reader *reader,
			       struct pyh_version_guess guess,
			       struct trial *best)
{
	struct pyh_probe probe = { .runtime = best->runtime, .reader = reader };
	unsigned int minor;
	struct trial trial;
	struct error *err;

	if (guess.exact || !pyh_version_of_sys(&probe, &guess.version))
		return NULL;
	guess.exact = true;
	minor = guess.version >> 16 & 0xff;
	if (!has_table(minor)) {
		// Old enough to look like a release with a table.
		best->runtime->version = guess.version;
		best->runtime->version_exact = true;
		best->score = 0;
		return NULL;
	}
	err = try_minor(image, reader, best->place, &guess, minor, &trial);
	if (err)
		return err;
	// What a runtime says of itself outweighs a table that fits as well.
	if (trial.score != 0)
		best->score = 0;
	trial_keep(best, &trial);
	return NULL;
}

/** Try a place with every release that it could be of. */
static struct error *try_place(struct image *image,
			       struct memory_reader *reader,
			       const struct pyh_place *place,
			       struct trial *ret)
{
	struct pyh_version_guess guess;
	struct trial best = { 0 }, trial;
	struct error *err = NULL;

	pyh_version_guess(image, reader, place, &guess);
	for (size_t i = 0; !err && i < guess.num_minors; i++) {
		err = try_minor(image, reader, place, &guess, guess.minors[i],
				&trial);
		if (!err)
			trial_keep(&best, &trial);
		if (best.fit.types && best.fit.gc && best.fit.threads &&
		    best.fit.moved == 0)
			break;
	}
	// Structures that lead to each other may be anybody's. By those alone
	// it is a runtime only with something of Python behind them.
	if (place->by == PYH_FIND_BY_INVARIANTS && !best.fit.types &&
	    !best.fit.namespaces && !best.fit.gc)
		best.score = 0;
	if (!err && best.score != 0)
		err = try_again(image, reader, guess, &best);
	if (err)
		trial_deinit(&best);
	*ret = best;
	return err;
}

/* --- the one that won ----------------------------------------------------- */

static const char *base_name(const struct module *module)
{
	const char *slash;

	if (!module || !module->path)
		return NULL;
	slash = strrchr(module->path, '/');
	return slash ? slash + 1 : module->path;
}

static void describe_place(struct pyh_runtime *runtime,
			   const struct pyh_place *place)
{
	static const char *const sources[] = {
		[SYMBOLS_NONE] = "",
		[SYMBOLS_FROM_FILE] = " (of the file)",
		[SYMBOLS_FROM_DEBUG_FILE] = " (of the file)",
		[SYMBOLS_FROM_IMAGE] = " (of the dump)",
	};
	static const char *const evidence[] = {
		[PYH_FIND_BY_SYMBOL] = "symbol _PyRuntime",
		[PYH_FIND_BY_SECTION] = "section .PyRuntime",
		[PYH_FIND_BY_COOKIE] = "cookie of the debug offsets",
		[PYH_FIND_BY_INVARIANTS] = "invariants of its interpreters",
	};
	const char *name = base_name(place->module), *source = "";

	if (place->by == PYH_FIND_BY_SYMBOL)
		source = sources[place->source];
	pyh_note(runtime->found_by, sizeof(runtime->found_by), "%s%s%s%s",
		 evidence[place->by], name ? " in " : "", name ? name : "",
		 source);
}

/** Py_DEBUG builds count all references, and say so in sys. */
static void find_flavour(const struct pyh_probe *probe)
{
	struct pyh_runtime *runtime = probe->runtime;
	uint64_t sysdict = runtime->interpreters[0].sysdict, value;
	uint64_t finalizing = 0;

	if (sysdict != 0)
		runtime->debug_build = pyh_value_of(probe, sysdict,
						    "gettotalrefcount",
						    &value);
	else if (runtime->module && runtime->module->path)
		runtime->debug_build =
			pyh_path_read(runtime->module->path).debug;
	(void)pyh_field(runtime, probe->reader, runtime->address,
			PYH_RUNTIME_FINALIZING, &finalizing);
	runtime->finalizing = finalizing != 0;
	pyh_note(runtime->build, sizeof(runtime->build), "%s, %s%s",
		 runtime->free_threaded ? "free-threaded" : "GIL",
		 runtime->debug_build ? "debug" : "release",
		 runtime->trace_refs ? ", trace refs" : "");
}

static struct error *finish(struct image *image, struct memory_reader *reader,
			    struct trial *best)
{
	struct pyh_runtime *runtime = best->runtime;
	struct pyh_probe probe = {
		.runtime = runtime, .reader = reader,
		.findings = image->findings,
	};
	struct error *err;

	// Once more, now that damage is worth reporting.
	err = pyh_calibrate(&probe, &best->fit);
	if (err)
		return err;
	pyh_calibrate_types(&probe);
	describe_place(runtime, best->place);
	find_flavour(&probe);
	pyh_calibrate_allocators(&probe);
	pyh_calibrate_static(&probe);
	if (runtime->num_disbelieved)
		findings_add(image->findings, "runtime-offsets",
			     runtime->address, "%u of the debug offsets "
			     "contradict the layout of 3.%u, which is used "
			     "instead", runtime->num_disbelieved,
			     runtime->minor);
	if (!best->fit.threads)
		findings_add(image->findings, "runtime-threads",
			     runtime->interpreters[0].address,
			     "the main interpreter leads to no thread state");
	if (!best->fit.namespaces)
		findings_add(image->findings, "runtime-namespaces",
			     runtime->interpreters[0].address,
			     "sys, builtins and sys.modules were not found");
	if (!best->fit.gc)
		findings_add(image->findings, "runtime-gc",
			     runtime->interpreters[0].address,
			     "the lists of the garbage collector were not "
			     "found");
	return NULL;
}

/* --- none ----------------------------------------------------------------- */

/** The most telling module: what the process seems to be. */
static const struct module *telling_module(const struct image *image,
					   struct pyh_path *ret)
{
	const struct module *best = NULL;
	struct pyh_path best_name = { 0 };

	for (size_t i = 0; i < modules_count(image->modules); i++) {
		const struct module *module = modules_get(image->modules, i);
		struct pyh_path name;

		if (!module->path)
			continue;
		name = pyh_path_read(module->path);
		if (name.implementation > best_name.implementation ||
		    (name.implementation == best_name.implementation &&
		     ((name.holder && !best_name.holder) ||
		      (name.holder == best_name.holder && name.major &&
		       !best_name.major)))) {
			best = module;
			best_name = name;
		}
	}
	*ret = best_name;
	return best;
}

/** The minor release of a runtime that is there but has no table; else 0. */
static unsigned int minor_without_table(struct image *image,
					struct memory_reader *reader,
					const struct trial *best,
					const struct pyh_places *places)
{
	if (best->runtime && best->runtime->version_exact &&
	    !has_table(best->runtime->version >> 16 & 0xff))
		return best->runtime->version >> 16 & 0xff;
	for (size_t i = 0; i < places->count; i++) {
		struct pyh_version_guess guess;

		pyh_version_guess(image, reader, &places->items[i], &guess);
		if (guess.exact && !has_table(guess.version >> 16 & 0xff))
			return guess.version >> 16 & 0xff;
	}
	return 0;
}

static struct error *no_runtime(struct image *image,
				struct memory_reader *reader,
				const struct trial *best,
				const struct pyh_places *places)
{
	struct pyh_path name;
	const struct module *module = telling_module(image, &name);
	const char *file = base_name(module);
	unsigned int minor = minor_without_table(image, reader, best, places);
	char missing[UNITS_TEXT_MAX];

	if (minor != 0) {
		name.implementation = PYH_IMPLEMENTATION_CPYTHON;
		name.major = 3;
		name.minor = minor;
	}
	if (name.implementation == PYH_IMPLEMENTATION_PYPY)
		return error_new(ERROR_NOT_FOUND,
				 "no CPython in this process: %s is PyPy's, "
				 "whose heap is another one", file);
	if (name.implementation == PYH_IMPLEMENTATION_GRAALPY)
		return error_new(ERROR_UNSUPPORTED,
				 "no CPython in this process: %s is GraalPy's, "
				 "whose heap is another one", file);
	if (name.major != 0 && (name.major != 3 || !has_table(name.minor)))
		return error_new(ERROR_UNSUPPORTED,
				 "this is CPython %u.%u%s%s; its heap is "
				 "understood from 3.%d to 3.%d",
				 name.major, name.minor, file ? ", in " : "",
				 file ? file : "", PYH_MINOR_FIRST,
				 PYH_MINOR_LAST);
	if (name.holder) {
		struct error *err = image_check_private(image);

		if (err)
			return err;
	}
	if (name.holder && places->count != 0)
		return error_new(ERROR_NOT_FOUND,
				 "CPython is loaded (%s), but no interpreter "
				 "of it holds together at 0x%" PRIx64
				 ": it was not running, or its data is not in "
				 "the dump", file, places->items[0].address);
	if (image->missing_bytes)
		return error_new(ERROR_NOT_FOUND, "%s%sno CPython runtime is in "
				 "what there is of this dump: %s of its memory "
				 "are missing", name.holder ? file : "",
				 name.holder ? " is mapped, but " : "",
				 units_size(image->missing_bytes, missing));
	if (name.holder)
		return error_new(ERROR_NOT_FOUND,
				 "%s is mapped, but no CPython runtime was "
				 "found by symbols, sections or in writable "
				 "memory", file);
	if (modules_count(image->modules) == 0)
		return error_new(ERROR_NOT_FOUND, "no CPython runtime is in "
				 "this dump, and nothing in it says which "
				 "programs and libraries were mapped");
	return error_new(ERROR_NOT_FOUND,
			 "no Python in this process: none of its %zu modules "
			 "is a CPython, and no writable memory looks like its "
			 "runtime", modules_count(image->modules));
}

/* -------------------------------------------------------------------------- */

/** Try the places from first on and keep the best. */
static struct error *try_places(struct image *image,
				struct memory_reader *reader,
				const struct pyh_places *places, size_t first,
				struct trial *best)
{
	for (size_t i = first; i < places->count; i++) {
		struct trial trial;
		struct error *err = try_place(image, reader, &places->items[i],
					      &trial);

		if (err)
			return err;
		trial_keep(best, &trial);
	}
	return NULL;
}

/** Of what one program embeds twice, each has its modules and its objects. */
static struct error *note_others(struct image *image,
				 struct memory_reader *reader,
				 const struct pyh_places *places,
				 const struct pyh_runtime *shown)
{
	for (size_t i = 0; i < places->count; i++) {
		const struct pyh_place *place = &places->items[i];
		struct trial trial;
		struct error *err;

		if (!place->module || place->module == shown->module)
			continue;
		err = try_place(image, reader, place, &trial);
		if (err)
			return err;
		if (trial.fit.types && trial.fit.gc && trial.fit.threads)
			findings_add(image->findings, "runtime-other",
				     place->address, "a second CPython, 3.%u "
				     "in %s, runs in this process; its objects "
				     "are not shown, as those of 3.%u in %s are",
				     trial.runtime->minor,
				     base_name(place->module), shown->minor,
				     shown->module ? base_name(shown->module) :
						     "no module");
		trial_deinit(&trial);
	}
	return NULL;
}

static struct error *open_with(struct image *image,
			       struct memory_reader *reader,
			       struct pyh_places *places, struct trial *best)
{
	struct error *err;

	for (unsigned int where = 0;
	     best->score == 0 && where < PYH_NUM_FIND_WHERE; where++) {
		size_t first = places->count;

		err = pyh_find(image, where, places);
		if (err)
			return err;
		// The places may have moved; the one kept is only compared.
		best->place = NULL;
		err = try_places(image, reader, places, first, best);
		if (err)
			return err;
	}
	if (best->score == 0)
		return no_runtime(image, reader, best, places);
	best->runtime->num_candidates = places->count - 1;
	err = finish(image, reader, best);
	return err ? err : note_others(image, reader, places, best->runtime);
}

struct error *pyh_runtime_open(struct image *image, struct pyh_runtime **ret)
{
	struct memory_reader reader = { 0 };
	struct pyh_places places = { 0 };
	struct trial best = { 0 };
	struct error *err;

	err = memory_reader_init(&reader, image->memory);
	if (err)
		return err;
	err = open_with(image, &reader, &places, &best);
	if (!err) {
		*ret = best.runtime;
		best.runtime = NULL;
	}
	trial_deinit(&best);
	pyh_places_deinit(&places);
	memory_reader_deinit(&reader);
	return err;
}
