/*
 * Findings about the target's data; see findings.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/base/findings.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FINDINGS_CODES = 64 };

struct findings {
	pthread_mutex_t lock;
	struct {
		const char *code;
		uint64_t count;
	} codes[FINDINGS_CODES];
	size_t num_codes;
	struct finding *kept;
	size_t num_kept;
	uint64_t total;
	atomic_bool partial;
};

struct error *findings_create(struct findings **ret)
{
	struct findings *findings = calloc(1, sizeof(*findings));

	if (!findings)
		return error_no_memory();
	(void)pthread_mutex_init(&findings->lock, NULL);
	*ret = findings;
	return NULL;
}

void findings_destroy(struct findings *findings)
{
	if (!findings)
		return;
	for (size_t i = 0; i < findings->num_kept; i++)
		free(findings->kept[i].text);
	free(findings->kept);
	(void)pthread_mutex_destroy(&findings->lock);
	free(findings);
}

/** Count code; returns how often it has been seen. Called with the lock. */
static uint64_t count_code(struct findings *findings, const char *code)
{
	size_t i;

	findings->total++;
	for (i = 0; i < findings->num_codes; i++) {
		if (strcmp(findings->codes[i].code, code) == 0)
			return ++findings->codes[i].count;
	}
	if (i == FINDINGS_CODES)
		return UINT64_MAX;	// counted in total, not kept
	findings->codes[i].code = code;
	findings->num_codes++;
	return ++findings->codes[i].count;
}

/** Keep text (taken) where the quota of its code allows. With the lock. */
static void keep(struct findings *findings, const char *code,
		 uint64_t address, char *text)
{
	struct finding *kept;

	kept = realloc(findings->kept,
		       (findings->num_kept + 1) * sizeof(*kept));
	if (!kept) {
		free(text);
		return;
	}
	findings->kept = kept;
	kept[findings->num_kept++] = (struct finding){
		.code = code, .address = address, .text = text,
	};
}

void findings_add(struct findings *findings, const char *code,
		  uint64_t address, const char *format, ...)
{
	va_list args;
	char *text;

	if (!findings)
		return;
	(void)pthread_mutex_lock(&findings->lock);
	if (count_code(findings, code) <= FINDINGS_KEPT_PER_CODE) {
		va_start(args, format);
		if (vasprintf(&text, format, args) >= 0)
			keep(findings, code, address, text);
		va_end(args);
	}
	(void)pthread_mutex_unlock(&findings->lock);
}

void findings_take(struct findings *findings, const char *code,
		   struct error *err)
{
	findings_add(findings, code, err->has_address ? err->address : 0,
		     "%s", err->message);
	error_free(err);
}

uint64_t findings_total(const struct findings *findings)
{
	return findings ? findings->total : 0;
}

size_t findings_kept(const struct findings *findings)
{
	return findings ? findings->num_kept : 0;
}

const struct finding *findings_get(const struct findings *findings, size_t i)
{
	return &findings->kept[i];
}

uint64_t findings_of(const struct findings *findings, const char *code)
{
	for (size_t i = 0; findings && i < findings->num_codes; i++) {
		if (strcmp(findings->codes[i].code, code) == 0)
			return findings->codes[i].count;
	}
	return 0;
}

bool findings_partial(const struct findings *findings)
{
	return findings && findings->partial;
}

void findings_set_partial(struct findings *findings)
{
	if (findings)
		findings->partial = true;
}
