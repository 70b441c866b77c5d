/*
 * A bounded cursor over untrusted little-endian bytes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every read compares with what is left, and a read that does not fit leaves
 * the cursor where it was and returns false, so the caller can name the exact
 * offset. No other code does arithmetic on pointers into a file.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
	const uint8_t *data;	/* borrowed */
	size_t size;
	size_t at;		/* next byte to read; at <= size always */
};

static inline struct bytes bytes_over(const void *data, size_t size)
{
	return (struct bytes){ .data = data, .size = size };
}

static inline size_t bytes_left(const struct bytes *bytes)
{
	return bytes->size - bytes->at;
}

/** Borrow the next size bytes and step over them; NULL if not that many. */
static inline const void *bytes_take(struct bytes *bytes, size_t size)
{
	const uint8_t *here;

	if (size > bytes_left(bytes))
		return NULL;
	here = bytes->data + bytes->at;
	bytes->at += size;
	return here;
}

static inline bool bytes_copy(struct bytes *bytes, void *ret, size_t size)
{
	const void *here = bytes_take(bytes, size);

	if (!here)
		return false;
	memcpy(ret, here, size);
	return true;
}

static inline bool bytes_u8(struct bytes *bytes, uint8_t *ret)
{
	return bytes_copy(bytes, ret, sizeof(*ret));
}

static inline bool bytes_u16(struct bytes *bytes, uint16_t *ret)
{
	return bytes_copy(bytes, ret, sizeof(*ret));
}

static inline bool bytes_u32(struct bytes *bytes, uint32_t *ret)
{
	return bytes_copy(bytes, ret, sizeof(*ret));
}

static inline bool bytes_u64(struct bytes *bytes, uint64_t *ret)
{
	return bytes_copy(bytes, ret, sizeof(*ret));
}

/** Borrow a NUL-terminated string and step over it; NULL if none ends here. */
static inline const char *bytes_string(struct bytes *bytes)
{
	const uint8_t *here = bytes->data + bytes->at;
	size_t length = strnlen((const char *)here, bytes_left(bytes));

	if (length == bytes_left(bytes))
		return NULL;
	bytes->at += length + 1;
	return (const char *)here;
}

/** Step to the next multiple of alignment (a power of two) of the offset. */
static inline bool bytes_align(struct bytes *bytes, size_t alignment)
{
	size_t step = -bytes->at & (alignment - 1);

	return step == 0 || bytes_take(bytes, step) != NULL;
}

#endif
