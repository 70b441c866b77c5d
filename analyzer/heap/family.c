/*
 * Dumps of one tree of processes; see family.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/heap/family.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/base/guard.h"

enum {
	MANIFEST_MAX = 16 << 20,	/* bytes */
	DEPTH_MAX = 32,
	KEY_MAX = 32,
};

/* --- JSON, as much as a manifest needs ----------------------------------- */

struct reader {
	const char *at, *end;
	int depth;
	bool wrong;
};

static char next_char(struct reader *reader)
{
	while (reader->at < reader->end && isspace((unsigned char)*reader->at))
		reader->at++;
	return reader->at < reader->end ? *reader->at : '\0';
}

static bool accept(struct reader *reader, char wanted)
{
	if (reader->wrong || next_char(reader) != wanted)
		return false;
	reader->at++;
	return true;
}

static void expect(struct reader *reader, char wanted)
{
	if (!accept(reader, wanted))
		reader->wrong = true;
}

/** Four hexadecimal digits of an escape. */
static unsigned int read_unit(struct reader *reader)
{
	unsigned int unit = 0;

	for (int i = 0; i < 4; i++) {
		char digit = reader->at < reader->end ? *reader->at++ : '\0';

		if (!isxdigit((unsigned char)digit))
			reader->wrong = true;
		unit = unit << 4 | (unsigned int)(isdigit((unsigned char)digit) ?
			digit - '0' : (digit | 32) - 'a' + 10);
	}
	return unit;
}

static void put_utf8(FILE *out, unsigned int point)
{
	if (point < 0x80) {
		(void)fputc((int)point, out);
	} else if (point < 0x800) {
		(void)fprintf(out, "%c%c", (int)(0xC0 | point >> 6),
			      (int)(0x80 | (point & 63)));
	} else {
		(void)fprintf(out, "%c%c%c", (int)(0xE0 | point >> 12),
			      (int)(0x80 | (point >> 6 & 63)),
			      (int)(0x80 | (point & 63)));
	}
}

/** A string; the caller frees it. NULL: there is none. */
static char *read_string(struct reader *reader)
{
	static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
	char *text = NULL;
	size_t size = 0;
	FILE *out;

	expect(reader, '"');
	if (reader->wrong || !(out = open_memstream(&text, &size)))
		return NULL;
	while (!reader->wrong && reader->at < reader->end &&
	       *reader->at != '"') {
		char byte = *reader->at++;
		const char *letter;

		if (byte == '\\' && reader->at < reader->end) {
			byte = *reader->at++;
			letter = strchr(letters, byte);
			if (byte == 'u') {
				put_utf8(out, read_unit(reader));
				continue;
			}
			if (letter && *letter)
				byte = meant[letter - letters];
		}
		(void)fputc(byte, out);
	}
	expect(reader, '"');
	if (fclose(out) != 0 || reader->wrong) {
		free(text);
		return NULL;
	}
	return text;
}

static void skip_value(struct reader *reader);

/** What is between brackets: values, with keys before them or not. */
static void skip_list(struct reader *reader, char close, bool keys)
{
	if (++reader->depth > DEPTH_MAX)
		reader->wrong = true;
	if (!accept(reader, close)) {
		do {
			if (keys) {
				free(read_string(reader));
				expect(reader, ':');
			}
			skip_value(reader);
		} while (accept(reader, ','));
		expect(reader, close);
	}
	reader->depth--;
}

static void skip_value(struct reader *reader)
{
	const char *before = reader->at;

	if (reader->wrong)
		return;
	if (accept(reader, '{')) {
		skip_list(reader, '}', true);
	} else if (accept(reader, '[')) {
		skip_list(reader, ']', false);
	} else if (next_char(reader) == '"') {
		free(read_string(reader));
	} else {
		while (reader->at < reader->end &&
		       (isalnum((unsigned char)*reader->at) ||
			strchr("+-.", *reader->at)))
			reader->at++;
		reader->wrong |= reader->at == before;
	}
}

static uint64_t read_number(struct reader *reader)
{
	uint64_t number = 0;

	if (!isdigit((unsigned char)next_char(reader)))
		reader->wrong = true;
	while (reader->at < reader->end &&
	       isdigit((unsigned char)*reader->at) && number < UINT32_MAX)
		number = number * 10 + (uint64_t)(*reader->at++ - '0');
	return number;
}

/** Calls fn for each key of an object; fn reads the value. */
typedef void key_fn(void *context, struct reader *reader, const char *key);

static void each_key(struct reader *reader, key_fn *fn, void *context)
{
	expect(reader, '{');
	if (accept(reader, '}'))
		return;
	do {
		CLEANUP(free_pointer) char *key = read_string(reader);

		expect(reader, ':');
		if (key && !reader->wrong)
			fn(context, reader, key);
	} while (accept(reader, ','));
	expect(reader, '}');
}

/* --- the manifest -------------------------------------------------------- */

struct manifest {
	const char *path;
	struct family *family;
	struct family_member member;	/* the one being read */
	bool known, no_memory;
};

static void member_key(void *context, struct reader *reader, const char *key)
{
	struct manifest *manifest = context;

	if (strcmp(key, "pid") == 0)
		manifest->member.pid = read_number(reader);
	else if (strcmp(key, "parent") == 0)
		manifest->member.parent = read_number(reader);
	else if (strcmp(key, "path") == 0 && next_char(reader) == '"' &&
		 !manifest->member.path)
		manifest->member.path = read_string(reader);
	else
		skip_value(reader);
}

/** Where the file is now: beside the manifest, if no longer where it was. */
static void settle_path(const char *manifest, struct family_member *member)
{
	const char *slash = strrchr(manifest, '/');
	const char *name = strrchr(member->path, '/');
	size_t folder = slash ? (size_t)(slash - manifest) + 1 : 0;
	char *beside;

	if (access(member->path, F_OK) == 0 ||
	    asprintf(&beside, "%.*s%s", (int)folder, manifest,
		     name ? name + 1 : member->path) < 0)
		return;
	free(member->path);
	member->path = beside;
}

static bool add_member(struct family *family, struct family_member *member)
{
	void *grown = reallocarray(family->members, family->count + 1,
				   sizeof(*family->members));

	if (!grown)
		return false;
	family->members = grown;
	family->members[family->count++] = *member;
	*member = (struct family_member){ .path = NULL };
	return true;
}

static void read_members(struct manifest *manifest, struct reader *reader)
{
	expect(reader, '[');
	if (accept(reader, ']'))
		return;
	do {
		each_key(reader, member_key, manifest);
		// A dump that failed has no path.
		if (manifest->member.path && !reader->wrong) {
			settle_path(manifest->path, &manifest->member);
			if (manifest->family->count >= FAMILY_MAX ||
			    !add_member(manifest->family, &manifest->member))
				manifest->no_memory = reader->wrong = true;
		}
		free(manifest->member.path);
		manifest->member = (struct family_member){ .path = NULL };
	} while (accept(reader, ','));
	expect(reader, ']');
}

static void manifest_key(void *context, struct reader *reader, const char *key)
{
	struct manifest *manifest = context;

	if (strcmp(key, "schema") == 0) {
		CLEANUP(free_pointer) char *schema = read_string(reader);

		manifest->known = schema &&
				  strcmp(schema, "heapdump.manifest/1") == 0;
	} else if (strcmp(key, "dumps") == 0 && manifest->family->count == 0) {
		read_members(manifest, reader);
	} else {
		skip_value(reader);
	}
}

static struct error *read_whole(const char *path, char **ret, size_t *ret_size)
{
	CLEANUP(close_file) FILE *in = fopen(path, "re");
	char *text;

	if (!in)
		return error_os(errno, "%s", path);
	text = malloc(MANIFEST_MAX);
	if (!text)
		return error_no_memory();
	*ret_size = fread(text, 1, MANIFEST_MAX, in);
	if (ferror(in)) {
		free(text);
		return error_os(errno, "%s", path);
	}
	*ret = text;
	return NULL;
}

bool family_is_manifest(const char *path)
{
	struct stat status;
	int byte = EOF;

	// A pipe is not even opened: that would wait for a writer.
	if (stat(path, &status) != 0 || !S_ISREG(status.st_mode) ||
	    status.st_size > MANIFEST_MAX)
		return false;
	CLEANUP(close_file) FILE *in = fopen(path, "re");
	if (!in)
		return false;
	do
		byte = fgetc(in);
	while (isspace(byte));
	return byte == '{';
}

struct error *family_read(const char *path, struct family *ret)
{
	CLEANUP(free_pointer) char *text = NULL;
	struct family family = { .count = 0 };
	struct manifest manifest = { .path = path, .family = &family };
	struct reader reader = { 0 };
	struct error *err;
	size_t size = 0;

	err = read_whole(path, &text, &size);
	if (err)
		return err;
	reader.at = text;
	reader.end = text + size;
	each_key(&reader, manifest_key, &manifest);
	if (reader.wrong || !manifest.known)
		err = error_new(ERROR_FORMAT, "%s is no manifest of heapdump "
				"--children, or is damaged", path);
	else if (family.count == 0)
		err = error_new(ERROR_FORMAT, "%s lists no dump", path);
	if (manifest.no_memory) {
		error_free(err);
		err = error_no_memory();
	}
	if (err)
		family_deinit(&family);
	else
		*ret = family;
	return err;
}

struct error *family_of(char *const *names, size_t count, struct family *ret)
{
	struct family family = { .count = 0 };

	if (count == 1 && family_is_manifest(names[0]))
		return family_read(names[0], ret);
	for (size_t i = 0; i < count; i++) {
		struct family_member member = { .path = strdup(names[i]) };

		if (!member.path || !add_member(&family, &member)) {
			free(member.path);
			family_deinit(&family);
			return error_no_memory();
		}
	}
	*ret = family;
	return NULL;
}

void family_deinit(struct family *family)
{
	for (size_t i = 0; i < family->count; i++)
		free(family->members[i].path);
	free(family->members);
	*family = (struct family){ .count = 0 };
}
