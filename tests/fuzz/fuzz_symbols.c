/*
 * Fuzz target: the symbols and sections of a file that passes for a module's.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "image/elfimage.h"
#include "image/modules.h"
#include "image/symbols.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static bool touch_symbol(void *context, const struct symbol *symbol)
{
	volatile size_t *sum = context;

	*sum += strlen(symbol->name);
	return true;
}

static void read_headers(const uint8_t *file, size_t size)
{
	uint8_t build_id[ELF_IMAGE_BUILD_ID_MAX];
	struct elf_image image;
	uint64_t bias;

	if (elf_image_in_file(file, size, &image) != ELF_IMAGE_FOUND)
		return;
	if (elf_image_build_id_in_file(&image, file, size, build_id) >
	    sizeof(build_id))
		abort();
	(void)elf_image_bias(&image, 0x400000, 4096, &bias);
	(void)elf_image_load_at(&image, image.low, 4096);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct module module = { .has_bias = true, .bias = 0x1000,
				 .sysroot = "", .debug_dir = "" };
	struct memory *memory = NULL;
	uint64_t address, length;
	struct symbol symbol;
	uint8_t *file = malloc(size ? size : 1);
	size_t sum = 0;

	error_free(memory_create(NULL, &memory));
	if (!file || !memory || memory_seal(memory)) {
		free(file);
		memory_destroy(memory);
		return 0;
	}
	memcpy(file, input, size);
	read_headers(file, size);
	module.path = (char *)(uintptr_t)"/lib/input.so";
	module.file_bytes = file;
	module.file_size = size;
	symbols_each(&module, memory, touch_symbol, &sum);
	(void)symbols_at(&module, memory, 0x1800, &symbol);
	(void)symbols_lookup(&module, memory, "main", &symbol);
	(void)symbols_section(&module, ".data", &address, &length);
	module_symbols_destroy(module.symbols);
	module_symbols_destroy(module.exported);
	memory_destroy(memory);
	free(file);
	return 0;
}
