/*
 * From an instruction to its line; see pyline.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/threads/pyline.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	UNIT = 2,		/* bytes of a _Py_CODEUNIT */
	TABLE_MAX = 64 << 20,	/* bytes */
	CODE_MAX = 64 << 20,	/* bytes of bytecode */
	COPIES_MAX = 1 << 16,	/* of bytecode, one for each thread */
	NO_LINE_3_10 = -128,
	/* kinds of location entries, 3.11 and later */
	ONE_LINE_FIRST = 10, ONE_LINE_LAST = 12,
	NO_COLUMNS = 13, LONG = 14, NONE = 15,
	MORE = 0x40,		/* of a varint: another 6 bits follow */
};

/** The bytes of a table, some at a time. */
struct table {
	struct memory_reader *memory;
	uint64_t at, end;	/* addresses */
	uint8_t bytes[256];
	size_t have, used;
};

static bool table_open(const struct pyh_runtime *runtime,
		       struct memory_reader *memory, uint64_t code,
		       enum pyh_field field, struct table *ret)
{
	uint64_t bytes, size;

	if (!pyh_field(runtime, memory, code, field, &bytes) ||
	    !pyh_field(runtime, memory, bytes, PYH_VAR_OB_SIZE, &size) ||
	    size > TABLE_MAX)
		return false;
	ret->memory = memory;
	ret->at = bytes + pyh_offset(runtime, PYH_BYTES_OB_SVAL);
	ret->end = ret->at + size;
	ret->have = 0;
	ret->used = 0;
	return true;
}

static bool next_byte(struct table *table, uint8_t *ret)
{
	if (table->used == table->have) {
		uint64_t left = table->end - table->at;
		size_t size = left < sizeof(table->bytes) ?
			(size_t)left : sizeof(table->bytes);

		if (size == 0 || !memory_try_read(table->memory, table->at,
						  table->bytes, size))
			return false;
		table->at += size;
		table->have = size;
		table->used = 0;
	}
	*ret = table->bytes[table->used++];
	return true;
}

/** Pairs: bytes further, lines further. */
static int64_t line_by_lnotab(struct table *table, int64_t line, int64_t at)
{
	uint8_t bytes, lines;
	int64_t here = 0;

	while (next_byte(table, &bytes) && next_byte(table, &lines)) {
		here += bytes;
		if (here > at)
			break;
		line += (int8_t)lines;
	}
	return line;
}

/** Pairs: bytes of this range, lines further; some ranges have no line. */
static int64_t line_by_ranges(struct table *table, int64_t line, int64_t at)
{
	uint8_t bytes, lines;
	int64_t end = 0;

	while (next_byte(table, &bytes) && next_byte(table, &lines)) {
		bool has_line = (int8_t)lines != NO_LINE_3_10;

		line += has_line ? (int8_t)lines : 0;
		end += bytes;
		if (end > at)
			return has_line ? line : 0;
	}
	return 0;
}

static bool next_varint(struct table *table, uint64_t *ret)
{
	unsigned int shift = 0;
	uint8_t byte;

	*ret = 0;
	do {
		if (!next_byte(table, &byte) || shift > 60)
			return false;
		*ret |= (uint64_t)(byte & (MORE - 1)) << shift;
		shift += 6;
	} while (byte & MORE);
	return true;
}

/** How many lines further an entry is, stepping over its columns. */
static bool next_location(struct table *table, unsigned int kind,
			  int64_t *ret_lines)
{
	uint64_t number;
	uint8_t byte;

	*ret_lines = 0;
	if (kind == NONE)
		return true;
	if (kind == LONG || kind == NO_COLUMNS) {
		if (!next_varint(table, &number))
			return false;
		*ret_lines = number & 1 ? -(int64_t)(number >> 1) :
			     (int64_t)(number >> 1);
		for (int i = 0; kind == LONG && i < 3; i++)
			if (!next_varint(table, &number))
				return false;
		return true;
	}
	if (kind >= ONE_LINE_FIRST && kind <= ONE_LINE_LAST) {
		*ret_lines = kind - ONE_LINE_FIRST;
		return next_byte(table, &byte) && next_byte(table, &byte);
	}
	return next_byte(table, &byte);
}

static int64_t line_by_locations(struct table *table, int64_t line, int64_t at)
{
	int64_t end = 0, lines;
	uint8_t first;

	while (next_byte(table, &first) && first & 0x80) {
		unsigned int kind = first >> 3 & 15;

		if (!next_location(table, kind, &lines))
			return 0;
		line += lines;
		end += ((first & 7) + 1) * UNIT;
		if (end > at)
			return kind == NONE ? 0 : line;
	}
	return 0;
}

uint32_t pyh_line(const struct pyh_runtime *runtime,
		  struct memory_reader *memory, uint64_t code, int64_t at)
{
	bool old = !pyh_has(runtime, PYH_CODE_CO_LINETABLE);
	struct table table;
	uint64_t first;
	int64_t line;

	if (!pyh_field(runtime, memory, code, PYH_CODE_CO_FIRSTLINENO, &first))
		return 0;
	line = (int32_t)first;
	if (at >= 0) {
		if (!table_open(runtime, memory, code,
				old ? PYH_CODE_CO_LNOTAB :
				PYH_CODE_CO_LINETABLE, &table))
			return 0;
		line = old ? line_by_lnotab(&table, line, at) :
		       pyh_has(runtime, PYH_CODE_CO_CODE_ADAPTIVE) ?
		       line_by_locations(&table, line, at) :
		       line_by_ranges(&table, line, at);
	}
	return line > 0 && line <= INT32_MAX ? (uint32_t)line : 0;
}

int64_t pyh_instruction_at(const struct pyh_runtime *runtime,
			   struct memory_reader *memory, uint64_t code,
			   uint64_t pointer, uint64_t copy)
{
	uint64_t start = code + pyh_offset(runtime, PYH_CODE_CO_CODE_ADAPTIVE);
	uint64_t units, copies, count;

	if (!pyh_field(runtime, memory, code, PYH_VAR_OB_SIZE, &units) ||
	    units > CODE_MAX / UNIT)
		return -1;
	// _PyCodeArray: how many, then the pointers.
	if (copy != 0 && pyh_has(runtime, PYH_CODE_CO_TLBC) &&
	    (copy > COPIES_MAX ||
	     !pyh_field(runtime, memory, code, PYH_CODE_CO_TLBC, &copies) ||
	     !memory_try_u64(memory, copies, &count) || copy >= count ||
	     !memory_try_u64(memory, copies + 8 + copy * 8, &start)))
		return -1;
	// 3.11 and 3.12 point before the first instruction until it has run.
	return pointer - start < units * UNIT ? (int64_t)(pointer - start) : -1;
}
