/*
 * Findings: damage in the target's data, which is what we were asked to find.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A finding never stops the work. Each has a code (a short constant string
 * such as "pool-header"), usually an address, and a sentence. The first few of
 * each code are kept whole, all are counted. Safe to call from any thread.
 */
#ifndef BASE_FINDINGS_H
#define BASE_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"

enum { FINDINGS_KEPT_PER_CODE = 8 };

struct finding {
	const char *code;	/* static storage */
	uint64_t address;	/* 0: not about one address */
	char *text;
};

struct findings;

struct error *findings_create(struct findings **ret);
void findings_destroy(struct findings *findings);

/** Record one finding. findings may be NULL: then nothing is kept. */
void findings_add(struct findings *findings, const char *code,
		  uint64_t address, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/** As findings_add(), with the sentence of err, which is taken and freed. */
void findings_take(struct findings *findings, const char *code,
		   struct error *err);

/** All findings ever added, kept or not. */
uint64_t findings_total(const struct findings *findings);

/** The kept ones, in order of arrival: 0 ... findings_kept()-1. */
size_t findings_kept(const struct findings *findings);
const struct finding *findings_get(const struct findings *findings, size_t i);

/** How many were added with this code. */
uint64_t findings_of(const struct findings *findings, const char *code);

/** True if any finding means that bytes are missing (the answer is partial). */
bool findings_partial(const struct findings *findings);

/** Say that bytes are missing: answers are partial and programs exit with 3. */
void findings_set_partial(struct findings *findings);

#endif
