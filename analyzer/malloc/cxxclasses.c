/*
 * C++ classes by their vtables; see cxxclasses.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/malloc/cxxclasses.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/mixhash.h"
#include "image/symbols.h"

enum {
	FUNCTIONS = 16,		/* bytes of a vtable before what is pointed at */
	WORDS_KNOWN = 1 << 20,	/* different ones that are remembered */
};

struct error *cxx_classes_init(struct cxx_classes *classes,
			       struct image *image)
{
	*classes = (struct cxx_classes){ .image = image, .low = UINT64_MAX };
	for (size_t i = 0; i < modules_count(image->modules); i++) {
		const struct module *module = modules_get(image->modules, i);

		if (module->start < classes->low)
			classes->low = module->start;
		if (module->end > classes->high)
			classes->high = module->end;
	}
	return NULL;
}

void cxx_classes_deinit(struct cxx_classes *classes)
{
	hashmap_deinit(&classes->known);
	hashmap_deinit(&classes->by_symbol);
	free(classes->items);
}

/** The symbol of the vtable that this word leads into, or NULL. */
static const char *vtable_of(const struct cxx_classes *classes, uint64_t word)
{
	const struct memory *memory = classes->image->memory;
	const struct memory_range *range = memory_find(memory, word);
	struct module *module = modules_find(classes->image->modules, word);
	struct symbol symbol;

	if (!range || !module || word % 8 || (range->protection & PF_X) ||
	    !symbols_at(module, memory, word, &symbol) ||
	    word - symbol.address < FUNCTIONS ||
	    strncmp(symbol.name, "_ZTV", 4) != 0)
		return NULL;
	return symbol.name;
}

static struct error *add_class(struct cxx_classes *classes, const char *symbol)
{
	if (classes->count == classes->room) {
		size_t room = classes->room ? classes->room * 2 : 64;
		struct cxx_class *items = reallocarray(classes->items, room,
						       sizeof(*items));

		if (!items)
			return error_no_memory();
		classes->items = items;
		classes->room = room;
	}
	classes->items[classes->count++] = (struct cxx_class){
		.symbol = symbol };
	return NULL;
}

/**
 * The number, from 1, of the class with this symbol: libraries have one each of
 * the same class, and large programs tens of thousands of them.
 */
static struct error *number_of(struct cxx_classes *classes, const char *symbol,
			       uint32_t *ret)
{
	size_t length = strlen(symbol);
	struct error *err;
	uint64_t key;

	for (uint64_t seed = 0;; seed++) {
		key = mixhash(symbol, length, seed) | 1;
		if (!hashmap_get(&classes->by_symbol, key, ret))
			break;
		if (strcmp(classes->items[*ret - 1].symbol, symbol) == 0)
			return NULL;
	}
	err = add_class(classes, symbol);
	*ret = (uint32_t)classes->count;
	return err ? err : hashmap_put(&classes->by_symbol, key, *ret);
}

struct error *cxx_class_of(struct cxx_classes *classes, uint64_t word,
			   uint32_t *ret)
{
	struct error *err = NULL;
	const char *symbol;

	*ret = 0;
	// So many are no vtables.
	if (word < classes->low || word >= classes->high ||
	    hashmap_get(&classes->known, word, ret) ||
	    classes->known.count >= WORDS_KNOWN)
		return NULL;
	symbol = vtable_of(classes, word);
	if (symbol)
		err = number_of(classes, symbol, ret);
	return err ? err : hashmap_put(&classes->known, word, *ret);
}

struct error *cxx_classes_add(struct cxx_classes *classes, uint64_t word,
			      uint64_t bytes)
{
	uint32_t number;
	struct error *err = cxx_class_of(classes, word, &number);

	if (err)
		return err;
	if (number) {
		classes->items[number - 1].count++;
		classes->items[number - 1].bytes += bytes;
	}
	return NULL;
}

static int largest_first(const void *a, const void *b)
{
	const struct cxx_class *left = a, *right = b;

	if (left->bytes != right->bytes)
		return left->bytes > right->bytes ? -1 : 1;
	return strcmp(left->symbol, right->symbol);
}

void cxx_classes_sort(struct cxx_classes *classes)
{
	if (classes->count)
		qsort(classes->items, classes->count, sizeof(*classes->items),
		      largest_first);
}

const char *cxx_name(const char *symbol, char text[DEMANGLE_MAX])
{
	return strncmp(symbol, "_ZTV", 4) == 0 ?
		demangle_type(symbol + 4, text) : symbol;
}
