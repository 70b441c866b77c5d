/*
 * The heap of a planted malloc: every chunk, and what is said of damaged ones.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A library has an arena among its data, another mapping is the heap of it. What
 * the arena looks like is glibc's of 2.27 to 2.42, and of 2.43.
 */
#include "image/malloc/glibcheap.h"

#include <elf.h>
#include <stddef.h>
#include <stdlib.h>

#include "image/base/guard.h"
#include "tests/lib/check.h"
#include "tests/lib/corebuilder.h"

#define LIBC UINT64_C(0x7f0000400000)
#define HEAP UINT64_C(0x555500000000)

enum {
	PAGE = 4096,
	LIBC_SIZE = 2 * PAGE,
	HEAP_SIZE = 16 * PAGE,
	STATE = PAGE + 0x40,	/* where in the library the arena is */
	BINS = 127, BINS_SIZE = BINS * 16,
	CHUNKS = 40,
	PREV_INUSE = 1,
	UNSORTED = 0,
	JOINED_SIZE = 4 * PAGE,
};

struct planted {
	bool newest;			/* of 2.43: no fast bins */
	/* the library's .bss, one page of it, and a chunk's mapping behind it,
	   which the kernel has joined; [0] == 0: none */
	uint64_t joined[JOINED_SIZE / 8];
	uint8_t libc[LIBC_SIZE];
	uint64_t heap[HEAP_SIZE / 8];
	uint64_t starts[CHUNKS + 1];	/* addresses; the last is the top */
};

static uint64_t bins_at(const struct planted *planted)
{
	return STATE + (planted->newest ? 24 : 112);
}

static void put_libc(struct planted *planted, uint64_t at, uint64_t value)
{
	memcpy(planted->libc + at, &value, sizeof(value));
}

static uint64_t *at(struct planted *planted, uint64_t address)
{
	return &planted->heap[(address - HEAP) / 8];
}

/** Size of chunk i: all kinds of them. */
static uint64_t size_of(size_t i)
{
	return 32 + 16 * (uint64_t)(i * 7 % 23);
}

static void plant_arena(struct planted *planted)
{
	uint64_t bins = bins_at(planted);

	for (uint64_t i = 0; i < BINS; i++) {
		put_libc(planted, bins + 16 * i, LIBC + bins + 16 * i - 16);
		put_libc(planted, bins + 16 * i + 8, LIBC + bins + 16 * i - 16);
	}
	put_libc(planted, bins - 16, planted->starts[CHUNKS]);
	put_libc(planted, bins + BINS_SIZE + 16, LIBC + STATE);
	put_libc(planted, bins + BINS_SIZE + 32, 1);
	put_libc(planted, bins + BINS_SIZE + 40, HEAP_SIZE);
	put_libc(planted, bins + BINS_SIZE + 48, HEAP_SIZE);
}

static void plant(struct planted *planted, bool newest)
{
	const Elf64_Ehdr header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
			     ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_DYN, .e_machine = EM_X86_64,
		.e_version = EV_CURRENT, .e_ehsize = sizeof(header),
		.e_phoff = sizeof(header), .e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	};
	const Elf64_Phdr program = {
		.p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_align = PAGE,
		.p_filesz = LIBC_SIZE, .p_memsz = LIBC_SIZE,
	};
	uint64_t next = HEAP;

	*planted = (struct planted){ .newest = newest };
	memcpy(planted->libc, &header, sizeof(header));
	memcpy(planted->libc + sizeof(header), &program, sizeof(program));
	for (size_t i = 0; i < CHUNKS; i++) {
		planted->starts[i] = next;
		at(planted, next)[1] = size_of(i) | PREV_INUSE;
		at(planted, next)[2] = i + 1000;
		next += size_of(i);
	}
	planted->starts[CHUNKS] = next;
	at(planted, next)[1] = (HEAP + HEAP_SIZE - next) | PREV_INUSE;
	plant_arena(planted);
}

/** Put a chunk into the list of unsorted ones, alone. */
static void set_free(struct planted *planted, size_t i)
{
	uint64_t head = bins_at(planted) + UNSORTED;
	uint64_t *chunk = at(planted, planted->starts[i]);
	uint64_t *next = at(planted, planted->starts[i + 1]);

	chunk[2] = chunk[3] = LIBC + head - 16;
	put_libc(planted, head, planted->starts[i]);
	put_libc(planted, head + 8, planted->starts[i]);
	next[0] = size_of(i);
	next[1] &= ~(uint64_t)PREV_INUSE;
}

/* --- walking ------------------------------------------------------------------- */

struct walked {
	struct glibc_chunk chunks[CHUNKS + 8];
	size_t count;
	struct glibc_arena arena;
	struct finding findings[4];
	size_t num_findings;
	char found_by[64];
};

static struct error *take(void *context, const struct glibc_chunk *chunk)
{
	struct walked *walked = context;

	if (walked->count < CHUNKS + 8)
		walked->chunks[walked->count] = *chunk;
	walked->count++;
	return NULL;
}

static void put_notes(struct corebuilder *core)
{
	static const char path[] = "/lib/libc.so.6";
	uint64_t files[5] = { 1, PAGE, LIBC, LIBC + LIBC_SIZE, 0 };
	uint8_t note[sizeof(files) + sizeof(path)];

	memcpy(note, files, sizeof(files));
	memcpy(note + sizeof(files), path, sizeof(path));
	corebuilder_thread(core, 7, 0, 0);
	corebuilder_note(core, "CORE", NT_FILE, note, sizeof(note));
}

static void walk(struct planted *planted, struct walked *ret)
{
	struct corebuilder core = { .machine = EM_X86_64 };
	struct glibc_options options = { 0 };
	struct glibc_heap *heap = NULL;
	struct image *image = NULL;
	struct error *err;

	*ret = (struct walked){ 0 };
	put_notes(&core);
	corebuilder_segment(&core, LIBC, planted->libc, LIBC_SIZE, LIBC_SIZE,
			    PF_R | PF_W);
	if (planted->joined[0])
		corebuilder_segment(&core, LIBC + LIBC_SIZE, planted->joined,
				    JOINED_SIZE, JOINED_SIZE, PF_R | PF_W);
	corebuilder_segment(&core, HEAP, planted->heap, HEAP_SIZE, HEAP_SIZE,
			    PF_R | PF_W);
	{
		CLEANUP(close_fd) int fd = corebuilder_fd(&core);

		err = image_open_fd(fd, "core",
				    &(struct image_options){ .sysroot = "" },
				    &image);
	}
	if (!err)
		err = glibc_heap_open(image, &options, &heap);
	if (!err)
		err = glibc_each_chunk(heap, take, ret);
	if (err) {
		printf("not ok walking: %s\n", err->message);
		exit(1);
	}
	ret->arena = *glibc_arena(heap, 0);
	(void)snprintf(ret->found_by, sizeof(ret->found_by), "%s",
		       glibc_found_by(heap));
	ret->num_findings = findings_kept(image->findings);
	for (size_t i = 0; i < ret->num_findings && i < 4; i++)
		ret->findings[i] = *findings_get(image->findings, i);
	glibc_heap_close(heap);
	image_close(image);
	corebuilder_deinit(&core);
}

/** Is chunk i told, as one of this kind? */
static bool is_told(const struct planted *planted, const struct walked *walked,
		    size_t i, enum glibc_kind kind)
{
	for (size_t j = 0; j < walked->count && j < CHUNKS + 8; j++)
		if (walked->chunks[j].start == planted->starts[i])
			return walked->chunks[j].kind == kind &&
			       (i == CHUNKS || walked->chunks[j].end ==
						       planted->starts[i + 1]);
	return false;
}

/* --- tests --------------------------------------------------------------------- */

static void test_whole(bool newest)
{
	static struct planted planted;
	static struct walked walked;
	uint64_t used = 0;
	bool all = true;

	plant(&planted, newest);
	set_free(&planted, 11);
	walk(&planted, &walked);
	for (size_t i = 0; i < CHUNKS; i++) {
		used += i == 11 ? 0 : size_of(i);
		all &= is_told(&planted, &walked, i, i == 11 ? GLIBC_FREE :
							      GLIBC_USED);
	}
	CHECK_STRING("without symbols", walked.found_by,
		     "the shape of its bins");
	CHECK_U64("chunks", walked.count, CHUNKS + 1);
	CHECK("each of its kind", all);
	CHECK("the top", is_told(&planted, &walked, CHUNKS, GLIBC_TOP));
	CHECK("first words", walked.chunks[3].word == 1003);
	CHECK_U64("bytes used", walked.arena.used, used);
	CHECK_U64("bytes free", walked.arena.free, size_of(11));
	CHECK_U64("bytes lost", walked.arena.lost, 0);
	CHECK_U64("findings", walked.num_findings, 0);
}

/** What malloc has mapped behind the .bss of a library is one mapping with it. */
static void test_joined(void)
{
	static struct planted planted;
	static struct walked walked;
	const uint64_t chunk = LIBC + LIBC_SIZE + PAGE;
	const uint64_t whole = LIBC_SIZE + PAGE;
	size_t mapped = 0;

	plant(&planted, false);
	put_libc(&planted, sizeof(Elf64_Ehdr) + offsetof(Elf64_Phdr, p_memsz),
		 whole);
	planted.joined[0] = 1;
	// A variable that looks like a header is none.
	planted.joined[1] = JOINED_SIZE | 2;
	planted.joined[PAGE / 8 + 1] = (JOINED_SIZE - PAGE) | 2;
	walk(&planted, &walked);
	for (size_t i = 0; i < walked.count && i < CHUNKS + 8; i++)
		mapped += walked.chunks[i].start == chunk &&
			  walked.chunks[i].end == chunk + JOINED_SIZE - PAGE &&
			  walked.chunks[i].kind == GLIBC_MAPPED;
	CHECK_U64("a mapping joined with a .bss", mapped, 1);
	CHECK_U64("… and nothing of the .bss", walked.count, CHUNKS + 2);
}

static void check_finding(const char *name, const struct walked *walked,
			  const char *code, uint64_t address)
{
	bool found = false;

	for (size_t i = 0; i < walked->num_findings && i < 4; i++)
		found |= strcmp(walked->findings[i].code, code) == 0 &&
			 walked->findings[i].address == address;
	CHECK(name, found);
}

static void test_damaged(void)
{
	static struct planted planted;
	static struct walked walked;

	// Nothing but the top is known behind it.
	plant(&planted, false);
	at(&planted, planted.starts[20])[1] = 0x4141414141414141;
	walk(&planted, &walked);
	check_finding("a size overwritten", &walked, "malloc-chunk",
		      planted.starts[20]);
	CHECK("what is before it is told",
	      is_told(&planted, &walked, 19, GLIBC_USED));
	CHECK("the walk goes on at the top",
	      is_told(&planted, &walked, CHUNKS, GLIBC_TOP));
	CHECK_U64("the rest is lost", walked.arena.lost,
		  planted.starts[CHUNKS] - planted.starts[20]);

	// … and here a chunk that a list leads to.
	set_free(&planted, 30);
	walk(&planted, &walked);
	CHECK("the walk goes on where a list leads to",
	      is_told(&planted, &walked, 30, GLIBC_FREE) &&
	      is_told(&planted, &walked, 31, GLIBC_USED));
	CHECK_U64("less is lost", walked.arena.lost,
		  planted.starts[30] - planted.starts[20]);

	plant(&planted, false);
	set_free(&planted, 30);
	at(&planted, planted.starts[31])[0] = 48;
	walk(&planted, &walked);
	check_finding("another size of a free chunk", &walked,
		      "malloc-prev-size", planted.starts[30]);

	plant(&planted, false);
	at(&planted, planted.starts[9])[1] &= ~(uint64_t)PREV_INUSE;
	at(&planted, planted.starts[9])[0] = size_of(8);
	walk(&planted, &walked);
	check_finding("a free chunk that no list has", &walked,
		      "malloc-unlisted", planted.starts[8]);

	plant(&planted, false);
	set_free(&planted, 8);
	at(&planted, planted.starts[9])[1] |= PREV_INUSE;
	walk(&planted, &walked);
	check_finding("a list has a chunk in use", &walked, "malloc-listed",
		      planted.starts[8]);
}

int main(void)
{
	test_whole(false);
	test_whole(true);
	test_joined();
	test_damaged();
	return check_result();
}
