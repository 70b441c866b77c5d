/*
 * The C++ runtime whose place the library has taken; see onoom_runtime.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/onoom/onoom_runtime.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum {
	MODULES_MAX = 32,	/* that are remembered */
	PATH_SIZE = 4096,
};

static const char symbol[] = "__cxa_throw";

static struct {
	_Atomic uintptr_t start;	/* 0: not in use; written last */
	uintptr_t end;
	throw_fn *function;
} known[MODULES_MAX];
static atomic_uint num_known;
static throw_fn *_Atomic global_function;

static throw_fn *recall(uintptr_t caller)
{
	for (size_t i = 0; i < MODULES_MAX; i++) {
		uintptr_t start = atomic_load(&known[i].start);

		if (start != 0 && caller >= start && caller < known[i].end)
			return known[i].function;
	}
	return NULL;
}

static void remember(uintptr_t start, uintptr_t end, throw_fn *function)
{
	unsigned int at = atomic_load(&num_known);

	while (at < MODULES_MAX &&
	       !atomic_compare_exchange_weak(&num_known, &at, at + 1))
		continue;
	if (at >= MODULES_MAX)
		return;
	known[at].function = function;
	known[at].end = end;
	atomic_store(&known[at].start, start);
}

/* --- in the scope of the module that throws -------------------------------------- */

struct module {
	uintptr_t address;	/* somewhere in it */
	uintptr_t start, end;
	char path[PATH_SIZE];
};

static int find_module(struct dl_phdr_info *info, size_t size, void *context)
{
	struct module *module = context;
	uintptr_t start = UINTPTR_MAX, end = 0;

	(void)size;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + header->p_vaddr;

		if (header->p_type != PT_LOAD)
			continue;
		start = at < start ? at : start;
		end = at + header->p_memsz > end ? at + header->p_memsz : end;
	}
	if (module->address < start || module->address >= end ||
	    strlen(info->dlpi_name) >= sizeof(module->path))
		return 0;
	(void)strcpy(module->path, info->dlpi_name);
	module->start = start;
	module->end = end;
	return 1;
}

static throw_fn *find_in_scope(uintptr_t caller)
{
	struct module module = { .address = caller };
	throw_fn *function = NULL;
	void *handle;

	if (!dl_iterate_phdr(find_module, &module) || !module.path[0])
		return NULL;
	// It is not let go of again: it is being executed.
	handle = dlopen(module.path, RTLD_LAZY | RTLD_NOLOAD);
	if (handle)
		function = (throw_fn *)dlsym(handle, symbol);
	if (!function || function == __cxa_throw)
		return NULL;
	remember(module.start, module.end, function);
	return function;
}

/* --- in any module, without the loader ------------------------------------------- */

/** What of a module's dynamic section is needed to look a symbol up. */
struct symbols {
	const ElfW(Sym) *symbols;
	const char *names;
	const uint32_t *hash;	/* DT_GNU_HASH */
};

/** glibc has made addresses of them, other loaders have not. */
static const void *place(const struct dl_phdr_info *info, ElfW(Addr) value)
{
	return (const void *)(value < info->dlpi_addr ?
			      info->dlpi_addr + value : value);
}

static bool read_dynamic(const struct dl_phdr_info *info, struct symbols *ret)
{
	const ElfW(Dyn) *entry = NULL;

	*ret = (struct symbols){ 0 };
	for (size_t i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			entry = (const void *)(info->dlpi_addr +
					       info->dlpi_phdr[i].p_vaddr);
	for (; entry && entry->d_tag != DT_NULL; entry++) {
		const void *at = place(info, entry->d_un.d_ptr);

		if (entry->d_tag == DT_SYMTAB)
			ret->symbols = at;
		else if (entry->d_tag == DT_STRTAB)
			ret->names = at;
		else if (entry->d_tag == DT_GNU_HASH)
			ret->hash = at;
	}
	return ret->symbols && ret->names && ret->hash;
}

/** As in the table of DT_GNU_HASH: that of D. J. Bernstein. */
static uint32_t hash_of(const char *name)
{
	uint32_t hash = 5381;

	while (*name)
		hash = hash * 33 + (unsigned char)*name++;
	return hash;
}

static int find_symbol(struct dl_phdr_info *info, size_t size, void *context)
{
	throw_fn **ret = context;
	uint32_t hash = hash_of(symbol), at, first, num_buckets;
	const uint32_t *buckets, *chains;
	struct symbols table;

	(void)size;
	if (!read_dynamic(info, &table) || table.hash[0] == 0)
		return 0;
	num_buckets = table.hash[0];
	first = table.hash[1];
	// Between the header and the buckets is a filter, of words.
	buckets = table.hash + 4 + table.hash[2] *
		  (sizeof(ElfW(Addr)) / sizeof(uint32_t));
	chains = buckets + num_buckets;
	at = buckets[hash % num_buckets];
	if (at < first)
		return 0;
	for (;; at++) {
		const ElfW(Sym) *found = &table.symbols[at];
		uint32_t other = chains[at - first];

		if ((other | 1) == (hash | 1) && found->st_shndx != SHN_UNDEF &&
		    strcmp(table.names + found->st_name, symbol) == 0) {
			*ret = (throw_fn *)(info->dlpi_addr + found->st_value);
			if (*ret != __cxa_throw)
				return 1;
			*ret = NULL;
		}
		if (other & 1)	/* the last one of its bucket */
			return 0;
	}
}

throw_fn *onoom_runtime_find(uintptr_t caller)
{
	throw_fn *function = atomic_load(&global_function);

	if (!function)
		function = recall(caller);
	if (function)
		return function;
	function = (throw_fn *)dlsym(RTLD_NEXT, symbol);
	if (function) {
		atomic_store(&global_function, function);
		return function;
	}
	function = find_in_scope(caller);
	if (!function)
		(void)dl_iterate_phdr(find_symbol, &function);
	return function;
}

/** Looking for it later takes time, and perhaps memory. */
__attribute__((constructor))
static void find_early(void)
{
	atomic_store(&global_function, (throw_fn *)dlsym(RTLD_NEXT, symbol));
}
