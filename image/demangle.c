/*
 * Names as their language writes them; see demangle.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/demangle.h"

#include <libiberty/demangle.h>
#include <setjmp.h>
#include <stdbool.h>
#include <string.h>

static const char CUT[] = "…";

/* Symbols longer than this, or with so many parts, stay as they are. */
enum { SYMBOL_MAX = 16 << 10 };

struct writing {
	char *text;
	size_t used;
	jmp_buf full;
};

/*
 * Called with each piece. A short symbol can stand for a name of gigabytes, as
 * parts are named again and again, so the demangler is left when there is no room
 * for more; by then it holds no memory but on its stack.
 */
static void write_piece(const char *piece, size_t size, void *context)
{
	struct writing *writing = context;
	size_t room = DEMANGLE_MAX - 1 - writing->used;

	if (size > room) {
		memcpy(writing->text + writing->used, piece, room);
		writing->used += room;
		longjmp(writing->full, 1);
	}
	if (size > 0)	// piece may be NULL
		memcpy(writing->text + writing->used, piece, size);
	writing->used += size;
}

/** Put CUT at the end, and not into the middle of a character. */
static void mark_cut(struct writing *writing)
{
	size_t at = DEMANGLE_MAX - sizeof(CUT);

	while (at > 0 && ((unsigned char)writing->text[at] & 0xC0) == 0x80)
		at--;
	memcpy(writing->text + at, CUT, sizeof(CUT) - 1);
	writing->used = at + sizeof(CUT) - 1;
}

typedef int demangle_fn(const char *mangled, int options,
		      demangle_callbackref callback, void *context);

static bool demangle_by(demangle_fn *by, const char *symbol, int options,
			char text[DEMANGLE_MAX])
{
	struct writing writing = { .text = text };
	// Changed between setjmp and longjmp: nothing but what lies behind it.
	bool done;

	if (setjmp(writing.full) == 0) {
		done = by(symbol, options, write_piece, &writing) != 0 &&
		       writing.used > 0;
	} else {
		mark_cut(&writing);
		done = true;
	}
	text[writing.used] = '\0';
	return done;
}

static const char *keep(const char *symbol, size_t size,
			char text[DEMANGLE_MAX])
{
	struct writing writing = { .text = text };

	if (size < DEMANGLE_MAX) {
		memcpy(text, symbol, size);
		text[size] = '\0';
		return text;
	}
	memcpy(text, symbol, DEMANGLE_MAX - 1);
	mark_cut(&writing);
	text[writing.used] = '\0';
	return text;
}

const char *demangle(const char *symbol, char text[DEMANGLE_MAX])
{
	size_t size = strcspn(symbol, "@");
	char name[SYMBOL_MAX];

	if (symbol[0] != '_' || size >= SYMBOL_MAX)
		return keep(symbol, size, text);
	memcpy(name, symbol, size);
	name[size] = '\0';
	// Rust's first: its older names are well-formed ones of C++ as well.
	if (demangle_by(rust_demangle_callback, name, DMGL_NO_OPTS, text) ||
	    demangle_by(cplus_demangle_v3_callback, name, DMGL_ANSI, text))
		return text;
	return keep(symbol, size, text);
}

const char *demangle_type(const char *type, char text[DEMANGLE_MAX])
{
	// RTTI marks names that are compared by their address.
	type += *type == '*';
	if (strlen(type) < SYMBOL_MAX &&
	    demangle_by(cplus_demangle_v3_callback, type, DMGL_TYPES, text))
		return text;
	return keep(type, strlen(type), text);
}
