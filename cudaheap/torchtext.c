/*
 * Text in PyTorch's structures; see torchtext.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/torchtext.h"

#include <string.h>

enum { STRING_INLINE = 15 };	/* bytes of text that a std::string has room for */

#define STRING_MAX (UINT64_C(1) << 30)
#define ADDRESS_MIN (UINT64_C(1) << 16)

/** Where the text of one of the newer kind is; false: it is none. */
static bool string_at(const uint8_t *bytes, uint64_t address,
		      uint64_t *ret_text, uint64_t *ret_size)
{
	uint64_t words[3];	/* text, size, and room for it where it is long */

	memcpy(words, bytes, sizeof(words));
	if (words[0] == address + 16 ? words[1] > STRING_INLINE :
	    words[0] < ADDRESS_MIN || words[0] % 8 || words[1] > STRING_MAX ||
	    words[2] < words[1] || words[2] <= STRING_INLINE)
		return false;
	*ret_text = words[0];
	*ret_size = words[1];
	return true;
}

/** The same of wheels up to 2.6: a pointer to text behind {length, room, count}. */
static bool old_string_at(struct memory_reader *memory, const uint8_t *bytes,
			  uint64_t *ret_text, uint64_t *ret_size)
{
	uint64_t head[2];

	memcpy(ret_text, bytes, sizeof(*ret_text));
	if (*ret_text < 24 || *ret_text % 8 ||
	    !memory_try_read(memory, *ret_text - 24, head, sizeof(head)) ||
	    head[0] > head[1] || head[1] > STRING_MAX)
		return false;
	*ret_size = head[0];
	return true;
}

bool torch_string_is(const uint8_t bytes[TORCH_STRING_SIZE], uint64_t address)
{
	uint64_t text, size;

	return string_at(bytes, address, &text, &size);
}

bool torch_string_read(struct memory_reader *memory, uint64_t address,
		       char text[TORCH_TEXT_MAX])
{
	uint8_t bytes[TORCH_STRING_SIZE];
	uint64_t at, size;

	if (!memory_try_read(memory, address, bytes, sizeof(bytes)))
		return false;
	if (!string_at(bytes, address, &at, &size) &&
	    !old_string_at(memory, bytes, &at, &size))
		return false;
	if (size > TORCH_TEXT_MAX - 1)
		size = TORCH_TEXT_MAX - 1;
	if (!memory_try_read(memory, at, text, size))
		return false;
	text[size] = '\0';
	return true;
}
