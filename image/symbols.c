/*
 * Names to addresses and back; see symbols.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Files are read by libelf, whose accessors check bounds; names stay where
 * the file is mapped. What the dumped image holds is read by its PT_DYNAMIC,
 * every number of which is a claim of the target's.
 */
#include "image/symbols.h"

#include <elf.h>
#include <gelf.h>
#include <libelf.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "image/base/guard.h"
#include "image/debuginfod.h"
#include "image/elfimage.h"
#include "image/sysroot.h"

enum {
	SOURCES_MAX = 3,		/* file, debug file, .gnu_debugdata */
	DEBUGDATA_MAX = 256 << 20,	/* bytes, unpacked */
	IMAGE_SYMBOLS_MAX = 4 << 20,
	IMAGE_STRINGS_MAX = 128 << 20,	/* bytes */
	DYNAMIC_SIZE_MAX = 64 << 10,	/* bytes */
	BUCKETS_MAX = IMAGE_SYMBOLS_MAX,
	PAGE = 4096,			/* bytes; what is absent is at least */
};

/** One symbol, as collected. */
struct entry {
	const char *name;
	uint64_t address;
	uint64_t size;
	uint8_t type;
	uint8_t rank;		/* of its binding: 0 global, 1 weak, 2 local */
	bool dynamic;
};

struct module_symbols {
	enum symbols_source source;
	struct entry *entries;	/* as collected, until somebody needs order */
	size_t count, capacity;
	bool sorted;		/* by address, then by name, each once */
	uint64_t longest;	/* bytes; no symbol is larger, once sorted */
	uint32_t *hashes;	/* of the names, in the order of the entries;
				   NULL: nobody has asked for a name */
	Elf *elf[SOURCES_MAX];	/* names point into what these read */
	size_t num_elf;
	Elf *debug;		/* of those, the one with debug information */
	struct mapping debug_file;
	uint8_t *debugdata;	/* unpacked .gnu_debugdata */
	char *strings;		/* copy of the image's DT_STRTAB */
};

void module_symbols_destroy(struct module_symbols *symbols)
{
	if (!symbols)
		return;
	for (size_t i = 0; i < symbols->num_elf; i++)
		(void)elf_end(symbols->elf[i]);
	mapping_deinit(&symbols->debug_file);
	free(symbols->debugdata);
	free(symbols->strings);
	free(symbols->hashes);
	free(symbols->entries);
	free(symbols);
}

/* --- collecting ----------------------------------------------------------- */

/** Keep a symbol if it names a place. False without memory. */
static bool collect(struct module_symbols *symbols, uint64_t bias,
		    const char *name, const Elf64_Sym *symbol, bool dynamic)
{
	unsigned char type = ELF64_ST_TYPE(symbol->st_info);
	unsigned char binding = ELF64_ST_BIND(symbol->st_info);

	if (!name || !*name || symbol->st_shndx == SHN_UNDEF ||
	    symbol->st_shndx == SHN_ABS ||
	    (type != STT_NOTYPE && type != STT_OBJECT && type != STT_FUNC &&
	     type != STT_COMMON && type != STT_GNU_IFUNC))
		return true;
	if (symbols->count == symbols->capacity) {
		size_t capacity = symbols->capacity ? symbols->capacity * 2 :
				  256;
		struct entry *more;

		if (capacity > UINT32_MAX)
			return false;
		more = reallocarray(symbols->entries, capacity, sizeof(*more));
		if (!more)
			return false;
		symbols->entries = more;
		symbols->capacity = capacity;
	}
	symbols->entries[symbols->count++] = (struct entry){
		.name = name,
		.address = bias + symbol->st_value,
		.size = symbol->st_size,
		.type = type,
		.rank = binding == STB_LOCAL ? 2 : binding == STB_WEAK ? 1 : 0,
		.dynamic = dynamic,
	};
	return true;
}

static int compare_addresses(const void *a, const void *b)
{
	const struct entry *first = a, *second = b;

	if (first->address != second->address)
		return first->address < second->address ? -1 : 1;
	return strcmp(first->name, second->name);
}

/** The same symbol of two tables becomes one. */
static void merge_doubles(struct module_symbols *symbols)
{
	size_t kept = 0;

	for (size_t i = 0; i < symbols->count; i++) {
		struct entry *entry = &symbols->entries[i];
		struct entry *last = kept ? &symbols->entries[kept - 1] : NULL;

		if (last && last->address == entry->address &&
		    strcmp(last->name, entry->name) == 0) {
			last->dynamic |= entry->dynamic;
			if (entry->rank < last->rank)
				last->rank = entry->rank;
			if (entry->size > last->size)
				last->size = entry->size;
		} else {
			symbols->entries[kept++] = *entry;
		}
	}
	symbols->count = kept;
}

/** Put the symbols in order, for those who ask by address. */
static void sort_symbols(struct module_symbols *symbols)
{
	if (!symbols || symbols->sorted)
		return;
	symbols->sorted = true;
	free(symbols->hashes);
	symbols->hashes = NULL;
	if (symbols->count == 0)
		return;
	qsort(symbols->entries, symbols->count, sizeof(*symbols->entries),
	      compare_addresses);
	merge_doubles(symbols);
	for (size_t i = 0; i < symbols->count; i++) {
		if (symbols->entries[i].size > symbols->longest)
			symbols->longest = symbols->entries[i].size;
	}
}

/* --- symbol tables of files ----------------------------------------------- */

/** Open bytes with libelf; owned by symbols. NULL if they are no ELF file. */
static Elf *open_elf(struct module_symbols *symbols, const uint8_t *bytes,
		     size_t size)
{
	Elf *elf;

	if (symbols->num_elf == SOURCES_MAX || elf_version(EV_CURRENT) ==
	    EV_NONE)
		return NULL;
	// libelf only reads what it is given this way.
	elf = elf_memory((char *)(uintptr_t)bytes, size);
	if (!elf)
		return NULL;
	if (elf_kind(elf) != ELF_K_ELF || gelf_getclass(elf) != ELFCLASS64) {
		(void)elf_end(elf);
		return NULL;
	}
	symbols->elf[symbols->num_elf++] = elf;
	return elf;
}

/**
 * True if what lies in this section is in the target's memory. Sections that
 * only warn the linker have symbols too.
 */
static bool is_loaded(Elf *elf, const Elf64_Sym *symbol)
{
	GElf_Shdr header;
	Elf_Scn *section;

	if (symbol->st_shndx >= SHN_LORESERVE)
		return true;
	section = elf_getscn(elf, symbol->st_shndx);
	return section && gelf_getshdr(section, &header) &&
	       (header.sh_flags & SHF_ALLOC);
}

static bool collect_table(struct module_symbols *symbols, Elf *elf,
			  Elf_Scn *section, const GElf_Shdr *header,
			  uint64_t bias)
{
	Elf_Data *data = elf_getdata(section, NULL);
	bool dynamic = header->sh_type == SHT_DYNSYM;
	size_t count;

	if (!data || header->sh_entsize != sizeof(Elf64_Sym))
		return true;
	count = data->d_size / sizeof(Elf64_Sym);
	for (size_t i = 1; i < count && i < INT32_MAX; i++) {
		Elf64_Sym symbol;

		if (!gelf_getsym(data, (int)i, &symbol))
			break;
		if (!is_loaded(elf, &symbol))
			continue;
		if (!collect(symbols, bias,
			     elf_strptr(elf, header->sh_link, symbol.st_name),
			     &symbol, dynamic))
			return false;
	}
	return true;
}

/** Collect the tables of a type. @return symbols found */
static size_t collect_tables(struct module_symbols *symbols, Elf *elf,
			     uint32_t type, uint64_t bias)
{
	size_t before = symbols->count;
	Elf_Scn *section = NULL;
	GElf_Shdr header;

	while ((section = elf_nextscn(elf, section))) {
		if (!gelf_getshdr(section, &header) || header.sh_type != type)
			continue;
		if (!collect_table(symbols, elf, section, &header, bias))
			break;
	}
	return symbols->count - before;
}

/** Collect .symtab and .dynsym. @return symbols found */
static size_t collect_elf(struct module_symbols *symbols, Elf *elf,
			  uint64_t bias)
{
	return collect_tables(symbols, elf, SHT_DYNSYM, bias) +
	       collect_tables(symbols, elf, SHT_SYMTAB, bias);
}

static Elf_Scn *find_section(Elf *elf, const char *name, GElf_Shdr *ret)
{
	Elf_Scn *section = NULL;
	const char *found;
	size_t names;

	if (elf_getshdrstrndx(elf, &names) != 0)
		return NULL;
	while ((section = elf_nextscn(elf, section))) {
		if (!gelf_getshdr(section, ret))
			continue;
		found = elf_strptr(elf, names, ret->sh_name);
		if (found && strcmp(found, name) == 0)
			return section;
	}
	return NULL;
}

/** The bytes of a section by name; NULL if there are none. */
static const uint8_t *section_bytes(Elf *elf, const char *name,
				    size_t *ret_size)
{
	Elf_Scn *section;
	GElf_Shdr header;
	Elf_Data *data;

	section = find_section(elf, name, &header);
	if (!section || header.sh_type == SHT_NOBITS)
		return NULL;
	data = elf_rawdata(section, NULL);
	if (!data || !data->d_buf || !data->d_size)
		return NULL;
	*ret_size = data->d_size;
	return data->d_buf;
}

/** Unpack xz into a new buffer; NULL if it is damaged or too large. */
static uint8_t *unpack_xz(const uint8_t *packed, size_t packed_size,
			  size_t *ret_size)
{
	size_t capacity = 64 << 10, in, out;
	uint8_t *buffer = NULL;

	while (capacity <= DEBUGDATA_MAX) {
		uint64_t memory_limit = UINT64_C(256) << 20;
		uint8_t *more = realloc(buffer, capacity);
		lzma_ret result;

		if (!more)
			break;
		buffer = more;
		in = 0;
		out = 0;
		result = lzma_stream_buffer_decode(&memory_limit, 0, NULL,
						   packed, &in, packed_size,
						   buffer, &out, capacity);
		if (result == LZMA_OK) {
			*ret_size = out;
			return buffer;
		}
		if (result != LZMA_BUF_ERROR)
			break;
		capacity *= 4;
	}
	free(buffer);
	return NULL;
}

/** Fedora's and others' table of function names, packed inside the file. */
static size_t collect_debugdata(struct module_symbols *symbols, Elf *elf,
				uint64_t bias)
{
	const uint8_t *packed;
	size_t packed_size, size;
	Elf *inner;

	packed = section_bytes(elf, ".gnu_debugdata", &packed_size);
	if (!packed)
		return 0;
	symbols->debugdata = unpack_xz(packed, packed_size, &size);
	if (!symbols->debugdata)
		return 0;
	inner = open_elf(symbols, symbols->debugdata, size);
	return inner ? collect_elf(symbols, inner, bias) : 0;
}

/* --- separate debug files ------------------------------------------------- */

static uint32_t checksum(const struct mapping *file)
{
	return (uint32_t)crc32_z(crc32_z(0, NULL, 0), file->data, file->size);
}

static bool same_build_id(const struct module *module,
			  const struct mapping *file)
{
	uint8_t build_id[ELF_IMAGE_BUILD_ID_MAX];
	struct elf_image image;
	size_t size;

	if (elf_image_in_file(file->data, file->size, &image) !=
	    ELF_IMAGE_FOUND)
		return false;
	size = elf_image_build_id_in_file(&image, file->data, file->size,
					  build_id);
	return size && size == module->build_id_size &&
	       memcmp(build_id, module->build_id, size) == 0;
}

/** Map FOLDER/PATH of this machine if it is the debug file of module. */
static bool try_debug_file(const struct module *module, const char *root,
			   const char *path, const uint32_t *crc,
			   struct mapping *ret)
{
	struct mapping file = { 0 };

	if (!path || !sysroot_map(root, path, &file))
		return false;
	if (crc ? checksum(&file) == *crc : same_build_id(module, &file)) {
		*ret = file;
		return true;
	}
	mapping_deinit(&file);
	return false;
}

static bool find_by_build_id(const struct module *module, struct mapping *ret)
{
	CLEANUP(free_pointer) char *path = NULL;

	path = sysroot_build_id_path("", module->build_id,
				     module->build_id_size, ".debug");
	if (!path)
		return false;
	return try_debug_file(module, module->debug_dir, path, NULL, ret) ||
	       (module->sysroot[0] && strcmp(module->sysroot, "/") != 0 &&
		try_debug_file(module, module->sysroot, path, NULL, ret));
}

/** The debug link: a file name, padding to 4, the CRC-32 of the file. */
static bool find_by_link(const struct module *module, Elf *elf,
			 struct mapping *ret)
{
	CLEANUP(free_pointer) char *beside = NULL;
	CLEANUP(free_pointer) char *below = NULL;
	CLEANUP(free_pointer) char *debug = NULL;
	const char *name, *slash = strrchr(module->path, '/');
	struct bytes bytes = { 0 };
	uint32_t crc;
	int folder;

	bytes.data = section_bytes(elf, ".gnu_debuglink", &bytes.size);
	if (!bytes.data || !slash)
		return false;
	name = bytes_string(&bytes);
	if (!name || !*name || strchr(name, '/') || !bytes_align(&bytes, 4) ||
	    !bytes_u32(&bytes, &crc))
		return false;
	folder = (int)(slash - module->path);
	if (asprintf(&beside, "%.*s/%s", folder, module->path, name) < 0)
		beside = NULL;
	if (asprintf(&below, "%.*s/.debug/%s", folder, module->path, name) < 0)
		below = NULL;
	if (asprintf(&debug, "/%.*s/%s", folder, module->path, name) < 0)
		debug = NULL;
	return try_debug_file(module, module->sysroot, below, &crc, ret) ||
	       try_debug_file(module, module->debug_dir, debug, &crc, ret) ||
	       try_debug_file(module, module->sysroot, beside, &crc, ret);
}

/** What comes from the network is held against the build id as well. */
static bool fetch_debug_file(const struct module *module, struct mapping *ret)
{
	struct mapping file = { 0 };

	if (!module->debuginfod ||
	    !debuginfod_map(module->build_id, module->build_id_size, &file))
		return false;
	if (same_build_id(module, &file)) {
		*ret = file;
		return true;
	}
	mapping_deinit(&file);
	return false;
}

static bool find_debug_file(const struct module *module, Elf *file,
			    struct mapping *ret)
{
	return (module->debug_dir[0] &&
		(find_by_build_id(module, ret) ||
		 (file && find_by_link(module, file, ret)))) ||
	       fetch_debug_file(module, ret);
}

static size_t collect_debug_file(struct module_symbols *symbols,
				 const struct module *module, Elf *file)
{
	Elf *elf;

	if (!find_debug_file(module, file, &symbols->debug_file))
		return 0;
	elf = open_elf(symbols, symbols->debug_file.data,
		       symbols->debug_file.size);
	symbols->debug = elf ? elf : symbols->debug;
	return elf ? collect_elf(symbols, elf, module->bias) : 0;
}

/* --- the dumped image ----------------------------------------------------- */

/** What PT_DYNAMIC says of the table of exported symbols. */
struct dynamic {
	uint64_t symbols, strings, strings_size;
	uint64_t hash, gnu_hash;	/* addresses; 0: none */
};

/**
 * A pointer of PT_DYNAMIC. glibc adds the bias to it in place, musl and the
 * vdso leave it as it is in the file.
 */
static uint64_t dynamic_pointer(const struct module *module, uint64_t value)
{
	if (value >= module->start && value < module->end)
		return value;
	return module->bias + value;
}

static bool read_dynamic(const struct module *module,
			 struct memory_reader *reader, struct dynamic *ret)
{
	const Elf64_Phdr *header;
	struct dynamic dynamic = { 0 };
	struct elf_image image;
	Elf64_Dyn entry;
	uint64_t address, size;

	if (elf_image_in_memory(reader, module->start, &image) !=
	    ELF_IMAGE_FOUND)
		return false;
	header = elf_image_header(&image, PT_DYNAMIC);
	if (!header)
		return false;
	address = module->bias + header->p_vaddr;
	size = header->p_memsz < DYNAMIC_SIZE_MAX ? header->p_memsz :
	       DYNAMIC_SIZE_MAX;
	for (uint64_t at = 0; at + sizeof(entry) <= size; at += sizeof(entry)) {
		if (!memory_try_read(reader, address + at, &entry,
				     sizeof(entry)) || entry.d_tag == DT_NULL)
			break;
		if (entry.d_tag == DT_SYMTAB)
			dynamic.symbols = dynamic_pointer(module,
							  entry.d_un.d_ptr);
		else if (entry.d_tag == DT_STRTAB)
			dynamic.strings = dynamic_pointer(module,
							  entry.d_un.d_ptr);
		else if (entry.d_tag == DT_STRSZ)
			dynamic.strings_size = entry.d_un.d_val;
		else if (entry.d_tag == DT_HASH)
			dynamic.hash = dynamic_pointer(module,
						       entry.d_un.d_ptr);
		else if (entry.d_tag == DT_GNU_HASH)
			dynamic.gnu_hash = dynamic_pointer(module,
							   entry.d_un.d_ptr);
	}
	*ret = dynamic;
	return dynamic.symbols && dynamic.strings && dynamic.strings_size &&
	       dynamic.strings_size <= IMAGE_STRINGS_MAX;
}

/**
 * The number of symbols by DT_GNU_HASH: {buckets, first symbol, bloom words,
 * shift}, bloom words of 8 bytes, buckets, chains; the chain of the greatest
 * bucket ends, by its lowest bit, with the last symbol.
 */
static uint32_t count_by_gnu_hash(struct memory_reader *reader, uint64_t hash)
{
	uint32_t header[4], bucket, last = 0, chain;
	uint64_t buckets, chains;

	if (!memory_try_read(reader, hash, header, sizeof(header)) ||
	    header[0] > BUCKETS_MAX)
		return 0;
	buckets = hash + sizeof(header) + UINT64_C(8) * header[2];
	chains = buckets + UINT64_C(4) * header[0];
	for (uint64_t i = 0; i < header[0]; i++) {
		if (!memory_try_u32(reader, buckets + 4 * i, &bucket))
			return 0;
		last = bucket > last ? bucket : last;
	}
	if (last < header[1])
		return header[1];
	while (last < IMAGE_SYMBOLS_MAX) {
		if (!memory_try_u32(reader, chains +
				    UINT64_C(4) * (last - header[1]), &chain))
			return 0;
		last++;
		if (chain & 1)
			break;
	}
	return last;
}

static uint32_t count_image_symbols(struct memory_reader *reader,
				    const struct dynamic *dynamic)
{
	uint32_t count = 0;

	// DT_HASH: number of buckets, number of symbols.
	if (dynamic->hash &&
	    memory_try_u32(reader, dynamic->hash + 4, &count) && count)
		return count < IMAGE_SYMBOLS_MAX ? count : IMAGE_SYMBOLS_MAX;
	return dynamic->gnu_hash ?
	       count_by_gnu_hash(reader, dynamic->gnu_hash) : 0;
}

/** Copy the strings; parts that are not captured read as empty names. */
static char *copy_strings(struct memory_reader *reader,
			  const struct dynamic *dynamic)
{
	enum { STEP = 4096 };
	size_t size = (size_t)dynamic->strings_size;
	char *strings = calloc(1, size + 1);
	bool any = false;

	for (size_t at = 0; strings && at < size; at += STEP) {
		size_t part = size - at < STEP ? size - at : STEP;

		any |= memory_try_read(reader, dynamic->strings + at,
				       strings + at, part);
	}
	if (any)
		return strings;
	free(strings);
	return NULL;
}

/**
 * The last symbol that is absent with symbol number: the last one in its page,
 * or, where it lies in two of which one may be there, itself.
 */
static uint64_t last_symbol_of_page(uint64_t table, uint64_t number)
{
	uint64_t start = table + number * sizeof(Elf64_Sym);
	uint64_t end = start + sizeof(Elf64_Sym) - 1;

	if (start / PAGE != end / PAGE)
		return number;
	return number + ((end | (PAGE - 1)) - end) / sizeof(Elf64_Sym);
}

static void collect_image(struct module_symbols *symbols,
			  const struct module *module,
			  struct memory_reader *reader)
{
	struct dynamic dynamic;
	Elf64_Sym symbol;
	uint32_t count;

	if (!read_dynamic(module, reader, &dynamic))
		return;
	count = count_image_symbols(reader, &dynamic);
	if (!count)
		return;
	symbols->strings = copy_strings(reader, &dynamic);
	if (!symbols->strings)
		return;
	for (uint64_t i = 1; i < count; i++) {
		if (!memory_try_read(reader, dynamic.symbols +
				     i * sizeof(symbol), &symbol,
				     sizeof(symbol))) {
			i = last_symbol_of_page(dynamic.symbols, i);
			continue;
		}
		if (symbol.st_name >= dynamic.strings_size)
			continue;
		if (!collect(symbols, module->bias,
			     symbols->strings + symbol.st_name, &symbol, true))
			break;
	}
	if (symbols->count)
		symbols->source = SYMBOLS_FROM_IMAGE;
}

/* --- loading on first use ------------------------------------------------- */

static void load_files(struct module_symbols *symbols,
		       const struct module *module)
{
	Elf *file = NULL;

	if (module->file_bytes)
		file = open_elf(symbols, module->file_bytes, module->file_size);
	symbols->debug = file;
	if (file && collect_elf(symbols, file, module->bias))
		symbols->source = SYMBOLS_FROM_FILE;
	if (collect_debug_file(symbols, module, file))
		symbols->source = SYMBOLS_FROM_DEBUG_FILE;
	else if (file && collect_debugdata(symbols, file, module->bias))
		symbols->source = SYMBOLS_FROM_FILE;
}

/** The symbols of a module; NULL only without memory. */
static struct module_symbols *get_symbols(struct module *module,
					  const struct memory *memory)
{
	struct module_symbols *symbols = module->symbols;
	struct memory_reader reader;
	struct error *err;

	if (symbols)
		return symbols;
	symbols = calloc(1, sizeof(*symbols));
	if (!symbols)
		return NULL;
	module->symbols = symbols;
	if (!module->has_bias)
		return symbols;
	load_files(symbols, module);
	// A debug file alone lacks nothing that the image's table has.
	if (!symbols->count) {
		err = memory_reader_init(&reader, memory);
		if (!err) {
			collect_image(symbols, module, &reader);
			memory_reader_deinit(&reader);
		}
		error_free(err);
	}
	return symbols;
}

/**
 * What the matched file of a module exports, which is found without reading
 * the tables of everything else; NULL where there is no file.
 */
static struct module_symbols *get_exported(struct module *module)
{
	struct module_symbols *exported = module->exported;
	Elf *file;

	if (exported || !module->has_bias || !module->file_bytes)
		return exported;
	exported = calloc(1, sizeof(*exported));
	if (!exported)
		return NULL;
	module->exported = exported;
	file = open_elf(exported, module->file_bytes, module->file_size);
	if (file && collect_tables(exported, file, SHT_DYNSYM, module->bias))
		exported->source = SYMBOLS_FROM_FILE;
	return exported;
}

/* --- asking --------------------------------------------------------------- */

static struct symbol symbol_of(const struct module_symbols *symbols,
			       const struct entry *entry)
{
	return (struct symbol){
		.source = symbols->source,
		.name = entry->name,
		.address = entry->address,
		.size = entry->size,
		.type = entry->type,
		.dynamic = entry->dynamic,
	};
}

/** Of several of one name the exported one is meant, else the global. */
static bool is_meant(const struct entry *a, const struct entry *b)
{
	if (a->dynamic != b->dynamic)
		return a->dynamic;
	if (a->rank != b->rank)
		return a->rank < b->rank;
	if (a->address != b->address)
		return a->address < b->address;
	return a->size > b->size;
}

/** As DT_GNU_HASH has it. */
static uint32_t hash_name(const char *name)
{
	uint32_t hash = 5381;

	for (; *name; name++)
		hash = hash * 33 + (unsigned char)*name;
	return hash;
}

/**
 * Few names are asked for, of up to a million, where the names themselves are
 * all over the file: sorting them would take longer than to look through numbers.
 */
static bool make_hashes(struct module_symbols *symbols)
{
	if (symbols->hashes)
		return true;
	symbols->hashes = calloc(symbols->count + 1, sizeof(*symbols->hashes));
	for (size_t i = 0; symbols->hashes && i < symbols->count; i++)
		symbols->hashes[i] = hash_name(symbols->entries[i].name);
	return symbols->hashes != NULL;
}

static bool lookup_in(struct module_symbols *symbols, const char *name,
		      struct symbol *ret)
{
	const struct entry *found = NULL;
	uint32_t hash = hash_name(name);

	if (!symbols || !make_hashes(symbols))
		return false;
	for (size_t i = 0; i < symbols->count; i++) {
		const struct entry *entry = &symbols->entries[i];

		if (symbols->hashes[i] == hash &&
		    strcmp(entry->name, name) == 0 &&
		    (!found || is_meant(entry, found)))
			found = entry;
	}
	if (!found)
		return false;
	*ret = symbol_of(symbols, found);
	return true;
}

bool symbols_lookup(struct module *module, const struct memory *memory,
		    const char *name, struct symbol *ret)
{
	return lookup_in(get_exported(module), name, ret) ||
	       lookup_in(get_symbols(module, memory), name, ret);
}

/** True if a is the better name for an address that both cover. */
static bool better_name(const struct entry *a, const struct entry *b)
{
	if (a->address != b->address)
		return a->address > b->address;
	if ((a->size == 0) != (b->size == 0))
		return a->size != 0;
	if (a->rank != b->rank)
		return a->rank < b->rank;
	return false;
}

bool symbols_at(struct module *module, const struct memory *memory,
		uint64_t address, struct symbol *ret)
{
	struct module_symbols *symbols = get_symbols(module, memory);
	size_t low = 0, high;
	const struct entry *best = NULL;

	sort_symbols(symbols);
	high = symbols ? symbols->count : 0;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (symbols->entries[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	// Symbols may lie within larger ones: look back as far as any reaches,
	// but not for ever where one claims to be immense.
	for (size_t i = low, steps = 0; i > 0 && steps < 4096; i--, steps++) {
		const struct entry *entry = &symbols->entries[i - 1];
		uint64_t distance = address - entry->address;

		if (distance > symbols->longest ||
		    (best && entry->address < best->address))
			break;
		if ((entry->size ? distance < entry->size : distance == 0) &&
		    (!best || better_name(entry, best)))
			best = entry;
	}
	if (!best)
		return false;
	*ret = symbol_of(symbols, best);
	return true;
}

struct Elf *symbols_debug_elf(struct module *module,
			      const struct memory *memory)
{
	const struct module_symbols *symbols = get_symbols(module, memory);

	return symbols ? symbols->debug : NULL;
}

enum symbols_source symbols_source(struct module *module,
				   const struct memory *memory)
{
	struct module_symbols *symbols = get_symbols(module, memory);

	return symbols ? symbols->source : SYMBOLS_NONE;
}

void symbols_each(struct module *module, const struct memory *memory,
		  bool (*fn)(void *context, const struct symbol *symbol),
		  void *context)
{
	struct module_symbols *symbols = get_symbols(module, memory);

	sort_symbols(symbols);
	for (size_t i = 0; symbols && i < symbols->count; i++) {
		struct symbol symbol = symbol_of(symbols, &symbols->entries[i]);

		if (!fn(context, &symbol))
			return;
	}
}

bool symbols_section(struct module *module, const char *name,
		     uint64_t *ret_address, uint64_t *ret_size)
{
	GElf_Shdr header;
	bool found;
	Elf *elf;

	if (!module->file_bytes || !module->has_bias ||
	    elf_version(EV_CURRENT) == EV_NONE)
		return false;
	elf = elf_memory((char *)(uintptr_t)module->file_bytes,
			 module->file_size);
	if (!elf)
		return false;
	found = find_section(elf, name, &header) != NULL &&
		(header.sh_flags & SHF_ALLOC);
	(void)elf_end(elf);
	if (!found)
		return false;
	*ret_address = module->bias + header.sh_addr;
	*ret_size = header.sh_size;
	return true;
}
