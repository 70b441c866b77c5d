/*
 * Fuzz target: the notes of a core. The first byte chooses the machine.
 * SPDX-License-Identifier: Apache-2.0
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "image/notes.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

/** Everything that notes promise to be there is read. */
static void walk(const struct core_notes *notes)
{
	volatile uint64_t sum = 0;
	uint64_t value;

	for (size_t i = 0; i < notes->num_threads; i++) {
		const struct core_thread *thread = &notes->threads[i];

		sum += thread->tid + strlen(thread->name);
		for (size_t j = 0; j < thread->registers.size; j++)
			sum += thread->registers.data[j];
	}
	for (size_t i = 0; i < notes->num_files; i++) {
		const struct file_mapping *file = &notes->files[i];

		if (file->start >= file->end ||
		    (i && file->start < notes->files[i - 1].start))
			abort();
		sum += strlen(file->path);
	}
	for (size_t i = 0; i < notes->num_mappings; i++) {
		const struct format_mapping *mapping = &notes->mappings[i];

		if (mapping->start >= mapping->end ||
		    mapping->name >= notes->mapping_names_size)
			abort();
		sum += strlen(notes->mapping_names + mapping->name);
	}
	for (size_t i = 0; i < notes->num_skipped; i++)
		sum += notes->skipped[i].reason;
	for (size_t i = 0; i < notes->num_facts; i++) {
		const struct core_fact *fact = &notes->facts[i];

		if (!core_notes_fact(notes, fact->key))
			abort();
		(void)core_notes_number(notes, fact->key, &value);
		sum += strlen(fact->value);
	}
	if (core_notes_auxv(notes, AT_PHDR, &value))
		sum += value;
	sum += strlen(notes->program) + strlen(notes->arguments);
	(void)sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct core_notes notes = { 0 };
	struct findings *findings = NULL;
	struct error *err;

	if (size == 0)
		return 0;
	// A block of its own, so that a sanitizer sees every overrun.
	notes.storage = malloc(size);
	if (!notes.storage)
		return 0;
	memcpy(notes.storage, input + 1, size - 1);
	error_free(findings_create(&findings));
	err = core_notes_add(&notes, bytes_over(notes.storage, size - 1),
			     input[0] & 1 ? EM_AARCH64 : EM_X86_64, findings);
	if (!err)
		err = core_notes_finish(&notes, findings);
	if (!err)
		walk(&notes);
	error_free(err);
	core_notes_deinit(&notes);
	findings_destroy(findings);
	return 0;
}
