/*
 * Which C++ objects are PyTorch's; see torchclass.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/torchclass.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "image/modules.h"
#include "image/symbols.h"

enum {
	DEPTH_MAX = 16,		/* classes on the way to the first one */
	BASES_MAX = 64,		/* of one class */
	RAW_MAX = 512,		/* bytes of a mangled name */
	WORDS_KNOWN = 1 << 20,	/* different ones that are remembered */
	/* of a type_info: its name; what more a class with one base has, and one
	   with several: flags, their count, the first of them and where it is */
	INFO_NAME = 8, INFO_BASE = 16, INFO_COUNT = 20, INFO_FIRST = 24,
	INFO_OFFSET = 32, OFFSET_SHIFT = 8,
};

/* --- names ----------------------------------------------------------------------- */

/**
 * The last part of "N5torch8autograd9generated14AddmmBackward0E".
 *
 * @return what follows it, or NULL
 */
static const char *part_of(const char *at, char text[TORCH_CLASS_MAX])
{
	bool found = false;

	at += *at == 'N';
	at += strncmp(at, "St", 2) == 0 ? 2 : 0;
	while (*at >= '1' && *at <= '9') {
		char *part;
		size_t size = strtoul(at, &part, 10);

		if (size > strlen(part) || size >= TORCH_CLASS_MAX)
			return NULL;
		memcpy(text, part, size);
		text[size] = '\0';
		at = part + size;
		found = true;
	}
	// Of a template the name goes on with what it was made for.
	return found && (*at == 'E' || *at == 'I' || *at == '\0') ? at : NULL;
}

/** Of what a std::shared_ptr counts the owners of, that one's. */
static const char *last_part(const char *raw, char text[TORCH_CLASS_MAX])
{
	const char *at = part_of(raw + (*raw == '*'), text);
	char counted[TORCH_CLASS_MAX];

	if (!at)
		return NULL;
	if (strncmp(text, "_Sp_counted_", strlen("_Sp_counted_")) != 0 ||
	    *at != 'I')
		return text;
	at += 1 + (at[1] == 'P');
	if (part_of(at, counted))
		memcpy(text, counted, sizeof(counted));
	return text;
}

/** The name that a type_info has. */
static bool info_name(struct memory_reader *memory, uint64_t info,
		      char raw[RAW_MAX])
{
	uint64_t name;

	return info && info % 8 == 0 &&
	       memory_try_u64(memory, info + INFO_NAME, &name) &&
	       memory_try_string(memory, name, raw, RAW_MAX);
}

static bool info_of(struct memory_reader *memory, uint64_t table, uint64_t *ret)
{
	return table % 8 == 0 && table >= 16 &&
	       memory_try_u64(memory, table - 8, ret) && *ret && *ret % 8 == 0;
}

const char *torch_class(struct memory_reader *memory, uint64_t object,
			char text[TORCH_CLASS_MAX])
{
	uint64_t table, info;
	char raw[RAW_MAX];

	return memory_try_u64(memory, object, &table) &&
	       info_of(memory, table, &info) && info_name(memory, info, raw) ?
		       last_part(raw, text) : NULL;
}

/** The symbol of a table: "_ZTVN3c1010TensorImplE". */
static const char *symbol_of(const struct torch_classes *classes, uint64_t table)
{
	const struct memory *memory = classes->image->memory;
	struct module *module = modules_find(classes->image->modules, table);
	struct symbol symbol;

	if (!module || !symbols_at(module, memory, table, &symbol) ||
	    strncmp(symbol.name, "_ZTV", 4) != 0)
		return NULL;
	return symbol.name + 4;
}

const char *torch_table_class(struct torch_classes *classes, uint64_t table,
			      char text[TORCH_CLASS_MAX])
{
	const char *symbol;
	uint64_t info;
	char raw[RAW_MAX];

	if (info_of(&classes->memory, table, &info) &&
	    info_name(&classes->memory, info, raw))
		return last_part(raw, text);
	symbol = symbol_of(classes, table);
	return symbol ? last_part(symbol, text) : NULL;
}

/* --- who is derived from whom ------------------------------------------------------ */

/**
 * The class that another one is derived from, at the same address; 0: none. How
 * many there are says the class of the type_info itself.
 */
static uint64_t base_of(struct torch_classes *classes, uint64_t info)
{
	struct memory_reader *memory = &classes->memory;
	char text[TORCH_CLASS_MAX];
	const char *class;
	uint64_t table, base, offset;
	uint32_t count;

	if (!memory_try_u64(memory, info, &table))
		return 0;
	class = torch_table_class(classes, table, text);
	if (!class)
		return 0;
	if (strcmp(class, "__si_class_type_info") == 0)
		return memory_try_u64(memory, info + INFO_BASE, &base) &&
		       base % 8 == 0 ? base : 0;
	if (strcmp(class, "__vmi_class_type_info") != 0 ||
	    !memory_try_u32(memory, info + INFO_COUNT, &count) || count == 0 ||
	    count > BASES_MAX ||
	    !memory_try_u64(memory, info + INFO_FIRST, &base) || base % 8 ||
	    !memory_try_u64(memory, info + INFO_OFFSET, &offset) ||
	    offset >> OFFSET_SHIFT != 0)
		return 0;
	return base;
}

/** From the class of a table on; how many. */
static unsigned int chain_of(struct torch_classes *classes, uint64_t table,
			     uint64_t infos[DEPTH_MAX])
{
	unsigned int count = 0;
	uint64_t info;

	if (!info_of(&classes->memory, table, &info))
		return 0;
	while (info && count < DEPTH_MAX) {
		infos[count++] = info;
		info = base_of(classes, info);
	}
	return count;
}

/* --- kinds ------------------------------------------------------------------------- */

struct error *torch_classes_init(struct torch_classes *classes,
				 const struct image *image)
{
	*classes = (struct torch_classes){ .image = image, .low = UINT64_MAX };
	for (size_t i = 0; i < modules_count(image->modules); i++) {
		const struct module *module = modules_get(image->modules, i);

		if (module->start < classes->low)
			classes->low = module->start;
		if (module->end > classes->high)
			classes->high = module->end;
	}
	return memory_reader_init(&classes->memory, image->memory);
}

void torch_classes_deinit(struct torch_classes *classes)
{
	hashmap_deinit(&classes->known);
	memory_reader_deinit(&classes->memory);
}

static void add_anchor(struct torch_classes *classes, enum torch_kind kind,
		       uint64_t info)
{
	unsigned int *num = &classes->num_anchors[kind];

	for (unsigned int i = 0; i < *num; i++)
		if (classes->anchors[kind][i] == info)
			return;
	if (*num < TORCH_ANCHORS_MAX)
		classes->anchors[kind][(*num)++] = info;
}

static enum torch_kind kind_of_name(const char *raw)
{
	static const struct {
		const char *name;
		enum torch_kind kind;
	} names[] = {
		{ "N3c1010TensorImplE", TORCH_KIND_TENSOR },
		{ "N3c1011StorageImplE", TORCH_KIND_STORAGE },
		{ "N5torch8autograd4NodeE", TORCH_KIND_NODE },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(raw, names[i].name) == 0)
			return names[i].kind;
	return TORCH_KIND_NONE;
}

struct error *torch_classes_learn(struct torch_classes *classes,
				  uint64_t object, enum torch_kind kind)
{
	uint64_t table, infos[DEPTH_MAX];
	unsigned int count;
	uint32_t known;

	if (!memory_try_u64(&classes->memory, object, &table) || table == 0 ||
	    table % 8 || !modules_find(classes->image->modules, table))
		return NULL;
	if (hashmap_get(&classes->known, table, &known) &&
	    known == (uint32_t)kind + 1)
		return NULL;
	count = chain_of(classes, table, infos);
	// Nodes were derived from nothing at first.
	if (count > 1 && kind == TORCH_KIND_TENSOR)
		classes->root = infos[count - 1];
	if (count > 1 && (kind != TORCH_KIND_NODE ||
			  infos[count - 1] == classes->root))
		count--;
	if (count > 0 && (count > 1 || kind != TORCH_KIND_NODE))
		add_anchor(classes, kind, infos[count - 1]);
	return hashmap_put(&classes->known, table, (uint32_t)kind + 1);
}

static enum torch_kind kind_of_info(struct torch_classes *classes, uint64_t info)
{
	enum torch_kind kind;
	char raw[RAW_MAX];

	for (kind = TORCH_KIND_TENSOR; kind < TORCH_NUM_KINDS; kind++)
		for (unsigned int i = 0; i < classes->num_anchors[kind]; i++)
			if (classes->anchors[kind][i] == info)
				return kind;
	if (!info_name(&classes->memory, info, raw))
		return TORCH_KIND_NONE;
	kind = kind_of_name(raw);
	if (kind != TORCH_KIND_NONE)
		add_anchor(classes, kind, info);
	return kind;
}

/** The table of functions of a class, in the data of a module? */
static bool is_table(const struct torch_classes *classes, uint64_t word)
{
	const struct memory_range *range =
		memory_find(classes->image->memory, word);

	return word % 8 == 0 && range && !(range->protection & PF_X) &&
	       modules_find(classes->image->modules, word);
}

struct error *torch_kind_of(struct torch_classes *classes, uint64_t word,
			    enum torch_kind *ret)
{
	uint64_t infos[DEPTH_MAX];
	unsigned int count = 0;
	uint32_t known;

	*ret = TORCH_KIND_NONE;
	if (word < classes->low || word >= classes->high || word % 8)
		return NULL;
	if (hashmap_get(&classes->known, word, &known)) {
		*ret = (enum torch_kind)(known - 1);
		return NULL;
	}
	if (is_table(classes, word))
		count = chain_of(classes, word, infos);
	for (unsigned int i = 0; i < count && *ret == TORCH_KIND_NONE; i++)
		*ret = kind_of_info(classes, infos[i]);
	if (*ret == TORCH_KIND_NONE && count > 0 &&
	    torch_table_class(classes, word, (char[TORCH_CLASS_MAX]){ 0 }))
		*ret = TORCH_KIND_CLASS;
	// So many are no tables.
	return classes->known.count < WORDS_KNOWN ?
		       hashmap_put(&classes->known, word,
				   (uint32_t)*ret + 1) : NULL;
}
