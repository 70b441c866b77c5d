/*
 * Reading _Py_DebugOffsets; see pydebugoffsets.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Include/internal/pycore_runtime.h (3.13) and
 * pycore_debug_offsets.h (3.14, 3.15), final releases. Release candidates and
 * betas had other arrangements under the same cookie, hence the checks.
 */
#include "pyheap/runtime/pydebugoffsets.h"

#include "pyheap/runtime/pycalibrate.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum {
	FIRST_MINOR = 13,	/* that has debug offsets */
	NUM_MINORS = PYH_MINOR_LAST - FIRST_MINOR + 1,
	OFFSET_MAX = 16 << 20,	/* no CPython structure is larger */
	RELEASE_LEVEL_FINAL = 0xf0,	/* in PY_VERSION_HEX */
};

/* Where the word of a structure's size is, for 3.13, 3.14, 3.15; 0: nowhere. */
static const struct {
	enum pyh_struct structure;
	uint16_t word[NUM_MINORS];
} size_words[] = {
	{ PYH_STRUCT_RUNTIME, { 24, 24, 24 } },
	{ PYH_STRUCT_INTERP, { 48, 48, 48 } },
	{ PYH_STRUCT_TSTATE, { 152, 176, 176 } },
	{ PYH_STRUCT_IFRAME, { 224, 248, 312 } },
	{ PYH_STRUCT_CODE, { 272, 312, 376 } },
	{ PYH_STRUCT_OBJECT, { 352, 400, 464 } },
	{ PYH_STRUCT_TYPE, { 368, 416, 480 } },
	{ PYH_STRUCT_HEAPTYPE, { 0, 0, 528 } },
	{ PYH_STRUCT_TUPLE, { 400, 448, 544 } },
	{ PYH_STRUCT_LIST, { 424, 472, 568 } },
	{ PYH_STRUCT_SET, { 0, 496, 592 } },
	{ PYH_STRUCT_DICT, { 448, 528, 624 } },
	{ PYH_STRUCT_FLOAT, { 472, 552, 648 } },
	{ PYH_STRUCT_LONG, { 488, 568, 664 } },
	{ PYH_STRUCT_BYTES, { 512, 592, 688 } },
	{ PYH_STRUCT_UNICODE, { 536, 616, 712 } },
	{ PYH_STRUCT_ASCII, { 560, 640, 736 } },
	{ PYH_STRUCT_COMPACT, { 0, 0, 744 } },
	{ PYH_STRUCT_GC, { 568, 648, 752 } },
	{ PYH_STRUCT_GEN, { 0, 664, 792 } },
};

/* The same for offsets. Those of PyLongObject are relative in some betas. */
static const struct {
	enum pyh_field field;
	uint16_t word[NUM_MINORS];
} offset_words[] = {
	{ PYH_RUNTIME_FINALIZING, { 32, 32, 32 } },
	{ PYH_RUNTIME_INTERPRETERS_HEAD, { 40, 40, 40 } },
	{ PYH_INTERP_ID, { 56, 56, 56 } },
	{ PYH_INTERP_NEXT, { 64, 64, 64 } },
	{ PYH_INTERP_THREADS_HEAD, { 72, 72, 72 } },
	{ PYH_INTERP_GC, { 80, 88, 88 } },
	{ PYH_INTERP_IMPORTS_MODULES, { 88, 96, 96 } },
	{ PYH_INTERP_SYSDICT, { 96, 104, 104 } },
	{ PYH_INTERP_BUILTINS, { 104, 112, 112 } },
	{ PYH_INTERP_CEVAL_GIL, { 112, 120, 120 } },
	{ PYH_INTERP_GIL, { 120, 128, 128 } },
	{ PYH_TSTATE_PREV, { 160, 184, 184 } },
	{ PYH_TSTATE_NEXT, { 168, 192, 192 } },
	{ PYH_TSTATE_INTERP, { 176, 200, 200 } },
	{ PYH_TSTATE_CURRENT_FRAME, { 184, 208, 208 } },
	{ PYH_TSTATE_THREAD_ID, { 192, 216, 240 } },
	{ PYH_TSTATE_NATIVE_THREAD_ID, { 200, 224, 248 } },
	{ PYH_TSTATE_CURRENT_EXCEPTION, { 0, 0, 288 } },
	{ PYH_IFRAME_PREVIOUS, { 232, 256, 320 } },
	{ PYH_IFRAME_F_EXECUTABLE, { 240, 264, 328 } },
	{ PYH_IFRAME_INSTR_PTR, { 248, 272, 336 } },
	{ PYH_IFRAME_LOCALSPLUS, { 256, 280, 344 } },
	{ PYH_IFRAME_OWNER, { 264, 288, 352 } },
	{ PYH_IFRAME_STACKPOINTER, { 0, 296, 360 } },
	{ PYH_CODE_CO_FILENAME, { 280, 320, 384 } },
	{ PYH_CODE_CO_NAME, { 288, 328, 392 } },
	{ PYH_CODE_CO_QUALNAME, { 296, 336, 400 } },
	{ PYH_CODE_CO_LINETABLE, { 304, 344, 408 } },
	{ PYH_CODE_CO_FIRSTLINENO, { 312, 352, 416 } },
	{ PYH_CODE_CO_LOCALSPLUSNAMES, { 328, 368, 432 } },
	{ PYH_CODE_CO_LOCALSPLUSKINDS, { 336, 376, 440 } },
	{ PYH_CODE_CO_CODE_ADAPTIVE, { 344, 384, 448 } },
	{ PYH_OBJECT_OB_TYPE, { 360, 408, 472 } },
	{ PYH_TYPE_TP_NAME, { 376, 424, 488 } },
	{ PYH_TYPE_TP_FLAGS, { 392, 440, 504 } },
	{ PYH_TYPE_TP_BASICSIZE, { 0, 0, 512 } },
	{ PYH_TYPE_TP_DICTOFFSET, { 0, 0, 520 } },
	{ PYH_HEAPTYPE_HT_CACHED_KEYS, { 0, 0, 536 } },
	{ PYH_TUPLE_OB_ITEM, { 408, 456, 552 } },
	{ PYH_VAR_OB_SIZE, { 416, 464, 560 } },
	{ PYH_LIST_OB_ITEM, { 432, 480, 576 } },
	{ PYH_SET_USED, { 0, 504, 600 } },
	{ PYH_SET_TABLE, { 0, 512, 608 } },
	{ PYH_SET_MASK, { 0, 520, 616 } },
	{ PYH_DICT_MA_KEYS, { 456, 536, 632 } },
	{ PYH_DICT_MA_VALUES, { 464, 544, 640 } },
	{ PYH_FLOAT_OB_FVAL, { 480, 560, 656 } },
	{ PYH_BYTES_OB_SVAL, { 528, 608, 704 } },
	{ PYH_ASCII_STATE, { 544, 624, 720 } },
	{ PYH_ASCII_LENGTH, { 552, 632, 728 } },
	{ PYH_GC_COLLECTING, { 576, 656, 760 } },
	{ PYH_GEN_GI_NAME, { 0, 672, 800 } },
	{ PYH_GEN_GI_IFRAME, { 0, 680, 808 } },
	{ PYH_GEN_GI_FRAME_STATE, { 0, 688, 816 } },
};

bool pyh_debug_offsets_read(struct memory_reader *reader, uint64_t address,
			    struct pyh_debug_offsets_head *ret)
{
	uint64_t words[3];	/* cookie, version, free_threaded */

	if (!memory_try_read(reader, address, words, sizeof(words)) ||
	    words[0] != PYH_DEBUG_OFFSETS_COOKIE || words[1] >> 24 != 3 ||
	    (words[1] >> 16 & 0xff) < FIRST_MINOR || words[2] > 1)
		return false;
	ret->version = (uint32_t)words[1];
	ret->free_threaded = words[2] == 1;
	return true;
}

/** The word that tells a field's offset; false where it cannot be had. */
static bool offset_word(const struct pyh_runtime *runtime,
			struct memory_reader *reader, enum pyh_field field,
			uint64_t *ret)
{
	unsigned int which = runtime->minor - FIRST_MINOR;

	for (size_t i = 0; i < COUNT(offset_words); i++)
		if (offset_words[i].field == field)
			return memory_try_u64(reader, runtime->address +
					      offset_words[i].word[which], ret);
	return false;
}

/**
 * True if the words are arranged as in the final release: offsets that leave
 * no choice are where they should be.
 */
static bool arranged_as_final(const struct pyh_runtime *runtime,
			      struct memory_reader *reader)
{
	static const enum pyh_field fixed[] = {
		PYH_TSTATE_INTERP, PYH_OBJECT_OB_TYPE, PYH_VAR_OB_SIZE,
		PYH_TYPE_TP_NAME, PYH_DICT_MA_KEYS, PYH_ASCII_LENGTH,
	};
	uint64_t offset;

	for (size_t i = 0; i < COUNT(fixed); i++)
		if (!offset_word(runtime, reader, fixed[i], &offset) ||
		    offset != runtime->layout->at[fixed[i]].offset)
			return false;
	return true;
}

/**
 * Whether a table knows a structure better than the target says: objects are
 * laid out alike in all final releases of one minor version (they are part of
 * the ABI of extension modules), so another number is a damaged one.
 */
static bool table_decides(const struct pyh_runtime *runtime,
			  enum pyh_struct structure)
{
	return (runtime->version & 0xf0) == RELEASE_LEVEL_FINAL &&
	       pyh_struct_is_object(structure);
}

static unsigned int apply_sizes(struct pyh_runtime *runtime,
				struct memory_reader *reader)
{
	unsigned int which = runtime->minor - FIRST_MINOR, moved = 0;
	uint64_t size;

	for (size_t i = 0; i < COUNT(size_words); i++) {
		enum pyh_struct structure = size_words[i].structure;

		if (size_words[i].word[which] == 0 ||
		    !memory_try_u64(reader, runtime->address +
				    size_words[i].word[which], &size) ||
		    runtime->size_of[structure] == size)
			continue;
		if (size == 0 || size > OFFSET_MAX ||
		    table_decides(runtime, structure)) {
			runtime->num_disbelieved++;
			continue;
		}
		moved++;
		runtime->size_of[structure] = (uint32_t)size;
	}
	return moved;
}

static unsigned int apply_offsets(struct pyh_runtime *runtime,
				  struct memory_reader *reader)
{
	unsigned int which = runtime->minor - FIRST_MINOR, moved = 0;
	uint64_t offset;

	for (size_t i = 0; i < COUNT(offset_words); i++) {
		enum pyh_field field = offset_words[i].field;
		struct pyh_field_at *at = &runtime->at[field];
		uint32_t limit = runtime->size_of[pyh_field_owner(field)];

		if (offset_words[i].word[which] == 0 || at->size == 0 ||
		    !memory_try_u64(reader, runtime->address +
				    offset_words[i].word[which], &offset) ||
		    at->offset == offset)
			continue;
		if (offset == 0 || offset > OFFSET_MAX ||
		    (limit != 0 && offset >= limit) ||
		    table_decides(runtime, pyh_field_owner(field))) {
			runtime->num_disbelieved++;
			continue;
		}
		moved++;
		at->offset = (uint32_t)offset;
	}
	return moved;
}

void pyh_debug_offsets_apply(struct pyh_runtime *runtime,
			     struct memory_reader *reader)
{
	unsigned int moved;

	if (!arranged_as_final(runtime, reader)) {
		pyh_note(runtime->layout_by, sizeof(runtime->layout_by),
			 "debug offsets of an unknown arrangement ignored");
		runtime->num_disbelieved +=
			(runtime->version & 0xf0) == RELEASE_LEVEL_FINAL;
		return;
	}
	moved = apply_sizes(runtime, reader);
	moved += apply_offsets(runtime, reader);
	if (moved)
		pyh_note(runtime->layout_by, sizeof(runtime->layout_by),
			 "debug offsets (%u differ from the table)", moved);
	else
		pyh_note(runtime->layout_by, sizeof(runtime->layout_by),
			 "debug offsets");
}
