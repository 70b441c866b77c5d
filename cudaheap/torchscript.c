/*
 * Objects of TorchScript; see torchscript.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/torchscript.h"

#include <ctype.h>
#include <string.h>

enum {
	OBJECT_WORDS = 16,	/* of an object that are looked at */
	CLASS_WORDS = 64,	/* of a class */
	SLOTS_MAX = 1 << 16,
	VALUE_SIZE = 16,	/* of an IValue, and of a pointer to a type */
	/* An attribute has its kind, its type, and a std::string, which up to 2.5
	   was a pointer to characters with their count in front of them. */
	ATTRIBUTE_TYPE = 8, ATTRIBUTE_NAME = 24,
	ATTRIBUTE_OLD = 32, ATTRIBUTE = 56,
	OLD_LENGTH = 24,	/* bytes in front of the characters */
};

static bool is_of_class(struct torch_classes *classes, uint64_t address,
			const char *name)
{
	char text[TORCH_CLASS_MAX];
	const char *class;
	uint64_t table;

	if (address == 0 || address % 8 ||
	    !memory_try_u64(&classes->memory, address, &table) ||
	    table < classes->low || table >= classes->high)
		return false;
	class = torch_table_class(classes, table, text);
	return class && strcmp(class, name) == 0;
}

/** Words of a vector of count things of so many bytes? */
static bool is_vector(const uint64_t words[3], uint32_t count, uint32_t stride)
{
	return words[0] && words[0] % 8 == 0 && words[1] > words[0] &&
	       words[2] >= words[1] &&
	       words[1] - words[0] == (uint64_t)count * stride;
}

/** Each attribute's type is that in the vector of types? */
static bool has_types(struct torch_classes *classes, uint64_t attributes,
		      uint64_t types, uint32_t count, uint32_t stride)
{
	for (uint32_t i = 0; i < count; i++) {
		uint64_t own, type;

		if (!memory_try_u64(&classes->memory, attributes + i *
				    (uint64_t)stride + ATTRIBUTE_TYPE, &own) ||
		    !memory_try_u64(&classes->memory, types + i *
				    (uint64_t)VALUE_SIZE, &type) || own != type)
			return false;
	}
	return true;
}

static bool find_attributes(struct torch_classes *classes, uint64_t class,
			    struct torch_script *script)
{
	static const uint32_t strides[] = { ATTRIBUTE, ATTRIBUTE_OLD };
	uint64_t words[CLASS_WORDS];
	size_t count = CLASS_WORDS;

	// Its last words may be the last ones of what is mapped.
	while (count > 6 && !memory_try_read(&classes->memory, class, words,
					     count * 8))
		count -= 2;
	for (size_t i = 1; i + 6 <= count; i++)
		for (int j = 0; j < 2; j++)
			if (is_vector(words + i, script->count, strides[j]) &&
			    is_vector(words + i + 3, script->count,
				      VALUE_SIZE) &&
			    has_types(classes, words[i], words[i + 3],
				      script->count, strides[j])) {
				script->attributes = words[i];
				script->stride = strides[j];
				return true;
			}
	return false;
}

bool torch_script_read(struct torch_classes *classes, uint64_t address,
		       struct torch_script *ret)
{
	uint64_t words[OBJECT_WORDS];

	if (!is_of_class(classes, address, "Object") ||
	    !memory_try_read(&classes->memory, address, words, sizeof(words)))
		return false;
	// What owns its class has an empty optional in front, whose words are what
	// was in that memory before, which may have been a class.
	for (int i = 2; i + 5 <= OBJECT_WORDS; i++) {
		const uint64_t *slots = words + i + 2;
		uint64_t count = (slots[1] - slots[0]) / VALUE_SIZE;

		*ret = (struct torch_script){ .slots = slots[0],
					      .count = (uint32_t)count };
		if (count > 0 && count <= SLOTS_MAX &&
		    is_vector(slots, ret->count, VALUE_SIZE) &&
		    is_of_class(classes, words[i], "ClassType") &&
		    find_attributes(classes, words[i], ret))
			return true;
	}
	return false;
}

/** Names of code alone. */
static bool is_name(const char *text)
{
	for (const char *at = text; *at; at++)
		if (!isalnum((unsigned char)*at) && *at != '_')
			return false;
	return *text != '\0';
}

bool torch_script_slot(struct torch_classes *classes,
		       const struct torch_script *script, uint32_t i,
		       struct torch_slot *ret)
{
	struct memory_reader *memory = &classes->memory;
	uint64_t at = script->attributes + (uint64_t)i * script->stride;
	uint64_t text, length = 0;
	uint32_t kind;

	if (!memory_try_u64(memory, script->slots + (uint64_t)i * VALUE_SIZE,
			    &ret->value) ||
	    !memory_try_u32(memory, at, &kind) ||
	    !memory_try_u64(memory, at + ATTRIBUTE_NAME, &text))
		return false;
	ret->kind = kind < TORCH_SLOT_OTHER ? (enum torch_slot_kind)kind :
					      TORCH_SLOT_OTHER;
	memset(ret->name, 0, sizeof(ret->name));
	if (script->stride == ATTRIBUTE)
		(void)memory_try_u64(memory, at + ATTRIBUTE_NAME + 8, &length);
	else if (text >= OLD_LENGTH)
		(void)memory_try_u64(memory, text - OLD_LENGTH, &length);
	if (length >= sizeof(ret->name) ||
	    !memory_try_read(memory, text, ret->name, (size_t)length) ||
	    !is_name(ret->name))
		(void)strcpy(ret->name, "?");
	return true;
}
