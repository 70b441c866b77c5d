/*
 * What is known of the structures of builtin and library types; see
 * pyshapetable.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: the structures, the tp_traverse and the tp_dealloc functions of each
 * type in CPython. tests/python/test_references.py and test_wide.py hold what
 * comes of it against gc.get_referents and the reference counts of every
 * release.
 */
#include "pyheap/types/pyshapetable.h"

#include <string.h>

static const struct pyh_known_fields known_fields[] = {
	{ "object", true, { 0 }, { 0 } },
	{ "list", true, { 0 }, { 0 } },
	{ "tuple", true, { 0 }, { 0 } },
	{ "dict", true, { 0 }, { 0 } },
	{ "frozendict", true, { 0 }, { 0 } },
	{ "set", true, { 0 }, { 0 } },
	{ "frozenset", true, { 0 }, { 0 } },
	{ "str", true, { 0 }, { 0 } },
	{ "bytes", true, { 0 }, { 0 } },
	{ "bytearray", true, { 0 }, { PYH_BYTEARRAY_OB_BYTES_OBJECT } },
	{ "int", true, { 0 }, { 0 } },
	{ "bool", true, { 0 }, { 0 } },
	{ "float", true, { 0 }, { 0 } },
	{ "complex", true, { 0 }, { 0 } },
	{ "collections.deque", true, { 0 }, { 0 } },
	{ "cell", true, { PYH_CELL_OB_REF }, { 0 } },
	{ "function", true,
	  { PYH_FUNCTION_FUNC_CODE, PYH_FUNCTION_FUNC_GLOBALS,
	    PYH_FUNCTION_FUNC_DEFAULTS, PYH_FUNCTION_FUNC_KWDEFAULTS,
	    PYH_FUNCTION_FUNC_CLOSURE, PYH_FUNCTION_FUNC_DOC,
	    PYH_FUNCTION_FUNC_NAME, PYH_FUNCTION_FUNC_DICT,
	    PYH_FUNCTION_FUNC_MODULE, PYH_FUNCTION_FUNC_ANNOTATIONS,
	    PYH_FUNCTION_FUNC_QUALNAME, PYH_FUNCTION_FUNC_BUILTINS,
	    PYH_FUNCTION_FUNC_TYPEPARAMS, PYH_FUNCTION_FUNC_ANNOTATE },
	  { 0 } },
	{ "method", true, { PYH_METHOD_IM_FUNC, PYH_METHOD_IM_SELF }, { 0 } },
	{ "builtin_function_or_method", true,
	  { PYH_CFUNCTION_M_SELF, PYH_CFUNCTION_M_MODULE }, { 0 } },
	// Visited where there is a tp_traverse: in free-threaded builds.
	{ "code", true, { PYH_CODE_CO_CONSTS },
	  { PYH_CODE_CO_NAMES, PYH_CODE_CO_FILENAME,
	    PYH_CODE_CO_NAME, PYH_CODE_CO_QUALNAME, PYH_CODE_CO_LINETABLE,
	    PYH_CODE_CO_LNOTAB, PYH_CODE_CO_LOCALSPLUSNAMES,
	    PYH_CODE_CO_LOCALSPLUSKINDS, PYH_CODE_CO_EXCEPTIONTABLE,
	    PYH_CODE_CO_CODE, PYH_CODE_CO_VARNAMES, PYH_CODE_CO_FREEVARS,
	    PYH_CODE_CO_CELLVARS, PYH_CODE_CACHED_CO_CODE } },
	{ "module", true, { PYH_MODULE_MD_DICT }, { PYH_MODULE_MD_NAME } },
	{ "generator", true,
	  { PYH_GEN_GI_FRAME, PYH_GEN_GI_CODE, PYH_GEN_GI_NAME,
	    PYH_GEN_GI_QUALNAME },
	  { 0 } },
	{ "coroutine", true,
	  { PYH_GEN_GI_FRAME, PYH_GEN_GI_CODE, PYH_GEN_GI_NAME,
	    PYH_GEN_GI_QUALNAME },
	  { 0 } },
	{ "async_generator", true,
	  { PYH_GEN_GI_FRAME, PYH_GEN_GI_CODE, PYH_GEN_GI_NAME,
	    PYH_GEN_GI_QUALNAME },
	  { 0 } },
	{ "frame", true,
	  { PYH_FRAME_F_BACK, PYH_FRAME_F_CODE, PYH_FRAME_F_BUILTINS,
	    PYH_FRAME_F_GLOBALS, PYH_FRAME_F_LOCALS, PYH_FRAME_F_TRACE,
	    PYH_FRAME_F_EXTRA_LOCALS, PYH_FRAME_F_LOCALS_CACHE,
	    PYH_FRAME_F_OVERWRITTEN_FAST_LOCALS },
	  { 0 } },
	{ "BaseException", true,
	  { PYH_EXCEPTION_DICT, PYH_EXCEPTION_ARGS, PYH_EXCEPTION_NOTES,
	    PYH_EXCEPTION_TRACEBACK, PYH_EXCEPTION_CONTEXT,
	    PYH_EXCEPTION_CAUSE },
	  { 0 } },
	{ "Exception", true, { 0 }, { 0 } },
	{ "traceback", true, { PYH_TRACEBACK_TB_NEXT, PYH_TRACEBACK_TB_FRAME },
	  { 0 } },
	{ "property", false,
	  { PYH_PROPERTY_PROP_GET, PYH_PROPERTY_PROP_SET,
	    PYH_PROPERTY_PROP_DEL, PYH_PROPERTY_PROP_DOC },
	  { 0 } },
	{ "getset_descriptor", true, { PYH_DESCR_D_TYPE },
	  { PYH_DESCR_D_NAME, PYH_DESCR_D_QUALNAME } },
	{ "member_descriptor", true, { PYH_DESCR_D_TYPE },
	  { PYH_DESCR_D_NAME, PYH_DESCR_D_QUALNAME } },
	{ "method_descriptor", true, { PYH_DESCR_D_TYPE },
	  { PYH_DESCR_D_NAME, PYH_DESCR_D_QUALNAME } },
	{ "classmethod_descriptor", true, { PYH_DESCR_D_TYPE },
	  { PYH_DESCR_D_NAME, PYH_DESCR_D_QUALNAME } },
	{ "wrapper_descriptor", true, { PYH_DESCR_D_TYPE },
	  { PYH_DESCR_D_NAME, PYH_DESCR_D_QUALNAME } },
	{ "collections.defaultdict", true, { PYH_DEFAULTDICT_DEFAULT_FACTORY },
	  { 0 } },
	{ "collections.OrderedDict", true, { PYH_ODICT_OD_INST_DICT }, { 0 } },
	{ "functools.partial", false,
	  { PYH_PARTIAL_FN, PYH_PARTIAL_ARGS, PYH_PARTIAL_KW,
	    PYH_PARTIAL_DICT },
	  { 0 } },
	{ "memoryview", true, { PYH_MEMORYVIEW_MBUF }, { 0 } },
	{ "managedbuffer", true, { PYH_MANAGEDBUFFER_MASTER_OBJ }, { 0 } },
	{ "datetime.datetime", true, { PYH_DATETIME_TZINFO }, { 0 } },
	{ "datetime.time", true, { PYH_TIME_TZINFO }, { 0 } },
	{ "_ctypes._CData", true, { PYH_CDATA_B_BASE, PYH_CDATA_B_OBJECTS },
	  { 0 } },
	{ "xml.etree.ElementTree.Element", true,
	  { PYH_ELEMENT_TAG, PYH_ELEMENT_TEXT, PYH_ELEMENT_TAIL }, { 0 } },
	{ "types.GenericAlias", false,
	  { PYH_GENERICALIAS_ORIGIN, PYH_GENERICALIAS_ARGS }, { 0 } },
	{ "hamt", true, { PYH_HAMT_H_ROOT }, { 0 } },
	{ "type", true,
	  { PYH_TYPE_TP_BASE, PYH_TYPE_TP_DICT, PYH_TYPE_TP_BASES,
	    PYH_TYPE_TP_MRO, PYH_TYPE_TP_CACHE, PYH_HEAPTYPE_HT_MODULE },
	  { PYH_TYPE_TP_SUBCLASSES, PYH_HEAPTYPE_HT_NAME,
	    PYH_HEAPTYPE_HT_SLOTS, PYH_HEAPTYPE_HT_QUALNAME } },
};

/* Names of types, with | between; the releases, inclusive; and the words. */
static const struct known_words {
	const char *types;
	unsigned int first, last;
	const char *words;
} known_words[] = {
	/* --- exceptions: what follows the fields of BaseException --- */
	{ "StopIteration|SystemExit", 8, 10, "~ ~ ~ ~ ~ ~ value" },
	{ "StopIteration|SystemExit", 11, 15, "~ ~ ~ ~ ~ ~ ~ value" },
	{ "AttributeError", 10, 10, "~ ~ ~ ~ ~ ~ obj name" },
	{ "AttributeError", 11, 15, "~ ~ ~ ~ ~ ~ ~ obj name" },
	{ "NameError", 10, 10, "~ ~ ~ ~ ~ ~ name" },
	{ "NameError", 11, 15, "~ ~ ~ ~ ~ ~ ~ name" },
	{ "OSError", 8, 10, "~ ~ ~ ~ ~ ~ errno strerror filename filename2" },
	{ "OSError", 11, 15,
	  "~ ~ ~ ~ ~ ~ ~ errno strerror filename filename2" },
	{ "ImportError", 8, 10, "~ ~ ~ ~ ~ ~ msg name path" },
	{ "ImportError", 11, 11, "~ ~ ~ ~ ~ ~ ~ msg name path" },
	{ "ImportError", 12, 15, "~ ~ ~ ~ ~ ~ ~ msg name path name_from" },
	{ "SyntaxError", 8, 9, "~ ~ ~ ~ ~ ~ msg filename lineno offset text "
	  "print_file_and_line" },
	{ "SyntaxError", 10, 10, "~ ~ ~ ~ ~ ~ msg filename lineno offset "
	  "end_lineno end_offset text print_file_and_line" },
	{ "SyntaxError", 11, 13, "~ ~ ~ ~ ~ ~ ~ msg filename lineno offset "
	  "end_lineno end_offset text print_file_and_line" },
	{ "SyntaxError", 14, 15, "~ ~ ~ ~ ~ ~ ~ msg filename lineno offset "
	  "end_lineno end_offset text print_file_and_line metadata" },
	{ "UnicodeEncodeError|UnicodeDecodeError|UnicodeTranslateError", 8, 10,
	  "~ ~ ~ ~ ~ ~ encoding object ~ ~ reason" },
	{ "UnicodeEncodeError|UnicodeDecodeError|UnicodeTranslateError", 11, 15,
	  "~ ~ ~ ~ ~ ~ ~ encoding object ~ ~ reason" },
	{ "BaseExceptionGroup", 11, 12, "~ ~ ~ ~ ~ ~ ~ msg excs" },
	{ "BaseExceptionGroup", 13, 15, "~ ~ ~ ~ ~ ~ ~ msg excs excs_str" },

	/* --- objects of the language --- */
	{ "NoneType|ellipsis|NotImplementedType", 8, 15, "~" },
	{ "weakref|weakproxy|weakcallableproxy|weakref.ReferenceType|"
	  "weakref.ProxyType|weakref.CallableProxyType", 8, 15,
	  "=wr_object wr_callback" },
	{ "generator", 8, 9, "~*6 exc_type exc_value exc_traceback" },
	{ "generator", 10, 10, "~*5 exc_type exc_value exc_traceback" },
	{ "generator", 11, 11, "~*4 exc_value" },
	{ "generator", 12, 15, "~*3 exc_value" },
	{ "coroutine", 8, 9,
	  "~*6 exc_type exc_value exc_traceback ~ -cr_origin" },
	{ "coroutine", 10, 10,
	  "~*5 exc_type exc_value exc_traceback ~ -cr_origin" },
	{ "coroutine", 11, 11, "~*4 exc_value ~ -cr_origin" },
	{ "coroutine", 12, 15, "~*3 exc_value ~ -cr_origin" },
	{ "async_generator", 8, 9,
	  "~*6 exc_type exc_value exc_traceback ~ ag_finalizer" },
	{ "async_generator", 10, 10,
	  "~*5 exc_type exc_value exc_traceback ~ ag_finalizer" },
	{ "async_generator", 11, 11, "~*4 exc_value ~ ag_finalizer" },
	{ "async_generator", 12, 15, "~*3 exc_value ~ ag_finalizer" },
	{ "builtin_method", 9, 15, "~ ~ ~ ~ ~ mm_class" },
	{ "property", 8, 9, "~ ~ ~ ~" },
	{ "property", 10, 15, "~ ~ ~ ~ prop_name" },
	{ "classmethod", 8, 15, "cm_callable cm_dict" },
	{ "staticmethod", 8, 15, "sm_callable sm_dict" },
	{ "method-wrapper", 8, 15, "descr self" },
	{ "instancemethod", 8, 15, "func" },
	{ "super", 8, 15, "type obj obj_type" },
	{ "mappingproxy", 8, 15, "mapping" },
	{ "slice", 8, 15, "start stop step" },
	{ "range", 8, 15, "start stop step length" },
	{ "types.GenericAlias", 9, 15, "~ ~ parameters" },
	{ "ga_iterator|generic_alias_iterator", 11, 15, "obj" },
	{ "types.UnionType|typing.Union", 10, 13, "args parameters" },
	{ "types.UnionType|typing.Union", 14, 15,
	  "args hashable_args unhashable_args parameters" },
	{ "types.SimpleNamespace", 8, 15, "ns_dict" },
	{ "moduledef", 8, 15, "~ ~ -m_copy" },
	{ "_buffer_wrapper", 12, 15, "mv obj" },
	{ "FrameLocalsProxy", 13, 15, "frame" },
	{ "lazy_import", 15, 15, "lz_builtins lz_from lz_attr lz_code" },
	{ "symtable entry", 8, 13, "ste_id ste_symbols ste_name ste_varnames "
	  "ste_children ste_directives" },
	{ "typing.TypeVar", 12, 12, "-name bound evaluate_bound constraints "
	  "evaluate_constraints" },
	{ "typing.TypeVar", 13, 15, "name bound evaluate_bound constraints "
	  "evaluate_constraints default_value evaluate_default" },
	{ "typing.ParamSpec", 12, 12, "-name bound" },
	{ "typing.ParamSpec", 13, 15,
	  "name bound default_value evaluate_default" },
	{ "typing.TypeVarTuple", 12, 12, "-name" },
	{ "typing.TypeVarTuple", 13, 14, "name default_value evaluate_default" },
	{ "typing.TypeVarTuple", 15, 15,
	  "name bound default_value evaluate_default" },
	{ "typing.ParamSpecArgs|typing.ParamSpecKwargs", 12, 15, "origin" },
	{ "typing.TypeAliasType", 12, 12,
	  "-name type_params compute_value value module" },
	{ "typing.TypeAliasType", 13, 14,
	  "name type_params compute_value value module" },
	{ "typing.TypeAliasType", 15, 15,
	  "name qualname type_params compute_value value module" },
	{ "constevaluator", 14, 15, "value" },
	{ "string.templatelib.Template", 14, 15, "strings interpolations" },
	{ "string.templatelib.Interpolation", 14, 15,
	  "value expression conversion format_spec" },
	{ "string.templatelib.TemplateIter", 14, 15,
	  "stringsiter interpolationsiter" },
	{ "sys.legacy_event_handler", 12, 15, "~ func" },

	/* --- iterators and views --- */
	{ "dict_keys|dict_values|dict_items|odict_keys|odict_values|odict_items",
	  8, 15, "dv_dict" },
	{ "dict_keyiterator|dict_valueiterator|dict_itemiterator|"
	  "dict_reversekeyiterator|dict_reversevalueiterator|"
	  "dict_reverseitemiterator", 8, 15, "di_dict ~ ~ di_result" },
	{ "odict_iterator", 8, 15, "~ di_odict ~ ~ di_current di_result" },
	{ "set_iterator", 8, 15, "si_set" },
	{ "list_iterator|list_reverseiterator|tuple_iterator|bytes_iterator|"
	  "bytearray_iterator|str_iterator|str_ascii_iterator|iterator|"
	  "memory_iterator", 8, 15, "~ it_seq" },
	{ "range_iterator", 8, 15, "~" },
	{ "longrange_iterator", 8, 11, "index start step len" },
	{ "longrange_iterator", 12, 15, "start step len" },
	{ "callable_iterator", 8, 15, "it_callable it_sentinel" },
	{ "async_generator_asend", 8, 15, "ags_gen ags_sendval" },
	{ "async_generator_athrow", 8, 15, "agt_gen agt_args" },
	{ "async_generator_wrapped_value", 8, 15, "agw_val" },
	{ "coroutine_wrapper", 8, 15, "cw_coroutine" },
	{ "anext_awaitable", 10, 15, "wrapped default_value" },
	{ "enumerate", 8, 15, "~ en_sit en_result en_longindex" },
	{ "reversed", 8, 15, "~ seq" },
	{ "zip", 8, 15, "~ ittuple result" },
	{ "map", 8, 15, "iters func" },
	{ "filter", 8, 15, "func it" },
	{ "itertools.accumulate", 8, 15, "total it binop initial" },
	{ "itertools.batched", 12, 15, "it" },
	{ "itertools.chain", 8, 15, "source active" },
	{ "itertools.combinations|itertools.combinations_with_replacement",
	  8, 15, "pool ~ result" },
	{ "itertools.compress", 8, 15, "data selectors" },
	{ "itertools.count", 8, 15, "~ long_cnt long_step" },
	{ "itertools.cycle", 8, 15, "it saved" },
	{ "itertools.dropwhile|itertools.takewhile|itertools.filterfalse|"
	  "itertools.starmap", 8, 15, "func it" },
	{ "itertools.groupby", 8, 15, "it keyfunc tgtkey currkey currvalue" },
	{ "itertools._grouper", 8, 15, "parent tgtkey" },
	{ "itertools.islice", 8, 15, "it" },
	{ "itertools.pairwise", 10, 12, "it old" },
	{ "itertools.pairwise", 13, 15, "it old result" },
	{ "itertools.permutations", 8, 15, "pool ~ ~ result" },
	{ "itertools.product", 8, 15, "pools ~ result" },
	{ "itertools.repeat", 8, 15, "element" },
	{ "itertools._tee_dataobject", 8, 15, "it ~ nextlink values[1]" },
	{ "itertools._tee", 8, 15, "dataobj" },
	{ "itertools.zip_longest", 8, 15, "~ ~ ittuple result fillvalue" },

	/* --- collections, functools, operator --- */
	{ "_collections._deque_iterator|_collections._deque_reverse_iterator|"
	  "collections._deque_iterator|collections._deque_reverse_iterator", 8, 15, "~ ~ deque" },
	{ "_collections._tuplegetter|collections._tuplegetter", 8, 15,
	  "~ doc" },
	{ "array.array", 8, 15, "~" },
	{ "arrayiterator|array.arrayiterator", 8, 15, "~ ao" },
	{ "functools.partial", 8, 13, "~ ~ ~ ~" },
	{ "functools.partial", 14, 15, "~ ~ ~ ~ ~ =placeholder" },
	{ "functools.KeyWrapper", 8, 15, "cmp object" },
	{ "functools._lru_cache_wrapper", 8, 9,
	  "~*7 cache ~ func ~ ~ cache_info_type dict" },
	{ "functools._lru_cache_wrapper", 10, 15, "~*7 cache ~ func "
	  "~ ~ kwd_mark lru_list_elem_type cache_info_type dict" },
	{ "functools._lru_list_elem", 8, 15, "~ ~ ~ =key =result" },
	{ "operator.attrgetter", 8, 15, "~ attr" },
	{ "operator.itemgetter", 8, 15, "~ item" },
	{ "operator.methodcaller", 8, 9, "-name args kwds" },
	{ "operator.methodcaller", 10, 12, "name args kwds" },
	{ "operator.methodcaller", 13, 13,
	  "name args kwds ~ ?vectorcall_kwnames" },
	{ "operator.methodcaller", 14, 15,
	  "name args kwds vectorcall_args vectorcall_kwnames" },

	/* --- contexts, asyncio, threads --- */
	{ "Context|_contextvars.Context", 8, 15, "ctx_prev ctx_vars" },
	{ "Token|_contextvars.Token", 8, 15, "tok_ctx tok_var tok_oldval" },
	{ "ContextVar|_contextvars.ContextVar", 8, 15,
	  "var_name var_default" },
	{ "keys|values|items", 8, 15, "mi_obj" },
	{ "hamt_bitmap_node", 8, 15, "~ ~ b_array[]" },
	{ "hamt_array_node", 8, 15, "a_array*32" },
	{ "hamt_collision_node", 8, 15, "~ ~ c_array[]" },
	{ "_asyncio.Future", 8, 8, "fut_loop fut_callback0 fut_context0 "
	  "fut_callbacks fut_exception fut_result fut_source_tb ~ ~ dict" },
	{ "_asyncio.Future", 9, 9, "fut_loop fut_callback0 fut_context0 "
	  "fut_callbacks fut_exception fut_result fut_source_tb "
	  "fut_cancel_msg ~ ~ dict ~ exc_type exc_value exc_traceback" },
	{ "_asyncio.Future", 10, 10, "fut_loop fut_callback0 fut_context0 "
	  "fut_callbacks fut_exception fut_exception_tb fut_result "
	  "fut_source_tb fut_cancel_msg ~ ~ dict ~ exc_type exc_value "
	  "exc_traceback" },
	{ "_asyncio.Future", 11, 12, "fut_loop fut_callback0 fut_context0 "
	  "fut_callbacks fut_exception fut_exception_tb fut_result "
	  "fut_source_tb fut_cancel_msg ~ ~ dict ~ fut_cancelled_exc" },
	{ "_asyncio.Future", 13, 13, "fut_loop fut_callback0 fut_context0 "
	  "fut_callbacks fut_exception fut_exception_tb fut_result "
	  "fut_source_tb fut_cancel_msg fut_cancelled_exc" },
	{ "_asyncio.Future", 14, 15, "fut_loop fut_callback0 fut_context0 "
	  "fut_callbacks fut_exception fut_exception_tb fut_result "
	  "fut_source_tb fut_cancel_msg fut_cancelled_exc fut_awaited_by" },
	{ "_asyncio.Task", 8, 8, "task_loop task_callback0 task_context0 "
	  "task_callbacks task_exception task_result task_source_tb ~ ~ dict "
	  "~ task_fut_waiter task_coro task_name task_context" },
	{ "_asyncio.Task", 9, 9, "task_loop task_callback0 task_context0 "
	  "task_callbacks task_exception task_result task_source_tb "
	  "task_cancel_msg ~ ~ dict ~ exc_type exc_value exc_traceback ~ "
	  "task_fut_waiter task_coro task_name task_context" },
	{ "_asyncio.Task", 10, 10, "task_loop task_callback0 task_context0 "
	  "task_callbacks task_exception task_exception_tb task_result "
	  "task_source_tb task_cancel_msg ~ ~ dict ~ exc_type exc_value "
	  "exc_traceback ~ task_fut_waiter task_coro task_name task_context" },
	{ "_asyncio.Task", 11, 12, "task_loop task_callback0 task_context0 "
	  "task_callbacks task_exception task_exception_tb task_result "
	  "task_source_tb task_cancel_msg ~ ~ dict ~ task_cancelled_exc "
	  "task_fut_waiter task_coro task_name task_context" },
	{ "_asyncio.Task", 13, 13, "task_loop task_callback0 task_context0 "
	  "task_callbacks task_exception task_exception_tb task_result "
	  "task_source_tb task_cancel_msg task_cancelled_exc ~ ~ "
	  "task_fut_waiter task_coro task_name task_context" },
	{ "_asyncio.Task", 14, 15, "task_loop task_callback0 task_context0 "
	  "task_callbacks task_exception task_exception_tb task_result "
	  "task_source_tb task_cancel_msg task_cancelled_exc "
	  "task_awaited_by ~ ~ task_fut_waiter task_coro task_name "
	  "task_context" },
	{ "TaskStepMethWrapper|_asyncio.TaskStepMethWrapper", 8, 15, "task arg" },
	{ "TaskWakeupMethWrapper", 8, 15, "task" },
	{ "_asyncio.FutureIter", 8, 15, "future" },
	{ "_RunningLoopHolder", 8, 15, "rl_loop" },
	{ "_thread._localdummy", 8, 15, "=localdict" },
	{ "_thread._local", 8, 12, "-key args kw ~ dummies -wr_callback" },
	{ "_thread._local", 13, 15,
	  "args kw ~ localdicts thread_watchdogs" },
	{ "_thread.lock|_thread.RLock|_thread._ThreadHandle", 8, 15, "~" },
	{ "_queue.SimpleQueue", 8, 12, "~ ~ lst" },
	{ "_queue.SimpleQueue", 13, 15, "~" },
	{ "_abc._abc_data", 8, 15,
	  "_abc_registry _abc_cache _abc_negative_cache" },

	/* --- files and text --- */
	{ "_io.BufferedReader|_io.BufferedWriter|_io.BufferedRandom", 8, 15,
	  "raw ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ dict" },
	{ "_io.BufferedRWPair", 8, 11, "-reader -writer dict" },
	{ "_io.BufferedRWPair", 12, 15, "reader writer dict" },
	{ "_io.BytesIO", 8, 11, "-buf ~ ~ dict" },
	{ "_io.BytesIO", 12, 15, "buf ~ ~ dict" },
	{ "_io._BytesIOBuffer", 8, 15, "source" },
	{ "_io.FileIO", 8, 15, "~ ~ ~ dict" },
	{ "_io.StringIO", 8, 11,
	  "~*5 -large -small ~ -decoder -readnl -writenl dict" },
	{ "_io.StringIO", 12, 13,
	  "~*5 -buffer ~*7 decoder readnl writenl dict" },
	{ "_io.StringIO", 14, 15,
	  "~*7 decoder readnl writenl dict" },
	{ "_io.TextIOWrapper", 8, 15, "~ ~ buffer encoding encoder decoder "
	  "readnl errors ~ ~ ~ ~ ~ decoded_chars ~ pending_bytes ~ snapshot ~ "
	  "raw ~ dict" },
	{ "_io.IncrementalNewlineDecoder", 8, 15, "decoder errors" },
	{ "posix.ScandirIterator", 8, 15, "~*7 -object -cleanup" },
	{ "posix.DirEntry", 8, 15, "name path stat lstat" },
	{ "select.poll", 8, 15, "registered" },
	{ "_ssl._SSLSocket", 8, 15,
	  "-socket ~ -ctx ~ -owner -server_hostname" },
	{ "xml.etree.ElementTree.TreeBuilder", 8, 15, "root this last "
	  "last_for_tail data stack ~ element_factory comment_factory "
	  "pi_factory events_append start_event end_event start_ns_event "
	  "end_ns_event comment_event pi_event" },
	{ "_elementtree._element_iterator", 8, 15,
	  "~*3 root_element sought_tag" },
	{ "_multibytecodec.MultibyteCodec", 8, 11, "~" },
	{ "_multibytecodec.MultibyteCodec", 12, 15, "~ cjk_module" },
	{ "_lsprof.Profiler", 12, 14, "~*7 -missing" },
	{ "_lsprof.Profiler", 15, 15, "~*7 missing" },
	{ "sentinel", 15, 15, "name module repr" },
	{ "xml.etree.ElementTree.XMLParser", 8, 15, "~ target entity names "
	  "handle_start_ns handle_end_ns handle_start handle_data handle_end "
	  "handle_comment handle_pi handle_close handle_doctype" },
	{ "re.Pattern", 8, 15, "~ ~ groupindex indexgroup pattern" },
	{ "re.Match", 8, 15, "~ string regs pattern" },
	{ "_sre.SRE_Scanner", 8, 15, "pattern ~ ~ ~ ~ -string" },
	{ "_sre.SRE_Template", 12, 15, "~ ~ literal ~literals[]" },
	{ "_json.Scanner", 8, 8, "~ object_hook object_pairs_hook "
	  "parse_float parse_int parse_constant -memo" },
	{ "_json.Scanner", 9, 15, "~ object_hook object_pairs_hook "
	  "parse_float parse_int parse_constant memo" },
	{ "_json.Encoder", 8, 15, "markers defaultfn encoder indent "
	  "key_separator item_separator" },
	{ "_csv.Dialect", 8, 15, "~ ~ ~ lineterminator" },
	{ "_csv.reader", 8, 15, "input_iter dialect fields" },
	{ "_csv.writer", 8, 9, "write dialect" },
	{ "_csv.writer", 10, 15, "write dialect ~*4 error_obj" },

	/* --- dates, numbers, pickles, C data --- */
	{ "datetime.timezone", 8, 15, "offset name" },
	{ "datetime.timedelta|datetime.date", 8, 15, "~" },
	{ "datetime.IsoCalendarDate", 9, 15, "~" },
	{ "decimal.Decimal", 8, 15, "~" },
	{ "pickle.PickleBuffer", 8, 15, "~ view" },
	{ "_pickle.Pickler", 8, 12, "~ persistent_id -persistent_id_self "
	  "dispatch_table reducer_override write -output_buffer ~*8 "
	  "fast_memo buffer_callback" },
	{ "_pickle.Pickler", 13, 15, "~ persistent_id persistent_id_attr "
	  "dispatch_table reducer_override write -output_buffer ~*8 "
	  "fast_memo buffer_callback" },
	{ "_pickle.Pdata", 8, 15, "~" },
	{ "_pickle.Pickler", 13, 13, "~ persistent_id dispatch_table "
	  "reducer_override write -output_buffer ~*8 fast_memo "
	  "buffer_callback" },
	{ "_pickle.Unpickler", 13, 14, "stack ~*3 persistent_load "
	  "persistent_load_attr ~ -input ~*15 read readinto readline peek "
	  "buffers ~*7" },
	{ "_pickle.Unpickler", 13, 13, "stack ~*3 persistent_load ~ -input "
	  "~*13 read readinto readline peek buffers" },
	{ "_pickle.Unpickler", 15, 15, "stack ~*3 -memo_dict persistent_load "
	  "persistent_load_attr ~ -input ~*15 read readinto readline peek "
	  "buffers" },
	{ "_pickle.Unpickler", 8, 12, "stack ~*3 persistent_load "
	  "-persistent_load_self ~ -input ~*13 read readinto readline peek "
	  "buffers" },
	{ "decimal.Context", 8, 15, "~*6 traps flags" },
	{ "zoneinfo.ZoneInfo", 9, 15, "key file_repr ~*8 -utcoff -dstoff "
	  "-tzname ~ -utcoff -dstoff -tzname" },
	{ "decimal.ContextManager", 8, 15, "local global" },
	{ "decimal.SignalDict|abc.SignalDict|decimal.SignalDictMixin", 8, 15,
	  "~" },
	{ "_hashlib.HASH|_hashlib.HASHXOF|_hashlib.HMAC|_md5.md5|_sha1.sha1|"
	  "_sha256.sha256|_sha256.sha224|_sha512.sha512|_sha512.sha384|"
	  "_blake2.blake2b|_blake2.blake2s", 8, 15, "~" },
	{ "zlib.Compress|zlib.Decompress", 8, 15,
	  "~*14 -unused_data -unconsumed_tail ~ -zdict" },
	{ "_struct.Struct|Struct", 8, 15, "~ ~ ~ s_format" },
	{ "_struct.unpack_iterator|unpack_iterator", 8, 15, "so ~ buf" },
	{ "_ctypes.CThunkObject", 8, 15, "~*8 converters callable restype" },
	{ "_ctypes.DictRemover", 8, 11, "-key -in_dict" },
	{ "_ctypes.DictRemover", 12, 15, "key in_dict" },
	{ "_ctypes.CType_Type", 13, 13,
	  "@ ~*7 proto ~*3 argtypes converters restype checker module" },
	{ "_ctypes.CType_Type", 14, 15, "@ ~*7 proto ~*3 argtypes converters "
	  "restype checker pointer_type module" },
	{ "StgDict", 8, 12, "~*10 -proto ~*3 -argtypes -converters -restype "
	  "-checker" },
	{ "_ctypes.CField", 8, 13, "~*3 proto" },
	{ "_ctypes.CField|ctypes.CField", 14, 15, "~*3 proto ~*3 -name" },
	{ "_ctypes.CFuncPtr|_ctypes.PyCFuncPtr", 8, 15, "~*10 thunk callable "
	  "converters argtypes restype checker errcheck paramflags" },

	/* --- numpy --- */
	{ "numpy.ndarray", 8, 15, "~*4 base dtype ~*3 mem_handler" },
	{ "numpy.ndarray", 8, 15, "~*4 base dtype" },

	/* --- lxml: what follows a str --- */
	{ "lxml.etree._ElementUnicodeResult", 8, 11,
	  "~*8 parent attrname ~" },
	{ "lxml.etree._ElementUnicodeResult", 12, 15,
	  "~*6 parent attrname ~" },

	/* --- pandas, since 2.0 --- */
	{ "pandas._libs.internals.BlockManager", 8, 15,
	  "~ blocks axes ~ blknos blklocs" },
	{ "pandas._libs.internals.Block", 8, 15, "~ mgr_locs refs ~ values" },
	{ "pandas._libs.internals.SharedBlock", 8, 15, "~ mgr_locs refs ~" },
	{ "pandas._libs.internals.NumpyBlock|"
	  "pandas._libs.internals.NDArrayBackedBlock", 8, 15,
	  "~ ~ ~ ~ values" },
	{ "pandas._libs.internals.BlockPlacement", 8, 15,
	  "~ as_slice as_array ~ ~" },
	{ "pandas._libs.internals.BlockValuesRefs", 8, 15,
	  "~ referenced_blocks ~" },
	{ "pandas._libs.internals.BlockValuesRefs", 8, 15,
	  "referenced_blocks" },
	{ "pandas._libs.index.IndexEngine", 8, 15,
	  "~ values mask mapping ~ ~ ~ np_type" },

	/* --- greenlet: what is in each as a structure of C, before 2.0; since
	   then all that is a class of C++ behind a pointer, see pygreenlet.h --- */
	{ "greenlet.greenlet", 8, 10, "~*5 parent run_info ~ ~ ~ ~ exc_type "
	  "exc_value exc_traceback ~ dict context" },
	{ "greenlet.greenlet", 11, 11, "~*5 parent run_info ~*8 exc_value ~ "
	  "dict context" },
	{ "greenlet.greenlet", 8, 15, "~ dict ~" },

	/* --- sqlite3 --- */
	{ "sqlite3.Connection", 8, 10, "~*4 isolation_level ~*3 "
	  "statement_cache statements cursors ~ row_factory text_factory "
	  "trace_callback progress_handler authorizer collations =Warning "
	  "=Error =InterfaceError =DatabaseError =DataError "
	  "=OperationalError =IntegrityError =InternalError "
	  "=ProgrammingError =NotSupportedError" },
	{ "sqlite3.Connection", 11, 11, "~ ~ ~ ~ ~ ~ statement_cache cursors "
	  "blobs ~ row_factory text_factory ~ ~ ~ =Warning =Error "
	  "=InterfaceError =DatabaseError =DataError =OperationalError "
	  "=IntegrityError =InternalError =ProgrammingError "
	  "=NotSupportedError" },
	{ "sqlite3.Connection", 12, 14, "~ ~ ~ ~ ~ ~ ~ statement_cache "
	  "cursors blobs ~ row_factory text_factory ~ ~ ~ =Warning =Error "
	  "=InterfaceError =DatabaseError =DataError =OperationalError "
	  "=IntegrityError =InternalError =ProgrammingError "
	  "=NotSupportedError" },
	{ "sqlite3.Connection", 15, 15, "~*7 statement_cache blobs "
	  "row_factory text_factory ~ ~ ~ =Warning =Error "
	  "=InterfaceError =DatabaseError =DataError =OperationalError "
	  "=IntegrityError =InternalError =ProgrammingError "
	  "=NotSupportedError" },
	{ "sqlite3.Cache", 8, 10, "~ mapping =factory =first =last" },
	{ "sqlite3.Node", 8, 10, "key data ~ =prev =next" },
	{ "sqlite3.Statement", 8, 10, "~ ~ sql" },
	{ "sqlite3.Cursor", 8, 10, "connection description row_cast_map ~ "
	  "lastrowid ~ row_factory statement ~ ~ next_row" },
	{ "sqlite3.Row", 8, 15, "data description" },
	{ "sqlite3.Cursor", 11, 15, "connection description row_cast_map ~ "
	  "lastrowid ~ row_factory statement" },
	{ "sqlite3.Blob", 11, 15, "connection" },
};

/* What lies behind pointers. Words are counted from 0 behind the header. */
static const struct known_array {
	const char *types;
	unsigned int first, last;
	struct pyh_known_array array;
} known_arrays[] = {
	{ "_pickle.Pdata", 8, 15,
	  { .pointer = 1, .count = 0, .step = 8, .each = 1,
	    .seen_from = PYH_NEVER } },
	// Issue 85594: visited since 3.11.7 and 3.12.1.
	{ "_pickle.Unpickler", 8, 10,
	  { .pointer = 1, .count = 2, .step = 8, .each = 1,
	    .seen_from = PYH_NEVER } },
	{ "_pickle.Unpickler", 11, 11,
	  { .pointer = 1, .count = 2, .step = 8, .each = 1, .seen_from = 7 } },
	{ "_pickle.Unpickler", 12, 12,
	  { .pointer = 1, .count = 2, .step = 8, .each = 1, .seen_from = 1 } },
	{ "_pickle.Unpickler", 13, 15,
	  { .pointer = 1, .count = 2, .step = 8, .each = 1 } },
	// The memo is a structure of its own: mask, used, allocated, table.
	{ "_pickle.Pickler", 8, 10,
	  { .pointer = 0, .inner = 3, .count = 2, .step = 16, .each = 1,
	    .seen_from = PYH_NEVER } },
	{ "_pickle.Pickler", 11, 11,
	  { .pointer = 0, .inner = 3, .count = 2, .step = 16, .each = 1,
	    .seen_from = 7 } },
	{ "_pickle.Pickler", 12, 12,
	  { .pointer = 0, .inner = 3, .count = 2, .step = 16, .each = 1,
	    .seen_from = 1 } },
	{ "_pickle.Pickler", 13, 15,
	  { .pointer = 0, .inner = 3, .count = 2, .step = 16, .each = 1 } },
	{ "_elementtree._element_iterator", 8, 15,
	  { .pointer = 0, .count = 1, .step = 16, .each = 1 } },
	// What a writer has written so far.
	{ "_io.StringIO", 14, 15,
	  { .pointer = 5, .count = PYH_ONE, .step = 8, .each = 1,
	    .seen_from = PYH_NEVER } },
	{ "zoneinfo.ZoneInfo", 9, 15,
	  { .pointer = 22, .count = 4, .step = 32, .each = 3,
	    .seen_from = PYH_NEVER } },
};

/* Heap types written in C whose tp_traverse does not visit the type. */
static const struct {
	const char *types;
	unsigned int first, last;	/* minor releases */
	unsigned int micro;		/* the last of the last; 0: all */
} omits_type[] = {
	{ "_multibytecodec.MultibyteIncrementalEncoder|"
	  "_multibytecodec.MultibyteIncrementalDecoder|"
	  "_multibytecodec.MultibyteStreamReader|"
	  "_multibytecodec.MultibyteStreamWriter", 9, 15, 0 },
	// 3.14.10 does; which of those between was the first is not known.
	{ "compression.zstd.ZstdCompressor|compression.zstd.ZstdDecompressor",
	  14, 14, 7 },
};

static bool is_in_list(const char *list, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = list; at; at = strchr(at, '|')) {
		at += *at == '|';
		if (strncmp(at, name, length) == 0 &&
		    (at[length] == '\0' || at[length] == '|'))
			return true;
	}
	return false;
}

const struct pyh_known_fields *pyh_known_fields_of(const char *type)
{
	for (size_t i = 0; i < sizeof(known_fields) / sizeof(known_fields[0]);
	     i++)
		if (strcmp(known_fields[i].type, type) == 0)
			return &known_fields[i];
	return NULL;
}

bool pyh_is_dict_field(enum pyh_field field)
{
	return field == PYH_FUNCTION_FUNC_DICT || field == PYH_MODULE_MD_DICT ||
	       field == PYH_EXCEPTION_DICT || field == PYH_PARTIAL_DICT ||
	       field == PYH_ODICT_OD_INST_DICT;
}

const char *pyh_known_words_of(const char *type, unsigned int minor, size_t n)
{
	for (size_t i = 0; i < sizeof(known_words) / sizeof(known_words[0]); i++)
		if (minor >= known_words[i].first &&
		    minor <= known_words[i].last &&
		    is_in_list(known_words[i].types, type) && n-- == 0)
			return known_words[i].words;
	return NULL;
}

const struct pyh_known_array *pyh_known_array_of(const char *type,
						 unsigned int minor)
{
	for (size_t i = 0; i < sizeof(known_arrays) / sizeof(known_arrays[0]);
	     i++)
		if (minor >= known_arrays[i].first &&
		    minor <= known_arrays[i].last &&
		    is_in_list(known_arrays[i].types, type))
			return &known_arrays[i].array;
	return NULL;
}

bool pyh_omits_type(const char *type, unsigned int minor, unsigned int micro)
{
	for (size_t i = 0; i < sizeof(omits_type) / sizeof(omits_type[0]); i++)
		if (minor >= omits_type[i].first &&
		    minor <= omits_type[i].last &&
		    (omits_type[i].micro == 0 || minor < omits_type[i].last ||
		     micro <= omits_type[i].micro) &&
		    is_in_list(omits_type[i].types, type))
			return true;
	return false;
}
