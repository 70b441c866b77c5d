/*
 * A CPython runtime built by hand upon a tiny heap, to be found by its looks.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	tinyruntime_init(&tiny, 12);
 *	tiny.heap.runtime.at[PYH_INTERP_SYSDICT].offset += 24;	... if wanted
 *	tinyruntime_build(&tiny, 0x030c01f0);
 *	... more of tinyheap_put() and tinyheap_set() ...
 *	tinyruntime_open(&tiny);
 *	err = pyh_runtime_open(&tiny.heap.image, &runtime);
 *	tinyruntime_deinit(&tiny);
 *
 * One interpreter with two threads, the lists of the collector, the three
 * namespaces with what they must have, a module, and sys.hexversion; no
 * modules of files, no notes.
 */
#ifndef TESTS_TINYRUNTIME_H
#define TESTS_TINYRUNTIME_H

#include "tests/lib/tinyheap.h"

struct tinyruntime {
	struct tinyheap heap;	/* its runtime says where to build what */
	struct core_notes notes;
	uint64_t address;	/* of _PyRuntime */
	uint64_t interpreter, threads[2], gc;
	uint64_t sysdict, builtins, modules;
};

void tinyruntime_init(struct tinyruntime *tiny, unsigned int minor);
void tinyruntime_build(struct tinyruntime *tiny, uint32_t version);
void tinyruntime_open(struct tinyruntime *tiny);
void tinyruntime_deinit(struct tinyruntime *tiny);

#endif
