/*
 * Type objects: which addresses are types, what they are called, how their
 * instances lie in memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A type is believed if its metatype chain ends in `type`, it is ready, and it
 * heads its own MRO, or, where that is damaged, is where types are and on a
 * base that is one. (Up to 3.10 a module's static type may
 * have instances before it is ready: then it must have none of what getting
 * ready gives.) Names do not need read-only pages: heap types carry name
 * objects; static types get theirs from tp_name where that can be read, else
 * from the dictionaries of builtins and of the loaded modules.
 */
#ifndef PYHEAP_PYTYPES_H
#define PYHEAP_PYTYPES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/memory.h"
#include "pyheap/runtime/pyruntime.h"

/* tp_flags, Include/object.h; the same in every release that has them. */
#define PYH_TPFLAGS_INLINE_VALUES	(UINT64_C(1) << 2)	/* 3.13+ */
#define PYH_TPFLAGS_MANAGED_WEAKREF	(UINT64_C(1) << 3)	/* 3.12+ */
#define PYH_TPFLAGS_MANAGED_DICT	(UINT64_C(1) << 4)	/* 3.11+ */
#define PYH_TPFLAGS_HEAPTYPE		(UINT64_C(1) << 9)
#define PYH_TPFLAGS_BASETYPE		(UINT64_C(1) << 10)
#define PYH_TPFLAGS_READY		(UINT64_C(1) << 12)
#define PYH_TPFLAGS_READYING		(UINT64_C(1) << 13)
#define PYH_TPFLAGS_HAVE_GC		(UINT64_C(1) << 14)
#define PYH_TPFLAGS_ITEMS_AT_END	(UINT64_C(1) << 23)	/* 3.12+ */
#define PYH_TPFLAGS_LONG_SUBCLASS	(UINT64_C(1) << 24)
#define PYH_TPFLAGS_LIST_SUBCLASS	(UINT64_C(1) << 25)
#define PYH_TPFLAGS_TUPLE_SUBCLASS	(UINT64_C(1) << 26)
#define PYH_TPFLAGS_BYTES_SUBCLASS	(UINT64_C(1) << 27)
#define PYH_TPFLAGS_UNICODE_SUBCLASS	(UINT64_C(1) << 28)
#define PYH_TPFLAGS_DICT_SUBCLASS	(UINT64_C(1) << 29)
#define PYH_TPFLAGS_BASE_EXC_SUBCLASS	(UINT64_C(1) << 30)
#define PYH_TPFLAGS_TYPE_SUBCLASS	(UINT64_C(1) << 31)
#define PYH_TPFLAGS_KINDS		(UINT64_C(0xFF) << 24)	/* all of these */

/**
 * The C structure at the start of an instance, of the nearest builtin base
 * that this model knows. It decides size and claims.
 */
enum pyh_kind {
	PYH_KIND_OTHER,		/* basic size and items are all that is known */
	PYH_KIND_LIST, PYH_KIND_TUPLE, PYH_KIND_DICT, PYH_KIND_SET,
	PYH_KIND_STR, PYH_KIND_BYTES, PYH_KIND_BYTEARRAY, PYH_KIND_INT,
	PYH_KIND_FLOAT, PYH_KIND_COMPLEX, PYH_KIND_TYPE, PYH_KIND_CODE,
	PYH_KIND_FRAME, PYH_KIND_GENERATOR, PYH_KIND_DEQUE, PYH_KIND_ARRAY,
	PYH_KIND_ODICT, PYH_KIND_MEMORYVIEW, PYH_KIND_MANAGEDBUFFER,
	PYH_KIND_PATTERN, PYH_KIND_MATCH, PYH_KIND_CDATA, PYH_KIND_DECIMAL,
	PYH_KIND_BYTESIO, PYH_KIND_STRINGIO, PYH_KIND_BUFFERED,
	PYH_KIND_MODULE, PYH_KIND_ELEMENT, PYH_KIND_DATETIME, PYH_KIND_TIME,
	PYH_KIND_STRUCTSEQ, PYH_KIND_SIMPLEQUEUE, PYH_KIND_STRUCTPACK,
	PYH_KIND_PICKLER, PYH_KIND_UNPICKLER, PYH_KIND_PRODUCT,
	PYH_KIND_COMBINATIONS, PYH_KIND_PERMUTATIONS,
	PYH_KIND_STGDICT,	/* dicts of ctypes classes, 3.12 and older */
	PYH_KIND_CTYPE,		/* ctypes classes, 3.13 and later */
	PYH_KIND_NDARRAY,	/* numpy's arrays */
	PYH_KIND_GREENLET,	/* since 2.0 */
	PYH_KIND_OLD_GREENLET,	/* … and before */
	PYH_KIND_KHASH,		/* pandas' hash tables */
	PYH_KIND_ARROW_BUFFER, PYH_KIND_ARROW_ARRAY, PYH_KIND_ARROW_CHUNKED,
	PYH_KIND_ARROW_TABLE, PYH_KIND_ARROW_BATCH,	/* pyarrow's */
	PYH_NUM_KINDS
};

/**
 * How instances are measured by their first words alone: most objects of most
 * heaps, each in a few instructions. See pyh_measure_quick().
 */
enum pyh_lane {
	PYH_LANE_NONE,		/* the handler of their kind must look */
	PYH_LANE_FIXED,		/* all of one size, and nothing owned */
	PYH_LANE_ASCII,		/* str: if compact ASCII, by its length */
	PYH_LANE_INT,		/* by the count of digits */
	PYH_LANE_ITEMS,		/* by ob_size, nothing owned */
	PYH_LANE_LIST,		/* one buffer */
	/* from here on by pyh_measure_near(): */
	PYH_LANE_DICT,		/* one table, looked at as well */
	PYH_LANE_INLINE,	/* values of attributes inside */
	PYH_LANE_MANAGED,	/* … or beside, in a buffer of a prefix */
};

/**
 * What keeps chains that lead from block to block in bounds: so many steps may
 * be made in all, by however many objects; no chain is longer than memory.
 */
struct pyh_chains {
	uint64_t bytes;		/* of memory that was captured */
	_Atomic int64_t steps;	/* left */
};

struct pyh_type {
	uint32_t id;		/* 0, 1, 2 … in order of discovery */
	enum pyh_kind kind;
	uint64_t address;
	uint64_t flags;		/* tp_flags */
	int64_t basicsize;	/* tp_basicsize, 0 … 2^31 */
	int64_t itemsize;	/* tp_itemsize, 0 … 2^31 */
	int64_t dictoffset, weaklistoffset;
	uint64_t metatype, base;	/* addresses */
	uint8_t presize;	/* bytes before the object: GC head, pre-header */
	bool has_gc;		/* instances have a PyGC_Head (type objects
				   themselves: only if heap types) */
	bool is_static;		/* not a heap type */
	bool size_exact;	/* `size` of instances equals sys.getsizeof */
	bool name_known;
	bool foreign;		/* none of the interpreter's own, whatever its
				   name: see pyh_kind_may_be_builtin() */
	bool own_layout;	/* instances do not begin as those of its base */
	const char *name;	/* "dict", "__main__.Node"; UTF-8, unescaped;
				   "?" and the address where unknown */
	const char *module;	/* "builtins", "__main__", or NULL */
	const char *qualname;	/* "Node.Inner" */
	/* kept by pysize: */
	enum pyh_lane lane;
	bool is_leaf;		/* see pyh_object_is_leaf() */
	uint32_t hidden_items;	/* struct sequences: fields beyond ob_size */
	struct pyh_chains *chains;	/* borrowed from the types; NULL: none
					   are walked */
	uint8_t shared_values;	/* 3.11 and 3.12: attribute values that a new
				   instance has room for, outside of itself */
};

struct pyh_types;

/** runtime is borrowed and must outlive the types. */
struct error *pyh_types_create(const struct pyh_runtime *runtime,
			       struct pyh_types **ret);
void pyh_types_destroy(struct pyh_types *types);

/**
 * A thread's way in: a small cache before the shared table, and a memory
 * reader for looking at types not seen yet (not the caller's own, so that its
 * current view stays valid).
 */
enum { PYH_TYPE_CACHE_LOG2 = 10, PYH_TYPE_CACHE = 1 << PYH_TYPE_CACHE_LOG2 };
struct pyh_type_reader {
	struct pyh_types *types;
	struct memory_reader memory;
	struct {
		uint64_t address;
		const struct pyh_type *type;	/* NULL: known to be no type */
	} cache[PYH_TYPE_CACHE];
};

struct error *pyh_type_reader_init(struct pyh_type_reader *reader,
				   struct pyh_types *types);
void pyh_type_reader_deinit(struct pyh_type_reader *reader);

static inline size_t pyh_type_slot(uint64_t address)
{
	return (size_t)((address * UINT64_C(0x9E3779B97F4A7C15)) >>
			(64 - PYH_TYPE_CACHE_LOG2));
}

/** The type at an address if the cache has it; NULL: that says nothing. */
static inline const struct pyh_type *
pyh_type_known(const struct pyh_type_reader *reader, uint64_t address)
{
	size_t slot = pyh_type_slot(address);

	return reader->cache[slot].address == address ?
		       reader->cache[slot].type : NULL;
}

/** What pyh_type_find() does when its cache has no answer. */
const struct pyh_type *pyh_type_find_slow(struct pyh_type_reader *reader,
					  uint64_t address);

/**
 * The type at an address, or NULL if there is none. Any number may be asked;
 * the answer is remembered. Valid as long as the types. Safe from any thread
 * (each with its own reader).
 */
static inline const struct pyh_type *
pyh_type_find(struct pyh_type_reader *reader, uint64_t address)
{
	size_t slot = pyh_type_slot(address);

	if (reader->cache[slot].address == address)
		return reader->cache[slot].type;
	return pyh_type_find_slow(reader, address);
}

/** Say that the type object at an address is damaged; once for each. */
void pyh_types_report(struct pyh_types *types, uint64_t address,
		      const char *what);

/**
 * Something in a GC list says that its type is here, and yet cannot be an
 * instance of it. When a second one says so, it is the type that is damaged.
 */
void pyh_types_suspect(struct pyh_types *types, uint64_t address);

/** Types found so far, ids 0 … count-1. */
uint32_t pyh_types_count(const struct pyh_types *types);
const struct pyh_type *pyh_types_get(const struct pyh_types *types, uint32_t id);

/* --- types that are kept, to be taken up again by another run --------------- */

/** All there is to a type. */
struct pyh_type_kept {
	struct pyh_type type;	/* names are borrowed, chains means nothing */
	bool defines_kind;	/* its bases are of another kind */
	uint8_t own_sizeof;	/* what is known of a __sizeof__ of its own */
};

void pyh_types_keep(const struct pyh_types *types, uint32_t id,
		    struct pyh_type_kept *ret);

/**
 * Add a type that was kept, without a look at the dump. To be done before any is
 * looked for, in the order of their ids, by one thread.
 *
 * @return ERROR_FORMAT where it cannot be one
 */
struct error *pyh_types_adopt(struct pyh_types *types,
			      const struct pyh_type_kept *kept);

#endif
