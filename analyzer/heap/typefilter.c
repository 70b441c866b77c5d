/*
 * --type and --match; see typefilter.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "analyzer/heap/typefilter.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/show/textwidth.h"
#include "image/base/guard.h"

enum {
	/* Steps for one name: about a second's worth of work at most. */
	MATCH_LIMIT = 10000000,
	DEPTH_LIMIT = 10000,
	HEAP_LIMIT_KIB = 16 * 1024,
	JIT_STACK_MAX = 1 << 20,
	/* Types are named by people. What is longer than this is no name. */
	SUBJECT_MAX = 1 << 16,
};

enum verdict { VERDICT_UNKNOWN, VERDICT_PASS, VERDICT_FAIL };

struct typefilter {
	const char *name;	/* borrowed */
	const char *pattern;	/* borrowed */
	pcre2_code *code;
	pcre2_match_data *data;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
	uint8_t *verdicts;	/* enum verdict, by type id */
	size_t num_verdicts;
};

static struct error *compile(struct typefilter *filter)
{
	int number;
	PCRE2_SIZE offset;

	// Names come from the dump: bytes that are no UTF-8 are to be matched
	// around, not to be an error.
	filter->code = pcre2_compile((PCRE2_SPTR)filter->pattern,
				     PCRE2_ZERO_TERMINATED,
				     PCRE2_UTF | PCRE2_MATCH_INVALID_UTF |
				     PCRE2_NEVER_BACKSLASH_C,
				     &number, &offset, NULL);
	if (!filter->code) {
		PCRE2_UCHAR why[128];

		(void)pcre2_get_error_message(number, why, sizeof(why));
		return error_new(ERROR_USAGE,
				 "--match '%s': %s, at offset %zu",
				 filter->pattern, (const char *)why, offset);
	}
	// Without the compiler of patterns matching is slower, not other.
	(void)pcre2_jit_compile(filter->code, PCRE2_JIT_COMPLETE);
	filter->data = pcre2_match_data_create_from_pattern(filter->code, NULL);
	filter->context = pcre2_match_context_create(NULL);
	filter->stack = pcre2_jit_stack_create((size_t)32 * 1024, JIT_STACK_MAX, NULL);
	if (!filter->data || !filter->context)
		return error_no_memory();
	(void)pcre2_set_match_limit(filter->context, MATCH_LIMIT);
	(void)pcre2_set_depth_limit(filter->context, DEPTH_LIMIT);
	(void)pcre2_set_heap_limit(filter->context, HEAP_LIMIT_KIB);
	if (filter->stack)
		pcre2_jit_stack_assign(filter->context, NULL, filter->stack);
	return NULL;
}

struct error *typefilter_create(const char *name, const char *pattern,
				struct typefilter **ret)
{
	struct typefilter *filter = calloc(1, sizeof(*filter));
	struct error *err = NULL;

	if (!filter)
		return error_no_memory();
	filter->name = name;
	filter->pattern = pattern;
	if (pattern)
		err = compile(filter);
	if (err) {
		typefilter_destroy(filter);
		return err;
	}
	*ret = filter;
	return NULL;
}

void typefilter_destroy(struct typefilter *filter)
{
	if (!filter)
		return;
	pcre2_code_free(filter->code);
	pcre2_match_data_free(filter->data);
	pcre2_match_context_free(filter->context);
	pcre2_jit_stack_free(filter->stack);
	free(filter->verdicts);
	free(filter);
}

/** True if neither a name nor a pattern was given. */
static bool is_open(const struct typefilter *filter)
{
	return !filter->name && !filter->pattern;
}

static struct error *matches(struct typefilter *filter, const char *name,
			     bool *ret)
{
	size_t size = strnlen(name, SUBJECT_MAX);
	int found = pcre2_match(filter->code, (PCRE2_SPTR)name, size, 0, 0,
				filter->data, filter->context);

	if (found >= 0 || found == PCRE2_ERROR_NOMATCH) {
		*ret = found >= 0;
		return NULL;
	}
	if (found == PCRE2_ERROR_NOMEMORY)
		return error_no_memory();
	CLEANUP(free_pointer) char *shown = textwidth_fit(name, size, 60);
	return error_new(ERROR_LIMIT,
			 "--match '%s' needs too much work on the name '%s'",
			 filter->pattern, shown ? shown : "?");
}

struct error *typefilter_pass_name(struct typefilter *filter, const char *name,
				   bool *ret)
{
	if (filter->name && strcmp(filter->name, name) != 0) {
		*ret = false;
		return NULL;
	}
	if (!filter->code) {
		*ret = true;
		return NULL;
	}
	return matches(filter, name, ret);
}

/** Make room for the verdict on a type. */
static struct error *reserve(struct typefilter *filter, uint32_t id)
{
	size_t wanted = ((size_t)id + 1) * 2;
	uint8_t *larger;

	if (id < filter->num_verdicts)
		return NULL;
	larger = realloc(filter->verdicts, wanted);
	if (!larger)
		return error_no_memory();
	memset(larger + filter->num_verdicts, VERDICT_UNKNOWN,
	       wanted - filter->num_verdicts);
	filter->verdicts = larger;
	filter->num_verdicts = wanted;
	return NULL;
}

struct error *typefilter_pass(struct typefilter *filter,
			      const struct pyh_type *type, bool *ret)
{
	struct error *err;
	bool pass;

	if (is_open(filter)) {
		*ret = true;
		return NULL;
	}
	err = reserve(filter, type->id);
	if (err)
		return err;
	if (filter->verdicts[type->id] == VERDICT_UNKNOWN) {
		err = typefilter_pass_name(filter, type->name, &pass);
		if (err)
			return err;
		filter->verdicts[type->id] = pass ? VERDICT_PASS : VERDICT_FAIL;
	}
	*ret = filter->verdicts[type->id] == VERDICT_PASS;
	return NULL;
}
