/*
 * Which process, which machine, when; see dump_header.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/dump_header.h"

#include <elf.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "analyzer/opened.h"
#include "image/base/units.h"

const char *dump_header_signal(int number)
{
	static const char *const names[] = {
		[SIGHUP] = "SIGHUP",   [SIGINT] = "SIGINT",
		[SIGQUIT] = "SIGQUIT", [SIGILL] = "SIGILL",
		[SIGTRAP] = "SIGTRAP", [SIGABRT] = "SIGABRT",
		[SIGBUS] = "SIGBUS",   [SIGFPE] = "SIGFPE",
		[SIGKILL] = "SIGKILL", [SIGUSR1] = "SIGUSR1",
		[SIGSEGV] = "SIGSEGV", [SIGUSR2] = "SIGUSR2",
		[SIGPIPE] = "SIGPIPE", [SIGALRM] = "SIGALRM",
		[SIGTERM] = "SIGTERM", [SIGSTOP] = "SIGSTOP",
		[SIGCONT] = "SIGCONT", [SIGXCPU] = "SIGXCPU",
		[SIGXFSZ] = "SIGXFSZ", [SIGSYS] = "SIGSYS",
	};

	return number > 0 && number < (int)(sizeof(names) / sizeof(*names)) ?
		names[number] : NULL;
}

/** "3.12.7", "3.15.0a2"; "3.12" where no more is known. */
static void python_version(const struct pyh_runtime *runtime, char text[32])
{
	// PY_VERSION_HEX, Include/patchlevel.h: level 0xA, 0xB, 0xC or 0xF.
	unsigned int version = runtime->version, level = version >> 4 & 0xF;
	int used;

	if (!runtime->version_exact) {
		(void)snprintf(text, 32, "3.%u", runtime->minor);
		return;
	}
	used = snprintf(text, 32, "%u.%u.%u", version >> 24 & 0xFF,
			version >> 16 & 0xFF, version >> 8 & 0xFF);
	if (level >= 0xA && level <= 0xC)
		(void)snprintf(text + used, 32 - (size_t)used, "%s%u",
			       level == 0xA ? "a" : level == 0xB ? "b" : "rc",
			       version & 0xF);
}

void dump_header_time(int64_t seconds, char text[DUMP_HEADER_TEXT])
{
	char utc[UNITS_TEXT_MAX];
	char *middle;

	(void)units_utc(seconds, utc);
	middle = strchr(utc, 'T');
	if (middle)
		*middle = ' ';
	utc[strcspn(utc, "Z")] = '\0';
	(void)snprintf(text, DUMP_HEADER_TEXT, "%s UTC", utc);
}

static const char *first_filled(const char *a, const char *b)
{
	return a && a[0] ? a : b && b[0] ? b : NULL;
}

/** What was run: by default program and script, without arguments. */
static const char *command_of(const struct core_notes *notes, bool values)
{
	const char *script = core_notes_fact(notes, FORMAT_FACT_SCRIPT);
	const char *whole = core_notes_fact(notes, FORMAT_FACT_CMDLINE);

	if (values)
		return first_filled(first_filled(whole, notes->arguments),
				    first_filled(script, notes->program));
	return first_filled(script, notes->program);
}

void dump_header_gather(struct dump_header *header, struct opened *opened,
			const struct pyh_runtime *runtime, bool values)
{
	struct image *image = opened_image(opened);
	const struct core_notes *notes = &image->notes;
	bool partial = opened_partial(opened);	// may add a finding

	*header = (struct dump_header){
		.path = opened_name(opened),
		.command = command_of(notes, values),
		.host = core_notes_fact(notes, FORMAT_FACT_HOST),
		.trigger = core_notes_fact(notes, FORMAT_FACT_TRIGGER),
		.method = core_notes_fact(notes, FORMAT_FACT_METHOD),
		.content = core_notes_fact(notes, FORMAT_FACT_CONTENT),
		.arch = image->machine == EM_X86_64 ? "x86_64" :
			image->machine == EM_AARCH64 ? "aarch64" : NULL,
		.complete = !partial,
		.findings = findings_total(image->findings),
	};
	header->has_pid = core_notes_number(notes, FORMAT_FACT_PID,
					    &header->pid);
	if (!header->has_pid && notes->pid) {
		header->has_pid = true;
		header->pid = notes->pid;
	}
	header->has_captured_at = image_captured_at(image,
						    &header->captured_at);
	if (runtime) {
		python_version(runtime, header->python);
		header->python_build = runtime->build;
	}
}

void dump_header_json(const struct dump_header *header, const char *key,
		      struct render *render)
{
	char utc[UNITS_TEXT_MAX];
	struct json *json = &render->json;

	if (render->format != RENDER_JSON)
		return;
	json_object(json, key);
	json_string(json, "path", header->path);
	if (header->has_pid)
		json_u64(json, "pid", header->pid);
	json_string(json, "command", header->command);
	if (header->has_captured_at)
		json_string(json, "captured_at",
			    units_utc(header->captured_at, utc));
	json_string(json, "trigger", header->trigger);
	json_string(json, "python", header->python[0] ? header->python : NULL);
	json_string(json, "python_build", header->python_build);
	json_string(json, "arch", header->arch);
	json_string(json, "host", header->host);
	json_bool(json, "complete", header->complete);
	json_u64(json, "findings", header->findings);
	json_end(json);
}

void dump_header_line(const struct dump_header *header, struct render *render)
{
	char path[RENDER_NAME_MAX], command[RENDER_NAME_MAX];
	char host[RENDER_NAME_MAX], pid[32] = "", when[DUMP_HEADER_TEXT] = "";
	const char *base = strrchr(header->path, '/');

	base = base && base[1] ? base + 1 : header->path;
	(void)render_name(render, base, 40, path);
	(void)render_name(render, header->command ? header->command :
						    "unknown program",
			  40, command);
	(void)render_name(render, header->host ? header->host : "", 24, host);
	if (header->has_pid)
		(void)snprintf(pid, sizeof(pid), "   pid %" PRIu64,
			       header->pid);
	if (header->has_captured_at)
		dump_header_time(header->captured_at, when);
	render_line(render, "%s   %s%s%s%s%s%s", path, command, pid,
		    header->host ? "   host " : "", header->host ? host : "",
		    when[0] ? "   " : "", when);
}

void dump_header_cause(const struct dump_header *header,
		       const struct image *image, char text[DUMP_HEADER_TEXT])
{
	const struct core_notes *notes = &image->notes;
	int number = image_ended_by(
		image, notes->has_siginfo ? notes->signal :
		notes->num_threads ? notes->threads[0].signal : 0);
	const char *name = dump_header_signal(number);
	char signal_text[48] = "";

	if (number > 0)
		(void)snprintf(signal_text, sizeof(signal_text),
			       ", signal %d%s%s%s", number, name ? " (" : "",
			       name ? name : "", name ? ")" : "");
	// What heapdump writes when a person asked for it.
	if (header->trigger && strcmp(header->trigger, "request") == 0)
		(void)snprintf(text, DUMP_HEADER_TEXT, "on request, by %.40s",
			       image_writer(image));
	else
		(void)snprintf(text, DUMP_HEADER_TEXT, "by %.40s%s%.60s%s",
			       image_writer(image),
			       header->trigger ? ", trigger " : "",
			       header->trigger ? header->trigger : "",
			       signal_text);
}
