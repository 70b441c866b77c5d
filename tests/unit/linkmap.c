/*
 * Modules by the loader's own list, in cores that have no list of files and no
 * page in which a module begins.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A program of fixed addresses and a library, each laid out alike:
 *
 *	p_vaddr		file		flags
 *	0000-2000	0000-2000	R X	headers, code; not in the core
 *	3000-4000	2000-3000	RW	PT_DYNAMIC at 3000; the program's
 *						first 800 are read-only now
 *	4000-5000			RW	.bss
 */
#include "image/linkmap.h"

#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/modules.h"
#include "tests/lib/check.h"

enum { PAGE = 0x1000, FILE_SIZE = 0x3000, DATA_AT = 0x2000, NUM_DYNAMIC = 12 };

#define PROGRAM UINT64_C(0x400000)
#define LIBRARY UINT64_C(0x5500860000)
#define LOADER UINT64_C(0x5500801000)
#define LOADER_DATA (LOADER + 0x30000)
#define STACK UINT64_C(0x5500000000)

static char folder[] = "/tmp/heapscan-linkmap-XXXXXX";
static uint8_t program_file[FILE_SIZE], library_file[FILE_SIZE];

/** What the loader wrote, at LOADER_DATA. */
static struct {
	uint64_t filler[5];
	uint64_t base_elsewhere;	/* not the end of a struct r_debug */
	uint64_t debug[5];		/* struct r_debug */
	uint64_t link[3][5];		/* struct link_map: program, vdso, library */
	char names[3][64];
} loader;

/** The strings that the kernel put on the stack. */
static char stack[PAGE];

static uint64_t loader_address(const void *part)
{
	return LOADER_DATA + (uint64_t)((const char *)part -
					(const char *)&loader);
}

/* --- files ---------------------------------------------------------------- */

static void make_file(uint8_t file[FILE_SIZE], uint16_t type, uint64_t low,
		      uint64_t seed)
{
	const Elf64_Ehdr header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
			     ELFDATA2LSB, EV_CURRENT },
		.e_type = type, .e_machine = EM_AARCH64,
		.e_version = EV_CURRENT, .e_phoff = sizeof(header),
		.e_ehsize = sizeof(header), .e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	const Elf64_Phdr headers[3] = {
		{ PT_LOAD, PF_R | PF_X, 0, low, low, 2 * PAGE, 2 * PAGE, PAGE },
		{ PT_LOAD, PF_R | PF_W, DATA_AT, low + 3 * PAGE, low + 3 * PAGE,
		  PAGE, 2 * PAGE, PAGE },
		{ PT_DYNAMIC, PF_R | PF_W, DATA_AT, low + 3 * PAGE,
		  low + 3 * PAGE, (NUM_DYNAMIC + 1) * sizeof(Elf64_Dyn),
		  (NUM_DYNAMIC + 1) * sizeof(Elf64_Dyn), 8 },
	};
	Elf64_Dyn dynamic[NUM_DYNAMIC + 1] = { 0 };

	for (size_t i = 0; i < FILE_SIZE; i++)
		file[i] = (uint8_t)(i / 7 + i % 13 + seed);
	memcpy(file, &header, sizeof(header));
	memcpy(file + sizeof(header), headers, sizeof(headers));
	for (size_t i = 0; i < NUM_DYNAMIC; i++) {
		dynamic[i].d_tag = (int64_t)i + 1;
		dynamic[i].d_un.d_val = low + 0x100 * i + seed;
	}
	dynamic[3] = (Elf64_Dyn){ .d_tag = DT_DEBUG };
	memcpy(file + DATA_AT, dynamic, sizeof(dynamic));
}

static void write_file(const char *name, const uint8_t *bytes)
{
	CLEANUP(free_pointer) char *path = NULL;
	CLEANUP(close_fd) int fd = -1;

	if (asprintf(&path, "%s/%s", folder, name) < 0)
		exit(1);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, bytes, FILE_SIZE) != FILE_SIZE) {
		perror(path);
		exit(1);
	}
}

/* --- a core --------------------------------------------------------------- */

struct fixture {
	struct core_notes notes;
	uint64_t auxv[4][2];
	uint8_t program_data[PAGE], library_data[PAGE];
	struct memory *core, *whole;
	struct modules *modules;
	struct findings *findings;
};

static void put_link(size_t i, uint64_t bias, uint64_t dynamic,
		     const char *name)
{
	uint64_t *link = loader.link[i];

	(void)snprintf(loader.names[i], sizeof(loader.names[i]), "%s", name);
	link[0] = bias;
	link[1] = loader_address(loader.names[i]);
	link[2] = dynamic;
	link[3] = i < 2 ? loader_address(loader.link[i + 1]) : 0;
	link[4] = i > 0 ? loader_address(loader.link[i - 1]) : 0;
}

/** Fill in what the core holds; a test then spoils a part of it. */
static void start(struct fixture *fixture, const char *program)
{
	*fixture = (struct fixture){ 0 };
	memset(&loader, 0, sizeof(loader));
	loader.base_elsewhere = LOADER;
	loader.debug[0] = 1;
	loader.debug[1] = loader_address(loader.link[0]);
	loader.debug[2] = LOADER + 0x1234;
	loader.debug[4] = LOADER;
	put_link(0, 0, PROGRAM + 3 * PAGE, "");
	put_link(1, STACK + 0x100000, STACK + 0x100400, "linux-vdso.so.1");
	put_link(2, LIBRARY, LIBRARY + 3 * PAGE, "/lib/libx.so");
	(void)snprintf(stack, sizeof(stack), "%s", program);
	memcpy(fixture->program_data, program_file + DATA_AT, PAGE);
	memcpy(fixture->library_data, library_file + DATA_AT, PAGE);
	fixture->auxv[0][0] = AT_PHDR;
	fixture->auxv[0][1] = PROGRAM + sizeof(Elf64_Ehdr);
	fixture->auxv[1][0] = AT_BASE;
	fixture->auxv[1][1] = LOADER;
	fixture->auxv[2][0] = AT_EXECFN;
	fixture->auxv[2][1] = STACK;
	fixture->notes.auxv = fixture->auxv;
	fixture->notes.num_auxv = 3;
}

static struct error *add(struct memory *memory, uint64_t address, uint64_t size,
			 uint32_t flags, const void *bytes)
{
	return memory_add(memory, &(struct memory_range){
		.start = address, .end = address + size, .protection = flags,
		.state = bytes ? MEMORY_CAPTURED : MEMORY_NOT_CAPTURED,
		.source = bytes ? MEMORY_FROM_FILE : MEMORY_FROM_NOTHING,
		.bytes = bytes,
	});
}

/** read_only: bytes of the data, from its start. */
static struct error *add_program(struct memory *memory, uint64_t base,
				 const uint8_t *data, uint64_t read_only)
{
	uint64_t at = base + 3 * PAGE;
	struct error *err;

	err = add(memory, base, 2 * PAGE, PF_R | PF_X, NULL);
	if (!err)
		err = add(memory, base + 2 * PAGE, PAGE, 0, NULL);
	if (!err && read_only)
		err = add(memory, at, read_only, PF_R, data);
	if (!err)
		err = add(memory, at + read_only, PAGE - read_only,
			  PF_R | PF_W, data + read_only);
	if (!err)
		err = add(memory, base + 4 * PAGE, 2 * PAGE, PF_R | PF_W,
			  NULL);
	return err;
}

static void find(struct fixture *fixture, const char *sysroot)
{
	const struct modules_options options = { .sysroot = sysroot,
						 .machine = EM_AARCH64 };
	struct error *err;

	err = findings_create(&fixture->findings);
	if (!err)
		err = memory_create(NULL, &fixture->core);
	if (!err)
		err = add_program(fixture->core, PROGRAM,
				  fixture->program_data, PAGE / 2);
	if (!err)
		err = add_program(fixture->core, LIBRARY,
				  fixture->library_data, 0);
	if (!err)
		err = add(fixture->core, LOADER, 0x20000, PF_R | PF_X, NULL);
	if (!err)
		err = add(fixture->core, LOADER_DATA, sizeof(loader),
			  PF_R | PF_W, &loader);
	if (!err)
		err = add(fixture->core, STACK, PAGE, PF_R | PF_W, stack);
	if (!err)
		err = memory_seal(fixture->core);
	if (!err)
		err = modules_create(&fixture->notes, fixture->core, &options,
				     fixture->findings, &fixture->modules);
	if (!err)
		err = memory_create(NULL, &fixture->whole);
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

/** The state of the library's file, which is the second module. */
static enum module_file_state library_state(const struct fixture *fixture)
{
	return modules_get(fixture->modules, 1)->file_state;
}

/* --- tests ---------------------------------------------------------------- */

static void test_without_files(void)
{
	struct fixture fixture;
	const struct module *module;

	start(&fixture, "/usr/bin/program");
	find(&fixture, "");
	CHECK_U64("a program and a library", modules_count(fixture.modules), 2);
	module = modules_get(fixture.modules, 0);
	CHECK_STRING("the program, as it was started", module->path,
		     "/usr/bin/program");
	CHECK("is known for it", module->is_executable);
	CHECK_U64("begins where its headers are", module->start, PROGRAM);
	CHECK_U64("reaches to the end of its data, which begins read-only",
		  module->end, PROGRAM + 4 * PAGE);
	CHECK("has no bias", module->has_bias && module->bias == 0);
	module = modules_get(fixture.modules, 1);
	CHECK_STRING("the library", module->path, "/lib/libx.so");
	CHECK_U64("begins at its bias", module->start, LIBRARY);
	CHECK("which is told", module->has_bias && module->bias == LIBRARY);
	CHECK("and holds its data",
	      modules_find(fixture.modules, LIBRARY + 0x3800) == module);
	finish(&fixture);
}

static void test_with_files(void)
{
	struct fixture fixture;
	struct memory_reader reader;
	const struct module *module;
	uint8_t byte = 0;

	start(&fixture, "/bin/program");
	find(&fixture, folder);
	module = modules_get(fixture.modules, 0);
	CHECK("the program's file is the one",
	      module->file_state == MODULE_FILE_MATCHED);
	CHECK_U64("its .bss is known by it", module->end, PROGRAM + 5 * PAGE);
	CHECK("so is the library's",
	      library_state(&fixture) == MODULE_FILE_MATCHED);
	error_free(memory_reader_init(&reader, fixture.whole));
	CHECK("code comes from the file",
	      memory_try_read(&reader, LIBRARY + 0x1234, &byte, 1) &&
	      byte == library_file[0x1234]);
	CHECK("data does not",
	      !memory_try_read(&reader, LIBRARY + 0x3234, &byte, 1));
	memory_reader_deinit(&reader);
	finish(&fixture);
}

static void test_other_files(void)
{
	struct fixture fixture;
	Elf64_Dyn entry;

	// Addresses may have been moved in place.
	start(&fixture, "/bin/program");
	memcpy(&entry, fixture.library_data + 2 * sizeof(entry), sizeof(entry));
	entry.d_un.d_val += LIBRARY;
	memcpy(fixture.library_data + 2 * sizeof(entry), &entry, sizeof(entry));
	memset(fixture.library_data + 3 * sizeof(entry) + 8, 0xEE, 8);
	find(&fixture, folder);
	CHECK("addresses moved by the loader, and DT_DEBUG",
	      library_state(&fixture) == MODULE_FILE_MATCHED);
	finish(&fixture);

	start(&fixture, "/bin/program");
	fixture.library_data[5 * sizeof(entry) + 8] ^= 1;
	find(&fixture, folder);
	CHECK("one other value is another file",
	      library_state(&fixture) == MODULE_FILE_OTHER);
	CHECK_U64("and a finding",
		  findings_of(fixture.findings, "module-file"), 1);
	finish(&fixture);

	start(&fixture, "/bin/program");
	memset(fixture.library_data, 0, PAGE);
	find(&fixture, folder);
	CHECK("a PT_DYNAMIC that ends early is",
	      library_state(&fixture) == MODULE_FILE_OTHER);
	finish(&fixture);

	start(&fixture, "/bin/program");
	loader.link[2][0] += PAGE;
	find(&fixture, folder);
	CHECK("so is one elsewhere",
	      library_state(&fixture) == MODULE_FILE_OTHER);
	finish(&fixture);
}

/** A path as seen from outside of the sysroot. */
static void test_outside(void)
{
	struct fixture fixture;
	char path[sizeof(folder) + 32];

	(void)snprintf(path, sizeof(path), "%s/bin/program", folder);
	start(&fixture, path);
	find(&fixture, folder);
	CHECK("a path that leads into the sysroot",
	      modules_get(fixture.modules, 0)->file_state ==
		      MODULE_FILE_MATCHED);
	finish(&fixture);
	(void)snprintf(path, sizeof(path), "%sx/bin/program", folder);
	start(&fixture, path);
	find(&fixture, folder);
	CHECK("one beside it does not",
	      modules_get(fixture.modules, 0)->file_state ==
		      MODULE_FILE_MISSING);
	finish(&fixture);
}

/** The program started by naming its loader: AT_BASE is 0. */
static void test_loader_as_program(void)
{
	struct fixture fixture;

	start(&fixture, "/lib/ld.so");
	fixture.auxv[0][1] = LOADER + sizeof(Elf64_Ehdr);
	fixture.auxv[1][1] = 0;
	put_link(0, 0, PROGRAM + 3 * PAGE, "/usr/bin/program");
	find(&fixture, "");
	CHECK_U64("the loader as program", modules_count(fixture.modules), 2);
	CHECK_STRING("the list has the program's name",
		     modules_get(fixture.modules, 0)->path, "/usr/bin/program");
	finish(&fixture);
}

/** Whatever the list claims, the walk ends. */
static void test_damage(void)
{
	struct fixture fixture;

	start(&fixture, "/bin/program");
	loader.link[2][3] = loader_address(loader.link[0]);
	find(&fixture, "");
	CHECK_U64("a circle", modules_count(fixture.modules), 2);
	finish(&fixture);

	start(&fixture, "/bin/program");
	loader.link[2][3] = loader_address(loader.link[2]);
	find(&fixture, "");
	CHECK_U64("an entry after itself", modules_count(fixture.modules), 2);
	finish(&fixture);

	start(&fixture, "/bin/program");
	loader.link[2][2] = UINT64_MAX - 3;
	find(&fixture, "");
	CHECK_U64("PT_DYNAMIC nowhere", modules_count(fixture.modules), 1);
	finish(&fixture);

	start(&fixture, "/bin/program");
	loader.link[2][0] = UINT64_MAX - 3;
	find(&fixture, folder);
	CHECK_U64("bias nowhere: begins with its data",
		  modules_get(fixture.modules, 1)->start, LIBRARY + 3 * PAGE);
	finish(&fixture);

	start(&fixture, "/bin/program");
	loader.debug[2] = 0x1000;
	find(&fixture, "");
	CHECK_U64("no struct r_debug", modules_count(fixture.modules), 0);
	finish(&fixture);

	start(&fixture, "/bin/program");
	fixture.auxv[1][1] = UINT64_MAX - 7;
	find(&fixture, "");
	CHECK_U64("a loader at the end of memory",
		  modules_count(fixture.modules), 0);
	finish(&fixture);

	start(&fixture, "/bin/program");
	loader.link[2][1] = 16;
	find(&fixture, "");
	CHECK_STRING("no name", modules_get(fixture.modules, 1)->path,
		     "[0x5500860000]");
	finish(&fixture);
}

int main(void)
{
	CLEANUP(free_pointer) char *remove = NULL;

	if (!mkdtemp(folder) || chdir(folder) != 0 || mkdir("bin", 0700) != 0 ||
	    mkdir("lib", 0700) != 0) {
		perror(folder);
		return 1;
	}
	make_file(program_file, ET_EXEC, PROGRAM, 1);
	make_file(library_file, ET_DYN, 0, 3);
	write_file("bin/program", program_file);
	write_file("lib/libx.so", library_file);
	test_without_files();
	test_with_files();
	test_other_files();
	test_outside();
	test_loader_as_program();
	test_damage();
	if (asprintf(&remove, "rm -rf %s", folder) >= 0 && system(remove) != 0)
		perror(folder);
	return check_result();
}
