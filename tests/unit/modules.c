/*
 * Modules: which mappings are one, which file is believed, what is filled.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The library of these tests has four segments, laid out as linkers do it:
 *
 *	p_vaddr		file		flags
 *	0000-1000	0000-1000	R	headers, build id
 *	1000-2000	1000-2000	RX
 *	2000-2800	2000-2800	R
 *	3800-4800-6800	2800-3800	RW	first page is RELRO
 */
#include "image/modules.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/format.h"
#include "image/symbols.h"
#include "tests/lib/check.h"

enum { PAGE = 0x1000, FILE_SIZE = 0x3800, NOTE_AT = 0x400 };

#define BASE UINT64_C(0x7f0000000000)
#define SECOND UINT64_C(0x7f0000100000)

static char folder[] = "/tmp/heapscan-modules-XXXXXX";

/* --- the library ---------------------------------------------------------- */

static void put_header(uint8_t *file, size_t number, uint32_t type,
		       uint64_t offset, uint64_t address, uint64_t size,
		       uint32_t flags)
{
	Elf64_Phdr header = {
		.p_type = type, .p_flags = flags, .p_offset = offset,
		.p_vaddr = address, .p_filesz = size, .p_memsz = size,
		.p_align = PAGE,
	};

	if (flags == (PF_R | PF_W))
		header.p_memsz = 0x3000;
	memcpy(file + sizeof(Elf64_Ehdr) + number * sizeof(header), &header,
	       sizeof(header));
}

/** A library whose bytes differ everywhere; id 0: without a build id. */
static void make_library(uint8_t file[FILE_SIZE], uint16_t type, uint8_t id)
{
	Elf64_Ehdr header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
			     ELFDATA2LSB, EV_CURRENT },
		.e_type = type, .e_machine = EM_X86_64,
		.e_version = EV_CURRENT, .e_phoff = sizeof(header),
		.e_ehsize = sizeof(header), .e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = id ? 5 : 4,
	};
	uint32_t note[] = { 4, 20, NT_GNU_BUILD_ID };
	uint64_t at = type == ET_EXEC ? 0x400000 : 0;

	for (size_t i = 0; i < FILE_SIZE; i++)
		file[i] = (uint8_t)(i / 7 + i % 13 + 1);
	memset(file, 0, PAGE);
	memcpy(file, &header, sizeof(header));
	put_header(file, 0, PT_LOAD, 0, at, PAGE, PF_R);
	put_header(file, 1, PT_LOAD, 0x1000, at + 0x1000, PAGE, PF_R | PF_X);
	put_header(file, 2, PT_LOAD, 0x2000, at + 0x2000, 0x800, PF_R);
	put_header(file, 3, PT_LOAD, 0x2800, at + 0x3800, 0x1000, PF_R | PF_W);
	if (!id)
		return;
	put_header(file, 4, PT_NOTE, NOTE_AT, at + NOTE_AT, 36, PF_R);
	memcpy(file + NOTE_AT, note, sizeof(note));
	memcpy(file + NOTE_AT + 12, "GNU", 4);
	memset(file + NOTE_AT + 16, id, 20);
}

static void write_file(const char *name, const uint8_t *bytes, size_t size)
{
	CLEANUP(free_pointer) char *path = NULL;
	CLEANUP(close_fd) int fd = -1;

	if (asprintf(&path, "%s/%s", folder, name) < 0)
		exit(1);
	for (char *slash = path + strlen(folder) + 1;
	     (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		(void)mkdir(path, 0700);
		*slash = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size) {
		perror(path);
		exit(1);
	}
}

static void remove_file(const char *name)
{
	CLEANUP(free_pointer) char *path = NULL;

	if (asprintf(&path, "%s/%s", folder, name) >= 0)
		(void)unlink(path);
}

/* --- a process that has it mapped ----------------------------------------- */

struct fixture {
	struct core_notes notes;
	struct file_mapping files[32];
	uint64_t auxv[4][2];
	struct memory *core;	/* what the core has */
	struct memory *whole;	/* with file pages */
	struct modules *modules;
	struct findings *findings;
};

static void start(struct fixture *fixture)
{
	*fixture = (struct fixture){ 0 };
	fixture->notes.files = fixture->files;
	fixture->notes.auxv = fixture->auxv;
	error_free(memory_create(NULL, &fixture->core));
	error_free(findings_create(&fixture->findings));
}

/** Say that the process maps a page range of path. */
static void map(struct fixture *fixture, uint64_t address, uint64_t size,
		uint64_t offset, const char *path)
{
	fixture->files[fixture->notes.num_files++] = (struct file_mapping){
		.start = address, .end = address + size,
		.file_offset = offset, .path = path,
	};
}

/** Say what the core has of it: bytes, or NULL for nothing. */
static void segment(struct fixture *fixture, uint64_t address, uint64_t size,
		    uint32_t flags, const uint8_t *bytes)
{
	error_free(memory_add(fixture->core, &(struct memory_range){
		.start = address, .end = address + size, .protection = flags,
		.state = bytes ? MEMORY_CAPTURED : MEMORY_NOT_CAPTURED,
		.source = bytes ? MEMORY_FROM_FILE : MEMORY_FROM_NOTHING,
		.bytes = bytes,
	}));
}

static void map_library(struct fixture *fixture, uint64_t base,
			const char *path)
{
	map(fixture, base, PAGE, 0, path);
	map(fixture, base + 0x1000, PAGE, 0x1000, path);
	map(fixture, base + 0x2000, PAGE, 0x2000, path);
	map(fixture, base + 0x3000, PAGE, 0x2000, path);
	map(fixture, base + 0x4000, PAGE, 0x3000, path);
}

/** As a kernel's core has it: the first page; RELRO and data left out here. */
static void capture_library(struct fixture *fixture, uint64_t base,
			    const uint8_t *first_page)
{
	segment(fixture, base, PAGE, PF_R, first_page);
	segment(fixture, base + 0x1000, PAGE, PF_R | PF_X, NULL);
	segment(fixture, base + 0x2000, PAGE, PF_R, NULL);
	segment(fixture, base + 0x3000, PAGE, PF_R, NULL);
	segment(fixture, base + 0x4000, PAGE, PF_R | PF_W, NULL);
	segment(fixture, base + 0x5000, 0x2000, PF_R | PF_W, NULL);
}

static void find(struct fixture *fixture, const char *sysroot)
{
	struct modules_options options = { .sysroot = sysroot,
					   .machine = EM_X86_64 };
	struct error *err;

	err = memory_seal(fixture->core);
	if (!err)
		err = modules_create(&fixture->notes, fixture->core, &options,
				     fixture->findings, &fixture->modules);
	if (!err)
		err = memory_create(NULL, &fixture->whole);
	for (size_t i = 0; !err && i < memory_num_ranges(fixture->core); i++)
		err = memory_add(fixture->whole,
				 memory_range(fixture->core, i));
	if (!err)
		err = modules_add_file_pages(fixture->modules, fixture->whole);
	if (!err)
		err = memory_seal(fixture->whole);
	if (err) {
		printf("not ok finding modules: %s\n", err->message);
		exit(1);
	}
}

static void finish(struct fixture *fixture)
{
	modules_destroy(fixture->modules);
	memory_destroy(fixture->whole);
	memory_destroy(fixture->core);
	findings_destroy(fixture->findings);
}

/** What the final memory has at address, as a byte; -1: not to be had. */
static int byte_at(const struct fixture *fixture, uint64_t address)
{
	struct memory_reader reader;
	uint8_t byte;
	int result = -1;

	error_free(memory_reader_init(&reader, fixture->whole));
	if (memory_try_read(&reader, address, &byte, 1))
		result = byte;
	memory_reader_deinit(&reader);
	return result;
}

/* --- tests ---------------------------------------------------------------- */

static uint8_t library[FILE_SIZE];

static void test_matched(void)
{
	struct fixture fixture;
	const struct module *module;

	make_library(library, ET_DYN, 0xAB);
	write_file("usr/lib/libx.so", library, FILE_SIZE);
	start(&fixture);
	map_library(&fixture, BASE, "/usr/lib/libx.so");
	capture_library(&fixture, BASE, library);
	find(&fixture, folder);

	CHECK_U64("one module", modules_count(fixture.modules), 1);
	module = modules_get(fixture.modules, 0);
	CHECK_U64("start", module->start, BASE);
	CHECK_U64("end, with its .bss", module->end, BASE + 0x7000);
	CHECK("bias", module->has_bias && module->bias == BASE);
	CHECK_U64("size of the build id", module->build_id_size, 20);
	CHECK_U64("the build id", module->build_id[19], 0xAB);
	CHECK("the file is the one",
	      module->file_state == MODULE_FILE_MATCHED);
	CHECK("found by address",
	      modules_find(fixture.modules, BASE + 0x6FFF) == module);
	CHECK("not beyond it", !modules_find(fixture.modules, BASE + 0x7000));

	CHECK("code comes from the file",
	      byte_at(&fixture, BASE + 0x1234) == library[0x1234]);
	CHECK("constants do", byte_at(&fixture, BASE + 0x2345) ==
				      library[0x2345]);
	CHECK("the rest of their page is the file's too",
	      byte_at(&fixture, BASE + 0x2FFF) == library[0x2FFF]);
	CHECK("RELRO pages are not filled in",
	      byte_at(&fixture, BASE + 0x3900) == -1);
	CHECK("nor is data", byte_at(&fixture, BASE + 0x4100) == -1);
	CHECK("which is known to have been there",
	      memory_state_at(fixture.whole, BASE + 0x4100) ==
		      MEMORY_NOT_CAPTURED);
	CHECK("from a file is said so",
	      memory_find(fixture.whole, BASE + 0x1000)->source ==
		      MEMORY_FROM_FILE);
	finish(&fixture);
}

/** The states of a file that is not, or not provably, the one. */
static void test_other_files(void)
{
	struct fixture fixture;
	const struct module *module;
	uint8_t other[FILE_SIZE];

	make_library(library, ET_DYN, 0xAB);
	make_library(other, ET_DYN, 0xAC);
	write_file("usr/lib/libx.so", other, FILE_SIZE);
	start(&fixture);
	map_library(&fixture, BASE, "/usr/lib/libx.so");
	capture_library(&fixture, BASE, library);
	find(&fixture, folder);
	module = modules_get(fixture.modules, 0);
	CHECK("another build id is another file",
	      module->file_state == MODULE_FILE_OTHER && !module->file);
	CHECK("of which nothing is taken",
	      byte_at(&fixture, BASE + 0x1234) == -1);
	CHECK_U64("and this is a finding",
		  findings_of(fixture.findings, "module-file"), 1);
	finish(&fixture);

	remove_file("usr/lib/libx.so");
	start(&fixture);
	map_library(&fixture, BASE, "/usr/lib/libx.so");
	capture_library(&fixture, BASE, library);
	find(&fixture, folder);
	module = modules_get(fixture.modules, 0);
	CHECK("no file", module->file_state == MODULE_FILE_MISSING);
	finish(&fixture);

	start(&fixture);
	map_library(&fixture, BASE, "/usr/lib/libx.so");
	capture_library(&fixture, BASE, library);
	find(&fixture, "");
	module = modules_get(fixture.modules, 0);
	CHECK("told not to look",
	      module->file_state == MODULE_FILE_NOT_NEEDED);
	finish(&fixture);

	// Without its header nothing says where or what it is.
	write_file("usr/lib/libx.so", library, FILE_SIZE);
	start(&fixture);
	map_library(&fixture, BASE, "/usr/lib/libx.so");
	capture_library(&fixture, BASE, NULL);
	find(&fixture, folder);
	module = modules_get(fixture.modules, 0);
	CHECK("a header that is not in the core",
	      module->file_state == MODULE_FILE_OTHER && !module->has_bias);
	finish(&fixture);
}

static void test_where_files_are(void)
{
	struct fixture fixture;
	char id_path[] = ".build-id/ab/ababababababababababababababababababab";

	make_library(library, ET_DYN, 0xAB);
	remove_file("usr/lib/libx.so");
	write_file(id_path, library, FILE_SIZE);
	start(&fixture);
	map_library(&fixture, BASE, "/usr/lib/libx.so (deleted)");
	capture_library(&fixture, BASE, library);
	find(&fixture, folder);
	CHECK("by build id", modules_get(fixture.modules, 0)->file_state ==
				     MODULE_FILE_MATCHED);
	CHECK("it was deleted", modules_get(fixture.modules, 0)->deleted);
	CHECK_STRING("which is not in its path",
		     modules_get(fixture.modules, 0)->path, "/usr/lib/libx.so");
	finish(&fixture);
	remove_file(id_path);

	write_file("libx.so", library, FILE_SIZE);
	start(&fixture);
	map_library(&fixture, BASE, "/opt/elsewhere/libx.so");
	capture_library(&fixture, BASE, library);
	find(&fixture, folder);
	CHECK("by its last name", modules_get(fixture.modules, 0)->file_state ==
					  MODULE_FILE_MATCHED);
	finish(&fixture);
	remove_file("libx.so");
}

/** Is a library that was mapped as /link.so found under root? */
static bool maps_link(struct fixture *fixture, const char *root)
{
	bool found;

	start(fixture);
	map_library(fixture, BASE, "/link.so");
	capture_library(fixture, BASE, library);
	find(fixture, root);
	found = modules_get(fixture->modules, 0)->file_state ==
		MODULE_FILE_MATCHED;
	finish(fixture);
	return found;
}

/** Names from a dump do not lead out of the sysroot. */
static void test_sysroot_is_a_wall(void)
{
	CLEANUP(free_pointer) char *outside = NULL;
	CLEANUP(free_pointer) char *inner = NULL;
	CLEANUP(free_pointer) char *link_name = NULL;
	CLEANUP(free_pointer) char *climb = NULL;
	struct fixture fixture;

	make_library(library, ET_DYN, 0xAB);
	write_file("outside.so", library, FILE_SIZE);
	write_file("root/usr/file.so", library, FILE_SIZE);
	if (asprintf(&outside, "%s/outside.so", folder) < 0 ||
	    asprintf(&inner, "%s/root", folder) < 0 ||
	    asprintf(&link_name, "%s/root/link.so", folder) < 0 ||
	    asprintf(&climb, "/usr/../../outside.so") < 0)
		exit(1);
	(void)unlink(link_name);
	CHECK("link", symlink(outside, link_name) == 0);
	start(&fixture);
	map_library(&fixture, BASE, "/link.so");
	capture_library(&fixture, BASE, library);
	map_library(&fixture, SECOND, climb);
	capture_library(&fixture, SECOND, library);
	find(&fixture, inner);
	CHECK("an absolute link stays below the sysroot",
	      modules_get(fixture.modules, 0)->file_state ==
		      MODULE_FILE_MISSING);
	CHECK("so does ..", modules_get(fixture.modules, 1)->file_state ==
				    MODULE_FILE_MISSING);
	finish(&fixture);

	(void)unlink(link_name);
	CHECK("link", symlink("usr/../../outside.so", link_name) == 0);
	CHECK("so does a relative one", !maps_link(&fixture, inner));
	(void)unlink(link_name);
	CHECK("link", symlink("/usr/./..//link.so", link_name) == 0);
	CHECK("a link to itself ends", !maps_link(&fixture, inner));

	(void)unlink(link_name);
	CHECK("link", symlink("/usr/file.so", link_name) == 0);
	start(&fixture);
	map_library(&fixture, BASE, "/link.so");
	capture_library(&fixture, BASE, library);
	find(&fixture, inner);
	CHECK("an absolute link within it is followed",
	      modules_get(fixture.modules, 0)->file_state ==
		      MODULE_FILE_MATCHED);
	finish(&fixture);

	(void)unlink(link_name);
	CHECK("FIFO", mkfifo(link_name, 0600) == 0);
	start(&fixture);
	map_library(&fixture, BASE, "/link.so");
	capture_library(&fixture, BASE, library);
	find(&fixture, inner);
	CHECK("a FIFO is not waited for",
	      modules_get(fixture.modules, 0)->file_state ==
		      MODULE_FILE_MISSING);
	finish(&fixture);
	(void)unlink(link_name);
	remove_file("outside.so");
}

static void test_no_build_id(void)
{
	struct fixture fixture;
	uint8_t changed[FILE_SIZE];

	make_library(library, ET_DYN, 0);
	write_file("usr/lib/libx.so", library, FILE_SIZE);
	start(&fixture);
	map_library(&fixture, BASE, "/usr/lib/libx.so");
	capture_library(&fixture, BASE, library);
	find(&fixture, folder);
	CHECK("no build id, but an equal first page",
	      modules_get(fixture.modules, 0)->file_state ==
		      MODULE_FILE_MATCHED);
	finish(&fixture);

	// Between segments a loader may leave mapped what the file has not.
	start(&fixture);
	map_library(&fixture, BASE, "/usr/lib/libx.so");
	map(&fixture, BASE + 0x5000, PAGE, 0x9000, "/usr/lib/libx.so");
	segment(&fixture, BASE, PAGE, PF_R, library);
	segment(&fixture, BASE + 0x1000, PAGE, PF_R | PF_X, NULL);
	segment(&fixture, BASE + 0x5000, PAGE, 0, NULL);
	find(&fixture, folder);
	CHECK("the same, with a gap that lies beyond the file",
	      modules_get(fixture.modules, 0)->file_state ==
		      MODULE_FILE_MATCHED);
	finish(&fixture);

	memcpy(changed, library, FILE_SIZE);
	changed[0x800] ^= 1;
	start(&fixture);
	map_library(&fixture, BASE, "/usr/lib/libx.so");
	capture_library(&fixture, BASE, changed);
	find(&fixture, folder);
	CHECK("another first page", modules_get(fixture.modules, 0)
						    ->file_state ==
					    MODULE_FILE_OTHER);
	finish(&fixture);

	write_file("usr/lib/libx.so", library, 0x2000);
	start(&fixture);
	map_library(&fixture, BASE, "/usr/lib/libx.so");
	capture_library(&fixture, BASE, library);
	find(&fixture, folder);
	CHECK("a file too short to be it",
	      modules_get(fixture.modules, 0)->file_state ==
		      MODULE_FILE_OTHER);
	finish(&fixture);
}

static void test_short_file(void)
{
	struct fixture fixture;

	// The build id is right, but the file was cut off since.
	make_library(library, ET_DYN, 0xAB);
	write_file("usr/lib/libx.so", library, 0x1800);
	start(&fixture);
	map_library(&fixture, BASE, "/usr/lib/libx.so");
	capture_library(&fixture, BASE, library);
	find(&fixture, folder);
	CHECK("bytes that the file has",
	      byte_at(&fixture, BASE + 0x17FF) == library[0x17FF]);
	CHECK("the rest of its last page is zero",
	      byte_at(&fixture, BASE + 0x1900) == 0);
	CHECK("beyond it there is nothing",
	      byte_at(&fixture, BASE + 0x2100) == -1);
	finish(&fixture);
}

/** Which mappings are modules at all. */
static void test_grouping(void)
{
	static const uint8_t text[PAGE] = "no ELF file, just data";
	struct fixture fixture;
	const struct module *module;

	make_library(library, ET_DYN, 0xAB);
	start(&fixture);
	map_library(&fixture, BASE, "/usr/lib/libx.so");
	capture_library(&fixture, BASE, library);
	map_library(&fixture, SECOND, "/usr/lib/libx.so");
	capture_library(&fixture, SECOND, library);
	// The same file once more, in one go, as a debugger reads it.
	map(&fixture, SECOND + 0x100000, 0x4000, 0, "/usr/lib/libx.so");
	segment(&fixture, SECOND + 0x100000, FILE_SIZE, PF_R, library);
	map(&fixture, SECOND + 0x200000, PAGE, 0, "/usr/lib/locale");
	segment(&fixture, SECOND + 0x200000, PAGE, PF_R, text);
	map(&fixture, SECOND + 0x300000, PAGE, 0x5000, "/usr/share/data");
	segment(&fixture, SECOND + 0x300000, PAGE, PF_R, NULL);
	map(&fixture, SECOND + 0x400000, PAGE, 0, "not absolute");
	segment(&fixture, SECOND + 0x400000, PAGE, PF_R, library);
	fixture.auxv[0][0] = AT_PHDR;
	fixture.auxv[0][1] = SECOND + 64;
	fixture.notes.num_auxv = 1;
	find(&fixture, "");

	CHECK_U64("a file loaded twice is two modules, data is none",
		  modules_count(fixture.modules), 2);
	module = modules_get(fixture.modules, 1);
	CHECK_U64("bias of the second", module->bias, SECOND);
	CHECK("AT_PHDR marks the program", module->is_executable);
	CHECK("and only it",
	      !modules_get(fixture.modules, 0)->is_executable);
	finish(&fixture);

	make_library(library, ET_EXEC, 0xAB);
	start(&fixture);
	map_library(&fixture, 0x400000, "/usr/bin/program");
	capture_library(&fixture, 0x400000, library);
	find(&fixture, "");
	CHECK_U64("a program at fixed addresses",
		  modules_count(fixture.modules), 1);
	module = modules_get(fixture.modules, 0);
	CHECK("has no bias", module->has_bias && module->bias == 0);
	finish(&fixture);
}

static void test_without_list(void)
{
	struct fixture fixture;
	const struct module *module;

	make_library(library, ET_DYN, 0xAB);
	start(&fixture);
	capture_library(&fixture, BASE, library);
	segment(&fixture, SECOND, PAGE, PF_R | PF_W, library);
	fixture.auxv[0][0] = AT_SYSINFO_EHDR;
	fixture.auxv[0][1] = SECOND + 0x200000;
	fixture.notes.num_auxv = 1;
	segment(&fixture, SECOND + 0x200000, 0x2000, PF_R | PF_X, library);
	find(&fixture, folder);
	CHECK_U64("found by their headers",
		  modules_count(fixture.modules), 2);
	module = modules_get(fixture.modules, 0);
	CHECK_STRING("named by address", module->path, "[0x7f0000000000]");
	CHECK_U64("reaches as far as its header says", module->end,
		  BASE + 0x7000);
	CHECK_STRING("the vdso", modules_get(fixture.modules, 1)->path,
		     "[vdso]");
	finish(&fixture);
}

/** Headers that claim too much cost nothing and break nothing. */
static void test_hostile_headers(void)
{
	static const struct {
		size_t offset;
		uint64_t value;
		const char *name;
	} cases[] = {
		{ 32, UINT64_MAX, "e_phoff at the end of memory" },
		{ 56, 0xFFFF, "65,535 program headers" },
		{ 56, 0, "no program headers" },
		{ 64 + 40, UINT64_MAX, "p_memsz of everything" },
		{ 64 + 16, UINT64_MAX - 5, "p_vaddr at the end" },
		{ 64 + 3 * 56 + 40, UINT64_C(1) << 39, ".bss of 512 GiB" },
		{ 64 + 4 * 56 + 32, UINT64_MAX, "PT_NOTE of everything" },
		{ 64 + 4 * 56 + 16, UINT64_MAX - 7, "PT_NOTE at the end" },
		{ NOTE_AT + 4, 0xFFFFFFF0, "a build id of 4 GiB" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture fixture;
		bool ends_early = true;

		make_library(library, ET_DYN, 0xAB);
		write_file("usr/lib/libx.so", library, FILE_SIZE);
		memcpy(library + cases[i].offset, &cases[i].value,
		       cases[i].offset == 56 ? 2 :
		       cases[i].offset == NOTE_AT + 4 ? 4 : 8);
		start(&fixture);
		map_library(&fixture, BASE, "/usr/lib/libx.so");
		capture_library(&fixture, BASE, library);
		find(&fixture, folder);
		for (size_t j = 0; j < modules_count(fixture.modules); j++) {
			const struct module *module;

			module = modules_get(fixture.modules, j);
			ends_early &= module->end <= BASE + 0x7000;
		}
		CHECK(cases[i].name, ends_early);
		finish(&fixture);
	}
}

int main(void)
{
	CLEANUP(free_pointer) char *remove = NULL;

	if (!mkdtemp(folder)) {
		perror(folder);
		return 1;
	}
	test_matched();
	test_other_files();
	test_where_files_are();
	test_sysroot_is_a_wall();
	test_no_build_id();
	test_short_file();
	test_grouping();
	test_without_list();
	test_hostile_headers();
	if (asprintf(&remove, "rm -rf %s", folder) >= 0 && system(remove) != 0)
		perror(folder);
	return check_result();
}
