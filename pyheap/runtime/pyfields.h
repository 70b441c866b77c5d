/*
 * The fields and structures of CPython that this model reads, by name.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One list, used three ways: the enumerations below, the tables of
 * layouts/cpython_3_N.c that say where each is in a release, and the test
 * that compares those tables with the headers of real interpreters. The
 * strings are CPython's own names of the structure and the member.
 */
#ifndef PYHEAP_PYFIELDS_H
#define PYHEAP_PYFIELDS_H

/* X(id, structure) */
#define PYH_STRUCTS(X) \
	X(RUNTIME, "_PyRuntimeState") \
	X(INTERP, "PyInterpreterState") \
	X(GC, "_gc_runtime_state") \
	X(TSTATE, "PyThreadState") \
	X(TSTATEIMPL, "_PyThreadStateImpl") \
	X(OBJECT, "PyObject") \
	X(VAR, "PyVarObject") \
	X(TYPE, "PyTypeObject") \
	X(HEAPTYPE, "PyHeapTypeObject") \
	X(DICT, "PyDictObject") \
	X(KEYS, "PyDictKeysObject") \
	X(VALUES, "PyDictValues") \
	X(LIST, "PyListObject") \
	X(TUPLE, "PyTupleObject") \
	X(SET, "PySetObject") \
	X(ASCII, "PyASCIIObject") \
	X(COMPACT, "PyCompactUnicodeObject") \
	X(UNICODE, "PyUnicodeObject") \
	X(BYTES, "PyBytesObject") \
	X(BYTEARRAY, "PyByteArrayObject") \
	X(LONG, "PyLongObject") \
	X(FLOAT, "PyFloatObject") \
	X(COMPLEX, "PyComplexObject") \
	X(CELL, "PyCellObject") \
	X(FUNCTION, "PyFunctionObject") \
	X(METHOD, "PyMethodObject") \
	X(CFUNCTION, "PyCFunctionObject") \
	X(CODE, "PyCodeObject") \
	X(MODULE, "PyModuleObject") \
	X(MODULEDEF, "PyModuleDef") \
	X(GEN, "PyGenObject") \
	X(IFRAME, "_PyInterpreterFrame") \
	X(FRAME, "PyFrameObject") \
	X(CFRAME, "_PyCFrame") \
	X(GIL, "_gil_runtime_state") \
	X(ERRSTACKITEM, "_PyErr_StackItem") \
	X(EXCEPTION, "PyBaseExceptionObject") \
	X(TRACEBACK, "PyTracebackObject") \
	X(WEAKREF, "PyWeakReference") \
	X(PROPERTY, "propertyobject") \
	X(DESCR, "PyDescrObject") \
	X(DEQUE, "dequeobject") \
	X(DEQUEBLOCK, "BLOCK") \
	X(DEFAULTDICT, "defdictobject") \
	X(ODICT, "_odictobject") \
	X(ODICTNODE, "_odictnode") \
	X(ARRAY, "arrayobject") \
	X(ARRAYDESCR, "arraydescr") \
	X(BYTESIO, "bytesio") \
	X(STRINGIO, "stringio") \
	X(BUFFERED, "buffered") \
	X(MEMORYVIEW, "PyMemoryViewObject") \
	X(PARTIAL, "partialobject") \
	X(LRUCACHE, "lru_cache_object") \
	X(LRULINK, "lru_list_elem") \
	X(FUTURE, "FutureObj") \
	X(TASK, "TaskObj") \
	X(DECIMAL, "PyDecObject") \
	X(PATTERN, "PatternObject") \
	X(MATCH, "MatchObject") \
	X(DATETIME, "PyDateTime_DateTime") \
	X(TIME, "PyDateTime_Time") \
	X(DATE, "PyDateTime_Date") \
	X(CDATA, "CDataObject") \
	X(MANAGEDBUFFER, "_PyManagedBufferObject") \
	X(TEEDATA, "teedataobject") \
	X(ELEMENT, "ElementObject") \
	X(ELEMENTEXTRA, "ElementObjectExtra") \
	X(SIMPLEQUEUE, "simplequeueobject") \
	X(GENERICALIAS, "gaobject") \
	X(CONTEXTVAR, "PyContextVar") \
	X(HAMT, "PyHamtObject") \
	X(OBMALLOC, "_obmalloc_state") \
	X(ARENA, "arena_object") \
	X(POOL, "pool_header") \
	X(MIHEAP, "mi_heap_s") \
	X(MIPAGE, "mi_page_s") \
	X(MISEGMENT, "mi_segment_s") \
	X(PICKLER, "PicklerObject") \
	X(UNPICKLER, "UnpicklerObject") \
	X(PRODUCT, "productobject") \
	X(COMBINATIONS, "combinationsobject") \
	X(PERMUTATIONS, "permutationsobject") \
	X(COMONITORING, "_PyCoMonitoringData") \
	X(COCACHED, "_PyCoCached") \
	X(OPCACHE, "_PyOpcache") \
	X(STRUCTPACK, "PyStructObject") \
	X(STGDICT, "StgDictObject") \
	X(STGINFO, "StgInfo") \
	X(RANGE, "rangeobject") \
	X(SLICE, "PySliceObject") \
	X(DELTA, "PyDateTime_Delta") \
	X(TIMEZONE, "PyDateTime_TimeZone") \
	X(METHODDEF, "PyMethodDef") \
	X(GENERATION, "gc_generation") \
	X(GENERATIONSTATS, "gc_generation_stats") \
	X(GCSTATS, "gc_stats") \
	X(OLDSTATS, "gc_old_stats_buffer") \
	X(TRACECONFIG, "_PyTraceMalloc_Config") \
	X(TRACEMALLOC, "_tracemalloc_runtime_state") \
	X(HASHTABLE, "_Py_hashtable_t") \
	X(HASHENTRY, "_Py_hashtable_entry_t") \
	X(TRACE, "trace_t") \
	X(ALLOCTRACEBACK, "tracemalloc_traceback") \
	X(ALLOCFRAME, "tracemalloc_frame")

/* X(id, structure, member) */
#define PYH_FIELDS(X) \
	X(RUNTIME_INITIALIZED, "_PyRuntimeState", "initialized") \
	X(RUNTIME_CORE_INITIALIZED, "_PyRuntimeState", "core_initialized") \
	X(RUNTIME_INTERPRETERS_HEAD, "_PyRuntimeState", "interpreters.head") \
	X(RUNTIME_INTERPRETERS_MAIN, "_PyRuntimeState", "interpreters.main") \
	X(RUNTIME_FINALIZING, "_PyRuntimeState", "_finalizing") \
	X(RUNTIME_PRECONFIG_ALLOCATOR, "_PyRuntimeState", "preconfig.allocator") \
	X(RUNTIME_ALLOCATORS_STANDARD, "_PyRuntimeState", "allocators.standard") \
	X(RUNTIME_ALLOCATORS_DEBUG, "_PyRuntimeState", "allocators.debug") \
	X(RUNTIME_MAIN_INTERPRETER, "_PyRuntimeState", "_main_interpreter") \
	X(RUNTIME_CACHED_OBJECTS_INTERNED_STRINGS, "_PyRuntimeState", "cached_objects.interned_strings") \
	X(RUNTIME_STATIC_OBJECTS, "_PyRuntimeState", "static_objects") \
	X(RUNTIME_GC, "_PyRuntimeState", "gc") \
	X(RUNTIME_SIGNALS_HANDLERS, "_PyRuntimeState", "signals.handlers") \
	X(RUNTIME_SIGNALS_DEFAULT_HANDLER, "_PyRuntimeState", "signals.default_handler") \
	X(RUNTIME_SIGNALS_IGNORE_HANDLER, "_PyRuntimeState", "signals.ignore_handler") \
	X(RUNTIME_FAULTHANDLER_FATAL_ERROR_FILE, "_PyRuntimeState", "faulthandler.fatal_error.file") \
	X(RUNTIME_FAULTHANDLER_THREAD_FILE, "_PyRuntimeState", "faulthandler.thread.file") \
	X(RUNTIME_TRACEMALLOC, "_PyRuntimeState", "tracemalloc") \
	X(RUNTIME_GIL_LAST_HOLDER, "_PyRuntimeState", "ceval.gil.last_holder") \
	X(RUNTIME_GIL_LOCKED, "_PyRuntimeState", "ceval.gil.locked") \
	X(INTERP_NEXT, "PyInterpreterState", "next") \
	X(INTERP_TSTATE_HEAD, "PyInterpreterState", "tstate_head") \
	X(INTERP_THREADS_HEAD, "PyInterpreterState", "threads.head") \
	X(INTERP_ID, "PyInterpreterState", "id") \
	X(INTERP_MODULES, "PyInterpreterState", "modules") \
	X(INTERP_IMPORTS_MODULES, "PyInterpreterState", "imports.modules") \
	X(INTERP_SYSDICT, "PyInterpreterState", "sysdict") \
	X(INTERP_BUILTINS, "PyInterpreterState", "builtins") \
	X(INTERP_DICT, "PyInterpreterState", "dict") \
	X(INTERP_GC, "PyInterpreterState", "gc") \
	X(INTERP_CEVAL_GIL, "PyInterpreterState", "ceval.gil") \
	X(INTERP_GIL, "PyInterpreterState", "_gil") \
	X(INTERP_OBMALLOC, "PyInterpreterState", "obmalloc") \
	X(INTERP_OBJECT_STATE, "PyInterpreterState", "object_state") \
	X(INTERP_TYPES, "PyInterpreterState", "types") \
	X(INTERP_TYPES_BUILTINS, "PyInterpreterState", "types.builtins") \
	X(INTERP_TYPES_NUM_BUILTINS_INITIALIZED, "PyInterpreterState", "types.num_builtins_initialized") \
	X(INTERP_TYPES_BUILTINS_NUM_INITIALIZED, "PyInterpreterState", "types.builtins.num_initialized") \
	X(INTERP_TYPES_FOR_EXTENSIONS, "PyInterpreterState", "types.for_extensions") \
	X(INTERP_CACHED_OBJECTS_INTERNED_STRINGS, "PyInterpreterState", "cached_objects.interned_strings") \
	X(INTERP_STATIC_OBJECTS, "PyInterpreterState", "static_objects") \
	X(INTERP_INITIAL_THREAD, "PyInterpreterState", "_initial_thread") \
	X(INTERP_MODULES_BY_INDEX, "PyInterpreterState", "modules_by_index") \
	X(INTERP_IMPORTS_MODULES_BY_INDEX, "PyInterpreterState", "imports.modules_by_index") \
	X(INTERP_IMPORTLIB, "PyInterpreterState", "importlib") \
	X(INTERP_IMPORTS_IMPORTLIB, "PyInterpreterState", "imports.importlib") \
	X(INTERP_IMPORT_FUNC, "PyInterpreterState", "import_func") \
	X(INTERP_IMPORTS_IMPORT_FUNC, "PyInterpreterState", "imports.import_func") \
	X(INTERP_IMPORTS_LAZY_IMPORT_FUNC, "PyInterpreterState", "imports.lazy_import_func") \
	X(INTERP_IMPORTS_LAZY_IMPORTS_FILTER, "PyInterpreterState", "imports.lazy_imports_filter") \
	X(INTERP_IMPORTS_LAZY_MODULES, "PyInterpreterState", "imports.lazy_modules") \
	X(INTERP_IMPORTS_LAZY_PENDING_SUBMODULES, "PyInterpreterState", "imports.lazy_pending_submodules") \
	X(INTERP_CODEC_SEARCH_PATH, "PyInterpreterState", "codec_search_path") \
	X(INTERP_CODEC_SEARCH_CACHE, "PyInterpreterState", "codec_search_cache") \
	X(INTERP_CODEC_ERROR_REGISTRY, "PyInterpreterState", "codec_error_registry") \
	X(INTERP_CODECS_SEARCH_PATH, "PyInterpreterState", "codecs.search_path") \
	X(INTERP_CODECS_SEARCH_CACHE, "PyInterpreterState", "codecs.search_cache") \
	X(INTERP_CODECS_ERROR_REGISTRY, "PyInterpreterState", "codecs.error_registry") \
	X(INTERP_SYSDICT_COPY, "PyInterpreterState", "sysdict_copy") \
	X(INTERP_BUILTINS_COPY, "PyInterpreterState", "builtins_copy") \
	X(INTERP_BEFORE_FORKERS, "PyInterpreterState", "before_forkers") \
	X(INTERP_AFTER_FORKERS_PARENT, "PyInterpreterState", "after_forkers_parent") \
	X(INTERP_AFTER_FORKERS_CHILD, "PyInterpreterState", "after_forkers_child") \
	X(INTERP_WARNINGS_FILTERS, "PyInterpreterState", "warnings.filters") \
	X(INTERP_WARNINGS_ONCE_REGISTRY, "PyInterpreterState", "warnings.once_registry") \
	X(INTERP_WARNINGS_DEFAULT_ACTION, "PyInterpreterState", "warnings.default_action") \
	X(INTERP_WARNINGS_CONTEXT, "PyInterpreterState", "warnings.context") \
	X(INTERP_ATEXIT_CALLBACKS, "PyInterpreterState", "atexit.callbacks") \
	X(INTERP_ATEXIT_NCALLBACKS, "PyInterpreterState", "atexit.ncallbacks") \
	X(INTERP_AUDIT_HOOKS, "PyInterpreterState", "audit_hooks") \
	X(INTERP_SMALL_INTS, "PyInterpreterState", "small_ints") \
	X(INTERP_BYTES_EMPTY_STRING, "PyInterpreterState", "bytes.empty_string") \
	X(INTERP_BYTES_CHARACTERS, "PyInterpreterState", "bytes.characters") \
	X(INTERP_UNICODE_EMPTY_STRING, "PyInterpreterState", "unicode.empty_string") \
	X(INTERP_UNICODE_LATIN1, "PyInterpreterState", "unicode.latin1") \
	X(INTERP_UNIQUE_IDS_TABLE, "PyInterpreterState", "unique_ids.table") \
	X(INTERP_UNIQUE_IDS_SIZE, "PyInterpreterState", "unique_ids.size") \
	X(INTERP_UNICODE_IDS_SIZE, "PyInterpreterState", "unicode.ids.size") \
	X(INTERP_UNICODE_IDS_ARRAY, "PyInterpreterState", "unicode.ids.array") \
	X(INTERP_EXC_STATE_ERRNOMAP, "PyInterpreterState", "exc_state.errnomap") \
	X(INTERP_EXC_STATE_PYEXC_EXCEPTIONGROUP, "PyInterpreterState", "exc_state.PyExc_ExceptionGroup") \
	X(INTERP_XI_PYEXC_NOTSHAREABLEERROR, "PyInterpreterState", "xi.PyExc_NotShareableError") \
	X(INTERP_XI_EXCEPTIONS_PYEXC_INTERPRETERERROR, "PyInterpreterState", "xi.exceptions.PyExc_InterpreterError") \
	X(INTERP_XI_EXCEPTIONS_PYEXC_INTERPRETERNOTFOUNDERROR, "PyInterpreterState", "xi.exceptions.PyExc_InterpreterNotFoundError") \
	X(INTERP_XI_EXCEPTIONS_PYEXC_NOTSHAREABLEERROR, "PyInterpreterState", "xi.exceptions.PyExc_NotShareableError") \
	X(INTERP_XI_PICKLE_DUMPS, "PyInterpreterState", "xi.pickle.dumps") \
	X(INTERP_XI_PICKLE_LOADS, "PyInterpreterState", "xi.pickle.loads") \
	X(INTERP_AST, "PyInterpreterState", "ast") \
	X(INTERP_TYPE_CACHE, "PyInterpreterState", "type_cache") \
	X(INTERP_TYPES_TYPE_CACHE, "PyInterpreterState", "types.type_cache") \
	X(INTERP_INTERPRETER_TRAMPOLINE, "PyInterpreterState", "interpreter_trampoline") \
	X(INTERP_MONITORING_CALLABLES, "PyInterpreterState", "monitoring_callables") \
	X(INTERP_MONITORING_TOOL_NAMES, "PyInterpreterState", "monitoring_tool_names") \
	X(INTERP_CACHED_OBJECTS_STR_REPLACE_INF, "PyInterpreterState", "cached_objects.str_replace_inf") \
	X(INTERP_CACHED_OBJECTS_OBJREDUCE, "PyInterpreterState", "cached_objects.objreduce") \
	X(INTERP_CACHED_OBJECTS_TYPE_SLOTS_PNAME, "PyInterpreterState", "cached_objects.type_slots_pname") \
	X(INTERP_CACHED_OBJECTS_GENERIC_TYPE, "PyInterpreterState", "cached_objects.generic_type") \
	X(INTERP_CACHED_OBJECTS_TYPEVAR_TYPE, "PyInterpreterState", "cached_objects.typevar_type") \
	X(INTERP_CACHED_OBJECTS_TYPEVARTUPLE_TYPE, "PyInterpreterState", "cached_objects.typevartuple_type") \
	X(INTERP_CACHED_OBJECTS_PARAMSPEC_TYPE, "PyInterpreterState", "cached_objects.paramspec_type") \
	X(INTERP_CACHED_OBJECTS_PARAMSPECARGS_TYPE, "PyInterpreterState", "cached_objects.paramspecargs_type") \
	X(INTERP_CACHED_OBJECTS_PARAMSPECKWARGS_TYPE, "PyInterpreterState", "cached_objects.paramspeckwargs_type") \
	X(INTERP_CACHED_OBJECTS_CONSTEVALUATOR_TYPE, "PyInterpreterState", "cached_objects.constevaluator_type") \
	X(INTERP_CACHED_OBJECTS_DICT_DESCRIPTOR, "PyInterpreterState", "cached_objects.dict_descriptor") \
	X(INTERP_CACHED_OBJECTS_WEAKREF_DESCRIPTOR, "PyInterpreterState", "cached_objects.weakref_descriptor") \
	X(GC_ENABLED, "_gc_runtime_state", "enabled") \
	X(GC_DEBUG, "_gc_runtime_state", "debug") \
	X(GC_GENERATIONS, "_gc_runtime_state", "generations") \
	X(GC_GENERATION0, "_gc_runtime_state", "generation0") \
	X(GC_PERMANENT_GENERATION, "_gc_runtime_state", "permanent_generation") \
	X(GC_COLLECTING, "_gc_runtime_state", "collecting") \
	X(GC_GENERATION_STATS, "_gc_runtime_state", "generation_stats") \
	X(GC_VISITED_SPACE, "_gc_runtime_state", "visited_space") \
	X(GC_GARBAGE, "_gc_runtime_state", "garbage") \
	X(GC_CALLBACKS, "_gc_runtime_state", "callbacks") \
	X(GC_HEAP_SIZE, "_gc_runtime_state", "heap_size") \
	X(GC_LONG_LIVED_TOTAL, "_gc_runtime_state", "long_lived_total") \
	X(GC_LONG_LIVED_PENDING, "_gc_runtime_state", "long_lived_pending") \
	X(TSTATE_PREV, "PyThreadState", "prev") \
	X(TSTATE_NEXT, "PyThreadState", "next") \
	X(TSTATE_INTERP, "PyThreadState", "interp") \
	X(TSTATE_FRAME, "PyThreadState", "frame") \
	X(TSTATE_CFRAME, "PyThreadState", "cframe") \
	X(TSTATE_CURRENT_FRAME, "PyThreadState", "current_frame") \
	X(TSTATE_THREAD_ID, "PyThreadState", "thread_id") \
	X(TSTATE_NATIVE_THREAD_ID, "PyThreadState", "native_thread_id") \
	X(TSTATE_ID, "PyThreadState", "id") \
	X(TSTATE_DICT, "PyThreadState", "dict") \
	X(TSTATE_EXC_INFO, "PyThreadState", "exc_info") \
	X(TSTATE_CUREXC_VALUE, "PyThreadState", "curexc_value") \
	X(TSTATE_CURRENT_EXCEPTION, "PyThreadState", "current_exception") \
	X(TSTATE_CONTEXT, "PyThreadState", "context") \
	X(TSTATE_DATASTACK_CHUNK, "PyThreadState", "datastack_chunk") \
	X(TSTATE_C_PROFILEOBJ, "PyThreadState", "c_profileobj") \
	X(TSTATE_C_TRACEOBJ, "PyThreadState", "c_traceobj") \
	X(TSTATE_CUREXC_TYPE, "PyThreadState", "curexc_type") \
	X(TSTATE_CUREXC_TRACEBACK, "PyThreadState", "curexc_traceback") \
	X(TSTATE_EXC_STATE_EXC_TYPE, "PyThreadState", "exc_state.exc_type") \
	X(TSTATE_EXC_STATE_EXC_VALUE, "PyThreadState", "exc_state.exc_value") \
	X(TSTATE_EXC_STATE_EXC_TRACEBACK, "PyThreadState", "exc_state.exc_traceback") \
	X(TSTATE_ASYNC_EXC, "PyThreadState", "async_exc") \
	X(TSTATE_ON_DELETE_DATA, "PyThreadState", "on_delete_data") \
	X(TSTATE_ASYNC_GEN_FIRSTITER, "PyThreadState", "async_gen_firstiter") \
	X(TSTATE_ASYNC_GEN_FINALIZER, "PyThreadState", "async_gen_finalizer") \
	X(TSTATE_THREADING_LOCAL_KEY, "PyThreadState", "threading_local_key") \
	X(TSTATE_THREADING_LOCAL_SENTINEL, "PyThreadState", "threading_local_sentinel") \
	X(TSTATEIMPL_ASYNCIO_RUNNING_LOOP, "_PyThreadStateImpl", "asyncio_running_loop") \
	X(TSTATEIMPL_ASYNCIO_RUNNING_TASK, "_PyThreadStateImpl", "asyncio_running_task") \
	X(TSTATEIMPL_LAZY_IMPORTS, "_PyThreadStateImpl", "lazy_imports") \
	X(TSTATEIMPL_MEM_FREE_QUEUE, "_PyThreadStateImpl", "mem_free_queue") \
	X(TSTATEIMPL_C_STACK_REFS, "_PyThreadStateImpl", "c_stack_refs") \
	X(TSTATEIMPL_BRC_OBJECTS_TO_MERGE, "_PyThreadStateImpl", "brc.objects_to_merge") \
	X(TSTATEIMPL_BRC_LOCAL_OBJECTS_TO_MERGE, "_PyThreadStateImpl", "brc.local_objects_to_merge") \
	X(TSTATEIMPL_REFCOUNTS_VALUES, "_PyThreadStateImpl", "refcounts.values") \
	X(TSTATEIMPL_REFCOUNTS_SIZE, "_PyThreadStateImpl", "refcounts.size") \
	X(TSTATEIMPL_MIMALLOC_HEAPS, "_PyThreadStateImpl", "mimalloc.heaps") \
	X(OBJECT_OB_REFCNT, "PyObject", "ob_refcnt") \
	X(OBJECT_OB_TYPE, "PyObject", "ob_type") \
	X(OBJECT_OB_TID, "PyObject", "ob_tid") \
	X(OBJECT_OB_MUTEX, "PyObject", "ob_mutex") \
	X(OBJECT_OB_GC_BITS, "PyObject", "ob_gc_bits") \
	X(OBJECT_OB_REF_LOCAL, "PyObject", "ob_ref_local") \
	X(OBJECT_OB_REF_SHARED, "PyObject", "ob_ref_shared") \
	X(VAR_OB_SIZE, "PyVarObject", "ob_size") \
	X(TYPE_TP_NAME, "PyTypeObject", "tp_name") \
	X(TYPE_TP_BASICSIZE, "PyTypeObject", "tp_basicsize") \
	X(TYPE_TP_ITEMSIZE, "PyTypeObject", "tp_itemsize") \
	X(TYPE_TP_DEALLOC, "PyTypeObject", "tp_dealloc") \
	X(TYPE_TP_FLAGS, "PyTypeObject", "tp_flags") \
	X(TYPE_TP_TRAVERSE, "PyTypeObject", "tp_traverse") \
	X(TYPE_TP_WEAKLISTOFFSET, "PyTypeObject", "tp_weaklistoffset") \
	X(TYPE_TP_METHODS, "PyTypeObject", "tp_methods") \
	X(TYPE_TP_MEMBERS, "PyTypeObject", "tp_members") \
	X(TYPE_TP_GETSET, "PyTypeObject", "tp_getset") \
	X(TYPE_TP_BASE, "PyTypeObject", "tp_base") \
	X(TYPE_TP_DICT, "PyTypeObject", "tp_dict") \
	X(TYPE_TP_DICTOFFSET, "PyTypeObject", "tp_dictoffset") \
	X(TYPE_TP_IS_GC, "PyTypeObject", "tp_is_gc") \
	X(TYPE_TP_BASES, "PyTypeObject", "tp_bases") \
	X(TYPE_TP_MRO, "PyTypeObject", "tp_mro") \
	X(TYPE_TP_CACHE, "PyTypeObject", "tp_cache") \
	X(TYPE_TP_SUBCLASSES, "PyTypeObject", "tp_subclasses") \
	X(TYPE_TP_WEAKLIST, "PyTypeObject", "tp_weaklist") \
	X(TYPE_TP_DEL, "PyTypeObject", "tp_del") \
	X(TYPE_TP_FINALIZE, "PyTypeObject", "tp_finalize") \
	X(HEAPTYPE_HT_NAME, "PyHeapTypeObject", "ht_name") \
	X(HEAPTYPE_HT_SLOTS, "PyHeapTypeObject", "ht_slots") \
	X(HEAPTYPE_HT_QUALNAME, "PyHeapTypeObject", "ht_qualname") \
	X(HEAPTYPE_HT_CACHED_KEYS, "PyHeapTypeObject", "ht_cached_keys") \
	X(HEAPTYPE_HT_MODULE, "PyHeapTypeObject", "ht_module") \
	X(HEAPTYPE_HT_TPNAME, "PyHeapTypeObject", "_ht_tpname") \
	X(HEAPTYPE_SPEC_CACHE, "PyHeapTypeObject", "_spec_cache") \
	X(DICT_MA_USED, "PyDictObject", "ma_used") \
	X(DICT_MA_KEYS, "PyDictObject", "ma_keys") \
	X(DICT_MA_VALUES, "PyDictObject", "ma_values") \
	X(KEYS_DK_REFCNT, "PyDictKeysObject", "dk_refcnt") \
	X(KEYS_DK_SIZE, "PyDictKeysObject", "dk_size") \
	X(KEYS_DK_LOOKUP, "PyDictKeysObject", "dk_lookup") \
	X(KEYS_DK_LOG2_SIZE, "PyDictKeysObject", "dk_log2_size") \
	X(KEYS_DK_LOG2_INDEX_BYTES, "PyDictKeysObject", "dk_log2_index_bytes") \
	X(KEYS_DK_KIND, "PyDictKeysObject", "dk_kind") \
	X(KEYS_DK_USABLE, "PyDictKeysObject", "dk_usable") \
	X(KEYS_DK_NENTRIES, "PyDictKeysObject", "dk_nentries") \
	X(VALUES_CAPACITY, "PyDictValues", "capacity") \
	X(VALUES_SIZE, "PyDictValues", "size") \
	X(VALUES_EMBEDDED, "PyDictValues", "embedded") \
	X(VALUES_VALID, "PyDictValues", "valid") \
	X(VALUES_VALUES, "PyDictValues", "values") \
	X(LIST_OB_ITEM, "PyListObject", "ob_item") \
	X(LIST_ALLOCATED, "PyListObject", "allocated") \
	X(TUPLE_OB_ITEM, "PyTupleObject", "ob_item") \
	X(SET_FILL, "PySetObject", "fill") \
	X(SET_USED, "PySetObject", "used") \
	X(SET_MASK, "PySetObject", "mask") \
	X(SET_TABLE, "PySetObject", "table") \
	X(SET_SMALLTABLE, "PySetObject", "smalltable") \
	X(SET_WEAKREFLIST, "PySetObject", "weakreflist") \
	X(ASCII_LENGTH, "PyASCIIObject", "length") \
	X(ASCII_HASH, "PyASCIIObject", "hash") \
	X(ASCII_STATE, "PyASCIIObject", "state") \
	X(ASCII_WSTR, "PyASCIIObject", "wstr") \
	X(COMPACT_UTF8_LENGTH, "PyCompactUnicodeObject", "utf8_length") \
	X(COMPACT_UTF8, "PyCompactUnicodeObject", "utf8") \
	X(COMPACT_WSTR_LENGTH, "PyCompactUnicodeObject", "wstr_length") \
	X(UNICODE_DATA, "PyUnicodeObject", "data") \
	X(UNICODE_DATA_ANY, "PyUnicodeObject", "data.any") \
	X(BYTES_OB_SVAL, "PyBytesObject", "ob_sval") \
	X(BYTEARRAY_OB_ALLOC, "PyByteArrayObject", "ob_alloc") \
	X(BYTEARRAY_OB_BYTES, "PyByteArrayObject", "ob_bytes") \
	X(BYTEARRAY_OB_START, "PyByteArrayObject", "ob_start") \
	X(BYTEARRAY_OB_BYTES_OBJECT, "PyByteArrayObject", "ob_bytes_object") \
	X(LONG_OB_DIGIT, "PyLongObject", "ob_digit") \
	X(LONG_LONG_VALUE_LV_TAG, "PyLongObject", "long_value.lv_tag") \
	X(LONG_LONG_VALUE_OB_DIGIT, "PyLongObject", "long_value.ob_digit") \
	X(FLOAT_OB_FVAL, "PyFloatObject", "ob_fval") \
	X(COMPLEX_CVAL, "PyComplexObject", "cval") \
	X(CELL_OB_REF, "PyCellObject", "ob_ref") \
	X(FUNCTION_FUNC_CODE, "PyFunctionObject", "func_code") \
	X(FUNCTION_FUNC_GLOBALS, "PyFunctionObject", "func_globals") \
	X(FUNCTION_FUNC_DEFAULTS, "PyFunctionObject", "func_defaults") \
	X(FUNCTION_FUNC_KWDEFAULTS, "PyFunctionObject", "func_kwdefaults") \
	X(FUNCTION_FUNC_CLOSURE, "PyFunctionObject", "func_closure") \
	X(FUNCTION_FUNC_DOC, "PyFunctionObject", "func_doc") \
	X(FUNCTION_FUNC_NAME, "PyFunctionObject", "func_name") \
	X(FUNCTION_FUNC_DICT, "PyFunctionObject", "func_dict") \
	X(FUNCTION_FUNC_WEAKREFLIST, "PyFunctionObject", "func_weakreflist") \
	X(FUNCTION_FUNC_MODULE, "PyFunctionObject", "func_module") \
	X(FUNCTION_FUNC_ANNOTATIONS, "PyFunctionObject", "func_annotations") \
	X(FUNCTION_FUNC_QUALNAME, "PyFunctionObject", "func_qualname") \
	X(FUNCTION_FUNC_BUILTINS, "PyFunctionObject", "func_builtins") \
	X(FUNCTION_FUNC_TYPEPARAMS, "PyFunctionObject", "func_typeparams") \
	X(FUNCTION_FUNC_ANNOTATE, "PyFunctionObject", "func_annotate") \
	X(METHOD_IM_FUNC, "PyMethodObject", "im_func") \
	X(METHOD_IM_SELF, "PyMethodObject", "im_self") \
	X(METHOD_IM_WEAKREFLIST, "PyMethodObject", "im_weakreflist") \
	X(CFUNCTION_M_ML, "PyCFunctionObject", "m_ml") \
	X(CFUNCTION_M_SELF, "PyCFunctionObject", "m_self") \
	X(CFUNCTION_M_MODULE, "PyCFunctionObject", "m_module") \
	X(CFUNCTION_M_WEAKREFLIST, "PyCFunctionObject", "m_weakreflist") \
	X(CODE_CO_CONSTS, "PyCodeObject", "co_consts") \
	X(CODE_CO_NAMES, "PyCodeObject", "co_names") \
	X(CODE_CO_FILENAME, "PyCodeObject", "co_filename") \
	X(CODE_CO_NAME, "PyCodeObject", "co_name") \
	X(CODE_CO_QUALNAME, "PyCodeObject", "co_qualname") \
	X(CODE_CO_LINETABLE, "PyCodeObject", "co_linetable") \
	X(CODE_CO_LNOTAB, "PyCodeObject", "co_lnotab") \
	X(CODE_CO_FIRSTLINENO, "PyCodeObject", "co_firstlineno") \
	X(CODE_CO_NLOCALS, "PyCodeObject", "co_nlocals") \
	X(CODE_CO_NLOCALSPLUS, "PyCodeObject", "co_nlocalsplus") \
	X(CODE_CO_STACKSIZE, "PyCodeObject", "co_stacksize") \
	X(CODE_CO_LOCALSPLUSNAMES, "PyCodeObject", "co_localsplusnames") \
	X(CODE_CO_LOCALSPLUSKINDS, "PyCodeObject", "co_localspluskinds") \
	X(CODE_CO_EXCEPTIONTABLE, "PyCodeObject", "co_exceptiontable") \
	X(CODE_CO_CODE, "PyCodeObject", "co_code") \
	X(CODE_CO_VARNAMES, "PyCodeObject", "co_varnames") \
	X(CODE_CO_FREEVARS, "PyCodeObject", "co_freevars") \
	X(CODE_CO_CELLVARS, "PyCodeObject", "co_cellvars") \
	X(CODE_CO_CELL2ARG, "PyCodeObject", "co_cell2arg") \
	X(CODE_CO_ZOMBIEFRAME, "PyCodeObject", "co_zombieframe") \
	X(CODE_CO_WEAKREFLIST, "PyCodeObject", "co_weakreflist") \
	X(CODE_CO_EXTRA, "PyCodeObject", "co_extra") \
	X(CODE_CACHED_CO_CODE, "PyCodeObject", "_co_code") \
	X(CODE_CO_LINEARRAY, "PyCodeObject", "_co_linearray") \
	X(CODE_CO_CACHED, "PyCodeObject", "_co_cached") \
	X(CODE_CO_MONITORING, "PyCodeObject", "_co_monitoring") \
	X(CODE_CO_EXECUTORS, "PyCodeObject", "co_executors") \
	X(CODE_CO_CODE_ADAPTIVE, "PyCodeObject", "co_code_adaptive") \
	X(CODE_CO_TLBC, "PyCodeObject", "co_tlbc") \
	X(CODE_CO_FRAMESIZE, "PyCodeObject", "co_framesize") \
	X(CODE_CO_OPCACHE_MAP, "PyCodeObject", "co_opcache_map") \
	X(CODE_CO_OPCACHE, "PyCodeObject", "co_opcache") \
	X(CODE_CO_OPCACHE_SIZE, "PyCodeObject", "co_opcache_size") \
	X(MODULE_MD_DICT, "PyModuleObject", "md_dict") \
	X(MODULE_MD_DEF, "PyModuleObject", "md_def") \
	X(MODULE_MD_STATE, "PyModuleObject", "md_state") \
	X(MODULE_MD_WEAKLIST, "PyModuleObject", "md_weaklist") \
	X(MODULE_MD_NAME, "PyModuleObject", "md_name") \
	X(MODULE_MD_STATE_SIZE, "PyModuleObject", "md_state_size") \
	X(MODULEDEF_M_SIZE, "PyModuleDef", "m_size") \
	X(GEN_GI_FRAME, "PyGenObject", "gi_frame") \
	X(GEN_GI_CODE, "PyGenObject", "gi_code") \
	X(GEN_GI_WEAKREFLIST, "PyGenObject", "gi_weakreflist") \
	X(GEN_GI_NAME, "PyGenObject", "gi_name") \
	X(GEN_GI_QUALNAME, "PyGenObject", "gi_qualname") \
	X(GEN_GI_FRAME_STATE, "PyGenObject", "gi_frame_state") \
	X(GEN_GI_IFRAME, "PyGenObject", "gi_iframe") \
	X(IFRAME_F_CODE, "_PyInterpreterFrame", "f_code") \
	X(IFRAME_F_EXECUTABLE, "_PyInterpreterFrame", "f_executable") \
	X(IFRAME_F_FUNC, "_PyInterpreterFrame", "f_func") \
	X(IFRAME_F_FUNCOBJ, "_PyInterpreterFrame", "f_funcobj") \
	X(IFRAME_F_GLOBALS, "_PyInterpreterFrame", "f_globals") \
	X(IFRAME_F_BUILTINS, "_PyInterpreterFrame", "f_builtins") \
	X(IFRAME_F_LOCALS, "_PyInterpreterFrame", "f_locals") \
	X(IFRAME_FRAME_OBJ, "_PyInterpreterFrame", "frame_obj") \
	X(IFRAME_PREVIOUS, "_PyInterpreterFrame", "previous") \
	X(IFRAME_PREV_INSTR, "_PyInterpreterFrame", "prev_instr") \
	X(IFRAME_INSTR_PTR, "_PyInterpreterFrame", "instr_ptr") \
	X(IFRAME_STACKTOP, "_PyInterpreterFrame", "stacktop") \
	X(IFRAME_STACKPOINTER, "_PyInterpreterFrame", "stackpointer") \
	X(IFRAME_OWNER, "_PyInterpreterFrame", "owner") \
	X(IFRAME_IS_ENTRY, "_PyInterpreterFrame", "is_entry") \
	X(IFRAME_TLBC_INDEX, "_PyInterpreterFrame", "tlbc_index") \
	X(IFRAME_LOCALSPLUS, "_PyInterpreterFrame", "localsplus") \
	X(FRAME_F_BACK, "PyFrameObject", "f_back") \
	X(FRAME_F_CODE, "PyFrameObject", "f_code") \
	X(FRAME_F_BUILTINS, "PyFrameObject", "f_builtins") \
	X(FRAME_F_GLOBALS, "PyFrameObject", "f_globals") \
	X(FRAME_F_LOCALS, "PyFrameObject", "f_locals") \
	X(FRAME_F_VALUESTACK, "PyFrameObject", "f_valuestack") \
	X(FRAME_F_STACKTOP, "PyFrameObject", "f_stacktop") \
	X(FRAME_F_STACKDEPTH, "PyFrameObject", "f_stackdepth") \
	X(FRAME_F_TRACE, "PyFrameObject", "f_trace") \
	X(FRAME_F_LASTI, "PyFrameObject", "f_lasti") \
	X(FRAME_F_LINENO, "PyFrameObject", "f_lineno") \
	X(FRAME_F_FRAME, "PyFrameObject", "f_frame") \
	X(FRAME_F_LOCALSPLUS, "PyFrameObject", "f_localsplus") \
	X(FRAME_F_FRAME_DATA, "PyFrameObject", "_f_frame_data") \
	X(FRAME_F_EXTRA_LOCALS, "PyFrameObject", "f_extra_locals") \
	X(FRAME_F_LOCALS_CACHE, "PyFrameObject", "f_locals_cache") \
	X(FRAME_F_OVERWRITTEN_FAST_LOCALS, "PyFrameObject", "f_overwritten_fast_locals") \
	X(FRAME_F_GEN, "PyFrameObject", "f_gen") \
	X(CFRAME_CURRENT_FRAME, "_PyCFrame", "current_frame") \
	X(GIL_LAST_HOLDER, "_gil_runtime_state", "last_holder") \
	X(GIL_LOCKED, "_gil_runtime_state", "locked") \
	X(ERRSTACKITEM_EXC_VALUE, "_PyErr_StackItem", "exc_value") \
	X(ERRSTACKITEM_PREVIOUS_ITEM, "_PyErr_StackItem", "previous_item") \
	X(EXCEPTION_DICT, "PyBaseExceptionObject", "dict") \
	X(EXCEPTION_ARGS, "PyBaseExceptionObject", "args") \
	X(EXCEPTION_TRACEBACK, "PyBaseExceptionObject", "traceback") \
	X(EXCEPTION_CONTEXT, "PyBaseExceptionObject", "context") \
	X(EXCEPTION_CAUSE, "PyBaseExceptionObject", "cause") \
	X(EXCEPTION_NOTES, "PyBaseExceptionObject", "notes") \
	X(TRACEBACK_TB_NEXT, "PyTracebackObject", "tb_next") \
	X(TRACEBACK_TB_FRAME, "PyTracebackObject", "tb_frame") \
	X(TRACEBACK_TB_LASTI, "PyTracebackObject", "tb_lasti") \
	X(TRACEBACK_TB_LINENO, "PyTracebackObject", "tb_lineno") \
	X(WEAKREF_WR_OBJECT, "PyWeakReference", "wr_object") \
	X(WEAKREF_WR_CALLBACK, "PyWeakReference", "wr_callback") \
	X(WEAKREF_WR_PREV, "PyWeakReference", "wr_prev") \
	X(WEAKREF_WR_NEXT, "PyWeakReference", "wr_next") \
	X(PROPERTY_PROP_GET, "propertyobject", "prop_get") \
	X(PROPERTY_PROP_SET, "propertyobject", "prop_set") \
	X(PROPERTY_PROP_DEL, "propertyobject", "prop_del") \
	X(PROPERTY_PROP_DOC, "propertyobject", "prop_doc") \
	X(DESCR_D_TYPE, "PyDescrObject", "d_type") \
	X(DESCR_D_NAME, "PyDescrObject", "d_name") \
	X(DESCR_D_QUALNAME, "PyDescrObject", "d_qualname") \
	X(DEQUE_LEFTBLOCK, "dequeobject", "leftblock") \
	X(DEQUE_RIGHTBLOCK, "dequeobject", "rightblock") \
	X(DEQUE_LEFTINDEX, "dequeobject", "leftindex") \
	X(DEQUE_RIGHTINDEX, "dequeobject", "rightindex") \
	X(DEQUE_WEAKREFLIST, "dequeobject", "weakreflist") \
	X(DEQUE_NUMFREEBLOCKS, "dequeobject", "numfreeblocks") \
	X(DEQUE_FREEBLOCKS, "dequeobject", "freeblocks") \
	X(DEQUEBLOCK_LEFTLINK, "BLOCK", "leftlink") \
	X(DEQUEBLOCK_DATA, "BLOCK", "data") \
	X(DEQUEBLOCK_RIGHTLINK, "BLOCK", "rightlink") \
	X(DEFAULTDICT_DEFAULT_FACTORY, "defdictobject", "default_factory") \
	X(ODICT_OD_FIRST, "_odictobject", "od_first") \
	X(ODICT_OD_LAST, "_odictobject", "od_last") \
	X(ODICT_OD_FAST_NODES, "_odictobject", "od_fast_nodes") \
	X(ODICT_OD_FAST_NODES_SIZE, "_odictobject", "od_fast_nodes_size") \
	X(ODICT_OD_INST_DICT, "_odictobject", "od_inst_dict") \
	X(ODICT_OD_WEAKREFLIST, "_odictobject", "od_weakreflist") \
	X(ODICTNODE_KEY, "_odictnode", "key") \
	X(ODICTNODE_NEXT, "_odictnode", "next") \
	X(ODICTNODE_PREV, "_odictnode", "prev") \
	X(ARRAY_OB_ITEM, "arrayobject", "ob_item") \
	X(ARRAY_ALLOCATED, "arrayobject", "allocated") \
	X(ARRAY_OB_DESCR, "arrayobject", "ob_descr") \
	X(ARRAY_WEAKREFLIST, "arrayobject", "weakreflist") \
	X(ARRAYDESCR_TYPECODE, "arraydescr", "typecode") \
	X(ARRAYDESCR_ITEMSIZE, "arraydescr", "itemsize") \
	X(BYTESIO_BUF, "bytesio", "buf") \
	X(BYTESIO_STRING_SIZE, "bytesio", "string_size") \
	X(BYTESIO_BUF_SHARED, "bytesio", "buf_shared") \
	X(STRINGIO_BUF, "stringio", "buf") \
	X(STRINGIO_STRING_SIZE, "stringio", "string_size") \
	X(STRINGIO_BUF_SIZE, "stringio", "buf_size") \
	X(BUFFERED_RAW, "buffered", "raw") \
	X(BUFFERED_BUFFER, "buffered", "buffer") \
	X(BUFFERED_BUFFER_SIZE, "buffered", "buffer_size") \
	X(MEMORYVIEW_MBUF, "PyMemoryViewObject", "mbuf") \
	X(MEMORYVIEW_FLAGS, "PyMemoryViewObject", "flags") \
	X(MEMORYVIEW_VIEW_NDIM, "PyMemoryViewObject", "view.ndim") \
	X(MEMORYVIEW_OB_ARRAY, "PyMemoryViewObject", "ob_array") \
	X(PARTIAL_FN, "partialobject", "fn") \
	X(PARTIAL_ARGS, "partialobject", "args") \
	X(PARTIAL_KW, "partialobject", "kw") \
	X(PARTIAL_DICT, "partialobject", "dict") \
	X(PARTIAL_WEAKREFLIST, "partialobject", "weakreflist") \
	X(LRUCACHE_ROOT_PREV, "lru_cache_object", "root.prev") \
	X(LRUCACHE_ROOT_NEXT, "lru_cache_object", "root.next") \
	X(LRUCACHE_CACHE, "lru_cache_object", "cache") \
	X(LRUCACHE_FUNC, "lru_cache_object", "func") \
	X(LRUCACHE_MAXSIZE, "lru_cache_object", "maxsize") \
	X(LRULINK_PREV, "lru_list_elem", "prev") \
	X(LRULINK_NEXT, "lru_list_elem", "next") \
	X(LRULINK_KEY, "lru_list_elem", "key") \
	X(LRULINK_RESULT, "lru_list_elem", "result") \
	X(FUTURE_FUT_LOOP, "FutureObj", "fut_loop") \
	X(TASK_TASK_CORO, "TaskObj", "task_coro") \
	X(DECIMAL_DEC, "PyDecObject", "dec") \
	X(PATTERN_GROUPS, "PatternObject", "groups") \
	X(PATTERN_CODESIZE, "PatternObject", "codesize") \
	X(PATTERN_CODE, "PatternObject", "code") \
	X(MATCH_GROUPS, "MatchObject", "groups") \
	X(MATCH_MARK, "MatchObject", "mark") \
	X(DATETIME_HASTZINFO, "PyDateTime_DateTime", "hastzinfo") \
	X(DATETIME_TZINFO, "PyDateTime_DateTime", "tzinfo") \
	X(TIME_HASTZINFO, "PyDateTime_Time", "hastzinfo") \
	X(TIME_TZINFO, "PyDateTime_Time", "tzinfo") \
	X(CDATA_B_PTR, "CDataObject", "b_ptr") \
	X(CDATA_B_NEEDSFREE, "CDataObject", "b_needsfree") \
	X(CDATA_B_BASE, "CDataObject", "b_base") \
	X(CDATA_B_SIZE, "CDataObject", "b_size") \
	X(CDATA_B_OBJECTS, "CDataObject", "b_objects") \
	X(MANAGEDBUFFER_MASTER_OBJ, "_PyManagedBufferObject", "master.obj") \
	X(MANAGEDBUFFER_MASTER_NDIM, "_PyManagedBufferObject", "master.ndim") \
	X(MANAGEDBUFFER_MASTER_LEN, "_PyManagedBufferObject", "master.len") \
	X(TEEDATA_IT, "teedataobject", "it") \
	X(TEEDATA_NEXTLINK, "teedataobject", "nextlink") \
	X(TEEDATA_VALUES, "teedataobject", "values") \
	X(ELEMENT_TAG, "ElementObject", "tag") \
	X(ELEMENT_TEXT, "ElementObject", "text") \
	X(ELEMENT_TAIL, "ElementObject", "tail") \
	X(ELEMENT_EXTRA, "ElementObject", "extra") \
	X(ELEMENTEXTRA_ATTRIB, "ElementObjectExtra", "attrib") \
	X(ELEMENTEXTRA_LENGTH, "ElementObjectExtra", "length") \
	X(ELEMENTEXTRA_ALLOCATED, "ElementObjectExtra", "allocated") \
	X(ELEMENTEXTRA_CHILDREN, "ElementObjectExtra", "children") \
	X(SIMPLEQUEUE_LST, "simplequeueobject", "lst") \
	X(SIMPLEQUEUE_BUF_ITEMS, "simplequeueobject", "buf.items") \
	X(SIMPLEQUEUE_BUF_ITEMS_CAP, "simplequeueobject", "buf.items_cap") \
	X(GENERICALIAS_ORIGIN, "gaobject", "origin") \
	X(GENERICALIAS_ARGS, "gaobject", "args") \
	X(CONTEXTVAR_VAR_NAME, "PyContextVar", "var_name") \
	X(CONTEXTVAR_VAR_DEFAULT, "PyContextVar", "var_default") \
	X(HAMT_H_ROOT, "PyHamtObject", "h_root") \
	X(HAMT_H_COUNT, "PyHamtObject", "h_count") \
	X(OBMALLOC_MGMT_ARENAS, "_obmalloc_state", "mgmt.arenas") \
	X(OBMALLOC_MGMT_MAXARENAS, "_obmalloc_state", "mgmt.maxarenas") \
	X(OBMALLOC_USAGE_ARENA_MAP_ROOT, "_obmalloc_state", "usage.arena_map_root") \
	X(OBMALLOC_MGMT_NARENAS_CURRENTLY_ALLOCATED, "_obmalloc_state", "mgmt.narenas_currently_allocated") \
	X(OBMALLOC_MGMT_RAW_ALLOCATED_BLOCKS, "_obmalloc_state", "mgmt.raw_allocated_blocks") \
	X(ARENA_ADDRESS, "arena_object", "address") \
	X(ARENA_POOL_ADDRESS, "arena_object", "pool_address") \
	X(ARENA_NFREEPOOLS, "arena_object", "nfreepools") \
	X(ARENA_NTOTALPOOLS, "arena_object", "ntotalpools") \
	X(ARENA_FREEPOOLS, "arena_object", "freepools") \
	X(ARENA_NEXTARENA, "arena_object", "nextarena") \
	X(ARENA_PREVARENA, "arena_object", "prevarena") \
	X(POOL_REF, "pool_header", "ref") \
	X(POOL_REF_COUNT, "pool_header", "ref.count") \
	X(POOL_FREEBLOCK, "pool_header", "freeblock") \
	X(POOL_NEXTPOOL, "pool_header", "nextpool") \
	X(POOL_PREVPOOL, "pool_header", "prevpool") \
	X(POOL_ARENAINDEX, "pool_header", "arenaindex") \
	X(POOL_SZIDX, "pool_header", "szidx") \
	X(POOL_NEXTOFFSET, "pool_header", "nextoffset") \
	X(POOL_MAXNEXTOFFSET, "pool_header", "maxnextoffset") \
	X(MIHEAP_PAGES, "mi_heap_s", "pages") \
	X(MIPAGE_SLICE_COUNT, "mi_page_s", "slice_count") \
	X(MIPAGE_SLICE_OFFSET, "mi_page_s", "slice_offset") \
	X(MIPAGE_TAG, "mi_page_s", "tag") \
	X(MIPAGE_HEAP_TAG, "mi_page_s", "heap_tag") \
	X(MIPAGE_CAPACITY, "mi_page_s", "capacity") \
	X(MIPAGE_RESERVED, "mi_page_s", "reserved") \
	X(MIPAGE_FREE, "mi_page_s", "free") \
	X(MIPAGE_LOCAL_FREE, "mi_page_s", "local_free") \
	X(MIPAGE_XTHREAD_FREE, "mi_page_s", "xthread_free") \
	X(MIPAGE_USED, "mi_page_s", "used") \
	X(MIPAGE_XBLOCK_SIZE, "mi_page_s", "xblock_size") \
	X(MIPAGE_BLOCK_SIZE, "mi_page_s", "block_size") \
	X(MIPAGE_PAGE_START, "mi_page_s", "page_start") \
	X(MISEGMENT_COOKIE, "mi_segment_s", "cookie") \
	X(MISEGMENT_SEGMENT_SLICES, "mi_segment_s", "segment_slices") \
	X(MISEGMENT_SEGMENT_INFO_SLICES, "mi_segment_s", "segment_info_slices") \
	X(MISEGMENT_KIND, "mi_segment_s", "kind") \
	X(MISEGMENT_SLICE_ENTRIES, "mi_segment_s", "slice_entries") \
	X(MISEGMENT_SLICES, "mi_segment_s", "slices") \
	X(TYPE_TP_DOC, "PyTypeObject", "tp_doc") \
	X(PICKLER_MEMO, "PicklerObject", "memo") \
	X(PICKLER_OUTPUT_BUFFER, "PicklerObject", "output_buffer") \
	X(UNPICKLER_MEMO, "UnpicklerObject", "memo") \
	X(UNPICKLER_MEMO_SIZE, "UnpicklerObject", "memo_size") \
	X(UNPICKLER_INPUT_LINE, "UnpicklerObject", "input_line") \
	X(UNPICKLER_ENCODING, "UnpicklerObject", "encoding") \
	X(UNPICKLER_ERRORS, "UnpicklerObject", "errors") \
	X(UNPICKLER_MARKS, "UnpicklerObject", "marks") \
	X(UNPICKLER_MARKS_SIZE, "UnpicklerObject", "marks_size") \
	X(PRODUCT_POOLS, "productobject", "pools") \
	X(PRODUCT_INDICES, "productobject", "indices") \
	X(COMBINATIONS_INDICES, "combinationsobject", "indices") \
	X(COMBINATIONS_R, "combinationsobject", "r") \
	X(PERMUTATIONS_POOL, "permutationsobject", "pool") \
	X(PERMUTATIONS_INDICES, "permutationsobject", "indices") \
	X(PERMUTATIONS_CYCLES, "permutationsobject", "cycles") \
	X(PERMUTATIONS_R, "permutationsobject", "r") \
	X(COMONITORING_TOOLS, "_PyCoMonitoringData", "tools") \
	X(COMONITORING_LINES, "_PyCoMonitoringData", "lines") \
	X(COMONITORING_LINE_TOOLS, "_PyCoMonitoringData", "line_tools") \
	X(COMONITORING_PER_INSTRUCTION_OPCODES, "_PyCoMonitoringData", "per_instruction_opcodes") \
	X(COMONITORING_PER_INSTRUCTION_TOOLS, "_PyCoMonitoringData", "per_instruction_tools") \
	X(STRUCTPACK_S_CODES, "PyStructObject", "s_codes") \
	X(STGDICT_LENGTH, "StgDictObject", "length") \
	X(STGDICT_FFI_TYPE_POINTER_ELEMENTS, "StgDictObject", "ffi_type_pointer.elements") \
	X(STGDICT_FORMAT, "StgDictObject", "format") \
	X(STGDICT_NDIM, "StgDictObject", "ndim") \
	X(STGDICT_SHAPE, "StgDictObject", "shape") \
	X(STGINFO_LENGTH, "StgInfo", "length") \
	X(STGINFO_FFI_TYPE_POINTER_ELEMENTS, "StgInfo", "ffi_type_pointer.elements") \
	X(STGINFO_FORMAT, "StgInfo", "format") \
	X(STGINFO_NDIM, "StgInfo", "ndim") \
	X(STGINFO_SHAPE, "StgInfo", "shape") \
	X(RANGE_START, "rangeobject", "start") \
	X(RANGE_STOP, "rangeobject", "stop") \
	X(RANGE_STEP, "rangeobject", "step") \
	X(SLICE_START, "PySliceObject", "start") \
	X(SLICE_STOP, "PySliceObject", "stop") \
	X(SLICE_STEP, "PySliceObject", "step") \
	X(DELTA_DAYS, "PyDateTime_Delta", "days") \
	X(DELTA_SECONDS, "PyDateTime_Delta", "seconds") \
	X(DELTA_MICROSECONDS, "PyDateTime_Delta", "microseconds") \
	X(TIMEZONE_OFFSET, "PyDateTime_TimeZone", "offset") \
	X(TIMEZONE_NAME, "PyDateTime_TimeZone", "name") \
	X(DATE_DATA, "PyDateTime_Date", "data") \
	X(DATETIME_DATA, "PyDateTime_DateTime", "data") \
	X(DATETIME_FOLD, "PyDateTime_DateTime", "fold") \
	X(TIME_DATA, "PyDateTime_Time", "data") \
	X(TIME_FOLD, "PyDateTime_Time", "fold") \
	X(DEQUE_MAXLEN, "dequeobject", "maxlen") \
	X(METHODDEF_ML_NAME, "PyMethodDef", "ml_name") \
	X(GENERATION_THRESHOLD, "gc_generation", "threshold") \
	X(GENERATION_COUNT, "gc_generation", "count") \
	X(GENERATIONSTATS_COLLECTIONS, "gc_generation_stats", "collections") \
	X(GENERATIONSTATS_COLLECTED, "gc_generation_stats", "collected") \
	X(GENERATIONSTATS_UNCOLLECTABLE, "gc_generation_stats", "uncollectable") \
	X(GENERATIONSTATS_CANDIDATES, "gc_generation_stats", "candidates") \
	X(GENERATIONSTATS_DURATION, "gc_generation_stats", "duration") \
	X(GCSTATS_YOUNG_ITEMS, "gc_stats", "young.items") \
	X(GCSTATS_YOUNG_INDEX, "gc_stats", "young.index") \
	X(GCSTATS_OLD, "gc_stats", "old") \
	X(OLDSTATS_ITEMS, "gc_old_stats_buffer", "items") \
	X(OLDSTATS_INDEX, "gc_old_stats_buffer", "index") \
	X(TRACECONFIG_TRACING, "_PyTraceMalloc_Config", "tracing") \
	X(TRACECONFIG_MAX_NFRAME, "_PyTraceMalloc_Config", "max_nframe") \
	X(TRACEMALLOC_CONFIG, "_tracemalloc_runtime_state", "config") \
	X(TRACEMALLOC_TRACED_MEMORY, "_tracemalloc_runtime_state", "traced_memory") \
	X(TRACEMALLOC_PEAK_TRACED_MEMORY, "_tracemalloc_runtime_state", "peak_traced_memory") \
	X(TRACEMALLOC_TRACES, "_tracemalloc_runtime_state", "traces") \
	X(TRACEMALLOC_DOMAINS, "_tracemalloc_runtime_state", "domains") \
	X(HASHTABLE_NENTRIES, "_Py_hashtable_t", "nentries") \
	X(HASHTABLE_NBUCKETS, "_Py_hashtable_t", "nbuckets") \
	X(HASHTABLE_BUCKETS, "_Py_hashtable_t", "buckets") \
	X(HASHTABLE_KEY_SIZE, "_Py_hashtable_t", "key_size") \
	X(HASHTABLE_DATA_SIZE, "_Py_hashtable_t", "data_size") \
	X(HASHTABLE_ALLOC, "_Py_hashtable_t", "alloc") \
	X(HASHENTRY_NEXT, "_Py_hashtable_entry_t", "_Py_slist_item") \
	X(HASHENTRY_KEY_HASH, "_Py_hashtable_entry_t", "key_hash") \
	X(HASHENTRY_KEY, "_Py_hashtable_entry_t", "key") \
	X(HASHENTRY_VALUE, "_Py_hashtable_entry_t", "value") \
	X(TRACE_SIZE, "trace_t", "size") \
	X(TRACE_TRACEBACK, "trace_t", "traceback") \
	X(ALLOCTRACEBACK_NFRAME, "tracemalloc_traceback", "nframe") \
	X(ALLOCTRACEBACK_TOTAL_NFRAME, "tracemalloc_traceback", "total_nframe") \
	X(ALLOCTRACEBACK_FRAMES, "tracemalloc_traceback", "frames") \
	X(ALLOCFRAME_FILENAME, "tracemalloc_frame", "filename") \
	X(ALLOCFRAME_LINENO, "tracemalloc_frame", "lineno")

enum pyh_struct {
#define PYH_STRUCT_ID(id, structure) PYH_STRUCT_##id,
	PYH_STRUCTS(PYH_STRUCT_ID)
#undef PYH_STRUCT_ID
	PYH_NUM_STRUCTS
};

enum pyh_field {
#define PYH_FIELD_ID(id, structure, member) PYH_##id,
	PYH_FIELDS(PYH_FIELD_ID)
#undef PYH_FIELD_ID
	PYH_NUM_FIELDS
};

#endif
