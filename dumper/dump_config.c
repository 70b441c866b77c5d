/*
 * /etc/heapdump.conf; see dump_config.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dumper/dump_config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/base/guard.h"
#include "image/base/units.h"

enum {
	LINE_SIZE = 4096,
	NUMBER_MAX = 1000000,
};

static const struct dump_config defaults = {
	.max_core = UINT64_C(1) << 40,
	.min_free = UINT64_C(1) << 30,
	.max_rate = 20,
	.max_concurrent = 2,
};

/* --- keys --------------------------------------------------------------------- */

typedef struct error *key_fn(struct dump_config *config, const char *value);

static struct error *set_content(struct dump_config *config, const char *value)
{
	struct error *err = select_content_parse(value, &config->content);

	// The kernel's cores are taken by it, too, and they are of the heap.
	if (!err && config->content == SELECT_STACKS)
		err = error_new(ERROR_USAGE, "'stacks' is none of heap, full");
	config->caps_content = true;
	return err;
}

static struct error *set_folder(struct dump_config *config, const char *value)
{
	if (value[0] != '/')
		return error_new(ERROR_USAGE, "'%s' does not begin with /",
				 value);
	free(config->folder);
	config->folder = strdup(value);
	return config->folder ? NULL : error_no_memory();
}

static struct error *forbid(struct dump_config *config, const char *word)
{
	if (strcmp(word, "kernel") == 0) {
		config->kernel_forbidden = true;
		return NULL;
	}
	for (enum dump_method i = 0; i < NUM_DUMP_METHODS; i++) {
		if (strcmp(word, dump_method_word(i)) != 0)
			continue;
		config->forbidden[i] = true;
		return NULL;
	}
	return error_new(ERROR_USAGE, "'%s' is none of snapshot, stop, gcore, "
			 "signal, kernel", word);
}

static struct error *set_forbid(struct dump_config *config, const char *value)
{
	CLEANUP(free_pointer) char *words = strdup(value);
	struct error *err = NULL;
	char *left = NULL;

	if (!words)
		return error_no_memory();
	for (char *word = strtok_r(words, ", \t", &left); !err && word;
	     word = strtok_r(NULL, ", \t", &left))
		err = forbid(config, word);
	return err;
}

static struct error *set_respect_limit(struct dump_config *config,
				       const char *value)
{
	config->respect_limit = strcmp(value, "yes") == 0;
	return config->respect_limit || strcmp(value, "no") == 0 ? NULL :
		error_new(ERROR_USAGE, "'%s' is neither yes nor no", value);
}

static struct error *set_max_core(struct dump_config *config, const char *value)
{
	return units_parse_size(value, &config->max_core);
}

static struct error *set_max_size(struct dump_config *config, const char *value)
{
	return units_parse_size(value, &config->max_size);
}

static struct error *set_max_total(struct dump_config *config,
				   const char *value)
{
	return units_parse_size(value, &config->max_total);
}

static struct error *set_min_free(struct dump_config *config, const char *value)
{
	return units_parse_size(value, &config->min_free);
}

static struct error *parse_number(const char *value, unsigned int *ret)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || *end || errno != 0 ||
	    number > NUMBER_MAX)
		return error_new(ERROR_USAGE, "'%s' is not a number up to %d",
				 value, NUMBER_MAX);
	*ret = (unsigned int)number;
	return NULL;
}

static struct error *set_max_rate(struct dump_config *config, const char *value)
{
	return parse_number(value, &config->max_rate);
}

static struct error *set_max_concurrent(struct dump_config *config,
					const char *value)
{
	return parse_number(value, &config->max_concurrent);
}

static const struct {
	const char *name;
	key_fn *set;
} keys[] = {
	{ "content", set_content },
	{ "folder", set_folder },
	{ "forbid", set_forbid },
	{ "respect_limit", set_respect_limit },
	{ "max_core", set_max_core },
	{ "max_size", set_max_size },
	{ "max_total", set_max_total },
	{ "min_free", set_min_free },
	{ "max_rate", set_max_rate },
	{ "max_concurrent", set_max_concurrent },
};

enum { NUM_KEYS = sizeof(keys) / sizeof(*keys) };

static struct error *unknown_key(const char *key)
{
	char known[256] = "";

	for (size_t i = 0; i < NUM_KEYS; i++) {
		(void)strcat(known, i ? ", " : "");
		(void)strcat(known, keys[i].name);
	}
	return error_new(ERROR_USAGE, "unknown key '%s'; known are %s", key,
			 known);
}

/* --- lines -------------------------------------------------------------------- */

/** Cut off white space at both ends. */
static char *trim(char *text)
{
	size_t length;

	while (isspace((unsigned char)*text))
		text++;
	length = strlen(text);
	while (length > 0 && isspace((unsigned char)text[length - 1]))
		text[--length] = '\0';
	return text;
}

static struct error *parse_line(struct dump_config *config, char *line,
				bool seen[NUM_KEYS])
{
	char *equals, *key, *value;

	line[strcspn(line, "#")] = '\0';
	line = trim(line);
	if (*line == '\0')
		return NULL;
	equals = strchr(line, '=');
	if (!equals)
		return error_new(ERROR_USAGE, "'%s' is not \"key = value\"",
				 line);
	*equals = '\0';
	key = trim(line);
	value = trim(equals + 1);
	if (*value == '\0')
		return error_new(ERROR_USAGE, "%s has no value", key);
	for (size_t i = 0; i < NUM_KEYS; i++) {
		if (strcmp(keys[i].name, key) != 0)
			continue;
		if (seen[i])
			return error_new(ERROR_USAGE, "%s is there twice", key);
		seen[i] = true;
		return error_context(keys[i].set(config, value), "%s", key);
	}
	return unknown_key(key);
}

struct error *dump_config_parse(FILE *in, const char *name,
				struct dump_config *ret)
{
	struct dump_config config = defaults;
	bool seen[NUM_KEYS] = { false };
	char line[LINE_SIZE];
	struct error *err = NULL;
	unsigned int number = 0;

	while (!err && fgets(line, sizeof(line), in)) {
		number++;
		if (strlen(line) == sizeof(line) - 1)
			err = error_new(ERROR_USAGE, "the line is too long");
		else
			err = parse_line(&config, line, seen);
	}
	if (!err && ferror(in))
		err = error_os(errno, "reading");
	if (err) {
		dump_config_deinit(&config);
		// Whoever asked for a dump has not asked wrongly.
		if (err->kind == ERROR_USAGE)
			err->kind = ERROR_LIMIT;
		return error_context(err, "%s:%u", name, number);
	}
	*ret = config;
	return NULL;
}

/** Whoever may write the rules must be root. */
static struct error *check_owner(int fd)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return error_os(errno, "%s", DUMP_CONFIG_PATH);
	if (!S_ISREG(status.st_mode))
		return error_new(ERROR_LIMIT, "%s is not a file",
				 DUMP_CONFIG_PATH);
	if (status.st_uid != 0 || (status.st_mode & (S_IWGRP | S_IWOTH)))
		return error_new(ERROR_LIMIT, "%s must be owned by root and "
				 "writable by nobody else: chown root:root %s; "
				 "chmod 644 %s", DUMP_CONFIG_PATH,
				 DUMP_CONFIG_PATH, DUMP_CONFIG_PATH);
	return NULL;
}

struct error *dump_config_read(struct dump_config *ret)
{
	int fd = open(DUMP_CONFIG_PATH, O_RDONLY | O_CLOEXEC | O_NONBLOCK |
					O_NOCTTY);
	CLEANUP(close_file) FILE *in = NULL;
	struct error *err;

	if (fd < 0 && errno == ENOENT) {
		*ret = defaults;
		return NULL;
	}
	if (fd < 0)
		return error_os(errno, "%s", DUMP_CONFIG_PATH);
	err = check_owner(fd);
	in = fdopen(fd, "r");
	if (!in) {
		close_fd(&fd);
		return err ? err : error_no_memory();
	}
	return err ? err : dump_config_parse(in, DUMP_CONFIG_PATH, ret);
}

void dump_config_deinit(struct dump_config *config)
{
	free(config->folder);
	*config = (struct dump_config){ 0 };
}

/* --- what it means ------------------------------------------------------------ */

struct error *dump_config_check_content(const struct dump_config *config,
					enum select_content content)
{
	if (!config->caps_content ||
	    select_content_rank(content) <= select_content_rank(config->content))
		return NULL;
	return error_new(ERROR_LIMIT, "--content %s: %s permits %s at most",
			 select_content_word(content), DUMP_CONFIG_PATH,
			 select_content_word(config->content));
}

struct error *dump_config_check_method(const struct dump_config *config,
				       enum dump_method method)
{
	if (!config->forbidden[method])
		return NULL;
	return error_new(ERROR_LIMIT, "--method %s: %s forbids it",
			 dump_method_word(method), DUMP_CONFIG_PATH);
}

/** The folder that a path names, or that the file it names is in. */
static bool in_folder(const char *output, const char *folder)
{
	CLEANUP(free_pointer) char *parent = strdup(output);
	struct stat wanted, got;
	char *slash;

	if (!parent || stat(folder, &wanted) != 0)
		return false;
	if (stat(output, &got) != 0 || !S_ISDIR(got.st_mode)) {
		slash = strrchr(parent, '/');
		if (slash)
			slash[slash == parent] = '\0';
		if (stat(slash ? parent : ".", &got) != 0)
			return false;
	}
	return got.st_dev == wanted.st_dev && got.st_ino == wanted.st_ino;
}

struct error *dump_config_check_output(const struct dump_config *config,
				       const char *output)
{
	if (!config->folder || !output || in_folder(output, config->folder))
		return NULL;
	return error_new(ERROR_LIMIT, "--output %s: %s permits the folder %s "
			 "only", output, DUMP_CONFIG_PATH, config->folder);
}
