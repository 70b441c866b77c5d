/*
 * The notes of a core made from a live process; see process_notes.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/live/process_notes.h"

#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/corewriter.h"
#include "image/format.h"
#include "image/live/cgroup.h"
#include "image/live/pressure.h"
#include "image/live/xstate.h"

#define CORE_OWNER "CORE"
#define LINUX_OWNER "LINUX"

/** A note's content under construction. */
struct content {
	FILE *out;
	char *data;
	size_t size;
};

static struct error *content_open(struct content *content)
{
	*content = (struct content){ 0 };
	content->out = open_memstream(&content->data, &content->size);
	return content->out ? NULL : error_no_memory();
}

/** Close, write as a note, release. */
static struct error *content_write(struct content *content, FILE *out,
				   uint32_t type)
{
	bool failed = ferror(content->out);

	failed |= fclose(content->out) != 0;
	if (!failed)
		core_note_write(out, FORMAT_NOTE_OWNER, type, content->data,
				content->size);
	free(content->data);
	return failed ? error_no_memory() : NULL;
}

/* --- notes that every reader knows ----------------------------------------- */

static void set_time(struct timeval *time, uint64_t ticks)
{
	uint64_t per_second = (uint64_t)sysconf(_SC_CLK_TCK);

	time->tv_sec = (time_t)(ticks / per_second);
	time->tv_usec = (suseconds_t)(ticks % per_second * 1000000 / per_second);
}

static void write_prstatus(const struct process_notes *notes,
			   const struct frozen_thread *thread, FILE *out)
{
	const struct procinfo *info = &thread->info;
	struct elf_prstatus status = {
		.pr_info.si_signo = thread->signal,
		.pr_info.si_code = thread->siginfo.si_code,
		.pr_cursig = (short)thread->signal,
		.pr_sigpend = info->pending,
		.pr_sighold = info->blocked,
		.pr_pid = info->inside_pid,
		.pr_ppid = notes->info->inside_parent,
		.pr_pgrp = notes->info->group,
		.pr_sid = notes->info->session,
	};

	set_time(&status.pr_utime, info->user_ticks);
	set_time(&status.pr_stime, info->system_ticks);
	set_time(&status.pr_cutime, info->child_user_ticks);
	set_time(&status.pr_cstime, info->child_system_ticks);
	for (size_t i = 0; i < thread->num_regsets; i++) {
		const struct freeze_regset *set = &thread->regsets[i];

		if (set->type == NT_PRSTATUS)
			memcpy(&status.pr_reg, set->data,
			       set->size < sizeof(status.pr_reg) ?
			       set->size : sizeof(status.pr_reg));
		if (set->type == NT_PRFPREG)
			status.pr_fpvalid = 1;
	}
	core_note_write(out, CORE_OWNER, NT_PRSTATUS, &status, sizeof(status));
}

static void write_regsets(const struct frozen_thread *thread, FILE *out)
{
	for (size_t i = 0; i < thread->num_regsets; i++) {
		const struct freeze_regset *set = &thread->regsets[i];

		CLEANUP(free_pointer) uint8_t *moved = NULL;
		size_t size = set->size;

		if (set->type == NT_PRSTATUS)
			continue;
		if (set->type == NT_X86_XSTATE)
			moved = xstate_standard(set->data, set->size, &size);
		core_note_write(out, set->type == NT_PRFPREG ? CORE_OWNER :
							       LINUX_OWNER,
				set->type, moved ? moved : set->data, size);
	}
}

/** The arguments as one line, as ps shows them, cut to fit. */
static void join_arguments(const char *cmdline, size_t size, char *text,
			   size_t text_size)
{
	size_t length = size < text_size - 1 ? size : text_size - 1;

	while (length > 0 && cmdline[length - 1] == '\0')
		length--;
	for (size_t i = 0; i < length; i++)
		text[i] = (char)(cmdline[i] ? cmdline[i] : ' ');
	text[length] = '\0';
}

static void write_prpsinfo(const struct process_notes *notes,
			   const char *cmdline, size_t cmdline_size, FILE *out)
{
	static const char states[] = "RSDTZW";
	const struct procinfo *info = notes->info;
	char letter = notes->threads[0].state;
	const char *at = letter ? strchr(states, letter) : NULL;
	struct elf_prpsinfo ps = {
		.pr_state = (char)(at ? at - states : 0),
		.pr_sname = (char)(letter ? letter : '.'),
		.pr_nice = (char)info->nice,
		.pr_uid = info->uid,
		.pr_gid = info->gid,
		.pr_pid = info->inside_pid,
		.pr_ppid = info->inside_parent,
		.pr_pgrp = info->group,
		.pr_sid = info->session,
	};

	memcpy(ps.pr_fname, info->name, sizeof(ps.pr_fname));
	join_arguments(cmdline, cmdline_size, ps.pr_psargs,
		       sizeof(ps.pr_psargs));
	core_note_write(out, CORE_OWNER, NT_PRPSINFO, &ps, sizeof(ps));
}

/**
 * NT_FILE: count, page size, {start, end, page offset}, then the paths.
 *
 * Its size is rarely a multiple of 4, and older libunwind steps over notes by
 * the unpadded size; but gdb complains of padding inside. So it stands after
 * all threads, where gcore has it too: what a reader may lose behind it is
 * only ours. gdb also complains of files that it cannot open: shared memory
 * that never had a name is not listed.
 */
static bool is_listed(const struct procmap *map)
{
	return procmap_is_file(map) &&
	       !((map->flags & FORMAT_MAPPING_DELETED) &&
		 procmap_is_shared_memory(map));
}

static struct error *write_files(const struct process_notes *notes, FILE *out)
{
	static const char deleted[] = " (deleted)";
	CLEANUP(free_pointer) char *data = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&data, &size);
	uint64_t head[2] = { 0, notes->page_size };
	const struct procmaps *maps = notes->maps;

	if (!file)
		return error_no_memory();
	for (size_t i = 0; i < maps->count; i++)
		head[0] += is_listed(&maps->items[i]);
	(void)fwrite(head, sizeof(head), 1, file);
	for (size_t i = 0; i < maps->count; i++) {
		const struct procmap *map = &maps->items[i];
		uint64_t entry[3] = { map->start, map->end,
				      map->file_offset / notes->page_size };

		if (is_listed(map))
			(void)fwrite(entry, sizeof(entry), 1, file);
	}
	for (size_t i = 0; i < maps->count; i++) {
		const struct procmap *map = &maps->items[i];

		if (!is_listed(map))
			continue;
		(void)fputs(map->name, file);
		if (map->flags & FORMAT_MAPPING_DELETED)
			(void)fputs(deleted, file);
		(void)fputc('\0', file);
	}
	if (fclose(file) != 0)
		return error_no_memory();
	core_note_write(out, CORE_OWNER, NT_FILE, data, size);
	return NULL;
}

static struct error *write_process(const struct process_notes *notes,
				   const char *cmdline, size_t cmdline_size,
				   FILE *out)
{
	CLEANUP(free_pointer) char *auxv = NULL;
	// A thread that no signal is killing has a siginfo of zeroes.
	const siginfo_t *siginfo = &notes->threads[0].siginfo;
	size_t auxv_size;
	struct error *err;

	write_prpsinfo(notes, cmdline, cmdline_size, out);
	core_note_write(out, CORE_OWNER, NT_SIGINFO, siginfo, sizeof(*siginfo));
	err = procinfo_file(notes->memory_pid, "auxv", &auxv, &auxv_size);
	if (err)
		return err;
	core_note_write(out, CORE_OWNER, NT_AUXV, auxv, auxv_size);
	return NULL;
}

/* --- our own ----------------------------------------------------------------- */

static void fact(FILE *out, const char *key, const char *value)
{
	if (value && *value)
		(void)fprintf(out, "%s=%s%c", key, value, '\0');
}

static void fact_number(FILE *out, const char *key, uint64_t value)
{
	(void)fprintf(out, "%s=%" PRIu64 "%c", key, value, '\0');
}

/** What holds for the cgroup and the machine: why memory was short. */
static void write_pressure_facts(const struct process_notes *notes, FILE *out)
{
	struct pressure pressure;
	struct cgroup cgroup;
	struct cgroup_use use;

	cgroup_find(notes->info->pid, &cgroup);
	fact(out, FORMAT_FACT_CGROUP, cgroup.path);
	cgroup_read(&cgroup, &use);
	cgroup_deinit(&cgroup);
	if (use.current != UINT64_MAX) {
		fact_number(out, FORMAT_FACT_CGROUP_CURRENT, use.current);
		fact_number(out, FORMAT_FACT_CGROUP_WORKING, use.working);
	}
	if (use.limit != UINT64_MAX)
		fact_number(out, FORMAT_FACT_CGROUP_LIMIT, use.limit);
	pressure_read(notes->info->pid, &pressure);
	fact(out, FORMAT_FACT_PSI_SOME, pressure.some);
	fact(out, FORMAT_FACT_PSI_FULL, pressure.full);
}

static void write_memory_facts(const struct process_notes *notes, FILE *out)
{
	const struct procinfo *info = notes->info;
	const struct procinfo_sharing *sharing = notes->sharing;

	fact_number(out, FORMAT_FACT_VMSIZE, info->vm_size);
	fact_number(out, FORMAT_FACT_RSS, info->rss);
	fact_number(out, FORMAT_FACT_PEAK_RSS, info->rss_peak);
	if (sharing && sharing->known) {
		fact_number(out, FORMAT_FACT_PSS, sharing->pss);
		fact_number(out, FORMAT_FACT_SHARED_CLEAN,
			    sharing->shared_clean);
		fact_number(out, FORMAT_FACT_SHARED_DIRTY,
			    sharing->shared_dirty);
		fact_number(out, FORMAT_FACT_PRIVATE_CLEAN,
			    sharing->private_clean);
		fact_number(out, FORMAT_FACT_PRIVATE_DIRTY,
			    sharing->private_dirty);
	}
	fact_number(out, FORMAT_FACT_SWAP, info->swap);
	fact_number(out, FORMAT_FACT_PAGE_TABLES, info->page_tables);
	fact_number(out, FORMAT_FACT_MINOR_FAULTS, info->minor_faults);
	fact_number(out, FORMAT_FACT_MAJOR_FAULTS, info->major_faults);
}

/** "env.NAME=value" for each entry; others than such are not recorded. */
static void write_environment(const struct process_notes *notes, FILE *out)
{
	CLEANUP(free_pointer) char *text = NULL;
	size_t size = 0;
	struct error *err = procinfo_file(notes->memory_pid, "environ", &text,
					  &size);

	error_free(err);
	for (const char *at = text; at && at < text + size;
	     at += strlen(at) + 1)
		if (*at != '=' && strchr(at, '='))
			(void)fprintf(out, FORMAT_FACT_ENVIRON "%s%c", at, '\0');
}

static void write_cmdline(const char *cmdline, size_t size, FILE *out)
{
	CLEANUP(free_pointer) char *line = malloc(size + 1);

	if (!line)
		return;
	join_arguments(cmdline, size, line, size + 1);
	fact(out, FORMAT_FACT_CMDLINE, line);
}

static void write_facts(const struct process_notes *notes, const char *cmdline,
			size_t cmdline_size, FILE *out)
{
	CLEANUP(free_pointer) char *exe = procinfo_link(notes->memory_pid,
							"exe");
	CLEANUP(free_pointer) char *container =
		procinfo_container(notes->memory_pid);
	CLEANUP(free_pointer) char *script = NULL;
	struct utsname system;
	const char *unused;

	fact(out, FORMAT_FACT_CREATOR, "heapdump " HEAPSCAN_VERSION);
	fact_number(out, FORMAT_FACT_CAPTURED_AT,
		    (uint64_t)notes->captured_at_ns);
	if (notes->captured_monotonic_ns != 0)
		fact_number(out, FORMAT_FACT_CAPTURED_MONOTONIC,
			    (uint64_t)notes->captured_monotonic_ns);
	if (uname(&system) == 0) {
		fact(out, FORMAT_FACT_HOST, system.nodename);
		fact(out, FORMAT_FACT_KERNEL, system.release);
	}
	fact_number(out, FORMAT_FACT_PID, (uint64_t)notes->info->inside_pid);
	fact_number(out, FORMAT_FACT_HOST_PID, (uint64_t)notes->info->pid);
	fact(out, FORMAT_FACT_EXE, exe);
	script = procinfo_script(cmdline, cmdline_size, &unused);
	fact(out, FORMAT_FACT_SCRIPT, script);
	if (!notes->no_cmdline && cmdline_size > 0)
		write_cmdline(cmdline, cmdline_size, out);
	if (notes->info->start_time != 0)
		fact_number(out, FORMAT_FACT_UPTIME,
			    procinfo_uptime(notes->info));
	fact(out, FORMAT_FACT_METHOD, notes->method);
	fact(out, FORMAT_FACT_CONTENT, notes->content);
	fact(out, FORMAT_FACT_PAYLOAD_KEPT, notes->payload_kept);
	fact(out, FORMAT_FACT_TRIGGER, notes->trigger);
	fact(out, FORMAT_FACT_REASON, notes->reason);
	if (notes->info->start_time != 0) {
		write_memory_facts(notes, out);
		write_pressure_facts(notes, out);
	}
	fact(out, FORMAT_FACT_CONTAINER, container);
	if (notes->environ)
		write_environment(notes, out);
	if (notes->extra_size > 0)
		(void)fwrite(notes->extra, notes->extra_size, 1, out);
}

/** The reason that holds for a whole mapping, else FORMAT_CAPTURED. */
static void mapping_reasons(const struct process_notes *notes, uint32_t *reasons)
{
	const struct selection *selection = notes->selection;

	for (size_t i = 0; i < selection->count; i++) {
		const struct select_range *range = &selection->ranges[i];

		if (i == 0 || range[-1].mapping != range->mapping)
			reasons[range->mapping] = range->reason;
		else if (reasons[range->mapping] != range->reason)
			reasons[range->mapping] = FORMAT_CAPTURED;
	}
}

static struct error *write_mappings(const struct process_notes *notes, FILE *out)
{
	const struct procmaps *maps = notes->maps;
	CLEANUP(free_pointer) uint32_t *reasons =
		calloc(maps->count + 1, sizeof(*reasons));
	struct format_mappings head = {
		.count = (uint32_t)maps->count,
		.names_size = (uint32_t)maps->names_size,
	};
	struct content content;
	struct error *err;

	if (!reasons)
		return error_no_memory();
	mapping_reasons(notes, reasons);
	err = content_open(&content);
	if (err)
		return err;
	(void)fwrite(&head, sizeof(head), 1, content.out);
	for (size_t i = 0; i < maps->count; i++) {
		const struct procmap *map = &maps->items[i];
		struct format_mapping mapping = {
			.start = map->start,
			.end = map->end,
			.file_offset = map->file_offset,
			.inode = map->inode,
			.resident = map->resident,
			.swapped = map->swapped,
			.anonymous = map->anonymous,
			.protection = map->protection,
			.flags = map->flags & 0xffff,
			.reason = reasons[i],
			.name = (uint32_t)(map->name - maps->names),
		};

		(void)fwrite(&mapping, sizeof(mapping), 1, content.out);
	}
	(void)fwrite(maps->names, maps->names_size, 1, content.out);
	return content_write(&content, out, FORMAT_NOTE_MAPPINGS);
}

static struct error *write_skipped(const struct process_notes *notes, FILE *out)
{
	const struct selection *selection = notes->selection;
	struct content content;
	struct error *err = content_open(&content);

	if (err)
		return err;
	for (size_t i = 0; i < selection->count; i++) {
		const struct select_range *range = &selection->ranges[i];
		struct format_skipped skipped = {
			.start = range->start,
			.end = range->end,
			.reason = range->reason,
		};

		if (range->reason != FORMAT_CAPTURED)
			(void)fwrite(&skipped, sizeof(skipped), 1, content.out);
	}
	return content_write(&content, out, FORMAT_NOTE_SKIPPED);
}

static void describe_thread(const struct frozen_thread *thread,
			    struct format_thread *ret)
{
	*ret = (struct format_thread){
		.tid = (uint32_t)thread->info.inside_pid,
		.host_tid = (uint32_t)thread->tid,
		.state = (uint32_t)(unsigned char)thread->state,
	};
	memcpy(ret->name, thread->info.name, sizeof(ret->name));
}

/* --- all of it ------------------------------------------------------------------ */

static struct error *write_threads(const struct process_notes *notes,
				   const char *cmdline, size_t cmdline_size,
				   FILE *out)
{
	CLEANUP(free_pointer) struct format_thread *described =
		calloc(notes->num_threads, sizeof(*described));
	struct error *err;

	if (!described)
		return error_no_memory();
	for (size_t i = 0; i < notes->num_threads; i++) {
		const struct frozen_thread *thread = &notes->threads[i];

		write_prstatus(notes, thread, out);
		if (i == 0) {
			err = write_process(notes, cmdline, cmdline_size, out);
			if (err)
				return err;
		}
		write_regsets(thread, out);
		describe_thread(thread, &described[i]);
	}
	err = write_files(notes, out);
	core_note_write(out, FORMAT_NOTE_OWNER, FORMAT_NOTE_THREADS, described,
			notes->num_threads * sizeof(*described));
	return err;
}

static struct error *write_all(const void *argument, FILE *out)
{
	const struct process_notes *notes = argument;
	struct format_header header = {
		.version = FORMAT_VERSION,
		.frame_log2 = notes->compressed ? FORMAT_FRAME_LOG2 : 0,
	};
	CLEANUP(free_pointer) char *cmdline = NULL;
	CLEANUP(free_pointer) char *script = NULL;
	const char *arguments, *unused;
	size_t cmdline_size = 0, arguments_size;
	struct content facts;
	struct error *err = procinfo_file(notes->memory_pid, "cmdline", &cmdline,
					  &cmdline_size);

	if (err)
		return err;
	arguments = cmdline;
	arguments_size = cmdline_size;
	if (notes->no_cmdline) {
		script = procinfo_script(cmdline, cmdline_size, &unused);
		if (!script)
			return error_no_memory();
		arguments = script;
		arguments_size = strlen(script);
	}
	err = write_threads(notes, arguments, arguments_size, out);
	core_note_write(out, FORMAT_NOTE_OWNER, FORMAT_NOTE_HEADER, &header,
			sizeof(header));
	if (!err)
		err = content_open(&facts);
	if (!err) {
		write_facts(notes, cmdline, cmdline_size, facts.out);
		err = content_write(&facts, out, FORMAT_NOTE_FACTS);
	}
	if (!err)
		err = write_mappings(notes, out);
	if (!err)
		err = write_skipped(notes, out);
	return err;
}

/** Whatever write writes, as a buffer that holds notes. */
static struct error *make(struct error *(*write)(const void *notes, FILE *out),
			  const void *notes, uint8_t **ret, size_t *ret_size)
{
	char *data = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&data, &size);
	struct error *err;

	if (!out)
		return error_no_memory();
	err = write(notes, out);
	if (fclose(out) != 0 && !err)
		err = error_no_memory();
	// The size of a segment of notes and of each note is 32 bits.
	if (!err && size > INT32_MAX)
		err = error_new(ERROR_LIMIT, "too many notes");
	if (err) {
		free(data);
		return err;
	}
	*ret = (uint8_t *)data;
	*ret_size = size;
	return NULL;
}

struct error *process_notes_make(const struct process_notes *notes,
				 uint8_t **ret, size_t *ret_size)
{
	return make(write_all, notes, ret, ret_size);
}

struct error *process_facts_make(const struct process_notes *notes, char **ret,
				 size_t *ret_size)
{
	CLEANUP(free_pointer) char *cmdline = NULL;
	char *data = NULL;
	size_t cmdline_size = 0, size = 0;
	FILE *out = open_memstream(&data, &size);

	if (!out)
		return error_no_memory();
	error_free(procinfo_file(notes->memory_pid, "cmdline", &cmdline,
				 &cmdline_size));
	write_facts(notes, cmdline ? cmdline : "", cmdline_size, out);
	if (fclose(out) != 0) {
		free(data);
		return error_no_memory();
	}
	*ret = data;
	*ret_size = size;
	return NULL;
}

static struct error *write_foreign(const void *argument, FILE *out)
{
	const struct foreign_notes *notes = argument;
	const struct process_notes ours = {
		.maps = notes->maps,
		.selection = notes->selection,
	};
	struct format_header header = {
		.version = FORMAT_VERSION,
		.frame_log2 = notes->compressed ? FORMAT_FRAME_LOG2 : 0,
	};
	struct error *err;

	(void)fwrite(notes->core, 1, notes->core_size, out);
	core_note_write(out, FORMAT_NOTE_OWNER, FORMAT_NOTE_THREADS,
			notes->threads,
			notes->num_threads * sizeof(*notes->threads));
	core_note_write(out, FORMAT_NOTE_OWNER, FORMAT_NOTE_HEADER, &header,
			sizeof(header));
	core_note_write(out, FORMAT_NOTE_OWNER, FORMAT_NOTE_FACTS, notes->facts,
			notes->facts_size);
	err = write_mappings(&ours, out);
	return err ? err : write_skipped(&ours, out);
}

struct error *foreign_notes_make(const struct foreign_notes *notes,
				 uint8_t **ret, size_t *ret_size)
{
	return make(write_foreign, notes, ret, ret_size);
}

struct error *final_notes_make(const struct final_notes *notes, uint8_t **ret,
			       size_t *ret_size)
{
	char *data = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&data, &size);
	struct content content;
	struct error *err;

	if (!out)
		return error_no_memory();
	err = content_open(&content);
	if (!err) {
		fact(content.out, FORMAT_FACT_COMPLETE,
		     notes->complete ? "yes" : "no");
		fact_number(content.out, FORMAT_FACT_PAUSE, notes->pause_ns);
		fact_number(content.out, FORMAT_FACT_TOTAL, notes->total_ns);
		fact_number(content.out, FORMAT_FACT_IMAGE_BYTES,
			    notes->image_bytes);
		err = content_write(&content, out, FORMAT_NOTE_FINAL);
	}
	if (!err && notes->num_missing > 0)
		core_note_write(out, FORMAT_NOTE_OWNER, FORMAT_NOTE_MISSING,
				notes->missing,
				notes->num_missing * sizeof(*notes->missing));
	if (fclose(out) != 0 && !err)
		err = error_no_memory();
	if (err) {
		free(data);
		return err;
	}
	*ret = (uint8_t *)data;
	*ret_size = size;
	return NULL;
}
