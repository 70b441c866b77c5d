/*
 * Micro releases that differ from the table of their minor release.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Only what _Py_DebugOffsets does not tell is of interest here, and even that
 * is a first guess that calibration confirms or moves.
 */
#include "pyheap/runtime/pylayout.h"

/*
 * 3.13 grew on its way; of 3.13.5, .12, .14 and .15 the sources were measured,
 * and of 3.13.18 a build. Of those between two that differ it is not known
 * which was first. 3.13.5: more static strings, and a flag in _pickle's two
 * objects. 3.13.12: 24 bytes more for the perf trampoline, which lie before all
 * that is of interest in the runtime. 3.13.14: a cached chunk of the data stack
 * in the state of a thread. 3.13.15: the end of a frame in the Unpickler.
 * 3.13.16 … 3.13.18: PyGC_Head is aligned to four bytes, which lets the
 * generations begin right behind the int before them.
 */
#define FIELDS_UNPICKLER_3_13_5 \
	{ PYH_PICKLER_MEMO, { 16, 8 } }, \
	{ PYH_PICKLER_OUTPUT_BUFFER, { 64, 8 } }, \
	{ PYH_UNPICKLER_MEMO, { 24, 8 } }, \
	{ PYH_UNPICKLER_MEMO_SIZE, { 32, 8 } }, \
	{ PYH_UNPICKLER_INPUT_LINE, { 152, 8 } }, \
	{ PYH_UNPICKLER_ENCODING, { 224, 8 } }, \
	{ PYH_UNPICKLER_ERRORS, { 232, 8 } }, \
	{ PYH_UNPICKLER_MARKS, { 240, 8 } }, \
	{ PYH_UNPICKLER_MARKS_SIZE, { 256, 8 } }

#define FIELDS_UNPICKLER_3_13_15 \
	{ PYH_PICKLER_MEMO, { 16, 8 } }, \
	{ PYH_PICKLER_OUTPUT_BUFFER, { 64, 8 } }, \
	{ PYH_UNPICKLER_MEMO, { 24, 8 } }, \
	{ PYH_UNPICKLER_MEMO_SIZE, { 32, 8 } }, \
	{ PYH_UNPICKLER_INPUT_LINE, { 152, 8 } }, \
	{ PYH_UNPICKLER_ENCODING, { 240, 8 } }, \
	{ PYH_UNPICKLER_ERRORS, { 248, 8 } }, \
	{ PYH_UNPICKLER_MARKS, { 256, 8 } }, \
	{ PYH_UNPICKLER_MARKS_SIZE, { 272, 8 } }

#define FIELDS_RUNTIME_3_13_12 \
	{ PYH_RUNTIME_PRECONFIG_ALLOCATOR, { 10420, 4 } }, \
	{ PYH_RUNTIME_CACHED_OBJECTS_INTERNED_STRINGS, { 13856, 8 } }, \
	{ PYH_RUNTIME_STATIC_OBJECTS, { 13864, 74560 } }, \
	{ PYH_RUNTIME_TRACEMALLOC, { 10104, 232 } }, \
	{ PYH_RUNTIME_FAULTHANDLER_FATAL_ERROR_FILE, { 9944, 8 } }, \
	{ PYH_RUNTIME_FAULTHANDLER_THREAD_FILE, { 9968, 8 } }

#define FIELDS_THREAD_3_13_14 \
	{ PYH_RUNTIME_MAIN_INTERPRETER, { 88424, 194984 } }, \
	{ PYH_TSTATEIMPL_ASYNCIO_RUNNING_LOOP, { 312, 8 } }, \
	{ PYH_INTERP_INITIAL_THREAD, { 194624, 344 } }

#define SIZES_THREAD_3_13_14 \
	{ PYH_STRUCT_RUNTIME, 283408 }, \
	{ PYH_STRUCT_INTERP, 194984 }, \
	{ PYH_STRUCT_TSTATE, 312 }, \
	{ PYH_STRUCT_TSTATEIMPL, 344 }, \
	{ PYH_STRUCT_PICKLER, 152 }

static const struct pyh_variant_field fields_3_13_5[] = {
	FIELDS_UNPICKLER_3_13_5,
	{ PYH_RUNTIME_STATIC_OBJECTS, { 13840, 74560 } },
	{ PYH_RUNTIME_MAIN_INTERPRETER, { 88400, 194976 } },
};

static const struct pyh_variant_size sizes_3_13_5[] = {
	{ PYH_STRUCT_RUNTIME, 283376 },
	{ PYH_STRUCT_INTERP, 194976 },
	{ PYH_STRUCT_PICKLER, 152 },
	{ PYH_STRUCT_UNPICKLER, 272 },
};

static const struct pyh_variant_field fields_3_13_12[] = {
	FIELDS_UNPICKLER_3_13_5,
	FIELDS_RUNTIME_3_13_12,
	{ PYH_RUNTIME_MAIN_INTERPRETER, { 88424, 194976 } },
};

static const struct pyh_variant_size sizes_3_13_12[] = {
	{ PYH_STRUCT_RUNTIME, 283400 },
	{ PYH_STRUCT_INTERP, 194976 },
	{ PYH_STRUCT_PICKLER, 152 },
	{ PYH_STRUCT_UNPICKLER, 280 },
};

static const struct pyh_variant_field fields_3_13_14[] = {
	FIELDS_UNPICKLER_3_13_5,
	FIELDS_RUNTIME_3_13_12,
	FIELDS_THREAD_3_13_14,
};

static const struct pyh_variant_size sizes_3_13_14[] = {
	SIZES_THREAD_3_13_14,
	{ PYH_STRUCT_UNPICKLER, 280 },
};

static const struct pyh_variant_field fields_3_13_15[] = {
	FIELDS_UNPICKLER_3_13_15,
	FIELDS_RUNTIME_3_13_12,
	FIELDS_THREAD_3_13_14,
};

static const struct pyh_variant_field fields_3_13_late[] = {
	FIELDS_UNPICKLER_3_13_15,
	FIELDS_RUNTIME_3_13_12,
	FIELDS_THREAD_3_13_14,
	{ PYH_GC_GENERATIONS, { 20, 72 } },
};

static const struct pyh_variant_size sizes_3_13_late[] = {
	SIZES_THREAD_3_13_14,
	{ PYH_STRUCT_UNPICKLER, 296 },
};

/*
 * The table of 3.13t is of 3.13.18, which has that alignment. Nothing that is
 * found at run time tells in free-threaded builds, which make no lists.
 */
static const struct pyh_variant_field fields_3_13t_early[] = {
	{ PYH_GC_GENERATIONS, { 24, 72 } },
};

/*
 * 3.14.0 … 3.14.4 have the incremental collector: its state is 24 bytes
 * smaller and has no generation0 pointer; young, old[0], old[1] are where the
 * three generations are otherwise.
 */
#define FIELDS_3_14_INCREMENTAL(after_qsbr) \
	{ PYH_GC_GENERATION0, { 0, 0 } }, \
	{ PYH_GC_LONG_LIVED_TOTAL, { 0, 0 } }, \
	{ PYH_GC_LONG_LIVED_PENDING, { 0, 0 } }, \
	{ PYH_GC_VISITED_SPACE, { 232, 4 } }, \
	{ PYH_INTERP_GC, { 7408, 240 } }, \
	{ PYH_INTERP_SYSDICT, { 7648, 8 } }, \
	{ PYH_INTERP_BUILTINS, { 7656, 8 } }, \
	{ PYH_INTERP_IMPORTS_MODULES, { 7664, 8 } }, \
	{ PYH_INTERP_GIL, { 7760, 208 } }, \
	{ PYH_INTERP_DICT, { 8472, 8 } }, \
	{ PYH_INTERP_OBMALLOC, { 10904 - (after_qsbr), 8 } }, \
	{ PYH_INTERP_OBJECT_STATE, { 11120 - (after_qsbr), 632 } }, \
	{ PYH_INTERP_TYPES, { 81920 - (after_qsbr), 141192 } }, \
	{ PYH_INTERP_TYPES_BUILTINS, { 180232 - (after_qsbr), 9608 } }, \
	{ PYH_INTERP_TYPES_BUILTINS_NUM_INITIALIZED, \
	  { 180232 - (after_qsbr), 8 } }, \
	{ PYH_INTERP_TYPES_FOR_EXTENSIONS, { 189840 - (after_qsbr), 496 } }, \
	{ PYH_INTERP_CACHED_OBJECTS_INTERNED_STRINGS, \
	  { 224624 - (after_qsbr), 8 } }, \
	{ PYH_INTERP_STATIC_OBJECTS, { 224784 - (after_qsbr), 136 } }, \
	{ PYH_INTERP_INITIAL_THREAD, { 224928 - (after_qsbr), 912 } }

static const struct pyh_variant_field fields_3_14_early[] = {
	FIELDS_3_14_INCREMENTAL(32),
	{ PYH_RUNTIME_PRECONFIG_ALLOCATOR, { 10588, 4 } },
	{ PYH_RUNTIME_CACHED_OBJECTS_INTERNED_STRINGS, { 14032, 8 } },
	{ PYH_RUNTIME_STATIC_OBJECTS, { 14040, 76688 } },
	{ PYH_RUNTIME_MAIN_INTERPRETER, { 90728, 225808 } },
	{ PYH_RUNTIME_TRACEMALLOC, { 10272, 232 } },
	// As 3.14.4 has them.
	{ PYH_UNPICKLER_ENCODING, { 224, 8 } },
	{ PYH_UNPICKLER_ERRORS, { 232, 8 } },
	{ PYH_UNPICKLER_MARKS, { 240, 8 } },
	{ PYH_UNPICKLER_MARKS_SIZE, { 256, 8 } },
};

static const struct pyh_variant_size sizes_3_14_early[] = {
	{ PYH_STRUCT_UNPICKLER, 280 },
	{ PYH_STRUCT_RUNTIME, 316536 },
	{ PYH_STRUCT_INTERP, 225808 },
	{ PYH_STRUCT_GC, 240 },
	{ PYH_STRUCT_TSTATE, 824 },
};

static const struct pyh_variant_field fields_3_14_4[] = {
	FIELDS_3_14_INCREMENTAL(24),
	{ PYH_INTERP_INITIAL_THREAD, { 224904, 936 } },
	{ PYH_INTERP_AFTER_FORKERS_CHILD, { 10688, 8 } },
	{ PYH_INTERP_AFTER_FORKERS_PARENT, { 10680, 8 } },
	{ PYH_INTERP_AST, { 79920, 1976 } },
	{ PYH_INTERP_ATEXIT_CALLBACKS, { 10768, 8 } },
	{ PYH_INTERP_AUDIT_HOOKS, { 10888, 8 } },
	{ PYH_INTERP_BEFORE_FORKERS, { 10672, 8 } },
	{ PYH_INTERP_BUILTINS_COPY, { 8488, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_CONSTEVALUATOR_TYPE, { 224752, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_GENERIC_TYPE, { 224704, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_OBJREDUCE, { 224608, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_PARAMSPEC_TYPE, { 224728, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_PARAMSPECARGS_TYPE, { 224736, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_PARAMSPECKWARGS_TYPE, { 224744, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_TYPE_SLOTS_PNAME, { 224616, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_TYPEVAR_TYPE, { 224712, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_TYPEVARTUPLE_TYPE, { 224720, 8 } },
	{ PYH_INTERP_CODECS_ERROR_REGISTRY, { 7992, 8 } },
	{ PYH_INTERP_CODECS_SEARCH_CACHE, { 7984, 8 } },
	{ PYH_INTERP_CODECS_SEARCH_PATH, { 7976, 8 } },
	{ PYH_INTERP_EXC_STATE_PYEXC_EXCEPTIONGROUP, { 79888, 8 } },
	{ PYH_INTERP_EXC_STATE_ERRNOMAP, { 79864, 8 } },
	{ PYH_INTERP_IMPORTS_IMPORT_FUNC, { 7704, 8 } },
	{ PYH_INTERP_IMPORTS_IMPORTLIB, { 7680, 8 } },
	{ PYH_INTERP_IMPORTS_MODULES_BY_INDEX, { 7672, 8 } },
	{ PYH_INTERP_MONITORING_CALLABLES, { 223256, 1216 } },
	{ PYH_INTERP_MONITORING_TOOL_NAMES, { 224472, 64 } },
	{ PYH_INTERP_SYSDICT_COPY, { 8480, 8 } },
	{ PYH_INTERP_TYPES_TYPE_CACHE, { 81904, 98304 } },
	{ PYH_INTERP_UNICODE_IDS_ARRAY, { 11776, 8 } },
	{ PYH_INTERP_UNICODE_IDS_SIZE, { 11768, 8 } },
	{ PYH_INTERP_WARNINGS_CONTEXT, { 10752, 8 } },
	{ PYH_INTERP_WARNINGS_DEFAULT_ACTION, { 10712, 8 } },
	{ PYH_INTERP_WARNINGS_FILTERS, { 10696, 8 } },
	{ PYH_INTERP_WARNINGS_ONCE_REGISTRY, { 10704, 8 } },
	{ PYH_INTERP_XI_EXCEPTIONS_PYEXC_INTERPRETERERROR, { 10648, 8 } },
	{ PYH_INTERP_XI_EXCEPTIONS_PYEXC_INTERPRETERNOTFOUNDERROR, { 10656, 8 } },
	{ PYH_INTERP_XI_EXCEPTIONS_PYEXC_NOTSHAREABLEERROR, { 10664, 8 } },
	{ PYH_RUNTIME_MAIN_INTERPRETER, { 90752, 225840 } },
	{ PYH_UNPICKLER_ENCODING, { 224, 8 } },
	{ PYH_UNPICKLER_ERRORS, { 232, 8 } },
	{ PYH_UNPICKLER_MARKS, { 240, 8 } },
	{ PYH_UNPICKLER_MARKS_SIZE, { 256, 8 } },
};

static const struct pyh_variant_size sizes_3_14_4[] = {
	{ PYH_STRUCT_GC, 240 },
	{ PYH_STRUCT_INTERP, 225840 },
	{ PYH_STRUCT_UNPICKLER, 280 },
	{ PYH_STRUCT_RUNTIME, 316592 },
};

/*
 * mimalloc 2.1.2, which 3.14.10 and 3.15.2 replaced by 2.5.2: everything in it
 * is elsewhere, and so is what follows it in interpreters and thread states.
 */
#define FIELDS_MIMALLOC_2_1_2 \
	{ PYH_MIHEAP_PAGES, { 1040, 1800 } }, \
	{ PYH_MIPAGE_TAG, { 8, 1 } }, \
	{ PYH_MIPAGE_HEAP_TAG, { 0, 0 } }, \
	{ PYH_MIPAGE_LOCAL_FREE, { 32, 8 } }, \
	{ PYH_MIPAGE_XTHREAD_FREE, { 40, 8 } }, \
	{ PYH_MIPAGE_USED, { 24, 4 } }, \
	{ PYH_MIPAGE_XBLOCK_SIZE, { 28, 4 } }, \
	{ PYH_MIPAGE_BLOCK_SIZE, { 0, 0 } }, \
	{ PYH_MIPAGE_PAGE_START, { 0, 0 } }, \
	{ PYH_MISEGMENT_COOKIE, { 216, 8 } }, \
	{ PYH_MISEGMENT_SEGMENT_SLICES, { 224, 8 } }, \
	{ PYH_MISEGMENT_SEGMENT_INFO_SLICES, { 232, 8 } }, \
	{ PYH_MISEGMENT_KIND, { 240, 4 } }, \
	{ PYH_MISEGMENT_SLICE_ENTRIES, { 248, 8 } }, \
	{ PYH_MISEGMENT_SLICES, { 264, 49248 } }

#define SIZES_MIMALLOC_2_1_2 \
	{ PYH_STRUCT_MIHEAP, 3064 }, \
	{ PYH_STRUCT_MIPAGE, 96 }, \
	{ PYH_STRUCT_MISEGMENT, 49512 }

static const struct pyh_variant_field fields_3_14t_early[] = {
	FIELDS_MIMALLOC_2_1_2,
	{ PYH_TSTATEIMPL_MIMALLOC_HEAPS, { 944, 12256 } },
	{ PYH_TSTATEIMPL_BRC_OBJECTS_TO_MERGE, { 15480, 8 } },
	{ PYH_TSTATEIMPL_BRC_LOCAL_OBJECTS_TO_MERGE, { 15488, 8 } },
	{ PYH_TSTATEIMPL_REFCOUNTS_VALUES, { 15496, 8 } },
	{ PYH_TSTATEIMPL_REFCOUNTS_SIZE, { 15504, 8 } },
	{ PYH_INTERP_UNIQUE_IDS_TABLE, { 17440, 8 } },
	{ PYH_INTERP_UNIQUE_IDS_SIZE, { 17456, 8 } },
	{ PYH_RUNTIME_MAIN_INTERPRETER, { 115648, 246720 } },
	{ PYH_INTERP_OBMALLOC, { 17656, 8 } },
	{ PYH_INTERP_OBJECT_STATE, { 17868, 4 } },
	{ PYH_INTERP_TYPES, { 88040, 141192 } },
	{ PYH_INTERP_TYPES_BUILTINS, { 186352, 9608 } },
	{ PYH_INTERP_TYPES_BUILTINS_NUM_INITIALIZED, { 186352, 8 } },
	{ PYH_INTERP_TYPES_FOR_EXTENSIONS, { 195960, 496 } },
	{ PYH_INTERP_CACHED_OBJECTS_INTERNED_STRINGS, { 230752, 8 } },
	{ PYH_INTERP_STATIC_OBJECTS, { 230912, 168 } },
	{ PYH_INTERP_INITIAL_THREAD, { 231088, 15608 } },
	{ PYH_INTERP_AST, { 86064, 1976 } },
	{ PYH_INTERP_AUDIT_HOOKS, { 17664, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_CONSTEVALUATOR_TYPE, { 230904, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_GENERIC_TYPE, { 230856, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_OBJREDUCE, { 230760, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_PARAMSPEC_TYPE, { 230880, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_PARAMSPECARGS_TYPE, { 230888, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_PARAMSPECKWARGS_TYPE, { 230896, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_TYPE_SLOTS_PNAME, { 230768, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_TYPEVAR_TYPE, { 230864, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_TYPEVARTUPLE_TYPE, { 230872, 8 } },
	{ PYH_INTERP_EXC_STATE_PYEXC_EXCEPTIONGROUP, { 86032, 8 } },
	{ PYH_INTERP_EXC_STATE_ERRNOMAP, { 86008, 8 } },
	{ PYH_INTERP_MONITORING_CALLABLES, { 229400, 1216 } },
	{ PYH_INTERP_MONITORING_TOOL_NAMES, { 230616, 64 } },
	{ PYH_INTERP_TYPES_TYPE_CACHE, { 88048, 98304 } },
	{ PYH_INTERP_UNICODE_IDS_ARRAY, { 17920, 8 } },
	{ PYH_INTERP_UNICODE_IDS_SIZE, { 17912, 8 } },
};

static const struct pyh_variant_size sizes_3_14t_early[] = {
	SIZES_MIMALLOC_2_1_2,
	{ PYH_STRUCT_TSTATEIMPL, 15608 },
	{ PYH_STRUCT_RUNTIME, 362368 },
	{ PYH_STRUCT_INTERP, 246720 },
};

static const struct pyh_variant_field fields_3_15t_early[] = {
	FIELDS_MIMALLOC_2_1_2,
	{ PYH_TSTATEIMPL_MIMALLOC_HEAPS, { 1112, 12256 } },
	{ PYH_TSTATEIMPL_BRC_OBJECTS_TO_MERGE, { 15680, 8 } },
	{ PYH_TSTATEIMPL_BRC_LOCAL_OBJECTS_TO_MERGE, { 15688, 8 } },
	{ PYH_TSTATEIMPL_REFCOUNTS_VALUES, { 15696, 8 } },
	{ PYH_TSTATEIMPL_REFCOUNTS_SIZE, { 15704, 8 } },
	{ PYH_INTERP_GIL, { 7744, 216 } },
	{ PYH_INTERP_INITIAL_THREAD, { 231296, 15792 } },
	{ PYH_INTERP_AFTER_FORKERS_CHILD, { 10712, 8 } },
	{ PYH_INTERP_AFTER_FORKERS_PARENT, { 10704, 8 } },
	{ PYH_INTERP_AST, { 86064, 1992 } },
	{ PYH_INTERP_ATEXIT_CALLBACKS, { 10800, 8 } },
	{ PYH_INTERP_AUDIT_HOOKS, { 17664, 8 } },
	{ PYH_INTERP_BEFORE_FORKERS, { 10696, 8 } },
	{ PYH_INTERP_BUILTINS_COPY, { 8488, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_CONSTEVALUATOR_TYPE, { 231080, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_DICT_DESCRIPTOR, { 231096, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_GENERIC_TYPE, { 231032, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_INTERNED_STRINGS, { 231016, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_OBJREDUCE, { 231024, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_PARAMSPEC_TYPE, { 231056, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_PARAMSPECARGS_TYPE, { 231064, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_PARAMSPECKWARGS_TYPE, { 231072, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_TYPEVAR_TYPE, { 231040, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_TYPEVARTUPLE_TYPE, { 231048, 8 } },
	{ PYH_INTERP_CACHED_OBJECTS_WEAKREF_DESCRIPTOR, { 231104, 8 } },
	{ PYH_INTERP_CODECS_ERROR_REGISTRY, { 7984, 8 } },
	{ PYH_INTERP_CODECS_SEARCH_CACHE, { 7976, 8 } },
	{ PYH_INTERP_CODECS_SEARCH_PATH, { 7968, 8 } },
	{ PYH_INTERP_DICT, { 8472, 8 } },
	{ PYH_INTERP_EXC_STATE_PYEXC_EXCEPTIONGROUP, { 86032, 8 } },
	{ PYH_INTERP_EXC_STATE_ERRNOMAP, { 86008, 8 } },
	{ PYH_INTERP_IMPORTS_LAZY_MODULES, { 7672, 8 } },
	{ PYH_INTERP_IMPORTS_LAZY_PENDING_SUBMODULES, { 7680, 8 } },
	{ PYH_INTERP_MONITORING_CALLABLES, { 229664, 1216 } },
	{ PYH_INTERP_MONITORING_TOOL_NAMES, { 230880, 64 } },
	{ PYH_INTERP_OBJECT_STATE, { 17868, 4 } },
	{ PYH_INTERP_OBMALLOC, { 17656, 8 } },
	{ PYH_INTERP_STATIC_OBJECTS, { 231112, 168 } },
	{ PYH_INTERP_SYSDICT_COPY, { 8480, 8 } },
	{ PYH_INTERP_TYPES, { 88056, 141336 } },
	{ PYH_INTERP_TYPES_BUILTINS, { 186368, 9752 } },
	{ PYH_INTERP_TYPES_BUILTINS_NUM_INITIALIZED, { 186368, 8 } },
	{ PYH_INTERP_TYPES_FOR_EXTENSIONS, { 196120, 496 } },
	{ PYH_INTERP_TYPES_TYPE_CACHE, { 88064, 98304 } },
	{ PYH_INTERP_UNICODE_IDS_ARRAY, { 17920, 8 } },
	{ PYH_INTERP_UNICODE_IDS_SIZE, { 17912, 8 } },
	{ PYH_INTERP_UNIQUE_IDS_SIZE, { 17456, 8 } },
	{ PYH_INTERP_UNIQUE_IDS_TABLE, { 17440, 8 } },
	{ PYH_INTERP_WARNINGS_CONTEXT, { 10776, 8 } },
	{ PYH_INTERP_WARNINGS_DEFAULT_ACTION, { 10736, 8 } },
	{ PYH_INTERP_WARNINGS_FILTERS, { 10720, 8 } },
	{ PYH_INTERP_WARNINGS_ONCE_REGISTRY, { 10728, 8 } },
	{ PYH_INTERP_XI_EXCEPTIONS_PYEXC_INTERPRETERERROR, { 10656, 8 } },
	{ PYH_INTERP_XI_EXCEPTIONS_PYEXC_INTERPRETERNOTFOUNDERROR, { 10664, 8 } },
	{ PYH_INTERP_XI_EXCEPTIONS_PYEXC_NOTSHAREABLEERROR, { 10672, 8 } },
	{ PYH_INTERP_XI_PICKLE_DUMPS, { 10680, 8 } },
	{ PYH_INTERP_XI_PICKLE_LOADS, { 10688, 8 } },
	{ PYH_RUNTIME_MAIN_INTERPRETER, { 158912, 247104 } },
	{ PYH_RUNTIME_STATIC_OBJECTS, { 14224, 144664 } },
	{ PYH_TSTATEIMPL_LAZY_IMPORTS, { 0, 0 } },
};

static const struct pyh_variant_size sizes_3_15t_early[] = {
	SIZES_MIMALLOC_2_1_2,
	{ PYH_STRUCT_INTERP, 247104 },
	{ PYH_STRUCT_STGINFO, 168 },
	{ PYH_STRUCT_TASK, 192 },
	{ PYH_STRUCT_RUNTIME, 406016 },
	{ PYH_STRUCT_TSTATEIMPL, 15792 },
	{ PYH_STRUCT_BYTESIO, 88 },
	{ PYH_STRUCT_GCSTATS, 216 },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const struct pyh_layout_variant pyh_layout_variants[] = {
	{
		.name = "3.13.5-3.13.11",
		.minor = 13, .first = 5, .last = 11,
		.source = "CPython tag v3.13.5, 64-bit Linux, default build",
		.fields = fields_3_13_5,
		.num_fields = COUNT(fields_3_13_5),
		.sizes = sizes_3_13_5,
		.num_sizes = COUNT(sizes_3_13_5),
	},
	{
		.name = "3.13.12-3.13.13",
		.minor = 13, .first = 12, .last = 13,
		.source = "CPython tag v3.13.12, 64-bit Linux, default build",
		.fields = fields_3_13_12,
		.num_fields = COUNT(fields_3_13_12),
		.sizes = sizes_3_13_12,
		.num_sizes = COUNT(sizes_3_13_12),
	},
	{
		.name = "3.13.14",
		.minor = 13, .first = 14, .last = 14,
		.source = "CPython tag v3.13.14, 64-bit Linux, default build",
		.fields = fields_3_13_14,
		.num_fields = COUNT(fields_3_13_14),
		.sizes = sizes_3_13_14,
		.num_sizes = COUNT(sizes_3_13_14),
	},
	{
		.name = "3.13.15",
		.minor = 13, .first = 15, .last = 15,
		.source = "CPython tag v3.13.15, 64-bit Linux, default build",
		.fields = fields_3_13_15,
		.num_fields = COUNT(fields_3_13_15),
		.sizes = sizes_3_13_late,
		.num_sizes = COUNT(sizes_3_13_late),
	},
	{
		.name = "3.13.16-3.13.18",
		.minor = 13, .first = 16, .last = 18,
		.source = "CPython tag v3.13.18, 64-bit Linux, default build",
		.fields = fields_3_13_late,
		.num_fields = COUNT(fields_3_13_late),
		.sizes = sizes_3_13_late,
		.num_sizes = COUNT(sizes_3_13_late),
	},
	{
		.name = "3.13.0t-3.13.15t",
		.minor = 13, .free_threaded = true, .first = 0, .last = 15,
		.source = "CPython tag v3.13.15, 64-bit Linux, --disable-gil",
		.fields = fields_3_13t_early,
		.num_fields = COUNT(fields_3_13t_early),
	},
	{
		.name = "3.14.0-3.14.3",
		.minor = 14, .first = 0, .last = 3,
		.source = "CPython tag v3.14.0, Include/internal, by reading",
		.fields = fields_3_14_early,
		.num_fields = COUNT(fields_3_14_early),
		.sizes = sizes_3_14_early,
		.num_sizes = COUNT(sizes_3_14_early),
	},
	{
		.name = "3.14.4",
		.minor = 14, .first = 4, .last = 4,
		.source = "CPython tag v3.14.4, 64-bit Linux, default build",
		.fields = fields_3_14_4,
		.num_fields = COUNT(fields_3_14_4),
		.sizes = sizes_3_14_4,
		.num_sizes = COUNT(sizes_3_14_4),
	},
	{
		.name = "3.14.0t-3.14.9t",
		.minor = 14, .free_threaded = true, .first = 0, .last = 9,
		.source = "CPython tag v3.14.7, 64-bit Linux, --disable-gil",
		.fields = fields_3_14t_early,
		.num_fields = COUNT(fields_3_14t_early),
		.sizes = sizes_3_14t_early,
		.num_sizes = COUNT(sizes_3_14t_early),
	},
	{
		.name = "3.15.0t-3.15.1t",
		.minor = 15, .free_threaded = true, .first = 0, .last = 1,
		.source = "CPython tag v3.15.0rc2, 64-bit Linux, --disable-gil",
		.fields = fields_3_15t_early,
		.num_fields = COUNT(fields_3_15t_early),
		.sizes = sizes_3_15t_early,
		.num_sizes = COUNT(sizes_3_15t_early),
	},
};

const size_t pyh_num_layout_variants = COUNT(pyh_layout_variants);
