/*
 * What image_open() makes of a core, as one JSON object, for the tests.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	imageinfo CORE [--sysroot DIR] [--symbols NAME]... [--at ADDRESS]...
 *		[--read ADDRESS SIZE]... [--section MODULE NAME]...
 *
 * --symbols prints every symbol of the modules whose path ends in NAME, --at
 * the symbol at an address, --read its bytes in hex, or why not.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/base/json.h"
#include "image/image.h"
#include "image/symbols.h"

static const char *const state_names[] = {
	[MEMORY_UNMAPPED] = "unmapped",
	[MEMORY_NOT_CAPTURED] = "not captured",
	[MEMORY_CAPTURED] = "captured",
	[MEMORY_ZERO] = "zero",
};

static const char *const source_names[] = {
	[MEMORY_FROM_NOTHING] = "nothing",
	[MEMORY_FROM_CORE] = "core",
	[MEMORY_FROM_FILE] = "file",
};

static const char *const file_state_names[] = {
	[MODULE_FILE_NOT_NEEDED] = "not needed",
	[MODULE_FILE_MISSING] = "missing",
	[MODULE_FILE_OTHER] = "other",
	[MODULE_FILE_MATCHED] = "matched",
};

static const char *const symbol_source_names[] = {
	[SYMBOLS_NONE] = "none",
	[SYMBOLS_FROM_FILE] = "file",
	[SYMBOLS_FROM_DEBUG_FILE] = "debug file",
	[SYMBOLS_FROM_IMAGE] = "image",
};

static void print_hex(struct json *json, const char *key, const uint8_t *bytes,
		      size_t size)
{
	CLEANUP(free_pointer) char *text = calloc(size + 1, 2);

	for (size_t i = 0; text && i < size; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	json_string(json, key, text);
}

static void print_ranges(struct json *json, const struct image *image)
{
	json_array(json, "ranges");
	for (size_t i = 0; i < memory_num_ranges(image->memory); i++) {
		const struct memory_range *range;

		range = memory_range(image->memory, i);
		json_object(json, NULL);
		json_u64(json, "start", range->start);
		json_u64(json, "end", range->end);
		json_string(json, "state", state_names[range->state]);
		json_string(json, "source", source_names[range->source]);
		json_u64(json, "protection", range->protection);
		json_u64(json, "reason", range->reason);
		json_u64(json, "offset", range->offset);
		json_end(json);
	}
	json_end(json);
}

static void print_notes(struct json *json, const struct core_notes *notes)
{
	json_u64(json, "pid", notes->pid);
	json_string(json, "program", notes->program);
	json_string(json, "arguments", notes->arguments);
	if (notes->has_siginfo) {
		json_i64(json, "signal", notes->signal);
		json_i64(json, "signal_code", notes->signal_code);
		json_address(json, "fault_address", notes->fault_address);
	}
	json_array(json, "threads");
	for (size_t i = 0; i < notes->num_threads; i++) {
		const struct core_thread *thread = &notes->threads[i];

		json_object(json, NULL);
		json_u64(json, "tid", thread->tid);
		json_string(json, "name", thread->name);
		json_i64(json, "signal", thread->signal);
		print_hex(json, "registers", thread->registers.data,
			  thread->registers.size);
		json_end(json);
	}
	json_end(json);
	json_array(json, "auxv");
	for (size_t i = 0; i < notes->num_auxv; i++) {
		json_array(json, NULL);
		json_u64(json, NULL, notes->auxv[i][0]);
		json_u64(json, NULL, notes->auxv[i][1]);
		json_end(json);
	}
	json_end(json);
	json_array(json, "files");
	for (size_t i = 0; i < notes->num_files; i++) {
		json_object(json, NULL);
		json_u64(json, "start", notes->files[i].start);
		json_u64(json, "end", notes->files[i].end);
		json_u64(json, "offset", notes->files[i].file_offset);
		json_string(json, "path", notes->files[i].path);
		json_end(json);
	}
	json_end(json);
}

static bool print_symbol(void *context, const struct symbol *symbol)
{
	struct json *json = context;

	json_object(json, NULL);
	json_string(json, "name", symbol->name);
	json_u64(json, "address", symbol->address);
	json_u64(json, "size", symbol->size);
	json_u64(json, "type", symbol->type);
	json_bool(json, "dynamic", symbol->dynamic);
	json_end(json);
	return true;
}

static bool ends_with(const char *text, const char *tail)
{
	size_t length = strlen(text), size = strlen(tail);

	return length >= size && strcmp(text + length - size, tail) == 0;
}

static bool wants_symbols(const char *path, char **options)
{
	for (; options[0] && options[1]; options++) {
		if (strcmp(options[0], "--symbols") == 0 &&
		    ends_with(path, options[1]))
			return true;
	}
	return false;
}

static void print_modules(struct json *json, struct image *image,
			  char **options)
{
	json_array(json, "modules");
	for (size_t i = 0; i < modules_count(image->modules); i++) {
		struct module *module = modules_get(image->modules, i);
		enum symbols_source source;

		json_object(json, NULL);
		json_string(json, "path", module->path);
		json_bool(json, "deleted", module->deleted);
		json_bool(json, "executable", module->is_executable);
		json_u64(json, "start", module->start);
		json_u64(json, "end", module->end);
		if (module->has_bias)
			json_u64(json, "bias", module->bias);
		print_hex(json, "build_id", module->build_id,
			  module->build_id_size);
		json_string(json, "file_state",
			    file_state_names[module->file_state]);
		json_string(json, "file", module->file);
		if (wants_symbols(module->path, options)) {
			source = symbols_source(module, image->memory);
			json_string(json, "symbols_source",
				    symbol_source_names[source]);
			json_array(json, "symbols");
			symbols_each(module, image->memory, print_symbol,
				     json);
			json_end(json);
		}
		json_end(json);
	}
	json_end(json);
}

static void print_findings(struct json *json, const struct image *image)
{
	json_array(json, "findings");
	for (size_t i = 0; i < findings_kept(image->findings); i++) {
		const struct finding *finding = findings_get(image->findings,
							     i);

		json_object(json, NULL);
		json_string(json, "code", finding->code);
		json_address(json, "address", finding->address);
		json_string(json, "text", finding->text);
		json_end(json);
	}
	json_end(json);
}

static void print_at(struct json *json, struct image *image, uint64_t address)
{
	struct module *module = modules_find(image->modules, address);
	struct symbol symbol;

	json_object(json, NULL);
	json_u64(json, "address", address);
	if (module) {
		json_string(json, "module", module->path);
		if (symbols_at(module, image->memory, address, &symbol))
			json_string(json, "symbol", symbol.name);
	}
	json_end(json);
}

static void print_read(struct json *json, const struct image *image,
		       uint64_t address, size_t size)
{
	CLEANUP(free_pointer) uint8_t *buffer = calloc(size + 1, 1);
	struct memory_reader reader;
	struct error *err;

	err = buffer ? memory_reader_init(&reader, image->memory) :
	      error_no_memory();
	json_object(json, NULL);
	json_u64(json, "address", address);
	if (!err) {
		err = memory_read(&reader, address, buffer, size);
		memory_reader_deinit(&reader);
	}
	if (err) {
		json_string(json, "error", err->message);
		json_bool(json, "unmapped", err->kind == ERROR_UNMAPPED);
		json_address(json, "error_address", err->address);
	} else {
		print_hex(json, "bytes", buffer, size);
	}
	error_free(err);
	json_end(json);
}

static void print_section(struct json *json, struct image *image,
			  const char *path, const char *name)
{
	uint64_t address, size;

	for (size_t i = 0; i < modules_count(image->modules); i++) {
		struct module *module = modules_get(image->modules, i);

		if (!ends_with(module->path, path) ||
		    !symbols_section(module, name, &address, &size))
			continue;
		json_object(json, NULL);
		json_string(json, "module", module->path);
		json_string(json, "name", name);
		json_u64(json, "address", address);
		json_u64(json, "size", size);
		json_end(json);
	}
}

static void print_answers(struct json *json, struct image *image,
			  char **options)
{
	json_array(json, "answers");
	for (; options[0]; options++) {
		if (strcmp(options[0], "--at") == 0 && options[1])
			print_at(json, image, strtoull(options[1], NULL, 0));
		else if (strcmp(options[0], "--read") == 0 && options[1] &&
			 options[2])
			print_read(json, image,
				   strtoull(options[1], NULL, 0),
				   strtoull(options[2], NULL, 0));
		else if (strcmp(options[0], "--section") == 0 && options[1] &&
			 options[2])
			print_section(json, image, options[1], options[2]);
	}
	json_end(json);
}

static void print_image(struct image *image, char **options)
{
	struct json json;
	int64_t captured_at;

	json_begin(&json, stdout, true);
	json_object(&json, NULL);
	json_string(&json, "writer", image_writer(image));
	json_u64(&json, "machine", image->machine);
	json_u64(&json, "page_size", image->page_size);
	json_u64(&json, "num_segments", image->num_segments);
	json_u64(&json, "segment_bytes", image->segment_bytes);
	json_u64(&json, "missing_bytes", image->missing_bytes);
	json_bool(&json, "partial", image_partial(image));
	if (image_captured_at(image, &captured_at))
		json_i64(&json, "captured_at", captured_at);
	print_notes(&json, &image->notes);
	print_ranges(&json, image);
	print_modules(&json, image, options);
	print_answers(&json, image, options);
	print_findings(&json, image);
	json_end(&json);
	json_finish(&json);
}

int main(int argc, char **argv)
{
	struct image_options options = { 0 };
	struct image *image;
	struct error *err;

	if (argc < 2) {
		fprintf(stderr, "usage: imageinfo CORE [OPTION...]\n");
		return 2;
	}
	for (int i = 2; i + 1 < argc; i++) {
		if (strcmp(argv[i], "--sysroot") == 0)
			options.sysroot = argv[i + 1];
	}
	mapping_guard_sigbus();
	err = image_open(argv[1], &options, &image);
	if (err) {
		fprintf(stderr, "imageinfo: %s\n", err->message);
		error_free(err);
		return 1;
	}
	print_image(image, argv + 2);
	image_close(image);
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
