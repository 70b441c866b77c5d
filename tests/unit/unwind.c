/*
 * Native stacks of a planted module: each way in which a walk can end.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The module has three pages in memory and no file: headers, code, an unwind
 * table of five functions. What is not set is zero.
 */
#include "image/unwind.h"

#include <elf.h>
#include <stdlib.h>

#include "image/base/guard.h"
#include "image/registers.h"
#include "tests/lib/check.h"
#include "tests/lib/corebuilder.h"

#define MODULE UINT64_C(0x7f0000400000)
#define STACK UINT64_C(0x7ffd00000000)

enum {
	PAGE = 4096,
	FUNCTION = 0x100,	/* bytes of each */
	WORDS = PAGE / 8,
	FRAMES_MOST = 64,
	AMD64_REGISTERS = 27, AMD64_RBP = 4, AMD64_RIP = 16, AMD64_RSP = 19,
	ARM64_REGISTERS = 34, ARM64_LR = 30, ARM64_SP = 31, ARM64_PC = 32,
	STATUS_BEFORE = 112,	/* bytes of NT_PRSTATUS before registers */
};

/** The functions, one behind the other from the second page on. */
enum function {
	LEAF,		/* its caller is the first word of its stack */
	MIDDLE,		/* three words in between */
	FIRST,		/* called by nobody */
	KEEPS_FRAME,	/* by rbp, as code without optimization does */
	NUM_LISTED,
	UNLISTED = NUM_LISTED,	/* has no entry */
};

struct planted {
	uint16_t machine;
	uint8_t module[3 * PAGE];
	uint64_t stack[WORDS];
	uint64_t registers[ARM64_REGISTERS];
	size_t used;		/* bytes of the table */
};

static uint64_t in(enum function function)
{
	return MODULE + PAGE + (uint64_t)function * FUNCTION + 0x10;
}

/** The address of a word of the stack. */
static uint64_t word(size_t i)
{
	return STACK + i * 8;
}

/* --- the unwind table ------------------------------------------------------- */

static void put(struct planted *planted, const void *bytes, size_t size)
{
	memcpy(planted->module + 2 * PAGE + planted->used, bytes, size);
	planted->used += size;
}

static void put_number(struct planted *planted, int64_t number)
{
	int32_t four = (int32_t)number;

	put(planted, &four, sizeof(four));
}

static void put_function(struct planted *planted, enum function function,
			 const uint8_t *code, size_t size)
{
	uint8_t entry[16] = { 0 };
	size_t length = 4 + 4 + 4 + 1 + size;

	while ((length + 4) % 8)
		length++;
	put_number(planted, (int64_t)length);
	put_number(planted, (int64_t)planted->used);	/* back to the first */
	put_number(planted, (int64_t)(PAGE + (uint64_t)function * FUNCTION) -
		   (int64_t)(2 * PAGE + planted->used));
	put_number(planted, FUNCTION);
	memcpy(entry + 1, code, size);
	put(planted, entry, length - 4 - 4 - 4);
}

static void put_table(struct planted *planted)
{
	// CFA: the stack pointer and 8 (aarch64: 0); the caller below it, or in
	// x30.
	static const uint8_t amd64[] = { 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b,
					 0x0c, 7, 8, 0x90, 1 };
	static const uint8_t arm64[] = { 1, 'z', 'R', 0, 1, 0x78, 30, 1, 0x1b,
					 0x0c, 31, 0 };
	static const uint8_t leaf[] = { 0 };
	static const uint8_t middle[] = { 0x0e, 32 };
	static const uint8_t middle_arm[] = { 0x0e, 32, 0x9e, 1 };
	static const uint8_t first[] = { 0x07, 16 };
	static const uint8_t first_arm[] = { 0x07, 30 };
	// CFA: rbp and 16, with rbp below it and the caller between.
	static const uint8_t keeps[] = { 0x0c, 6, 16, 0x86, 2 };
	bool arm = planted->machine == EM_AARCH64;
	size_t size = arm ? sizeof(arm64) : sizeof(amd64), length = 4 + size;

	while ((length + 4) % 8)
		length++;
	put_number(planted, (int64_t)length);
	put_number(planted, 0);
	put(planted, arm ? arm64 : amd64, size);
	planted->used = length + 4;
	put_function(planted, LEAF, leaf, sizeof(leaf));
	if (arm)
		put_function(planted, MIDDLE, middle_arm, sizeof(middle_arm));
	else
		put_function(planted, MIDDLE, middle, sizeof(middle));
	put_function(planted, FIRST, arm ? first_arm : first, 2);
	put_function(planted, KEEPS_FRAME, keeps, sizeof(keeps));
	put_number(planted, 0);
}

/** .eh_frame_hdr without a table of its own: .eh_frame is read from its start. */
static size_t put_header(struct planted *planted)
{
	static const uint8_t header[] = { 1, 0x1b, 0xff, 0xff };
	size_t start = planted->used;

	put(planted, header, sizeof(header));
	put_number(planted, -(int64_t)planted->used);
	return start;
}

static void plant(struct planted *planted, uint16_t machine)
{
	Elf64_Ehdr header;
	Elf64_Phdr programs[2];
	size_t start;

	*planted = (struct planted){ .machine = machine };
	put_table(planted);
	start = put_header(planted);
	header = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
			     ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_DYN, .e_machine = machine,
		.e_version = EV_CURRENT, .e_ehsize = sizeof(header),
		.e_phoff = sizeof(header), .e_phentsize = sizeof(programs[0]),
		.e_phnum = 2,
	};
	programs[0] = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_align = PAGE,
		.p_filesz = sizeof(planted->module),
		.p_memsz = sizeof(planted->module),
	};
	programs[1] = (Elf64_Phdr){
		.p_type = PT_GNU_EH_FRAME, .p_flags = PF_R,
		.p_offset = 2 * PAGE + start, .p_vaddr = 2 * PAGE + start,
		.p_filesz = planted->used - start,
		.p_memsz = planted->used - start,
	};
	memcpy(planted->module, &header, sizeof(header));
	memcpy(planted->module + sizeof(header), programs, sizeof(programs));
}

/* --- the core ---------------------------------------------------------------- */

static void put_notes(struct corebuilder *core, const struct planted *planted)
{
	static const char path[] = "/lib/planted.so";
	uint64_t files[6] = { 1, PAGE, MODULE, MODULE + sizeof(planted->module),
			      0 };
	uint8_t file_note[5 * 8 + sizeof(path)], status[400] = { 0 };
	bool arm = planted->machine == EM_AARCH64;
	size_t size = 8 * (size_t)(arm ? ARM64_REGISTERS : AMD64_REGISTERS);
	uint32_t tid = 7;

	memcpy(file_note, files, 5 * 8);
	memcpy(file_note + 5 * 8, path, sizeof(path));
	memcpy(status + 32, &tid, sizeof(tid));
	memcpy(status + STATUS_BEFORE, planted->registers, size);
	corebuilder_note(core, "CORE", NT_PRSTATUS, status,
			 STATUS_BEFORE + size + 8);
	corebuilder_note(core, "CORE", NT_FILE, file_note, sizeof(file_note));
}

static struct image *open_planted(const struct planted *planted)
{
	struct corebuilder core = { .machine = planted->machine };
	struct image *image = NULL;
	struct error *err;

	put_notes(&core, planted);
	corebuilder_segment(&core, MODULE, planted->module,
			    sizeof(planted->module), sizeof(planted->module),
			    PF_R | PF_X);
	corebuilder_segment(&core, STACK, planted->stack,
			    sizeof(planted->stack), sizeof(planted->stack),
			    PF_R | PF_W);
	{
		CLEANUP(close_fd) int fd = corebuilder_fd(&core);

		err = image_open_fd(fd, "core",
				    &(struct image_options){ .sysroot = "" },
				    &image);
	}
	if (err) {
		printf("not ok opening: %s\n", err->message);
		exit(1);
	}
	corebuilder_deinit(&core);
	return image;
}

struct walked {
	struct native_frame frames[FRAMES_MOST];
	size_t count;
	enum unwind_end end;
	uint64_t at;
};

static bool take(void *context, const struct native_frame *frame)
{
	struct walked *walked = context;

	walked->frames[walked->count++] = *frame;
	return walked->count < FRAMES_MOST;
}

static struct walked walk(const struct planted *planted)
{
	struct image *image = open_planted(planted);
	struct unwinder *unwinder = NULL;
	struct walked walked = { 0 };
	struct error *err = unwinder_create(image, &unwinder);

	if (err) {
		printf("not ok unwinder: %s\n", err->message);
		exit(1);
	}
	walked.end = unwinder_walk(unwinder, 0, take, &walked, &walked.at);
	unwinder_destroy(unwinder);
	image_close(image);
	return walked;
}

/* --- tests ------------------------------------------------------------------- */

/** LEAF called by MIDDLE called by whoever is named. */
static void call(struct planted *planted, uint64_t outermost)
{
	planted->registers[AMD64_RIP] = in(LEAF);
	planted->registers[AMD64_RSP] = word(10);
	planted->stack[10] = in(MIDDLE);
	planted->stack[14] = outermost;
}

static void test_whole(void)
{
	struct planted planted;
	struct walked walked;

	plant(&planted, EM_X86_64);
	call(&planted, in(FIRST));
	walked = walk(&planted);
	CHECK_U64("frames", walked.count, 3);
	CHECK("an end", walked.end == UNWIND_OUTERMOST);
	CHECK("the innermost", walked.frames[0].pc == in(LEAF) &&
	      walked.frames[0].exact && walked.frames[0].sp == word(10));
	CHECK("its caller", walked.frames[1].pc == in(MIDDLE) &&
	      !walked.frames[1].exact && walked.frames[1].sp == word(11));
	CHECK("the first", walked.frames[2].pc == in(FIRST) &&
	      walked.frames[2].sp == word(15));
}

static void test_ends(void)
{
	struct planted planted;
	struct walked walked;

	plant(&planted, EM_X86_64);
	call(&planted, 0x1234);
	walked = walk(&planted);
	CHECK("a caller in no module is told",
	      walked.end == UNWIND_NO_MODULE && walked.at == 0x1234 &&
	      walked.count == 3);

	plant(&planted, EM_X86_64);
	call(&planted, 0);
	walked = walk(&planted);
	CHECK("called from 0", walked.end == UNWIND_LOST && walked.count == 2 &&
	      walked.at == in(MIDDLE));

	plant(&planted, EM_X86_64);
	call(&planted, in(FIRST));
	planted.registers[AMD64_RSP] = word(WORDS - 2);
	planted.stack[WORDS - 2] = in(MIDDLE);
	walked = walk(&planted);
	CHECK("behind the captured part of the stack",
	      walked.end == UNWIND_NOT_CAPTURED && walked.count == 2 &&
	      walked.at == word(WORDS - 1) + 24);

	plant(&planted, EM_X86_64);
	call(&planted, in(FIRST));
	planted.registers[AMD64_RSP] = 8;
	walked = walk(&planted);
	CHECK("a stack pointer that leads nowhere",
	      walked.end == UNWIND_NOT_CAPTURED && walked.count == 1 &&
	      walked.at == 8);
}

static void test_without_entry(void)
{
	struct planted planted;
	struct walked walked;

	plant(&planted, EM_X86_64);
	call(&planted, in(UNLISTED));
	walked = walk(&planted);
	CHECK("a function without an entry",
	      walked.end == UNWIND_NO_TABLE && walked.count == 3 &&
	      walked.at == in(UNLISTED));

	// Its rbp leads to words that are no frame.
	planted.registers[AMD64_RBP] = word(20);
	planted.stack[20] = word(30);
	planted.stack[21] = word(31);
	walked = walk(&planted);
	CHECK("… whose rbp leads to what is no code",
	      walked.end == UNWIND_NO_TABLE && walked.count == 3);
	planted.stack[21] = in(FIRST);
	walked = walk(&planted);
	CHECK("… and to code that is not behind a call",
	      walked.end == UNWIND_NO_TABLE && walked.count == 3);
	// call of something, five bytes
	planted.module[in(FIRST) - 5 - MODULE] = 0xe8;
	walked = walk(&planted);
	CHECK("… and to a call, which is believed",
	      walked.end == UNWIND_OUTERMOST && walked.count == 4 &&
	      walked.frames[3].pc == in(FIRST));
}

static void test_circles(void)
{
	struct planted planted;
	struct walked walked;

	plant(&planted, EM_X86_64);
	planted.registers[AMD64_RIP] = in(KEEPS_FRAME);
	planted.registers[AMD64_RSP] = word(4);
	planted.registers[AMD64_RBP] = word(8);
	planted.stack[8] = word(12);
	planted.stack[9] = in(KEEPS_FRAME);
	planted.stack[12] = word(16);
	planted.stack[13] = in(FIRST);
	walked = walk(&planted);
	CHECK("by frame pointers", walked.end == UNWIND_OUTERMOST &&
	      walked.count == 3 && walked.frames[2].sp == word(14));
	planted.stack[13] = in(KEEPS_FRAME);
	planted.stack[16] = word(8);
	planted.stack[17] = in(KEEPS_FRAME);
	walked = walk(&planted);
	CHECK("in a circle", walked.end == UNWIND_LOST &&
	      walked.count < FRAMES_MOST / 2);
}

static void test_aarch64(void)
{
	struct planted planted;
	struct walked walked;

	plant(&planted, EM_AARCH64);
	planted.registers[ARM64_PC] = in(LEAF);
	planted.registers[ARM64_SP] = word(10);
	planted.registers[ARM64_LR] = in(MIDDLE);
	planted.stack[13] = in(FIRST);
	walked = walk(&planted);
	CHECK("aarch64: the caller in x30, and its on the stack",
	      walked.end == UNWIND_OUTERMOST && walked.count == 3 &&
	      walked.frames[1].pc == in(MIDDLE) &&
	      walked.frames[2].pc == in(FIRST));
	planted.registers[ARM64_LR] |= UINT64_C(0x0033) << 48;
	planted.stack[13] |= UINT64_C(0x0051) << 48;
	walked = walk(&planted);
	CHECK("aarch64: signed addresses",
	      walked.end == UNWIND_OUTERMOST && walked.count == 3 &&
	      walked.frames[1].pc == in(MIDDLE) &&
	      walked.frames[2].pc == in(FIRST));
	planted.stack[13] |= UINT64_C(1) << 60;
	walked = walk(&planted);
	CHECK("aarch64: what has a tag is no address of code",
	      walked.end == UNWIND_NO_MODULE && walked.count == 3);
}

int main(void)
{
	test_whole();
	test_ends();
	test_without_entry();
	test_circles();
	test_aarch64();
	return check_result();
}
