/*
 * Leak suspects: where memory piles up, in words.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A suspect is a point of accumulation: an object that keeps much alive, not
 * through one other object but through many of one type, or of two as keys and
 * values are, or through some that are large and alike. Each has to hold a
 * twentieth of the memory in question, and a few MiB; that none stands out is an
 * answer, because a false alarm costs a night.
 */
#ifndef ANALYZER_SUSPECTS_H
#define ANALYZER_SUSPECTS_H

#include <stddef.h>
#include <stdint.h>

#include "analyzer/analysis.h"
#include "analyzer/heap/paths.h"
#include "image/base/error.h"

enum {
	SUSPECTS_MAX = 3,
	SUSPECTS_SHARE = 20,		/* a twentieth of the memory … */
	SUSPECTS_BYTES = 4 << 20,	/* … and so much, at least */
};

/** What it looks like: the name is in JSON, the rest in the sentence. */
enum suspect_pattern {
	SUSPECT_CONTAINER,	/* a global, local or attribute that only grows */
	SUSPECT_LRU_CACHE,	/* functools.lru_cache, of a method or a function */
	SUSPECT_QUEUE,		/* a queue without a bound */
	SUSPECT_CALLBACKS,	/* functions, methods, handlers */
	SUSPECT_EXCEPTIONS,	/* exceptions that hold frames */
	SUSPECT_THREADS,	/* threads nobody joined; what each of many holds */
	SUSPECT_TASKS,		/* tasks and coroutines nobody awaits */
	SUSPECT_LAST_ERROR,	/* sys.last_traceback and the like */
	SUSPECT_CLOSURE,	/* a variable of a function that is kept */
	SUSPECT_CHAIN,		/* objects of one type, one behind the other */
	SUSPECT_GARBAGE,	/* cycles that the collector has not freed */
	SUSPECT_NATIVE,		/* objects of one type that native code holds */
	SUSPECT_SCATTERED,	/* of one type, held by several or by many */
	SUSPECT_SINGLE,		/* one large object, or tensor */
	SUSPECT_COPIES,		/* many objects of few values */
	SUSPECT_TENSORS,	/* a container that keeps many tensors */
	SUSPECT_GRAPHS,		/* … results of operations with their graphs */
	SUSPECT_SUM,		/* a result that more and more is added to */
	NUM_SUSPECT_PATTERNS
};

/** "growing container", "lru_cache" … as JSON has it. */
const char *suspect_pattern_name(enum suspect_pattern pattern);

enum { SUSPECT_MEMORY_MAX = 32 };

struct suspect {
	enum suspect_pattern pattern;
	uint32_t object;	/* GRAPH_NONE: many, held by nobody together */
	uint32_t sample;	/* one of its elements; GRAPH_NONE: none */
	const struct pyh_type *element;	/* what piles up; NULL: nothing does */
	uint64_t elements;	/* of that type */
	const struct pyh_type *beside;	/* what piles up with it, as keys do with
					   values; NULL: nothing. For words
					   only, and not kept with these */
	uint64_t num_beside;	/* of these */
	uint64_t retained;	/* bytes */
	/* of SUSPECT_TENSORS, _GRAPHS and _SUM, and a _SINGLE tensor: bytes of data of tensors in the
	   memory that it is about (of a sum in the process, with the nodes of
	   its graph), these tensors, and which memory; else 0 */
	uint64_t in_tensors, tensors;
	uint8_t device;
	int8_t index;
	bool of_scalars;	/* results of one item */
	bool shared;		/* for words only, and not kept with these: others
				   than the object hold what piles up in it, too */
	uint32_t class_names;	/* for words only, too: that classes share which
				   pile up; 0: none do */
	/* for words only, and not kept with these: graphs of _GRAPHS; bytes of
	   in_tensors that can be seen in tensors, which may be views */
	uint64_t graphs, shown;
	double share;		/* of the memory in question */
	char path[PATH_TEXT_MAX];	/* to object, or of copies the attribute
					   they are in; UTF-8, not escaped */
	char sentence[512];	/* names in it are not escaped, either */
	char evidence[512];
};

/** "cuda:0", "cpu": the memory that one with in_tensors is about. */
const char *suspect_memory(const struct suspect *suspect,
			   char text[SUSPECT_MEMORY_MAX]);

struct suspects {
	/* that of the device whose memory ran out first; else the largest share
	   first */
	struct suspect list[SUSPECTS_MAX];
	size_t count;
	uint64_t memory;	/* in question: RSS, or all objects */
	bool memory_is_rss;
	/* theories that were looked into: what garbage takes, and objects that
	   native code alone holds, for no known reason */
	uint64_t garbage_bytes;
	uint64_t unexplained;	/* objects */
	uint64_t unexplained_bytes;	/* … and what they retain */
	uint64_t lost, lost_bytes;	/* objects that neither anything known
					   leads to nor a collection frees */
};

/** Bytes that are worth a word. */
static inline uint64_t suspects_least(const struct suspects *suspects)
{
	uint64_t share = suspects->memory / SUSPECTS_SHARE;

	return share > SUSPECTS_BYTES ? share : SUSPECTS_BYTES;
}

/** The analysis has its tree and its cycles. */
struct error *suspects_find(struct opened *opened,
			    const struct analysis *analysis, bool values,
			    struct suspects *ret);

#endif
