/*
 * The ELF files mapped into the target; see modules.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/modules.h"

#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base/guard.h"
#include "image/elfimage.h"
#include "image/linkmap.h"
#include "image/symbols.h"
#include "image/sysroot.h"

#ifndef __clang__
/* gcc 12 loses sight of strings that are kept in arrays which grow. */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

enum {
	MODULES_MAX = 16384,
	PROBES_MAX = 1 << 17,	/* ELF headers looked at */
	BSS_STEPS_MAX = 64,	/* ranges that a .bss may consist of */
	PAGE_MAX = 1 << 16,	/* bytes */
	PATH_LIMIT = 4096,
};

#define DELETED " (deleted)"

/** One mapping of a file, from NT_FILE or heapdump's own note. */
struct file_piece {
	uint64_t start, end;	/* addresses */
	uint64_t file_offset;	/* bytes */
	const char *path;	/* borrowed, path_size bytes count */
	size_t path_size;
	bool deleted;
	bool writable;
	bool executable;
	bool taken;		/* belongs to a module */
};

struct modules {
	struct module *items;	/* sorted by start */
	size_t count, capacity;
	struct file_piece *pieces;	/* sorted by path, then by start */
	size_t num_pieces;
	uint64_t page;		/* bytes, a power of two */
	uint16_t machine;	/* of the core; EM_NONE: not known */
	char *sysroot, *debug_dir;
	bool debuginfod;
};

/** What lives only while modules are looked for. */
struct search {
	struct modules *modules;
	const struct core_notes *notes;
	const struct memory *memory;
	struct memory_reader reader;
	struct findings *findings;
	size_t probes;
};

/* --- the mappings of files ------------------------------------------------ */

static void strip_deleted(struct file_piece *piece)
{
	size_t tail = strlen(DELETED);

	piece->path_size = strlen(piece->path);
	if (piece->path_size > tail &&
	    strcmp(piece->path + piece->path_size - tail, DELETED) == 0) {
		piece->path_size -= tail;
		piece->deleted = true;
	}
}

/** What the core's own segments say of the protection at a mapping. */
static void look_up_protection(struct search *search, struct file_piece *piece)
{
	const struct memory_range *range = memory_find(search->memory,
						       piece->start);

	if (range) {
		piece->writable |= (range->protection & PF_W) != 0;
		piece->executable |= (range->protection & PF_X) != 0;
	}
}

static int compare_paths(const struct file_piece *a, const struct file_piece *b)
{
	size_t size = a->path_size < b->path_size ? a->path_size : b->path_size;
	int order = memcmp(a->path, b->path, size);

	if (order)
		return order;
	return a->path_size < b->path_size ? -1 : a->path_size > b->path_size;
}

static int compare_pieces(const void *a, const void *b)
{
	const struct file_piece *first = a, *second = b;
	int order = compare_paths(first, second);

	if (order)
		return order;
	return first->start < second->start ? -1 : first->start > second->start;
}

static struct error *collect_pieces(struct search *search)
{
	const struct core_notes *notes = search->notes;
	size_t count = notes->num_files ? notes->num_files :
		       notes->num_mappings;
	struct modules *modules = search->modules;
	struct file_piece *pieces;

	pieces = calloc(count + 1, sizeof(*pieces));
	if (!pieces)
		return error_no_memory();
	modules->pieces = pieces;
	for (size_t i = 0; i < count; i++) {
		struct file_piece *piece = &pieces[modules->num_pieces];

		*piece = (struct file_piece){ 0 };
		if (notes->num_files) {
			const struct file_mapping *file = &notes->files[i];

			piece->start = file->start;
			piece->end = file->end;
			piece->file_offset = file->file_offset;
			piece->path = file->path;
		} else {
			const struct format_mapping *mapping;

			mapping = &notes->mappings[i];
			piece->start = mapping->start;
			piece->end = mapping->end;
			piece->file_offset = mapping->file_offset;
			piece->path = notes->mapping_names + mapping->name;
			piece->writable = (mapping->protection & PF_W) != 0;
			piece->executable = (mapping->protection & PF_X) != 0;
			piece->deleted = (mapping->flags &
					  FORMAT_MAPPING_DELETED) != 0;
		}
		if (piece->path[0] != '/')
			continue;
		strip_deleted(piece);
		look_up_protection(search, piece);
		modules->num_pieces++;
	}
	qsort(modules->pieces, modules->num_pieces, sizeof(*modules->pieces),
	      compare_pieces);
	return NULL;
}

/* --- making modules ------------------------------------------------------- */

/** Append an empty module of this path. *ret is NULL where there are enough. */
static struct error *add_module(struct search *search, const char *path,
				size_t path_size, struct module **ret)
{
	struct modules *modules = search->modules;
	struct module *module;

	*ret = NULL;
	if (modules->count == MODULES_MAX) {
		findings_add(search->findings, "modules", 0, "more than %d "
			     "modules; the others are left out", MODULES_MAX);
		return NULL;
	}
	if (modules->count == modules->capacity) {
		size_t capacity = modules->capacity ? modules->capacity * 2 : 64;

		module = reallocarray(modules->items, capacity,
				      sizeof(*module));
		if (!module)
			return error_no_memory();
		modules->items = module;
		modules->capacity = capacity;
	}
	module = &modules->items[modules->count];
	*module = (struct module){
		.path = strndup(path, path_size),
		.sysroot = modules->sysroot,
		.debug_dir = modules->debug_dir,
		.debuginfod = modules->debuginfod,
	};
	if (!module->path)
		return error_no_memory();
	modules->count++;
	*ret = module;
	return NULL;
}

static uint64_t round_up(uint64_t value, uint64_t page)
{
	return value > UINT64_MAX - page ? UINT64_MAX & ~(page - 1) :
	       (value + page - 1) & ~(page - 1);
}

/**
 * Lengthen a module by the anonymous ranges that follow its last mapping, as
 * far as its headers say that it reaches: its .bss.
 */
static void take_bss(struct search *search, struct module *module,
		     const struct elf_image *image)
{
	uint64_t claimed = round_up(module->bias + image->high,
				    search->modules->page);
	const struct memory_range *range;

	for (int i = 0; i < BSS_STEPS_MAX && module->end < claimed; i++) {
		range = memory_find(search->memory, module->end);
		if (!range)
			break;
		module->end = range->end < claimed ? range->end : claimed;
	}
}

/** Fill in what an ELF header in memory tells. */
static void describe_module(struct search *search, struct module *module,
			    const struct elf_image *image, uint64_t bias)
{
	module->bias = bias;
	module->has_bias = true;
	module->build_id_size =
		elf_image_build_id_in_memory(image, &search->reader, bias,
					     module->build_id);
	take_bss(search, module, image);
}

/**
 * True if a file was mapped as a program, not in one go as data: every
 * segment that is mapped at all is mapped from where the headers say.
 */
static bool loaded_as_program(const struct search *search,
			      const struct file_piece *pieces, size_t count,
			      const struct elf_image *image, uint64_t bias)
{
	uint64_t mask = ~(search->modules->page - 1);

	for (size_t i = 0; i < image->num_headers; i++) {
		const Elf64_Phdr *header = &image->headers[i];
		uint64_t address = bias + (header->p_vaddr & mask);

		if (header->p_type != PT_LOAD || !header->p_filesz)
			continue;
		for (size_t j = 0; j < count && j < ELF_IMAGE_HEADERS_MAX;
		     j++) {
			if (address < pieces[j].start ||
			    address >= pieces[j].end)
				continue;
			if (pieces[j].file_offset +
			    (address - pieces[j].start) !=
			    (header->p_offset & mask))
				return false;
		}
	}
	return true;
}

static void take_pieces(struct search *search, struct module *module,
			struct file_piece *pieces, size_t count)
{
	module->first_piece = (size_t)(pieces - search->modules->pieces);
	module->num_pieces = count;
	for (size_t i = 0; i < count; i++) {
		pieces[i].taken = true;
		module->deleted |= pieces[i].deleted;
	}
}

/**
 * Make a module of the image whose header is at pieces[first], out of all
 * pieces of this file that lie in its extent.
 */
static struct error *module_of_pieces(struct search *search,
				      struct file_piece *pieces, size_t count,
				      size_t first,
				      const struct elf_image *image,
				      uint64_t bias)
{
	struct module *module;
	struct error *err;
	uint64_t low = (bias + image->low) & ~(search->modules->page - 1);
	uint64_t high = round_up(bias + image->high, search->modules->page);
	size_t from = first, to = first + 1;

	while (from > 0 && !pieces[from - 1].taken &&
	       pieces[from - 1].start >= low)
		from--;
	while (to < count && !pieces[to].taken && pieces[to].end <= high)
		to++;
	if (!loaded_as_program(search, pieces + from, to - from, image, bias))
		return NULL;
	err = add_module(search, pieces[first].path, pieces[first].path_size,
			 &module);
	if (err || !module)
		return err;
	module->start = pieces[from].start;
	module->end = pieces[to - 1].end;
	take_pieces(search, module, pieces + from, to - from);
	describe_module(search, module, image, bias);
	return NULL;
}

/**
 * A file of which the core has no header: a module only if code of it is
 * mapped. Where it begins is not known until its file is found.
 */
static struct error *module_without_header(struct search *search,
					   struct file_piece *pieces,
					   size_t count)
{
	struct module *module;
	struct error *err;
	bool executable = false;

	for (size_t i = 0; i < count; i++)
		executable |= pieces[i].executable;
	if (!executable)
		return NULL;
	err = add_module(search, pieces[0].path, pieces[0].path_size, &module);
	if (err || !module)
		return err;
	module->start = pieces[0].start;
	module->end = pieces[0].end;
	for (size_t i = 1; i < count; i++) {
		if (pieces[i].end > module->end)
			module->end = pieces[i].end;
	}
	take_pieces(search, module, pieces, count);
	return NULL;
}

/** Make the modules of one file, of which pieces are all mappings. */
static struct error *modules_of_file(struct search *search,
				     struct file_piece *pieces, size_t count)
{
	bool header_seen = false;
	struct elf_image image;
	struct error *err;
	uint64_t bias;

	for (size_t i = 0; i < count; i++) {
		enum elf_image_answer answer;

		if (pieces[i].taken || pieces[i].file_offset != 0)
			continue;
		if (search->probes++ >= PROBES_MAX)
			return NULL;
		answer = elf_image_in_memory(&search->reader, pieces[i].start,
					     &image);
		if (answer == ELF_IMAGE_ABSENT)
			continue;
		header_seen = true;
		if (answer != ELF_IMAGE_FOUND ||
		    !elf_image_bias(&image, pieces[i].start,
				    search->modules->page, &bias))
			continue;
		err = module_of_pieces(search, pieces, count, i, &image, bias);
		if (err)
			return err;
	}
	return header_seen ? NULL : module_without_header(search, pieces,
							  count);
}

static struct error *modules_of_pieces(struct search *search)
{
	struct file_piece *pieces = search->modules->pieces;
	size_t count = search->modules->num_pieces, end;
	struct error *err;

	for (size_t start = 0; start < count; start = end) {
		for (end = start + 1; end < count; end++) {
			if (compare_paths(&pieces[start], &pieces[end]) != 0)
				break;
		}
		err = modules_of_file(search, pieces + start, end - start);
		if (err)
			return err;
	}
	return NULL;
}

/** Make a module of an ELF header at address that no mapping names. */
static struct error *module_at(struct search *search, uint64_t address,
			       const char *path)
{
	struct elf_image image;
	struct module *module;
	struct error *err;
	uint64_t bias;

	if (search->probes++ >= PROBES_MAX ||
	    elf_image_in_memory(&search->reader, address, &image) !=
		    ELF_IMAGE_FOUND ||
	    !elf_image_bias(&image, address, search->modules->page, &bias))
		return NULL;
	err = add_module(search, path, strlen(path), &module);
	if (err || !module)
		return err;
	// No list of mappings says what is missing here, only the header.
	module->start = address;
	module->end = round_up(bias + image.high, search->modules->page);
	describe_module(search, module, &image, bias);
	return NULL;
}

static struct error *add_vdso(struct search *search)
{
	uint64_t address;

	if (!core_notes_auxv(search->notes, AT_SYSINFO_EHDR, &address) ||
	    address > UINT64_MAX - PAGE_MAX)
		return NULL;
	return module_at(search, address, "[vdso]");
}

/* --- a core without a list of files --------------------------------------- */

/** Every range that starts with an ELF header is taken for a module. */
static struct error *modules_of_ranges(struct search *search)
{
	uint64_t vdso = 0, covered = 0;
	struct error *err;

	(void)core_notes_auxv(search->notes, AT_SYSINFO_EHDR, &vdso);
	for (size_t i = 0; i < memory_num_ranges(search->memory); i++) {
		const struct memory_range *range;
		size_t before = search->modules->count;
		char name[32];

		range = memory_range(search->memory, i);
		if (range->state != MEMORY_CAPTURED || range->start == vdso ||
		    range->start < covered || (range->protection & PF_W) ||
		    range->start > UINT64_MAX - PAGE_MAX)
			continue;
		(void)snprintf(name, sizeof(name), "[0x%" PRIx64 "]",
			       range->start);
		err = module_at(search, range->start, name);
		if (err)
			return err;
		if (search->modules->count > before)
			covered = search->modules->items[before].end;
	}
	return NULL;
}

static struct error *rename_module(struct module *module, const char *path)
{
	char *copy = strdup(path);

	if (!copy)
		return error_no_memory();
	free(module->path);
	module->path = copy;
	return NULL;
}

/** Name the program as it was started. */
static struct error *name_program(struct search *search,
				  struct module *program)
{
	char path[PATH_LIMIT];
	uint64_t address;

	if (program && core_notes_auxv(search->notes, AT_EXECFN, &address) &&
	    memory_try_string(&search->reader, address, path, sizeof(path)) &&
	    path[0] == '/')
		return rename_module(program, path);
	return NULL;
}

/**
 * The path in an entry of the loader's list; the program's is that by which it
 * was started. False where it has no file, as the vdso.
 */
static bool listed_path(struct search *search,
			const struct linkmap_entry *entry, bool is_program,
			char path[PATH_LIMIT])
{
	uint64_t address = entry->name;

	// The loader's own stands in the program's PT_INTERP.
	if (!memory_try_string(&search->reader, address, path, PATH_LIMIT))
		return snprintf(path, PATH_LIMIT, "[0x%" PRIx64 "]",
				entry->bias) > 0;
	if (is_program && path[0] == '\0' &&
	    (!core_notes_auxv(search->notes, AT_EXECFN, &address) ||
	     !memory_try_string(&search->reader, address, path, PATH_LIMIT)))
		return false;
	return path[0] == '/';
}

/**
 * Where the data ends that a PT_DYNAMIC is in. Most often that part of it was
 * made read-only, and the part that adjoins was not. What follows then may be
 * its .bss, but as well the heap.
 */
static uint64_t end_of_data(const struct search *search,
			    const struct memory_range *range)
{
	const struct memory_range *next;

	if (range->protection & PF_W)
		return range->end;
	next = memory_find(search->memory, range->end);
	return next && (next->protection & PF_W) ? next->end : range->end;
}

/**
 * Make a module of an entry of the loader's list whose header the core lacks.
 * As far as nobody says where it begins and ends, it is from the page of its
 * bias, or of the program headers, to the end of its data.
 */
static struct error *add_listed(struct search *search,
				const struct linkmap_entry *entry,
				bool is_program, const char *path)
{
	const struct memory_range *range;
	uint64_t start = entry->bias, headers;
	struct module *module;
	struct error *err;

	range = memory_find(search->memory, entry->dynamic);
	if (!range)
		return NULL;
	if (is_program && core_notes_auxv(search->notes, AT_PHDR, &headers))
		start = headers;
	start &= ~(search->modules->page - 1);
	if (start > range->start || !memory_find(search->memory, start))
		start = range->start;
	err = add_module(search, path, strlen(path), &module);
	if (err || !module)
		return err;
	module->start = start;
	module->end = end_of_data(search, range);
	module->bias = entry->bias;
	module->has_bias = true;
	module->dynamic = entry->dynamic;
	return NULL;
}

static struct module *find_among(struct module *items, size_t count,
				 uint64_t address);
static void sort_and_mark(struct search *search);

/**
 * What the loader's list says: the names of modules that were found by their
 * headers, and modules of which the core has no header.
 */
static struct error *modules_of_link_map(struct search *search)
{
	struct modules *modules = search->modules;
	size_t known = modules->count;
	uint64_t address = 0, previous = 0;
	struct linkmap_entry entry;
	struct module *program = NULL;
	char path[PATH_LIMIT];
	struct error *err;

	if (core_notes_auxv(search->notes, AT_PHDR, &address))
		program = modules_find(modules, address);
	err = name_program(search, program);
	if (err)
		return err;
	address = linkmap_find(&search->reader, search->notes, program,
			       modules->page);
	for (size_t i = 0; address && i < LINKMAP_MAX; i++) {
		struct module *module;

		if (!linkmap_read(&search->reader, address, previous, &entry))
			break;
		previous = address;
		address = entry.next;
		if (!listed_path(search, &entry, i == 0, path))
			continue;
		module = find_among(modules->items, known, entry.dynamic);
		err = !module ? add_listed(search, &entry, i == 0, path) :
		      path[0] == '/' ? rename_module(module, path) : NULL;
		if (err)
			return err;
	}
	sort_and_mark(search);
	return NULL;
}

/* --- files on this machine ------------------------------------------------ */

/** Compare the first captured page of a module with a file. */
static bool same_first_page(struct search *search, const struct module *module,
			    const struct mapping *file)
{
	const struct modules *modules = search->modules;
	uint64_t page = modules->page;
	bool same = false, seen = false;

	for (size_t i = 0; i < module->num_pieces; i++) {
		const struct file_piece *piece;
		const uint8_t *bytes;
		uint64_t size;

		piece = &modules->pieces[module->first_piece + i];
		// The last page may be a partial one. Between segments, where
		// nobody may look, loaders map more than the file has.
		if ((piece->writable || piece->executable) &&
		    piece->file_offset + (piece->end - piece->start) >
			    round_up(file->size, page))
			return false;
		if (seen || piece->writable || piece->file_offset >= file->size)
			continue;
		size = file->size - piece->file_offset;
		size = size < page ? size : page;
		bytes = memory_view(&search->reader, piece->start,
				    (size_t)size);
		if (!bytes)
			continue;
		seen = true;
		same = memcmp(bytes, file->data + piece->file_offset,
			      (size_t)size) == 0;
	}
	return same;
}

/** True if file is what the module was loaded from. */
static bool is_module_file(struct search *search, const struct module *module,
			   const struct mapping *file,
			   const struct elf_image *image)
{
	uint8_t build_id[ELF_IMAGE_BUILD_ID_MAX];
	size_t size;

	if (search->modules->machine != EM_NONE &&
	    image->machine != search->modules->machine)
		return false;
	if (module->build_id_size) {
		size = elf_image_build_id_in_file(image, file->data,
						  file->size, build_id);
		return size == module->build_id_size &&
		       memcmp(build_id, module->build_id, size) == 0;
	}
	if (module->dynamic)
		return linkmap_same_dynamic(&search->reader, module->dynamic,
					    module->bias, image, file->data,
					    file->size);
	return same_first_page(search, module, file);
}

/** The mapping that starts the file, for a module whose header was absent. */
static void bias_by_file(struct search *search, struct module *module,
			 const struct elf_image *image)
{
	const struct modules *modules = search->modules;

	for (size_t i = 0; !module->has_bias && i < module->num_pieces; i++) {
		const struct file_piece *piece;

		piece = &modules->pieces[module->first_piece + i];
		if (piece->file_offset == 0)
			module->has_bias = elf_image_bias(image, piece->start,
							  modules->page,
							  &module->bias);
	}
}

/**
 * Try the file at path under the sysroot.
 *
 * @return true if it is the one; the module then owns its mapping
 */
static bool try_file(struct search *search, struct module *module,
		     const char *path)
{
	struct mapping file = { 0 };
	struct elf_image image;

	if (!sysroot_map(module->sysroot, path, &file))
		return false;
	if (elf_image_in_file(file.data, file.size, &image) !=
		    ELF_IMAGE_FOUND ||
	    !is_module_file(search, module, &file, &image)) {
		mapping_deinit(&file);
		module->file_state = MODULE_FILE_OTHER;
		return false;
	}
	module->file_state = MODULE_FILE_MATCHED;
	module->file = sysroot_join(module->sysroot, path);
	module->mapping = file;
	module->file_bytes = file.data;
	module->file_size = file.size;
	if (!module->has_bias)
		bias_by_file(search, module, &image);
	if (module->dynamic)
		take_bss(search, module, &image);
	return true;
}

/**
 * A path that leads into the sysroot from outside: of a program that was
 * started with files of another system, as qemu does it, or whose dump was
 * made from outside of its container.
 */
static bool try_file_below(struct search *search, struct module *module)
{
	CLEANUP(free_pointer) char *root = realpath(module->sysroot, NULL);
	size_t length = root ? strlen(root) : 0;

	return length > 1 && strncmp(module->path, root, length) == 0 &&
	       module->path[length] == '/' &&
	       try_file(search, module, module->path + length);
}

static void find_file(struct search *search, struct module *module)
{
	CLEANUP(free_pointer) char *by_id = NULL;
	CLEANUP(free_pointer) char *deleted = NULL;
	const char *base = strrchr(module->path, '/');

	if (!module->sysroot[0] || module->path[0] != '/')
		return;
	module->file_state = MODULE_FILE_MISSING;
	if (try_file(search, module, module->path))
		return;
	// A file may really be called so.
	if (module->deleted &&
	    asprintf(&deleted, "%s" DELETED, module->path) < 0)
		deleted = NULL;
	if (deleted && try_file(search, module, deleted))
		return;
	if (strcmp(module->sysroot, "/") == 0)
		return;
	if (try_file_below(search, module))
		return;
	by_id = sysroot_build_id_path("", module->build_id,
				      module->build_id_size, "");
	if (by_id && try_file(search, module, by_id))
		return;
	(void)try_file(search, module, base);
}

static void find_files(struct search *search)
{
	struct modules *modules = search->modules;

	for (size_t i = 0; i < modules->count; i++) {
		struct module *module = &modules->items[i];

		find_file(search, module);
		if (module->file_state != MODULE_FILE_OTHER)
			continue;
		findings_add(search->findings, "module-file", module->start,
			     module->has_bias ?
			     "the file %s is not the one that the process had "
			     "loaded" :
			     "nothing in the core shows that the file %s is "
			     "the one that the process had loaded",
			     module->path);
	}
}

/* --- all together --------------------------------------------------------- */

static int compare_modules(const void *a, const void *b)
{
	const struct module *first = a, *second = b;

	return first->start < second->start ? -1 : first->start > second->start;
}

static uint64_t page_size_of(const struct core_notes *notes)
{
	uint64_t page;

	if (core_notes_auxv(notes, AT_PAGESZ, &page) && page >= 4096 &&
	    page <= PAGE_MAX && (page & (page - 1)) == 0)
		return page;
	return 4096;
}

/** A .bss ends at the latest where the next module begins. */
static void trim_ends(struct modules *modules)
{
	for (size_t i = 0; i + 1 < modules->count; i++) {
		if (modules->items[i].end > modules->items[i + 1].start)
			modules->items[i].end = modules->items[i + 1].start;
	}
}

static void sort_and_mark(struct search *search)
{
	struct modules *modules = search->modules;
	struct module *program;
	uint64_t address;

	if (modules->count > 1)
		qsort(modules->items, modules->count, sizeof(*modules->items),
		      compare_modules);
	trim_ends(modules);
	if (core_notes_auxv(search->notes, AT_PHDR, &address)) {
		program = modules_find(modules, address);
		if (program)
			program->is_executable = true;
	}
}

static struct error *find_all(struct search *search)
{
	struct modules *modules = search->modules;
	struct error *err;

	err = collect_pieces(search);
	if (!err)
		err = modules_of_pieces(search);
	if (!err && !modules->num_pieces)
		err = modules_of_ranges(search);
	if (!err)
		err = add_vdso(search);
	if (err)
		return err;
	sort_and_mark(search);
	if (!modules->num_pieces) {
		err = modules_of_link_map(search);
		if (err)
			return err;
	}
	if (search->probes >= PROBES_MAX)
		findings_add(search->findings, "modules", 0, "more than %d "
			     "places look like modules; the others are left "
			     "out", PROBES_MAX);
	find_files(search);
	trim_ends(modules);
	return NULL;
}

static struct error *copy_options(struct modules *modules,
				  const struct modules_options *options)
{
	modules->machine = options->machine;
	modules->debuginfod = options->debuginfod;
	modules->sysroot = strdup(options->sysroot ? options->sysroot : "/");
	if (!modules->sysroot)
		return error_no_memory();
	if (options->debug_dir)
		modules->debug_dir = strdup(options->debug_dir);
	else if (modules->sysroot[0])
		modules->debug_dir = sysroot_join(modules->sysroot,
						  "usr/lib/debug");
	else
		modules->debug_dir = strdup("");
	return modules->debug_dir ? NULL : error_no_memory();
}

struct error *modules_create(const struct core_notes *notes,
			     const struct memory *memory,
			     const struct modules_options *options,
			     struct findings *findings, struct modules **ret)
{
	struct modules *modules = calloc(1, sizeof(*modules));
	struct search search = {
		.modules = modules, .notes = notes, .memory = memory,
		.findings = findings,
	};
	struct error *err;

	if (!modules)
		return error_no_memory();
	modules->page = page_size_of(notes);
	err = copy_options(modules, options);
	if (!err)
		err = memory_reader_init(&search.reader, memory);
	if (!err) {
		err = find_all(&search);
		memory_reader_deinit(&search.reader);
	}
	if (err) {
		modules_destroy(modules);
		return err;
	}
	*ret = modules;
	return NULL;
}

void modules_destroy(struct modules *modules)
{
	if (!modules)
		return;
	for (size_t i = 0; i < modules->count; i++) {
		struct module *module = &modules->items[i];

		module_symbols_destroy(module->symbols);
		module_symbols_destroy(module->exported);
		mapping_deinit(&module->mapping);
		free(module->path);
		free(module->file);
	}
	free(modules->items);
	free(modules->pieces);
	free(modules->sysroot);
	free(modules->debug_dir);
	free(modules);
}

size_t modules_count(const struct modules *modules)
{
	return modules->count;
}

struct module *modules_get(const struct modules *modules, size_t i)
{
	return &modules->items[i];
}

/** Among the first count modules, which are sorted. */
static struct module *find_among(struct module *items, size_t count,
				 uint64_t address)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (items[middle].end > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low < count && items[low].start <= address ? &items[low] : NULL;
}

struct module *modules_find(const struct modules *modules, uint64_t address)
{
	return find_among(modules->items, modules->count, address);
}

/* --- pages that the core left to the files -------------------------------- */

/** Add [start, end), which shows the file from offset on. */
static struct error *add_file_range(const struct module *module,
				    uint64_t start, uint64_t end,
				    uint64_t offset, uint32_t protection,
				    uint64_t page, struct memory *memory)
{
	struct memory_range range = {
		.start = start, .end = end, .protection = protection,
		.state = MEMORY_CAPTURED, .source = MEMORY_FROM_FILE,
		.offset = offset,
	};
	uint64_t left;
	struct error *err;

	if (offset >= module->file_size)
		return NULL;
	range.bytes = module->file_bytes + offset;
	left = module->file_size - offset;
	if (end - start <= left)
		return memory_add(memory, &range);
	range.end = start + left;
	err = memory_add(memory, &range);
	if (err)
		return err;
	// The rest of the file's last page reads as zeroes.
	left = (range.end + page - 1) & ~(page - 1);
	range = (struct memory_range){
		.start = range.end, .end = left < end ? left : end,
		.protection = protection, .state = MEMORY_ZERO,
	};
	return range.start < range.end ? memory_add(memory, &range) : NULL;
}

/** Add what of [start, end) from offset on a read-only PT_LOAD maps. */
static struct error *add_segment_pages(const struct modules *modules,
				       const struct module *module,
				       const Elf64_Phdr *header,
				       uint64_t start, uint64_t end,
				       uint64_t offset, struct memory *memory)
{
	uint64_t page = modules->page, mask = ~(page - 1), skipped;
	uint64_t first = module->bias + (header->p_vaddr & mask);
	uint64_t last = round_up(module->bias + header->p_vaddr +
				 header->p_filesz, page);

	if (header->p_type != PT_LOAD || !header->p_filesz ||
	    (header->p_flags & PF_W))
		return NULL;
	skipped = first > start ? first - start : 0;
	if (skipped >= end - start || last <= start)
		return NULL;
	start += skipped;
	offset += skipped;
	end = end < last ? end : last;
	// Only if it is this segment that is mapped here.
	if (offset != (header->p_offset & mask) + (start - first))
		return NULL;
	return add_file_range(module, start, end, offset, header->p_flags,
			      page, memory);
}

static struct error *add_piece_pages(const struct modules *modules,
				     const struct module *module,
				     const struct elf_image *image,
				     const struct file_piece *piece,
				     struct memory *memory)
{
	struct error *err;

	if (piece->writable)
		return NULL;
	for (size_t i = 0; i < image->num_headers; i++) {
		err = add_segment_pages(modules, module, &image->headers[i],
					piece->start, piece->end,
					piece->file_offset, memory);
		if (err)
			return err;
	}
	return NULL;
}

/** For a core without a list of files: what the headers say was mapped. */
static struct error *add_all_pages(const struct modules *modules,
				   const struct module *module,
				   const struct elf_image *image,
				   struct memory *memory)
{
	uint64_t mask = ~(modules->page - 1);
	struct error *err;

	for (size_t i = 0; i < image->num_headers; i++) {
		const Elf64_Phdr *header = &image->headers[i];

		if (header->p_type != PT_LOAD)
			continue;
		err = add_segment_pages(modules, module, header,
					module->bias + (header->p_vaddr & mask),
					round_up(module->bias +
						 header->p_vaddr +
						 header->p_filesz,
						 modules->page),
					header->p_offset & mask, memory);
		if (err)
			return err;
	}
	return NULL;
}

static struct error *add_module_pages(const struct modules *modules,
				      const struct module *module,
				      struct memory *memory)
{
	struct elf_image image;
	struct error *err;

	if (elf_image_in_file(module->file_bytes, module->file_size, &image) !=
	    ELF_IMAGE_FOUND)
		return NULL;
	if (!modules->num_pieces)
		return add_all_pages(modules, module, &image, memory);
	for (size_t i = 0; i < module->num_pieces; i++) {
		err = add_piece_pages(modules, module, &image,
				      &modules->pieces[module->first_piece + i],
				      memory);
		if (err)
			return err;
	}
	return NULL;
}

struct error *modules_add_file_pages(const struct modules *modules,
				     struct memory *memory)
{
	struct error *err;

	for (size_t i = 0; i < modules->count; i++) {
		const struct module *module = &modules->items[i];

		if (module->file_state != MODULE_FILE_MATCHED ||
		    !module->has_bias)
			continue;
		err = add_module_pages(modules, module, memory);
		if (err)
			return err;
	}
	return NULL;
}
