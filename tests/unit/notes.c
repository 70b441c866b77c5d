/*
 * Notes of a core: what they say, and what of it is not believed.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/notes.h"

#include <elf.h>
#include <stdlib.h>

#include "tests/lib/check.h"
#include "tests/lib/corebuilder.h"

/** Parse the notes of core (which is emptied) into *ret. */
static struct error *parse(struct corebuilder *core, struct findings *findings,
			   struct core_notes *ret)
{
	struct error *err;

	*ret = (struct core_notes){ 0 };
	err = core_notes_add(ret, bytes_over(core->notes, core->notes_size),
			     core->machine, findings);
	ret->storage = core->notes;
	core->notes = NULL;
	corebuilder_deinit(core);
	return err ? err : core_notes_finish(ret, findings);
}

static struct findings *new_findings(void)
{
	struct findings *findings = NULL;

	error_free(findings_create(&findings));
	return findings;
}

/* --- the kernel's --------------------------------------------------------- */

static void put(uint8_t *at, uint64_t value, size_t size)
{
	memcpy(at, &value, size);
}

static void add_process(struct corebuilder *core)
{
	uint8_t process[136] = { 0 };

	put(process + 16, 1000, 4);
	put(process + 24, 41, 4);
	put(process + 28, 1, 4);
	memcpy(process + 40, "sixteen-letters!", 16);
	memset(process + 56, 'a', 80);
	corebuilder_note(core, "CORE", NT_PRPSINFO, process, sizeof(process));
}

static void add_signal(struct corebuilder *core, int32_t number, int32_t code)
{
	uint8_t info[128] = { 0 };

	put(info, (uint32_t)number, 4);
	put(info + 8, (uint32_t)code, 4);
	put(info + 16, 0xDEAD0000, 8);
	corebuilder_note(core, "CORE", NT_SIGINFO, info, sizeof(info));
}

static void test_kernel(void)
{
	static const uint64_t auxv[] = { AT_PAGESZ, 4096, AT_PHDR, 0x400040,
					 AT_NULL, 0, AT_UID, 3 };
	static const uint64_t files[] = { 2, 4096, 0x7000, 0x9000, 3,
					  0x1000, 0x2000, 0 };
	uint8_t file_note[sizeof(files) + 12];
	struct corebuilder core = { .machine = EM_X86_64 };
	struct findings *findings = new_findings();
	struct core_notes notes;
	uint64_t value = 0;

	corebuilder_thread(&core, 41, 11, 0x1111);
	add_process(&core);
	add_signal(&core, 11, 1);
	corebuilder_note(&core, "CORE", NT_AUXV, auxv, sizeof(auxv));
	memcpy(file_note, files, sizeof(files));
	memcpy(file_note + sizeof(files), "/lib/b\0/a\0\0\0", 12);
	corebuilder_note(&core, "CORE", NT_FILE, file_note, sizeof(file_note));
	corebuilder_note(&core, "CORE", NT_FPREGSET, files, 24);
	corebuilder_thread(&core, 42, 0, 0x2222);
	add_signal(&core, 5, 1);
	corebuilder_note(&core, "LINUX", NT_X86_XSTATE, files, 24);

	CHECK("the notes of a kernel core",
	      !parse(&core, findings, &notes));
	CHECK_U64("findings in them", findings_total(findings), 0);
	CHECK_U64("threads", notes.num_threads, 2);
	CHECK_U64("first thread", notes.threads[0].tid, 41);
	CHECK_U64("its signal", (uint64_t)notes.threads[0].signal, 11);
	CHECK_U64("size of its registers", notes.threads[0].registers.size,
		  27 * 8);
	memcpy(&value, notes.threads[1].registers.data + 26 * 8, 8);
	CHECK_U64("last register of the second", value, 0x2222);
	CHECK_U64("pid", notes.pid, 41);
	CHECK_U64("parent", notes.ppid, 1);
	CHECK_U64("user", notes.uid, 1000);
	CHECK_STRING("program of 16 letters", notes.program,
		     "sixteen-letters!");
	CHECK_U64("arguments without a terminator", strlen(notes.arguments),
		  80);
	CHECK("siginfo of the first thread", notes.signal == 11);
	CHECK_U64("fault address", notes.fault_address, 0xDEAD0000);
	CHECK_U64("auxv up to AT_NULL", notes.num_auxv, 2);
	CHECK("an entry of auxv", core_notes_auxv(&notes, AT_PHDR, &value) &&
				  value == 0x400040);
	CHECK("auxv beyond its end",
	      !core_notes_auxv(&notes, AT_UID, &value));
	CHECK_U64("files", notes.num_files, 2);
	CHECK_STRING("files are sorted", notes.files[0].path, "/a");
	CHECK_U64("offset in bytes", notes.files[1].file_offset, 3 * 4096);
	core_notes_deinit(&notes);
	findings_destroy(findings);
}

static void test_aarch64(void)
{
	struct corebuilder core = { .machine = EM_AARCH64 };
	struct findings *findings = new_findings();
	struct core_notes notes;

	corebuilder_thread(&core, 7, 0, 0x77);
	CHECK("notes of aarch64", !parse(&core, findings, &notes));
	CHECK_U64("registers of aarch64", notes.threads[0].registers.size,
		  34 * 8);
	CHECK_U64("no finding", findings_total(findings), 0);
	core_notes_deinit(&notes);
	findings_destroy(findings);
}

/** Odd sizes are findings, and what can be used is used. */
static void test_odd_sizes(void)
{
	struct corebuilder core = { .machine = EM_X86_64 };
	struct findings *findings = new_findings();
	uint8_t bytes[400] = { 0 };
	struct core_notes notes;

	put(bytes + 32, 5, 4);
	corebuilder_note(&core, "CORE", NT_PRSTATUS, bytes, 400);
	corebuilder_note(&core, "CORE", NT_SIGINFO, bytes, 3);
	corebuilder_note(&core, "CORE", NT_PRSTATUS, bytes, 200);
	corebuilder_note(&core, "CORE", NT_PRSTATUS, bytes, 20);
	corebuilder_note(&core, "CORE", NT_PRPSINFO, bytes, 30);
	corebuilder_note(&core, "CORE", NT_AUXV, bytes, 7);
	corebuilder_note(&core, "CORE", NT_FILE, bytes, 9);
	CHECK("notes of odd sizes", !parse(&core, findings, &notes));
	CHECK_U64("threads with a number", notes.num_threads, 2);
	CHECK_U64("registers where they fit",
		  notes.threads[0].registers.size, 27 * 8);
	CHECK_U64("no registers where not", notes.threads[1].registers.size, 0);
	CHECK_U64("a finding for each size", findings_of(findings, "note-size"),
		  6);
	CHECK_U64("and for the files", findings_of(findings, "file-note"), 1);
	CHECK("no signal", !notes.has_siginfo);
	core_notes_deinit(&notes);
	findings_destroy(findings);
}

static void test_file_claims(void)
{
	static const uint64_t claims[] = {
		UINT64_C(1) << 60, 4096,
		0x1000, 0x2000, 0,		/* good */
		0x5000, 0x4000, 0,		/* ends before it starts */
		0x6000, 0x7000, UINT64_MAX / 2,	/* offset overflows */
	};
	struct corebuilder core = { .machine = EM_X86_64 };
	struct findings *findings = new_findings();
	struct core_notes notes;

	corebuilder_note(&core, "CORE", NT_FILE, claims, sizeof(claims));
	CHECK("files that cannot be", !parse(&core, findings, &notes));
	CHECK_U64("the good one is kept", notes.num_files, 1);
	CHECK_STRING("without a name", notes.files[0].path, "");
	CHECK_U64("count, sizes, names are findings",
		  findings_of(findings, "file-note"), 3);
	core_notes_deinit(&notes);
	findings_destroy(findings);
}

/* --- the walk ------------------------------------------------------------- */

static void test_walk(void)
{
	static const uint8_t unterminated[] = {
		4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 'C', 'O', 'R', 'E',
		1, 2, 3, 4,
		0, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 5, 6, /* no padding */
	};
	static const uint8_t huge[] = {
		5, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0,
		'C', 'O', 'R', 'E', 0, 0, 0, 0, 1, 2, 3, 4,
	};
	static const uint8_t long_owner[] = {
		0xF0, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 1, 0, 0, 0, 'C',
	};
	struct bytes bytes = bytes_over(unterminated, sizeof(unterminated));
	struct error *err = NULL;
	struct note note;

	CHECK("a note whose owner has no end", note_next(&bytes, &note, &err));
	CHECK_STRING("has no owner", note.owner, "");
	CHECK("a note without padding", note_next(&bytes, &note, &err));
	CHECK_U64("its size", note.content.size, 2);
	CHECK("then the end", !note_next(&bytes, &note, &err) && !err);

	bytes = bytes_over(huge, sizeof(huge));
	CHECK("a note of 4 GiB", !note_next(&bytes, &note, &err) && err &&
				 err->kind == ERROR_FORMAT);
	CHECK_U64("the cursor stays at it", bytes.at, 0);
	error_free(err);
	bytes = bytes_over(long_owner, sizeof(long_owner));
	CHECK("an owner of 4 GiB", !note_next(&bytes, &note, &err) && err);
	error_free(err);
	bytes = bytes_over(huge, 11);
	CHECK("eleven bytes", !note_next(&bytes, &note, &err) && err);
	error_free(err);
}

/* --- heapdump's ----------------------------------------------------------- */

static void add_mapping_note(struct corebuilder *core, uint32_t claimed_count,
			     uint32_t claimed_names, const char *names,
			     size_t names_size)
{
	struct {
		struct format_mappings header;
		struct format_mapping mapping[2];
		char names[32];
	} note = {
		.header = { claimed_count, claimed_names },
		.mapping = {
			{ .start = 0x9000, .end = 0xA000, .name = 1,
			  .protection = PF_R },
			{ .start = 0x1000, .end = 0x2000, .name = 4000 },
		},
	};

	memcpy(note.names, names, names_size);
	corebuilder_note(core, FORMAT_NOTE_OWNER, FORMAT_NOTE_MAPPINGS, &note,
			 offsetof(__typeof__(note), names) + names_size);
}

static void test_own(void)
{
	static const struct format_header header = {
		.version = FORMAT_VERSION, .optional = 0xF0, .frame_log2 = 18 };
	static const struct format_thread threads[] = {
		{ .tid = 9, .name = "worker", .state = 'S' },
		{ .tid = 5, .name = "sixteen-letters!", .state = 'R' },
	};
	static const struct format_skipped skipped[] = {
		{ 0x5000, 0x6000, FORMAT_DEVICE, 0 },
		{ 0x3000, 0x3000, FORMAT_ZERO, 0 },
	};
	static const struct format_skipped missing[] = {
		{ 0x2000, 0x2800, FORMAT_FAILED, 14 },
	};
	static const char facts[] = "pid=77\0creator=heapdump 0.1\0=x\0nothing"
				    "\0rss=12x\0a==b";
	static const char final[] = "complete=yes\0creator=later";
	struct corebuilder core = { .machine = EM_X86_64 };
	struct findings *findings = new_findings();
	struct core_notes notes;
	uint64_t value = 0;

	corebuilder_note(&core, FORMAT_NOTE_OWNER, FORMAT_NOTE_HEADER, &header,
			 sizeof(header));
	corebuilder_note(&core, FORMAT_NOTE_OWNER, FORMAT_NOTE_FACTS, facts,
			 sizeof(facts));
	add_mapping_note(&core, 2, 6, "\0/lib\0", 6);
	corebuilder_note(&core, FORMAT_NOTE_OWNER, FORMAT_NOTE_THREADS, threads,
			 sizeof(threads));
	corebuilder_note(&core, FORMAT_NOTE_OWNER, FORMAT_NOTE_SKIPPED, skipped,
			 sizeof(skipped));
	corebuilder_note(&core, FORMAT_NOTE_OWNER, 4711, skipped, 5);
	corebuilder_thread(&core, 5, 0, 0);
	corebuilder_thread(&core, 6, 0, 0);
	corebuilder_note(&core, FORMAT_NOTE_OWNER, FORMAT_NOTE_FINAL, final,
			 sizeof(final));
	corebuilder_note(&core, FORMAT_NOTE_OWNER, FORMAT_NOTE_MISSING, missing,
			 sizeof(missing));

	CHECK("our own notes", !parse(&core, findings, &notes));
	CHECK("the header", notes.has_header && notes.header.frame_log2 == 18);
	CHECK("the final notes", notes.has_final);
	CHECK_STRING("a fact", core_notes_fact(&notes, "complete"), "yes");
	CHECK_STRING("the later of two", core_notes_fact(&notes, "creator"),
		     "later");
	CHECK_STRING("a fact with = in it", core_notes_fact(&notes, "a"), "=b");
	CHECK("no fact", !core_notes_fact(&notes, "nothing"));
	CHECK("a number", core_notes_number(&notes, "pid", &value) &&
			  value == 77);
	CHECK("no number", !core_notes_number(&notes, "rss", &value));
	CHECK_U64("pid from a fact", notes.pid, 77);
	CHECK_U64("facts that are none", findings_of(findings, "facts"), 2);
	CHECK_U64("mappings", notes.num_mappings, 2);
	CHECK_U64("sorted", notes.mappings[0].start, 0x1000);
	CHECK_U64("a name from nowhere is none", notes.mappings[0].name, 0);
	CHECK_STRING("a name", notes.mapping_names + notes.mappings[1].name,
		     "/lib");
	CHECK_STRING("a thread's name of 16 letters is cut",
		     notes.threads[0].name, "sixteen-letters");
	CHECK_U64("its state", (uint64_t)notes.threads[0].state, 'R');
	CHECK_STRING("a thread without a name", notes.threads[1].name, "");
	CHECK_U64("skipped and missing", notes.num_skipped, 2);
	CHECK_U64("sorted too", notes.skipped[0].start, 0x2000);
	CHECK_U64("an empty one is a finding",
		  findings_of(findings, "skipped-note"), 1);
	core_notes_deinit(&notes);
	findings_destroy(findings);
}

static void test_own_claims(void)
{
	struct corebuilder core = { .machine = EM_X86_64 };
	struct findings *findings = new_findings();
	struct core_notes notes;

	add_mapping_note(&core, UINT32_MAX, UINT32_MAX, "no NUL", 6);
	CHECK("mappings that cannot be", !parse(&core, findings, &notes));
	CHECK_U64("as many as fit", notes.num_mappings, 2);
	CHECK_STRING("names without a NUL are none", notes.mapping_names, "");
	CHECK("findings of it", findings_of(findings, "mappings-note") >= 2);
	core_notes_deinit(&notes);
	findings_destroy(findings);
}

static void test_unknown_features(void)
{
	struct format_header header = { .version = FORMAT_VERSION,
					.required = 1u << 31 };
	struct corebuilder core = { .machine = EM_X86_64 };
	struct core_notes notes;
	struct error *err;

	corebuilder_note(&core, FORMAT_NOTE_OWNER, FORMAT_NOTE_HEADER, &header,
			 sizeof(header));
	err = parse(&core, NULL, &notes);
	CHECK("an unknown required feature",
	      err && err->kind == ERROR_UNSUPPORTED);
	error_free(err);
	core_notes_deinit(&notes);
	header = (struct format_header){ .version = FORMAT_VERSION + 1 };
	corebuilder_note(&core, FORMAT_NOTE_OWNER, FORMAT_NOTE_HEADER, &header,
			 sizeof(header));
	core.machine = EM_X86_64;
	err = parse(&core, NULL, &notes);
	CHECK("a later format", err && err->kind == ERROR_UNSUPPORTED);
	error_free(err);
	core_notes_deinit(&notes);
}

/** Every prefix of good notes is read without harm, whatever it says. */
static void test_every_prefix(void)
{
	struct corebuilder core = { .machine = EM_X86_64 };
	size_t survived = 0;

	corebuilder_thread(&core, 41, 11, 0x1111);
	add_process(&core);
	add_mapping_note(&core, 2, 6, "\0/lib\0", 6);
	corebuilder_note(&core, FORMAT_NOTE_OWNER, FORMAT_NOTE_FACTS, "a=b",
			 4);
	for (size_t size = 0; size <= core.notes_size; size++) {
		uint8_t *copy = malloc(size + 1);
		struct core_notes notes = { 0 };
		struct error *err;

		memcpy(copy, core.notes, size);
		// A buffer of its own size, so that a sanitizer sees overruns.
		copy = realloc(copy, size ? size : 1);
		notes.storage = copy;
		err = core_notes_add(&notes, bytes_over(copy, size),
				     core.machine, NULL);
		if (!err)
			err = core_notes_finish(&notes, NULL);
		survived += !err;
		error_free(err);
		core_notes_deinit(&notes);
	}
	CHECK_U64("prefixes of notes that were read", survived,
		  core.notes_size + 1);
	corebuilder_deinit(&core);
}

int main(void)
{
	test_kernel();
	test_aarch64();
	test_odd_sizes();
	test_file_claims();
	test_walk();
	test_own();
	test_own_claims();
	test_unknown_features();
	test_every_prefix();
	return check_result();
}
