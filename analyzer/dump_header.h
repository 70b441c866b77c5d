/*
 * Which process, which machine, when: the facts that open every answer.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_DUMP_HEADER_H
#define ANALYZER_DUMP_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "analyzer/show/render.h"
#include "image/image.h"
#include "pyheap/runtime/pyruntime.h"

struct opened;

enum { DUMP_HEADER_TEXT = 128 };

/** Everything unknown is NULL, false or empty. */
struct dump_header {
	const char *path;	/* borrowed, as are the other pointers */
	const char *command;	/* program and script, or with --values all */
	const char *host, *trigger, *method, *content;
	bool has_pid, has_captured_at;
	uint64_t pid;
	int64_t captured_at;	/* seconds since the epoch */
	const char *arch;	/* "x86_64", "aarch64" */
	char python[32];	/* "3.12.7" */
	const char *python_build;	/* "GIL, release" */
	bool complete;
	uint64_t findings;
};

/** Gather it. runtime is NULL where there is none or it was not asked for. */
void dump_header_gather(struct dump_header *header, struct opened *opened,
			const struct pyh_runtime *runtime, bool values);

/** An object of the JSON envelope, "dump" as a rule; nothing in other formats. */
void dump_header_json(const struct dump_header *header, const char *key,
		      struct render *render);

/** The first line: file, command, pid, host, time. */
void dump_header_line(const struct dump_header *header, struct render *render);

/**
 * "heapdump 0.1.0 on request", "the kernel, signal 11 (SIGSEGV)": who wrote
 * the dump and why.
 */
void dump_header_cause(const struct dump_header *header,
		       const struct image *image,
		       char text[DUMP_HEADER_TEXT]);

/** "2026-11-20 02:13:41 UTC" */
void dump_header_time(int64_t seconds, char text[DUMP_HEADER_TEXT]);

/** "SIGSEGV", or NULL. */
const char *dump_header_signal(int number);

#endif
