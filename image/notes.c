/*
 * ELF notes of a core; see notes.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Layouts: Linux include/uapi/linux/elfcore.h, fs/binfmt_elf.c
 * (fill_files_note), include/uapi/asm-generic/siginfo.h; 64-bit machines only.
 */
#include "image/notes.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "image/elfcore.h"

#ifndef __clang__
/* gcc 12 loses sight of strings that are kept in arrays which grow. */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

enum {
	/* struct elf_prstatus */
	PRSTATUS_CURSIG = 12,
	PRSTATUS_PID = 32,
	PRSTATUS_REGISTERS = 112,
	PRSTATUS_SIZE_X86_64 = 336,
	PRSTATUS_SIZE_AARCH64 = 392,
	REGISTERS_SIZE_X86_64 = 27 * 8,
	REGISTERS_SIZE_AARCH64 = 34 * 8,
	/* struct elf_prpsinfo */
	PRPSINFO_UID = 16,
	PRPSINFO_PID = 24,
	PRPSINFO_PPID = 28,
	PRPSINFO_FNAME = 40,
	PRPSINFO_PSARGS = 56,
	PRPSINFO_SIZE = 136,
	/* siginfo_t */
	SIGINFO_CODE = 8,
	SIGINFO_ADDRESS = 16,
	SIGINFO_PID = 16,
	SIGINFO_SIZE = 128,

	FACTS_MAX = 4096,
	AUXV_MAX = 1024,
};

/* Every feature bit of format_header.required that this reader knows. */
static const uint32_t known_features;

bool note_next(struct bytes *notes, struct note *ret, struct error **err)
{
	struct bytes cursor = *notes;
	uint32_t owner_size, content_size, type;
	const void *content;
	const char *owner;

	*err = NULL;
	if (bytes_left(notes) == 0)
		return false;
	if (!bytes_u32(&cursor, &owner_size) ||
	    !bytes_u32(&cursor, &content_size) || !bytes_u32(&cursor, &type)) {
		*err = error_new(ERROR_FORMAT, "the last %zu bytes of the notes "
				 "are too few for a note", bytes_left(notes));
		return false;
	}
	owner = bytes_take(&cursor, owner_size);
	if (!owner || !bytes_align(&cursor, 4)) {
		*err = error_new(ERROR_FORMAT, "the note at offset %zu claims "
				 "an owner of %" PRIu32 " bytes", notes->at,
				 owner_size);
		return false;
	}
	content = bytes_take(&cursor, content_size);
	if (!content) {
		*err = error_new(ERROR_FORMAT, "the note at offset %zu claims "
				 "%" PRIu32 " bytes where %zu are left",
				 notes->at, content_size, bytes_left(&cursor));
		return false;
	}
	// Some writers leave out the padding of the very last note.
	if (!bytes_align(&cursor, 4))
		cursor.at = cursor.size;
	*ret = (struct note){
		.owner = owner_size && owner[owner_size - 1] == '\0' ?
			 owner : "",
		.type = type,
		.content = bytes_over(content, content_size),
	};
	*notes = cursor;
	return true;
}

/** Room for more items in an array; array is the address of its pointer. */
static struct error *grow(void *array, size_t have, size_t more, size_t size)
{
	size_t capacity = 1, total;
	void *items;

	memcpy(&items, array, sizeof(items));
	if (__builtin_add_overflow(have, more, &total))
		return error_no_memory();
	// The capacity is the power of two that holds what there is.
	while (capacity < have)
		capacity *= 2;
	if (items && total <= capacity)
		return NULL;
	while (capacity < total) {
		if (__builtin_mul_overflow(capacity, 2, &capacity))
			return error_no_memory();
	}
	items = reallocarray(items, capacity, size);
	if (!items)
		return error_no_memory();
	memcpy(array, &items, sizeof(items));
	return NULL;
}

/* --- what the kernel defines --------------------------------------------- */

static struct error *add_thread(struct core_notes *notes, struct bytes content,
				uint16_t machine, struct findings *findings)
{
	bool arm = machine == EM_AARCH64;
	size_t expected = arm ? PRSTATUS_SIZE_AARCH64 : PRSTATUS_SIZE_X86_64;
	size_t registers = arm ? REGISTERS_SIZE_AARCH64 : REGISTERS_SIZE_X86_64;
	struct core_thread thread = { 0 };
	struct error *err;

	if (content.size != expected)
		findings_add(findings, "note-size", 0, "the status note of "
			     "thread %zu has %zu bytes, not %zu",
			     notes->num_threads + 1, content.size, expected);
	if (content.size < PRSTATUS_PID + sizeof(thread.tid))
		return NULL;
	memcpy(&thread.tid, content.data + PRSTATUS_PID, sizeof(thread.tid));
	memcpy(&thread.signal, content.data + PRSTATUS_CURSIG,
	       sizeof(thread.signal));
	if (content.size >= PRSTATUS_REGISTERS + registers)
		thread.registers = bytes_over(content.data + PRSTATUS_REGISTERS,
					      registers);
	err = grow(&notes->threads, notes->num_threads, 1, sizeof(thread));
	if (err)
		return err;
	notes->threads[notes->num_threads++] = thread;
	return NULL;
}

static void add_process(struct core_notes *notes, struct bytes content,
			struct findings *findings)
{
	if (content.size != PRPSINFO_SIZE) {
		findings_add(findings, "note-size", 0, "the process note has "
			     "%zu bytes, not %d", content.size, PRPSINFO_SIZE);
		if (content.size < PRPSINFO_SIZE)
			return;
	}
	memcpy(&notes->uid, content.data + PRPSINFO_UID, sizeof(notes->uid));
	memcpy(&notes->pid, content.data + PRPSINFO_PID, sizeof(notes->pid));
	memcpy(&notes->ppid, content.data + PRPSINFO_PPID, sizeof(notes->ppid));
	memcpy(notes->program, content.data + PRPSINFO_FNAME,
	       sizeof(notes->program) - 1);
	memcpy(notes->arguments, content.data + PRPSINFO_PSARGS,
	       sizeof(notes->arguments) - 1);
}

static void add_signal(struct core_notes *notes, struct bytes content,
		       struct findings *findings)
{
	// gdb writes one for every thread, after that thread's status.
	if (notes->has_siginfo || notes->num_threads > 1)
		return;
	if (content.size != SIGINFO_SIZE) {
		findings_add(findings, "note-size", 0, "the signal note has "
			     "%zu bytes, not %d", content.size, SIGINFO_SIZE);
		if (content.size < SIGINFO_ADDRESS + sizeof(uint64_t))
			return;
	}
	notes->has_siginfo = true;
	memcpy(&notes->signal, content.data, sizeof(notes->signal));
	memcpy(&notes->signal_code, content.data + SIGINFO_CODE,
	       sizeof(notes->signal_code));
	// Only these carry an address, and only when the kernel sent them.
	if (notes->signal_code > 0 &&
	    (notes->signal == SIGSEGV || notes->signal == SIGBUS ||
	     notes->signal == SIGILL || notes->signal == SIGFPE ||
	     notes->signal == SIGTRAP))
		memcpy(&notes->fault_address, content.data + SIGINFO_ADDRESS,
		       sizeof(notes->fault_address));
	else if (notes->signal_code <= 0)
		memcpy(&notes->signal_pid, content.data + SIGINFO_PID,
		       sizeof(notes->signal_pid));
}

static struct error *add_auxv(struct core_notes *notes, struct bytes content,
			      struct findings *findings)
{
	struct error *err;
	uint64_t pair[2];

	if (content.size % sizeof(pair))
		findings_add(findings, "note-size", 0, "the auxiliary vector "
			     "has %zu bytes, not a multiple of 16",
			     content.size);
	while (notes->num_auxv < AUXV_MAX &&
	       bytes_copy(&content, pair, sizeof(pair)) && pair[0] != AT_NULL) {
		err = grow(&notes->auxv, notes->num_auxv, 1, sizeof(pair));
		if (err)
			return err;
		memcpy(notes->auxv[notes->num_auxv++], pair, sizeof(pair));
	}
	return NULL;
}

static bool can_be_range(uint64_t start, uint64_t end)
{
	return start < end && end <= ELFCORE_ADDRESSES_END;
}

/** One mapping of NT_FILE; false where its numbers cannot be. */
static bool read_file_mapping(struct bytes *table, struct bytes *names,
			      uint64_t unit, struct file_mapping *ret)
{
	struct file_mapping file;
	uint64_t offset;

	if (!bytes_u64(table, &file.start) || !bytes_u64(table, &file.end) ||
	    !bytes_u64(table, &offset))
		return false;
	file.path = bytes_string(names);
	if (!file.path) {
		file.path = "";
		names->at = names->size;
	}
	if (!can_be_range(file.start, file.end) ||
	    __builtin_mul_overflow(offset, unit, &file.file_offset) ||
	    file.file_offset > INT64_MAX)
		return false;
	*ret = file;
	return true;
}

static struct error *add_files(struct core_notes *notes, struct bytes content,
			       struct findings *findings)
{
	struct bytes table, names;
	uint64_t count, unit, left, wrong = 0, nameless = 0;
	struct error *err;

	if (!bytes_u64(&content, &count) || !bytes_u64(&content, &unit)) {
		findings_add(findings, "file-note", 0, "the note of mapped "
			     "files has only %zu bytes", content.size);
		return NULL;
	}
	left = bytes_left(&content) / (3 * sizeof(uint64_t));
	if (count > left) {
		findings_add(findings, "file-note", 0, "the note of mapped "
			     "files claims %" PRIu64 " mappings where %" PRIu64
			     " fit", count, left);
		count = left;
	}
	table = bytes_over(content.data + content.at,
			   (size_t)count * 3 * sizeof(uint64_t));
	names = bytes_over(table.data + table.size,
			   bytes_left(&content) - table.size);
	err = grow(&notes->files, notes->num_files, (size_t)count,
		   sizeof(*notes->files));
	if (err)
		return err;
	notes->file_unit = unit;
	for (uint64_t i = 0; i < count; i++) {
		struct file_mapping *file = &notes->files[notes->num_files];

		if (!read_file_mapping(&table, &names, unit, file)) {
			wrong++;
			continue;
		}
		nameless += file->path[0] == '\0';
		notes->num_files++;
	}
	if (wrong)
		findings_add(findings, "file-note", 0, "%" PRIu64 " of %" PRIu64
			     " mappings of files cannot be (end before start "
			     "or behind all addresses, or offset too large)",
			     wrong, count);
	if (nameless)
		findings_add(findings, "file-note", 0, "%" PRIu64 " of %" PRIu64
			     " mappings of files have no name", nameless,
			     count);
	return NULL;
}

static struct error *add_core_note(struct core_notes *notes,
				   const struct note *note, uint16_t machine,
				   struct findings *findings)
{
	switch (note->type) {
	case NT_PRSTATUS:
		return add_thread(notes, note->content, machine, findings);
	case NT_PRPSINFO:
		add_process(notes, note->content, findings);
		return NULL;
	case NT_SIGINFO:
		add_signal(notes, note->content, findings);
		return NULL;
	case NT_AUXV:
		return add_auxv(notes, note->content, findings);
	case NT_FILE:
		return add_files(notes, note->content, findings);
	default:
		return NULL;
	}
}

/* --- what heapdump writes ------------------------------------------------- */

static struct error *add_header(struct core_notes *notes, struct bytes content,
				struct findings *findings)
{
	struct format_header header;

	if (!bytes_copy(&content, &header, sizeof(header))) {
		findings_add(findings, "note-size", 0, "the header note has "
			     "only %zu bytes", content.size);
		return NULL;
	}
	if (header.version > FORMAT_VERSION)
		return error_new(ERROR_UNSUPPORTED, "the dump is of format %"
				 PRIu32 ", this program reads up to %d",
				 header.version, FORMAT_VERSION);
	if (header.required & ~known_features)
		return error_new(ERROR_UNSUPPORTED, "the dump needs features "
				 "this program does not know (bits 0x%" PRIx32
				 ")", header.required & ~known_features);
	notes->header = header;
	notes->has_header = true;
	return NULL;
}

/** Add the fact text, whose key has key_size bytes. */
static struct error *add_fact(struct core_notes *notes, const char *text,
			      size_t key_size)
{
	struct core_fact *fact;
	struct error *err;

	err = grow(&notes->facts, notes->num_facts, 1, sizeof(*notes->facts));
	if (err)
		return err;
	fact = &notes->facts[notes->num_facts];
	fact->key = strdup(text);
	if (!fact->key)
		return error_no_memory();
	fact->key[key_size] = '\0';
	fact->value = fact->key + key_size + 1;
	notes->num_facts++;
	return NULL;
}

static struct error *add_facts(struct core_notes *notes, struct bytes content,
			       struct findings *findings)
{
	struct error *err;

	while (bytes_left(&content)) {
		const char *text = bytes_string(&content);
		const char *equals = text ? strchr(text, '=') : NULL;

		if (!text) {
			findings_add(findings, "facts", 0, "the last fact of a "
				     "note has no terminator");
			break;
		}
		if (!equals || equals == text) {
			// A lone NUL is padding.
			if (*text)
				findings_add(findings, "facts", 0, "a fact is "
					     "not of the form key=value");
			continue;
		}
		if (notes->num_facts == FACTS_MAX) {
			findings_add(findings, "facts", 0, "more than %d facts",
				     FACTS_MAX);
			break;
		}
		err = add_fact(notes, text, (size_t)(equals - text));
		if (err)
			return err;
	}
	return NULL;
}

/** Take the names after the mappings; they must begin and end with a NUL. */
static void take_mapping_names(struct core_notes *notes, struct bytes names,
			       struct findings *findings)
{
	size_t size = names.size;

	while (size && names.data[size - 1] != '\0')
		size--;
	if (size != names.size || (size && names.data[0] != '\0'))
		findings_add(findings, "mappings-note", 0, "the names of the "
			     "mappings are damaged");
	if (size && names.data[0] == '\0') {
		notes->mapping_names = (const char *)names.data;
		notes->mapping_names_size = size;
	}
}

static struct error *add_mappings(struct core_notes *notes,
				  struct bytes content,
				  struct findings *findings)
{
	struct format_mappings header;
	struct error *err;
	uint64_t wrong = 0;
	size_t left;

	if (notes->num_mappings)
		return NULL;
	if (!bytes_copy(&content, &header, sizeof(header))) {
		findings_add(findings, "mappings-note", 0, "the note of the "
			     "mappings has only %zu bytes", content.size);
		return NULL;
	}
	left = bytes_left(&content) / sizeof(struct format_mapping);
	if (header.count > left) {
		findings_add(findings, "mappings-note", 0, "the note claims %"
			     PRIu32 " mappings where %zu fit", header.count,
			     left);
		header.count = (uint32_t)left;
	}
	err = grow(&notes->mappings, 0, header.count,
		   sizeof(*notes->mappings));
	if (err)
		return err;
	for (uint32_t i = 0; i < header.count; i++) {
		struct format_mapping *mapping;

		mapping = &notes->mappings[notes->num_mappings];
		(void)bytes_copy(&content, mapping, sizeof(*mapping));
		if (can_be_range(mapping->start, mapping->end))
			notes->num_mappings++;
		else
			wrong++;
	}
	if (wrong)
		findings_add(findings, "mappings-note", 0, "%" PRIu64
			     " mappings cannot be (end before they start, or "
			     "behind all addresses)", wrong);
	left = bytes_left(&content);
	if (header.names_size < left)
		left = header.names_size;
	take_mapping_names(notes, bytes_over(content.data + content.at, left),
			   findings);
	return NULL;
}

static struct error *add_named_threads(struct core_notes *notes,
				       struct bytes content)
{
	size_t count = content.size / sizeof(*notes->named);
	struct error *err;

	err = grow(&notes->named, notes->num_named, count,
		   sizeof(*notes->named));
	if (err)
		return err;
	(void)bytes_copy(&content, notes->named + notes->num_named,
			 count * sizeof(*notes->named));
	notes->num_named += count;
	return NULL;
}

static struct error *add_skipped(struct core_notes *notes,
				 struct bytes content,
				 struct findings *findings)
{
	size_t count = content.size / sizeof(*notes->skipped);
	struct error *err;
	uint64_t wrong = 0;

	err = grow(&notes->skipped, notes->num_skipped, count,
		   sizeof(*notes->skipped));
	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		struct format_skipped *skipped;

		skipped = &notes->skipped[notes->num_skipped];
		(void)bytes_copy(&content, skipped, sizeof(*skipped));
		if (can_be_range(skipped->start, skipped->end))
			notes->num_skipped++;
		else
			wrong++;
	}
	if (wrong)
		findings_add(findings, "skipped-note", 0, "%" PRIu64 " skipped "
			     "ranges cannot be (end before they start, or "
			     "behind all addresses)", wrong);
	return NULL;
}

static struct error *add_own_note(struct core_notes *notes,
				  const struct note *note,
				  struct findings *findings)
{
	switch (note->type) {
	case FORMAT_NOTE_HEADER:
		return add_header(notes, note->content, findings);
	case FORMAT_NOTE_FACTS:
		return add_facts(notes, note->content, findings);
	case FORMAT_NOTE_MAPPINGS:
		return add_mappings(notes, note->content, findings);
	case FORMAT_NOTE_THREADS:
		return add_named_threads(notes, note->content);
	case FORMAT_NOTE_SKIPPED:
	case FORMAT_NOTE_MISSING:
		return add_skipped(notes, note->content, findings);
	case FORMAT_NOTE_FINAL:
		notes->has_final = true;
		return add_facts(notes, note->content, findings);
	default:
		return NULL;
	}
}

/* --- all together --------------------------------------------------------- */

struct error *core_notes_add(struct core_notes *notes, struct bytes bytes,
			     uint16_t machine, struct findings *findings)
{
	struct error *damage, *err;
	struct note note;

	while (note_next(&bytes, &note, &damage)) {
		err = NULL;
		if (strcmp(note.owner, "CORE") == 0) {
			if (notes->num_order < CORE_NOTES_ORDER)
				notes->order[notes->num_order++] = note.type;
			err = add_core_note(notes, &note, machine, findings);
		} else if (strcmp(note.owner, FORMAT_NOTE_OWNER) == 0) {
			err = add_own_note(notes, &note, findings);
		}
		if (err)
			return err;
	}
	if (damage) {
		findings_take(findings, "note", damage);
		findings_set_partial(findings);
	}
	return NULL;
}

static int compare_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int compare_files(const void *a, const void *b)
{
	const struct file_mapping *first = a, *second = b;

	return compare_u64(first->start, second->start);
}

static int compare_mappings(const void *a, const void *b)
{
	const struct format_mapping *first = a, *second = b;

	return compare_u64(first->start, second->start);
}

static int compare_skipped(const void *a, const void *b)
{
	const struct format_skipped *first = a, *second = b;

	return compare_u64(first->start, second->start);
}

static int compare_named(const void *a, const void *b)
{
	const struct format_thread *first = a, *second = b;

	return compare_u64(first->tid, second->tid);
}

static void sort(void *items, size_t count, size_t size,
		 int (*compare)(const void *, const void *))
{
	if (count > 1)
		qsort(items, count, size, compare);
}

static void name_threads(struct core_notes *notes)
{
	if (!notes->num_named)
		return;
	sort(notes->named, notes->num_named, sizeof(*notes->named),
	     compare_named);
	for (size_t i = 0; i < notes->num_threads; i++) {
		struct core_thread *thread = &notes->threads[i];
		struct format_thread key = { .tid = thread->tid }, *found;

		found = bsearch(&key, notes->named, notes->num_named,
				sizeof(key), compare_named);
		if (!found)
			continue;
		memcpy(thread->name, found->name, sizeof(thread->name));
		thread->name[sizeof(thread->name) - 1] = '\0';
		if (found->state > ' ' && found->state < 0x7f)
			thread->state = (char)found->state;
	}
}

struct error *core_notes_finish(struct core_notes *notes,
				struct findings *findings)
{
	uint64_t pid;

	sort(notes->files, notes->num_files, sizeof(*notes->files),
	     compare_files);
	sort(notes->mappings, notes->num_mappings, sizeof(*notes->mappings),
	     compare_mappings);
	sort(notes->skipped, notes->num_skipped, sizeof(*notes->skipped),
	     compare_skipped);
	name_threads(notes);
	for (size_t i = 0; i < notes->num_mappings; i++) {
		struct format_mapping *mapping = &notes->mappings[i];

		if (mapping->name &&
		    mapping->name >= notes->mapping_names_size) {
			findings_add(findings, "mappings-note", mapping->start,
				     "the name of a mapping lies outside of "
				     "the names");
			mapping->name = 0;
		}
	}
	// Readers may index with a name of 0 always.
	if (!notes->mapping_names_size) {
		notes->mapping_names = "";
		notes->mapping_names_size = 1;
	}
	if (!notes->num_threads)
		findings_add(findings, "threads", 0,
			     "the core says nothing of any thread");
	if (!notes->pid && core_notes_number(notes, FORMAT_FACT_PID, &pid) &&
	    pid <= UINT32_MAX)
		notes->pid = (uint32_t)pid;
	return NULL;
}

void core_notes_deinit(struct core_notes *notes)
{
	for (size_t i = 0; i < notes->num_facts; i++)
		free(notes->facts[i].key);
	free(notes->facts);
	free(notes->threads);
	free(notes->named);
	free(notes->files);
	free(notes->auxv);
	free(notes->mappings);
	free(notes->skipped);
	free(notes->storage);
	*notes = (struct core_notes){ 0 };
}

const char *core_notes_fact(const struct core_notes *notes, const char *key)
{
	// The later one is the final one.
	for (size_t i = notes->num_facts; i > 0; i--) {
		if (strcmp(notes->facts[i - 1].key, key) == 0)
			return notes->facts[i - 1].value;
	}
	return NULL;
}

bool core_notes_number(const struct core_notes *notes, const char *key,
		       uint64_t *ret)
{
	const char *text = core_notes_fact(notes, key);
	unsigned long long value;
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end)
		return false;
	*ret = value;
	return true;
}

bool core_notes_auxv(const struct core_notes *notes, uint64_t type,
		     uint64_t *ret)
{
	for (size_t i = 0; i < notes->num_auxv; i++) {
		if (notes->auxv[i][0] == type) {
			*ret = notes->auxv[i][1];
			return true;
		}
	}
	return false;
}
