/*
 * Opening cores: good ones, awkward ones, and what is no core.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/elfcore.h"
#include "image/image.h"

#include <elf.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/format.h"
#include "tests/lib/check.h"
#include "tests/lib/corebuilder.h"

enum { PAGE = 4096 };

static uint8_t page_a[PAGE], page_b[PAGE];

/** Open the first size bytes of a file. */
static struct error *open_bytes(const uint8_t *bytes, size_t size,
				struct image **ret)
{
	CLEANUP(close_fd) int fd = corebuilder_file(bytes, size);

	return image_open_fd(fd, "core",
			     &(struct image_options){ .sysroot = "" }, ret);
}

/** Open what core builds; core is emptied. NULL is printed as a failure. */
static struct image *open_core(struct corebuilder *core)
{
	struct image *image = NULL;
	struct error *err;
	size_t size;
	uint8_t *bytes = corebuilder_bytes(core, &size);

	err = open_bytes(bytes, size, &image);
	if (err) {
		printf("not ok opening: %s\n", err->message);
		exit(1);
	}
	free(bytes);
	corebuilder_deinit(core);
	return image;
}

/** The byte at address; -1: not to be had. */
static int byte_at(const struct image *image, uint64_t address)
{
	struct memory_reader reader;
	uint8_t byte;
	int result = -1;

	error_free(memory_reader_init(&reader, image->memory));
	if (memory_try_read(&reader, address, &byte, 1))
		result = byte;
	memory_reader_deinit(&reader);
	return result;
}

static enum memory_state state_at(const struct image *image, uint64_t address)
{
	return memory_state_at(image->memory, address);
}

/* --- good ones ------------------------------------------------------------ */

static void test_plain(uint16_t machine, const char *name)
{
	static const uint64_t auxv[] = { AT_PAGESZ, 16384, AT_NULL, 0 };
	struct corebuilder core = { .machine = machine };
	struct image *image;

	corebuilder_thread(&core, 12, 11, 0xABCD);
	corebuilder_note(&core, "CORE", NT_AUXV, auxv, sizeof(auxv));
	corebuilder_segment(&core, 0x20000, page_b, PAGE, PAGE, PF_R | PF_W);
	corebuilder_segment(&core, 0x10000, page_a, PAGE, 3 * PAGE, PF_R);
	image = open_core(&core);
	CHECK(name, image->machine == machine);
	CHECK_U64("page size", image->page_size, 16384);
	CHECK_U64("segments", image->num_segments, 2);
	CHECK_U64("their bytes", image->segment_bytes, 2 * PAGE);
	CHECK_U64("nothing missing", image->missing_bytes, 0);
	CHECK("whole", !image_partial(image));
	CHECK_U64("a thread", image->notes.threads[0].tid, 12);
	CHECK("first segment by address",
	      byte_at(image, 0x10010) == page_a[0x10]);
	CHECK("second", byte_at(image, 0x20FFF) == page_b[0xFFF]);
	CHECK("the tail of a segment is not captured",
	      state_at(image, 0x11000) == MEMORY_NOT_CAPTURED &&
	      state_at(image, 0x12FFF) == MEMORY_NOT_CAPTURED);
	CHECK("after it nothing was mapped",
	      state_at(image, 0x13000) == MEMORY_UNMAPPED);
	CHECK_STRING("who wrote it is not known", image_writer(image),
		     "unknown");
	image_close(image);
}

static void test_overlaps(void)
{
	struct corebuilder core = { .machine = EM_X86_64 };
	struct image *image;

	corebuilder_thread(&core, 1, 0, 0);
	corebuilder_segment(&core, 0x12000, page_a, PAGE, PAGE, PF_R);
	corebuilder_segment(&core, 0x11800, page_b, PAGE, PAGE, PF_R);
	corebuilder_segment(&core, 0x10000, NULL, 0, 0x10000, PF_R);
	corebuilder_segment(&core, 0x10000, NULL, 0, 0, PF_R);
	image = open_core(&core);
	CHECK("the first of two wins", byte_at(image, 0x12000) == page_a[0]);
	CHECK("the other is there before it",
	      byte_at(image, 0x11FFF) == page_b[0x7FF]);
	CHECK("and bytes win over none",
	      state_at(image, 0x11000) == MEMORY_NOT_CAPTURED &&
	      byte_at(image, 0x11800) == page_b[0]);
	image_close(image);
}

static void test_many_segments(void)
{
	enum { COUNT = 70000 };
	struct corebuilder core = { .machine = EM_X86_64 };
	struct image *image = NULL;
	struct error *err;
	uint8_t *bytes;
	size_t size;

	corebuilder_thread(&core, 1, 0, 0);
	for (uint64_t i = 0; i < COUNT; i++)
		corebuilder_segment(&core, (COUNT - i) * 2 * PAGE,
				    &page_a[i % PAGE], 1, PAGE, PF_R);
	bytes = corebuilder_bytes(&core, &size);
	err = open_bytes(bytes, size, &image);
	CHECK("70,000 segments open", !err);
	CHECK_U64("all of them", image->num_segments, COUNT);
	CHECK("the last one", byte_at(image, 2 * PAGE) ==
				      page_a[(COUNT - 1) % PAGE]);
	CHECK("is whole", !image_partial(image));
	image_close(image);

	// Cut off before the section header that holds their number.
	image = NULL;
	err = open_bytes(bytes, size - 64, &image);
	CHECK("and without the section header", !err);
	CHECK_U64("they are counted", image->num_segments, COUNT);
	CHECK("what is lost is said",
	      image_partial(image) && findings_of(image->findings, "headers"));
	image_close(image);
	free(bytes);
	corebuilder_deinit(&core);
}

/** A million segments take seconds at most, whatever their order. */
static void test_a_million(void)
{
	enum { COUNT = 1000000 };
	struct corebuilder core = { .machine = EM_X86_64 };
	struct image *image;

	corebuilder_thread(&core, 1, 0, 0);
	for (uint64_t i = 0; i < COUNT; i++)
		corebuilder_segment(&core, ((i * 7919) % COUNT + 1) * PAGE,
				    NULL, 0, 2 * PAGE, PF_R);
	image = open_core(&core);
	CHECK_U64("a million segments", image->num_segments, COUNT);
	CHECK_U64("addresses in them",
		  memory_total(image->memory, MEMORY_NOT_CAPTURED),
		  (uint64_t)(COUNT + 1) * PAGE);
	image_close(image);
}

/* --- claims --------------------------------------------------------------- */

static void test_claims(void)
{
	struct corebuilder core = { .machine = EM_X86_64 };
	struct image *image;

	corebuilder_thread(&core, 1, 0, 0);
	// More in the file than in memory.
	corebuilder_claim(&core, 0x10000, page_a, PAGE, 0, PAGE, 0x800);
	// Far more than the file has.
	corebuilder_claim(&core, 0x20000, page_b, PAGE, 0, INT64_MAX,
			  INT64_MAX);
	// From beyond the end of the file.
	corebuilder_claim(&core, UINT64_C(0xC000000000000000), NULL, 0,
			  UINT64_C(1) << 62, PAGE, PAGE);
	// Past the end of the address space, and behind it.
	corebuilder_claim(&core, ELFCORE_ADDRESSES_END - PAGE, page_a, PAGE, 0,
			  PAGE, UINT64_MAX);
	corebuilder_claim(&core, UINT64_MAX - PAGE + 1, page_a, PAGE, 0, PAGE,
			  PAGE);
	image = open_core(&core);
	CHECK("p_filesz over p_memsz is cut",
	      byte_at(image, 0x107FF) == page_a[0x7FF] &&
	      state_at(image, 0x10800) == MEMORY_UNMAPPED);
	CHECK("p_filesz of half the address space",
	      byte_at(image, 0x20000) == page_b[0]);
	CHECK("is missing where the file ends",
	      memory_find(image->memory, 0x20000 + 16 * PAGE)->reason ==
		      MEMORY_REASON_CUT);
	CHECK("p_offset beyond the file",
	      state_at(image, UINT64_C(0xC000000000000000)) ==
		      MEMORY_NOT_CAPTURED);
	CHECK("around the end of the address space",
	      byte_at(image, ELFCORE_ADDRESSES_END - PAGE) == page_a[0] &&
	      state_at(image, ELFCORE_ADDRESSES_END) == MEMORY_UNMAPPED);
	CHECK("behind the end of the address space",
	      state_at(image, UINT64_MAX - PAGE + 1) == MEMORY_UNMAPPED);
	CHECK_U64("findings of segments",
		  findings_of(image->findings, "segment"), 3);
	CHECK_U64("findings of truncation",
		  findings_of(image->findings, "truncated"), 2);
	CHECK("it is partial", image_partial(image));
	CHECK("and says how much", image->missing_bytes > INT64_MAX / 2);
	image_close(image);
}

/** Cut off at and around every boundary: an error or a finding, always. */
static void test_truncated(void)
{
	struct corebuilder core = { .machine = EM_AARCH64 };
	size_t size, refused = 0, partial = 0, silent = 0;
	uint8_t *bytes;

	corebuilder_thread(&core, 1, 0, 0);
	corebuilder_segment(&core, 0x10000, page_a, 64, PAGE, PF_R);
	corebuilder_segment(&core, 0x20000, page_b, 64, PAGE, PF_R);
	bytes = corebuilder_bytes(&core, &size);
	for (size_t cut = 0; cut < size; cut++) {
		struct image *image = NULL;
		struct error *err = open_bytes(bytes, cut, &image);

		refused += err != NULL;
		if (!err && image_partial(image) &&
		    findings_total(image->findings))
			partial++;
		else if (!err)
			silent++;
		error_free(err);
		image_close(image);
	}
	CHECK_U64("refused while no header is whole", refused,
		  sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr));
	CHECK_U64("partial from then on", partial, size - refused);
	CHECK_U64("never silently", silent, 0);
	free(bytes);
	corebuilder_deinit(&core);
}

/* --- heapdump's notes ----------------------------------------------------- */

static void add_own_notes(struct corebuilder *core, bool final)
{
	static const struct format_header header = {
		.version = FORMAT_VERSION };
	static const char facts[] = "creator=heapdump 9.9\0"
				    "captured_at_ns=1700000000500000000";
	static const char complete[] = "complete=yes";
	static const struct format_skipped skipped[] = {
		{ 0x11000, 0x12000, FORMAT_ZERO, 0 },
		{ 0x30000, 0x31000, FORMAT_DEVICE, 0 },
	};
	static const struct format_skipped missing[] = {
		{ 0x10800, 0x10C00, FORMAT_FAILED, 5 },
	};
	struct {
		struct format_mappings header;
		struct format_mapping mapping[2];
		char names[8];
	} mappings = {
		.header = { 2, 1 },
		.mapping = {
			{ .start = 0x30000, .end = 0x34000,
			  .protection = PF_R | PF_X },
			{ .start = 0x50000, .end = 0x51000,
			  .reason = FORMAT_DONTDUMP },
		},
	};

	corebuilder_note(core, FORMAT_NOTE_OWNER, FORMAT_NOTE_HEADER, &header,
			 sizeof(header));
	corebuilder_note(core, FORMAT_NOTE_OWNER, FORMAT_NOTE_FACTS, facts,
			 sizeof(facts));
	corebuilder_note(core, FORMAT_NOTE_OWNER, FORMAT_NOTE_SKIPPED, skipped,
			 sizeof(skipped));
	corebuilder_note(core, FORMAT_NOTE_OWNER, FORMAT_NOTE_MAPPINGS,
			 &mappings, sizeof(mappings));
	if (!final)
		return;
	corebuilder_note(core, FORMAT_NOTE_OWNER, FORMAT_NOTE_FINAL, complete,
			 sizeof(complete));
	corebuilder_note(core, FORMAT_NOTE_OWNER, FORMAT_NOTE_MISSING, missing,
			 sizeof(missing));
}

static void test_own_notes(void)
{
	struct corebuilder core = { .machine = EM_X86_64 };
	const struct memory_range *range;
	struct image *image;
	int64_t captured_at = 0;

	add_own_notes(&core, true);
	corebuilder_thread(&core, 1, 0, 0);
	corebuilder_segment(&core, 0x10000, page_a, PAGE, 3 * PAGE, PF_R);
	image = open_core(&core);
	CHECK_STRING("heapdump wrote it", image_writer(image), "heapdump 9.9");
	CHECK("when", image_captured_at(image, &captured_at) &&
		      captured_at == 1700000000);
	CHECK("what is known to be zero", byte_at(image, 0x11010) == 0 &&
	      state_at(image, 0x11010) == MEMORY_ZERO);
	CHECK("the rest of the tail is not captured",
	      state_at(image, 0x12000) == MEMORY_NOT_CAPTURED);
	CHECK("before what failed", byte_at(image, 0x107FF) == page_a[0x7FF]);
	CHECK("what failed is not read as the zeroes left for it",
	      state_at(image, 0x10800) == MEMORY_NOT_CAPTURED &&
	      byte_at(image, 0x10BFF) == -1);
	CHECK("after it", byte_at(image, 0x10C00) == page_a[0xC00]);
	range = memory_find(image->memory, 0x30000);
	CHECK("why a range was left out",
	      range && range->reason == FORMAT_DEVICE);
	CHECK("with its protection",
	      range && range->protection == (PF_R | PF_X));
	range = memory_find(image->memory, 0x50000);
	CHECK("a mapping without a segment",
	      range && range->state == MEMORY_NOT_CAPTURED &&
	      range->reason == FORMAT_DONTDUMP);
	CHECK("what failed makes it partial", image_partial(image));
	image_close(image);

	add_own_notes(&core, false);
	core.machine = EM_X86_64;
	corebuilder_thread(&core, 1, 0, 0);
	image = open_core(&core);
	CHECK("without final notes it is partial",
	      image_partial(image) &&
	      findings_of(image->findings, "incomplete") == 1);
	image_close(image);
}

/* --- what is no core ------------------------------------------------------ */

static void test_refused(void)
{
	static const struct {
		const char *name;
		size_t offset;
		uint16_t value;
		size_t size;
		enum error_kind kind;
		const char *says;
	} cases[] = {
		{ "a file of something", 0, 0x5858, 2, ERROR_FORMAT,
		  "core: is not an ELF file" },
		{ "a script", 0, 0x2123, 2, ERROR_FORMAT,
		  "core: is a script, not an ELF core" },
		{ "32 bits", EI_CLASS, ELFCLASS32, 1, ERROR_UNSUPPORTED,
		  "core: is a 32-bit ELF file; 64-bit cores can be read" },
		{ "big-endian", EI_DATA, ELFDATA2MSB, 1, ERROR_UNSUPPORTED,
		  "core: is a big-endian ELF file; little-endian cores can be "
		  "read" },
		{ "no class", EI_CLASS, 7, 1, ERROR_FORMAT,
		  "core: has a damaged ELF header: class 7, byte order 1" },
		{ "a program", 16, ET_EXEC, 2, ERROR_FORMAT,
		  "core: is an executable, not a core" },
		{ "a library", 16, ET_DYN, 2, ERROR_FORMAT,
		  "core: is a shared library or a position-independent "
		  "executable, not a core" },
		{ "riscv", 18, EM_RISCV, 2, ERROR_UNSUPPORTED,
		  "core: is a core of machine riscv; x86-64 and aarch64 can be "
		  "read" },
		{ "a machine without a name", 18, 0x7777, 2, ERROR_UNSUPPORTED,
		  "core: is a core of machine number 30583; x86-64 and aarch64 "
		  "can be read" },
		{ "a GPU", 18, EM_CUDA, 2, ERROR_UNSUPPORTED,
		  "core: is the core of a GPU, not of a process" },
		{ "headers of another size", 54, 32, 2, ERROR_FORMAT,
		  "core: has program headers of 32 bytes, not 56" },
		{ "no headers", 56, 0, 2, ERROR_FORMAT,
		  "core: is an ELF core without any program header" },
	};
	struct corebuilder core = { .machine = EM_X86_64 };
	uint8_t *bytes, zeroes[512] = { 0 };
	struct image *image = NULL;
	struct error *err;
	size_t size;

	corebuilder_thread(&core, 1, 0, 0);
	bytes = corebuilder_bytes(&core, &size);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t kept[2];

		memcpy(kept, bytes + cases[i].offset, 2);
		memcpy(bytes + cases[i].offset, &cases[i].value, cases[i].size);
		err = open_bytes(bytes, size, &image);
		CHECK_STRING(cases[i].name, err ? err->message : "no error",
			     cases[i].says);
		CHECK("its kind", err && err->kind == cases[i].kind);
		error_free(err);
		memcpy(bytes + cases[i].offset, kept, 2);
	}
	err = open_bytes(zeroes, sizeof(zeroes), &image);
	CHECK_STRING("zeroes", err ? err->message : "no error",
		     "core: is not an ELF file: it begins with zero bytes");
	error_free(err);
	err = open_bytes(zeroes, 0, &image);
	CHECK("an empty file", err != NULL);
	error_free(err);
	free(bytes);
	corebuilder_deinit(&core);
}

int main(void)
{
	for (size_t i = 0; i < PAGE; i++) {
		page_a[i] = (uint8_t)(1 + i % 97);
		page_b[i] = (uint8_t)(100 + i % 89);
	}
	test_plain(EM_X86_64, "x86-64");
	test_plain(EM_AARCH64, "aarch64");
	test_overlaps();
	test_many_segments();
	test_a_million();
	test_claims();
	test_truncated();
	test_own_notes();
	test_refused();
	return check_result();
}
