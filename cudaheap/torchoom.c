/*
 * Messages about memory that ran out; see torchoom.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cudaheap/torchoom.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

enum { DIGITS_MAX = 18 };	/* before and behind the point */

/** Step over a word; false where another one is. */
static bool skip_word(const char **text, const char *word)
{
	size_t size = strlen(word);

	if (strncmp(*text, word, size) != 0 ||
	    isalnum((unsigned char)(*text)[size]))
		return false;
	*text += size;
	return true;
}

/** "786.00 MiB", "512 bytes"; ret is untouched unless one begins here. */
bool torch_oom_parse_size(const char *text, struct torch_oom_size *ret)
{
	static const struct {
		const char *name;
		uint64_t bytes;
	} units[] = {
		{ "bytes", 1 }, { "B", 1 }, { "KiB", UINT64_C(1) << 10 },
		{ "MiB", UINT64_C(1) << 20 }, { "GiB", UINT64_C(1) << 30 },
		{ "TiB", UINT64_C(1) << 40 }, { "PiB", UINT64_C(1) << 50 },
		{ "EiB", UINT64_C(1) << 60 },
	};
	uint64_t whole = 0, part = 0, scale = 1, unit = 0;
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > DIGITS_MAX)
		return false;
	for (; digits > 0; digits--)
		whole = whole * 10 + (uint64_t)(*text++ - '0');
	if (*text == '.') {
		text++;
		for (; isdigit((unsigned char)*text); text++) {
			if (scale >= 1000000)
				continue;
			part = part * 10 + (uint64_t)(*text - '0');
			scale *= 10;
		}
	}
	if (*text++ != ' ')
		return false;
	for (size_t i = 0; !unit && i < COUNT(units); i++)
		if (skip_word(&text, units[i].name))
			unit = units[i].bytes;
	if (!unit || whole > (UINT64_C(1) << 62) / unit)
		return false;
	*ret = (struct torch_oom_size){
		.bytes = whole * unit +
			 (uint64_t)((double)part * (double)unit /
				    (double)scale),
		// The writer rounds, and we do, down.
		.error = unit == 1 ? 0 : unit / scale / 2 + 1,
		.known = true,
	};
	return true;
}

/** The size that follows words, the first time that one does. */
static void after(const char *message, const char *words,
		  struct torch_oom_size *ret)
{
	const char *at = strstr(message, words);

	for (; at && !ret->known; at = strstr(at + 1, words)) {
		const char *size = at + strlen(words);

		size += strspn(size, " :\n");
		(void)torch_oom_parse_size(size, ret);
	}
}

/** The size in front of words, the first time that one is. */
static void before(const char *message, const char *words,
		   struct torch_oom_size *ret)
{
	const char *at = strstr(message, words);

	for (; at && !ret->known; at = strstr(at + 1, words)) {
		const char *size = at;
		int spaces = 0;

		// NUMBER UNIT, and no more of what is in front of them.
		while (size > message && (size[-1] == '.' || size[-1] == ' ' ||
					  isalnum((unsigned char)size[-1]))) {
			spaces += size[-1] == ' ';
			if (spaces == 2)
				break;
			size--;
		}
		(void)torch_oom_parse_size(size, ret);
	}
}

/** "Process 4711 has 12.02 GiB memory in use": all of them. */
static void add_others(const char *message, struct torch_oom_size *ret)
{
	static const char has[] = " has ";
	const char *at = message;

	while ((at = strstr(at, "Process "))) {
		struct torch_oom_size size = { 0 };

		at += strlen("Process ");
		at += strspn(at, "0123456789");
		if (strncmp(at, has, strlen(has)) != 0 ||
		    !torch_oom_parse_size(at + strlen(has), &size) ||
		    ret->bytes > UINT64_MAX / 2 || size.bytes > UINT64_MAX / 4)
			continue;
		ret->bytes += size.bytes;
		ret->error += size.error;
		ret->known = true;
	}
}

/**
 * The number behind words; -1: there is none. 2.3 has it as a character, so that of
 * the first device the text ends there.
 */
static int device_after(const char *message, const char *words)
{
	const char *at = strstr(message, words);
	size_t digits;

	if (!at)
		return -1;
	at += strlen(words);
	digits = strspn(at, "0123456789");
	if (digits == 0 && (unsigned char)*at < ' ')
		return *at;
	return digits == 0 || digits > 3 ? -1 : atoi(at);
}

/** "CUDA out of memory": whose. */
static void name_device(const char *message, const char *at,
			struct torch_oom *ret)
{
	const char *from = at;

	while (from > message && isupper((unsigned char)from[-1]))
		from--;
	if ((size_t)(at - from) < sizeof(ret->device_kind)) {
		memcpy(ret->device_kind, from, (size_t)(at - from));
		ret->device_kind[at - from] = '\0';
	}
}

/** … which is at its end, without a blank where somebody has cut that off. */
static bool is_cut(const char *message)
{
	static const char end[] = " GPU";
	size_t length = strlen(message);

	return length >= strlen(end) &&
	       strcmp(message + length - strlen(end), end) == 0;
}

/** What the driver had, and what PyTorch has: in either wording. */
static void parse_state(const char *message, struct torch_oom *ret)
{
	struct torch_oom_size reserved = { 0 };

	ret->device = is_cut(message) ? 0 : device_after(message, "GPU ");
	after(message, "total capacity of ", &ret->total);
	after(message, "total capacty of ", &ret->total);	/* sic: 2.1 */
	before(message, " total capacity;", &ret->total);
	before(message, " is free", &ret->free);
	before(message, " free;", &ret->free);
	before(message, " allowed;", &ret->allowed);
	after(message, "this process has ", &ret->process);
	add_others(message, &ret->others);
	before(message, " is allocated by PyTorch", &ret->allocated);
	before(message, " already allocated;", &ret->allocated);
	before(message, " allocated in private pools", &ret->private_pools);
	before(message, " is reserved by PyTorch but unallocated",
	       &ret->cached);
	// Up to 2.0 it says what is reserved in all.
	before(message, " reserved in total by PyTorch", &reserved);
	if (!ret->cached.known && reserved.known && ret->allocated.known) {
		ret->cached.known = true;
		ret->cached.error = reserved.error + ret->allocated.error;
		ret->cached.bytes = reserved.bytes > ret->allocated.bytes ?
				    reserved.bytes - ret->allocated.bytes : 0;
	}
}

static void parse_async(const char *message, struct torch_oom *ret)
{
	ret->kind = TORCH_OOM_ASYNC;
	ret->device = device_after(message, "Allocation on device ");
	after(message, "Currently allocated ", &ret->allocated);
	after(message, "Requested ", &ret->requested);
	after(message, "Device limit ", &ret->total);
	after(message, "Free (according to CUDA)", &ret->free);
	after(message, "PyTorch limit (set by user-supplied memory fraction)",
	      &ret->allowed);
}

bool torch_oom_parse(const char *message, struct torch_oom *ret)
{
	const char *at = strstr(message, " out of memory. ");

	*ret = (struct torch_oom){ .device = -1 };
	if (strstr(message, "would exceed allowed memory. (out of memory)")) {
		parse_async(message, ret);
		return true;
	}
	if (at && at > message && isupper((unsigned char)at[-1])) {
		name_device(message, at, ret);
		ret->kind = strstr(at, "preemptively rejected") ?
			TORCH_OOM_REJECTED :
			strstr(at, "more than 1EB") ? TORCH_OOM_HUGE :
						      TORCH_OOM_TRIED;
		after(message, "Tried to allocate ", &ret->requested);
		after(message, "Requested size: ", &ret->requested);
		parse_state(message, ret);
		return true;
	}
	at = strstr(message, " error: out of memory");
	if (at) {
		ret->kind = TORCH_OOM_DRIVER;
		name_device(message, at, ret);
		return true;
	}
	if (strstr(message, "DefaultCPUAllocator: ")) {
		ret->kind = TORCH_OOM_CPU;
		after(message, "you tried to allocate ", &ret->requested);
		return true;
	}
	return false;
}

bool torch_oom_is_class(const char *name)
{
	static const char *const names[] = {
		"torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError",
		"torch._C._OutOfMemoryError", "torch._C.OutOfMemoryError",
	};

	for (size_t i = 0; i < COUNT(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}
