/*
 * The command line of heapscan; see scan_options.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/scan_options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/opened.h"
#include "analyzer/views.h"
#include "image/base/units.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

enum option_kind {
	OPTION_FLAG,		/* bool */
	OPTION_TEXT,		/* const char * */
	OPTION_PATH,		/* const char *, completed as a file */
	OPTION_SIZE,		/* uint64_t, bytes */
	OPTION_COUNT,		/* uint64_t */
	OPTION_CHOICE,		/* unsigned int, index of the choice */
	OPTION_LATER,		/* designed, but not in this version */
};

enum option_group {
	GROUP_OUTPUT,
	GROUP_FILTER,
	GROUP_INPUT,
	GROUP_BUDGET,
	GROUP_HABIT,
	NUM_GROUPS
};

static const char *const group_titles[NUM_GROUPS] = {
	[GROUP_OUTPUT] = "Output",
	[GROUP_FILTER] = "What to show",
	[GROUP_INPUT] = "Input",
	[GROUP_BUDGET] = "Budgets",
	[GROUP_HABIT] = "Habits",
};

struct option_spec {
	const char *name;	/* without the dashes */
	char letter;		/* 0: none */
	enum option_kind kind;
	enum option_group group;
	unsigned int views;	/* bits of enum view_bit it has a meaning for */
	const char *argument;	/* its name in the help, NULL: takes none */
	const char *const *choices;
	const char *help;
	size_t offset;		/* of the field in struct options */
};

/* In the order of enum render_format and enum color_when. */
static const char *const formats[] = { "text", "json", "ndjson", "csv", "md",
				       NULL };
static const char *const colors[] = { "auto", "always", "never", NULL };

/* In the order of enum group_by. */
static const char *const groups[] = { "type", "owner", "module", "thread",
				      "root", NULL };

#define FIELD(field) .offset = offsetof(struct options, field)
#define SORTED (VIEW_DIFF | VIEW_TYPES | VIEW_OBJECTS | VIEW_COLLECTIONS | VIEW_DUPLICATES)
#define SIZED (SORTED | VIEW_RETAINED | VIEW_CYCLES)
#define TABLES (SIZED | VIEW_REFCOUNTS)

static const struct option_spec specs[] = {
	{ "format", 'f', OPTION_CHOICE, GROUP_OUTPUT, VIEW_EVERY, "FORMAT",
	  formats, "text (default), json, ndjson, csv or md", FIELD(format) },
	{ "output", 'o', OPTION_PATH, GROUP_OUTPUT, VIEW_EVERY, "FILE", NULL,
	  "write the answer to FILE, which appears only when complete",
	  FIELD(output) },
	{ "color", 0, OPTION_CHOICE, GROUP_OUTPUT, VIEW_EVERY, "WHEN", colors,
	  "auto (default: on a terminal, unless NO_COLOR is set), always, "
	  "never", FIELD(color) },
	{ "values", 0, OPTION_FLAG, GROUP_OUTPUT, VIEW_EVERY, NULL, NULL,
	  "show values of the program too (contents of objects, arguments of "
	  "its command line); without it only names found in code",
	  FIELD(values) },
	{ "fail-if", 0, OPTION_TEXT, GROUP_OUTPUT, VIEW_EVERY, "EXPR", NULL,
	  "exit with 5 when a row or total meets it, as in 'size>1GiB'",
	  FIELD(fail_if) },
	{ "dot", 0, OPTION_FLAG, GROUP_OUTPUT, VIEW_PATH, NULL, NULL,
	  "print the paths as a digraph for Graphviz", FIELD(dot) },

	{ "top", 'n', OPTION_COUNT, GROUP_FILTER, VIEW_EVERY, "N", NULL,
	  "rows of the table (default 20; 0: all)", FIELD(top) },
	{ "sort", 0, OPTION_TEXT, GROUP_FILTER,
	  SORTED | VIEW_TRACEMALLOC | VIEW_MALLOC | VIEW_TENSORS,
	  "KEY", NULL,
	  "order by this column (default size, or what is wasted), numbers "
	  "largest first", FIELD(sort) },
	{ "type", 0, OPTION_TEXT, GROUP_FILTER,
	  TABLES | VIEW_PATH | VIEW_TENSORS, "NAME", NULL,
	  "only this type: dict, collections.deque, __main__.Node",
	  FIELD(type) },
	{ "match", 0, OPTION_TEXT, GROUP_FILTER,
	  TABLES | VIEW_PATH | VIEW_TRACEMALLOC | VIEW_TENSORS,
	  "REGEX", NULL, "only types (tracemalloc: files) whose name matches "
	  "(PCRE2, anywhere in the name)",
	  FIELD(match) },
	{ "min-size", 0, OPTION_SIZE, GROUP_FILTER,
	  SIZED | VIEW_TRACEMALLOC | VIEW_TENSORS | VIEW_ALLOCATOR,
	  "SIZE", NULL, "only rows of at least this size", FIELD(min_size) },
	{ "by", 0, OPTION_CHOICE, GROUP_FILTER,
	  VIEW_TYPES | VIEW_RETAINED | VIEW_CYCLES | VIEW_MALLOC, "WHAT",
	  groups, "group rows by type, owner (\"dict of X\"), module, "
	  "thread or root, as the view has it", FIELD(by) },
	{ "tracebacks", 0, OPTION_FLAG, GROUP_FILTER, VIEW_TRACEMALLOC, NULL,
	  NULL, "rows are whole tracebacks, not lines", FIELD(tracebacks) },
	{ "locals", 0, OPTION_FLAG, GROUP_FILTER, VIEW_THREADS, NULL, NULL,
	  "add the variables of Python frames", FIELD(locals) },
	{ "native-only", 0, OPTION_FLAG, GROUP_FILTER, VIEW_THREADS, NULL, NULL,
	  "native stacks only; for processes that are not Python's",
	  FIELD(native_only) },
	{ "each", 0, OPTION_FLAG, GROUP_FILTER, VIEW_TENSORS, NULL, NULL,
	  "a row for each tensor, also where equal ones could share one",
	  FIELD(each) },
	{ "segments", 0, OPTION_FLAG, GROUP_FILTER, VIEW_ALLOCATOR, NULL, NULL,
	  "rows are segments: what was got from the driver", FIELD(segments) },
	{ "blocks", 0, OPTION_FLAG, GROUP_FILTER, VIEW_ALLOCATOR, NULL, NULL,
	  "rows are blocks, with the tensor that each is for", FIELD(blocks) },
	{ "orphans", 0, OPTION_FLAG, GROUP_FILTER, VIEW_ALLOCATOR, NULL, NULL,
	  "rows are blocks in use that no tensor of Python's is in",
	  FIELD(orphans) },
	{ "history", 0, OPTION_FLAG, GROUP_FILTER, VIEW_ALLOCATOR, NULL, NULL,
	  "rows are events that it recorded, the newest first",
	  FIELD(history) },
	{ "fits", 0, OPTION_SIZE, GROUP_FILTER, VIEW_ALLOCATOR, "SIZE", NULL,
	  "would so many bytes have fit, and if not, why", FIELD(fits) },
	{ "device-free", 0, OPTION_SIZE, GROUP_FILTER, VIEW_ALLOCATOR, "SIZE",
	  NULL, "what the driver had free of each device, as an error message "
	  "or nvidia-smi says", FIELD(device_free) },
	{ "arrays", 0, OPTION_FLAG, GROUP_FILTER, VIEW_TENSORS, NULL, NULL,
	  "arrays of NumPy and CuPy as well", FIELD(arrays) },
	{ "retained", 0, OPTION_FLAG, GROUP_FILTER,
	  VIEW_TYPES | VIEW_OBJECTS | VIEW_OBJECT, NULL, NULL,
	  "add what would go with each row, and of objects how many refer to "
	  "them", FIELD(retained) },

	{ "sysroot", 0, OPTION_PATH, GROUP_INPUT, VIEW_EVERY, "DIR", NULL,
	  "where the program and libraries of the target are; 'none': look "
	  "for no files", FIELD(sysroot) },
	{ "gpu-core", 0, OPTION_LATER, GROUP_INPUT, VIEW_EVERY, "FILE", NULL,
	  "companion GPU core", 0 },
	{ "debuginfod", 0, OPTION_FLAG, GROUP_INPUT, VIEW_EVERY, NULL, NULL,
	  "look for debug information on the network, too, at the servers in "
	  "$DEBUGINFOD_URLS", FIELD(debuginfod) },
	{ "batch", 0, OPTION_LATER, GROUP_INPUT, VIEW_EVERY, "DIR", NULL,
	  "many dumps, one summary row each", 0 },

	{ "memory", 0, OPTION_SIZE, GROUP_BUDGET, VIEW_EVERY, "SIZE", NULL,
	  "memory to use for caches and for sorting (default: 1GiB, and an "
	  "eighth of what is free for the dump decompressed)",
	  FIELD(memory) },
	{ "threads", 0, OPTION_COUNT, GROUP_BUDGET, VIEW_EVERY, "N", NULL,
	  "threads to use (default: one per processor)", FIELD(threads) },
	{ "tmp", 0, OPTION_PATH, GROUP_BUDGET, VIEW_EVERY, "DIR", NULL,
	  "where compressed dumps are expanded (default $TMPDIR, /var/tmp)",
	  FIELD(tmp_dir) },
	{ "index", 0, OPTION_PATH, GROUP_BUDGET, VIEW_EVERY, "DIR", NULL,
	  "keep results for the next question there (default "
	  "$XDG_CACHE_HOME/heapscan, ~/.cache/heapscan)", FIELD(index) },
	{ "no-index", 0, OPTION_FLAG, GROUP_BUDGET, VIEW_EVERY, NULL, NULL,
	  "keep no results, and use none", FIELD(no_index) },

	{ "no-progress", 0, OPTION_FLAG, GROUP_HABIT, VIEW_EVERY, NULL, NULL,
	  "no progress line (there is one only on a terminal)",
	  FIELD(no_progress) },
	{ "quiet", 'q', OPTION_FLAG, GROUP_HABIT, VIEW_EVERY, NULL, NULL,
	  "nothing on standard error but errors", FIELD(quiet) },
	{ "verbose", 'v', OPTION_FLAG, GROUP_HABIT, VIEW_EVERY, NULL, NULL,
	  "say how the runtime was found, and each finding", FIELD(verbose) },
	{ "completion", 0, OPTION_TEXT, GROUP_HABIT, VIEW_EVERY, "SHELL", NULL,
	  "print a completion script for bash, zsh or fish",
	  FIELD(completion) },
	{ "help", 'h', OPTION_FLAG, GROUP_HABIT, VIEW_EVERY, NULL, NULL,
	  "this text; after a view, what its columns mean", FIELD(help) },
	{ "version", 0, OPTION_FLAG, GROUP_HABIT, VIEW_EVERY, NULL, NULL,
	  "print the version", FIELD(version) },
};

static bool is_later(const struct option_spec *spec)
{
	return spec->kind == OPTION_LATER;
}

/* --- parsing -------------------------------------------------------------- */

static const struct option_spec *find_long(const char *name, size_t size)
{
	for (size_t i = 0; i < COUNT(specs); i++) {
		if (strlen(specs[i].name) == size &&
		    strncmp(specs[i].name, name, size) == 0)
			return &specs[i];
	}
	return NULL;
}

static const struct option_spec *find_letter(char letter)
{
	for (size_t i = 0; i < COUNT(specs); i++) {
		if (letter && specs[i].letter == letter)
			return &specs[i];
	}
	return NULL;
}

static struct error *unknown_option(const char *name, size_t size)
{
	char typed[32];
	const char *nearest = NULL;
	unsigned int limit = 4;

	(void)snprintf(typed, sizeof(typed), "%.*s",
		       (int)(size < 31 ? size : 31), name);
	for (size_t i = 0; i < COUNT(specs); i++) {
		unsigned int distance = views_distance(typed, specs[i].name);

		if (!is_later(&specs[i]) && distance < limit) {
			limit = distance;
			nearest = specs[i].name;
		}
	}
	if (nearest)
		return error_new(ERROR_USAGE,
				 "unknown option --%s; did you mean --%s?",
				 typed, nearest);
	return error_new(ERROR_USAGE, "unknown option --%s (see --help)",
			 typed);
}

static struct error *set_choice(const struct option_spec *spec,
				unsigned int *ret, const char *value)
{
	char list[64] = "";

	assert(value);		/* the table says that it takes one */
	for (unsigned int i = 0; spec->choices[i]; i++) {
		if (strcmp(spec->choices[i], value) == 0) {
			*ret = i;
			return NULL;
		}
		(void)snprintf(list + strlen(list),
			       sizeof(list) - strlen(list), "%s%s",
			       i ? ", " : "", spec->choices[i]);
	}
	return error_new(ERROR_USAGE, "--%s '%s' is none of %s", spec->name,
			 value, list);
}

static struct error *set_count(const struct option_spec *spec, uint64_t *ret,
			       const char *value)
{
	unsigned long long number;
	char *end;

	assert(value);
	errno = 0;
	number = strtoull(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || *end || errno)
		return error_new(ERROR_USAGE, "--%s '%s' is not a number",
				 spec->name, value);
	*ret = number;
	return NULL;
}

static struct error *set(struct options *options,
			 const struct option_spec *spec, const char *value)
{
	void *field = (char *)options + spec->offset;

	assert(value || !spec->argument || is_later(spec));
	switch (spec->kind) {
	case OPTION_FLAG:
		*(bool *)field = true;
		return NULL;
	case OPTION_TEXT:
	case OPTION_PATH:
		*(const char **)field = value;
		return NULL;
	case OPTION_SIZE:
		return error_context(units_parse_size(value, field), "--%s",
				     spec->name);
	case OPTION_COUNT:
		return set_count(spec, field, value);
	case OPTION_CHOICE:
		return set_choice(spec, field, value);
	case OPTION_LATER:
		break;
	}
	return error_new(ERROR_USAGE, "--%s: not in this version", spec->name);
}

/** Where parsing is, and which options were seen. */
struct parser {
	int argc, at;
	char **argv;
	bool given[COUNT(specs)];
	char **words;		/* what is no option */
	size_t num_words;
};

static struct error *give(struct parser *parser, struct options *options,
			  const struct option_spec *spec, const char *attached)
{
	const char *value = attached;

	parser->given[spec - specs] = true;
	options->by_given |= spec->offset == offsetof(struct options, by) &&
			     spec->kind == OPTION_CHOICE;
	if (is_later(spec))
		return set(options, spec, NULL);
	if (spec->argument && !value) {
		if (parser->at + 1 >= parser->argc)
			return error_new(ERROR_USAGE, "--%s needs %s",
					 spec->name, spec->argument);
		value = parser->argv[++parser->at];
	} else if (!spec->argument && value) {
		return error_new(ERROR_USAGE, "--%s takes no value",
				 spec->name);
	}
	return set(options, spec, value);
}

static struct error *parse_long(struct parser *parser, struct options *options,
				const char *text)
{
	size_t size = strcspn(text, "=");
	const struct option_spec *spec = find_long(text, size);

	if (!spec)
		return unknown_option(text, size);
	return give(parser, options, spec, text[size] ? text + size + 1 : NULL);
}

static struct error *parse_letters(struct parser *parser,
				   struct options *options, const char *text)
{
	for (; *text; text++) {
		const struct option_spec *spec = find_letter(*text);
		struct error *err;

		if (!spec)
			return isprint((unsigned char)*text) ?
				error_new(ERROR_USAGE,
					  "unknown option -%c (see --help)",
					  *text) :
				error_new(ERROR_USAGE,
					  "unknown option (see --help)");
		if (spec->argument)
			return give(parser, options, spec,
				    text[1] ? text + 1 : NULL);
		err = give(parser, options, spec, NULL);
		if (err)
			return err;
	}
	return NULL;
}

static struct error *parse_words(struct parser *parser, struct options *options)
{
	bool only_words = false;

	for (parser->at = 1; parser->at < parser->argc; parser->at++) {
		char *text = parser->argv[parser->at];
		struct error *err = NULL;

		if (only_words || text[0] != '-' || !text[1])
			parser->words[parser->num_words++] = text;
		else if (strcmp(text, "--") == 0)
			only_words = true;
		else if (text[1] == '-')
			err = parse_long(parser, options, text + 2);
		else
			err = parse_letters(parser, options, text + 1);
		if (err)
			return err;
	}
	return NULL;
}

/* --- what the words mean -------------------------------------------------- */

static bool names_view(const char *word)
{
	return views_find(word) || views_planned(word);
}

/** A word that is no view and no file, but looks like a mistyped view. */
static struct error *check_dump(const char *word)
{
	const char *nearest;

	if (!*word)
		return error_new(ERROR_USAGE, "the name of a dump is empty");
	if (strcmp(word, "-") == 0)
		return error_new(ERROR_USAGE, "a dump cannot be read from "
				 "standard input, as it is read at random; "
				 "name a file");
	if (opened_is_pid(word) || strchr(word, '/') || strchr(word, '.') ||
	    access(word, F_OK) == 0)
		return NULL;
	nearest = views_nearest(word);
	if (!nearest)
		return NULL;
	return error_new(ERROR_USAGE, "no view and no file is called '%s'; "
			 "did you mean %s?", word, nearest);
}

static struct error *not_in_this_version(const char *view)
{
	return error_new(ERROR_USAGE, "%s: not in this version, which has %s",
			 view, views_list());
}

/** An address, as we print it ("0x...") or as a number. */
static struct error *set_address(struct options *options, const char *view,
				 const char *word)
{
	bool hex = word[0] == '0' && (word[1] == 'x' || word[1] == 'X');
	const char *digits = hex ? word + 2 : word;
	char *end;

	errno = 0;
	options->address = strtoull(digits, &end, hex ? 16 : 10);
	options->address_given = true;
	if (!isxdigit((unsigned char)digits[0]) || *end || errno)
		return error_new(ERROR_USAGE, "%s: '%s' is no address (as in "
				 "0x7f1c2a3b4c50)", view, word);
	return NULL;
}

static struct error *assign_words(struct parser *parser,
				  struct options *options)
{
	const char *view = NULL;
	size_t before = 0;
	struct error *err;

	for (size_t i = 0; i < parser->num_words; i++) {
		char *word = parser->words[i];

		if (!view && names_view(word)) {
			view = word;
			before = options->num_dumps;
			continue;
		}
		// After "DUMP VIEW" there are arguments of the view.
		if (view && options->num_dumps && views_find(view) &&
		    views_find(view)->argument && !options->address_given) {
			err = set_address(options, view, word);
			if (err)
				return err;
			continue;
		}
		if (view && options->num_dumps && views_find(view) &&
		    !(views_find(view)->pair && options->num_dumps < 2))
			return error_new(ERROR_USAGE,
					 "%s takes no %sargument ('%s')", view,
					 views_find(view)->argument ?
						 "second " : "",
					 word);
		options->dumps[options->num_dumps++] = word;
		err = view && views_planned(view) ? NULL : check_dump(word);
		if (err)
			return err;
	}
	if (view && views_planned(view))
		return not_in_this_version(view);
	options->view_given = view != NULL;
	options->view = view ? views_find(view) : views_get(0);
	// In "NEW diff OLD" the older one is what the newer is held against.
	if (options->view->pair && options->num_dumps == 2 && before == 1) {
		char *newer = options->dumps[0];

		options->dumps[0] = options->dumps[1];
		options->dumps[1] = newer;
	}
	return NULL;
}

static struct error *check_applies(const struct parser *parser,
				   const struct options *options)
{
	for (size_t i = 0; i < COUNT(specs); i++) {
		if (parser->given[i] && !(specs[i].views & options->view->bit))
			return error_new(ERROR_USAGE,
					 "--%s has no meaning for %s%s%s",
					 specs[i].name,
					 options->view == views_get(0) ?
						"the " : "",
					 options->view->name,
					 specs[i].views & VIEW_TYPES ?
						" (it has for types)" : "");
	}
	return NULL;
}

/** The first view that has a group, or NULL. */
static const struct view *view_grouped(unsigned int by)
{
	for (size_t i = 0; i < views_count(); i++)
		if (views_get(i)->groups >> by & 1)
			return views_get(i);
	return NULL;
}

static struct error *check_by(const struct options *options)
{
	const struct view *other = view_grouped(options->by);
	char list[64] = "";

	if (!options->by_given || options->view->groups >> options->by & 1)
		return NULL;
	for (unsigned int i = 0; i < NUM_BY; i++)
		if (options->view->groups >> i & 1)
			(void)strcat(strcat(list, list[0] ? ", " : ""),
				     groups[i]);
	return error_new(ERROR_USAGE, "--by %s: %s has %s%s%s%s",
			 groups[options->by], options->view->name, list,
			 other ? " (" : "", other ? other->name : "",
			 other ? " has it)" : "");
}

/** Of the modes of a view one at most can be meant. */
static struct error *check_modes(const struct options *options)
{
	const struct view *view = options->view;
	const char *first = NULL;

	for (size_t i = 0; i < view->num_modes; i++) {
		if (!view->modes[i].chosen(options))
			continue;
		if (first)
			return error_new(ERROR_USAGE, "%s and %s are two kinds "
					 "of rows", first,
					 view->modes[i].option);
		first = view->modes[i].option;
	}
	return NULL;
}

static struct error *check_sort(const struct options *options)
{
	const struct view *view = views_shown(options);
	char list[256] = "";

	if (!options->sort)
		return NULL;
	for (size_t i = 0; i < view->num_columns; i++) {
		if (view->columns[i].no_key)
			continue;
		if (strcmp(view->columns[i].key, options->sort) == 0)
			return NULL;
		(void)snprintf(list + strlen(list),
			       sizeof(list) - strlen(list), "%s%s",
			       i ? ", " : "", view->columns[i].key);
	}
	return error_new(ERROR_USAGE, "--sort: %s has no '%s' (it has %s)",
			 view->name, options->sort, list);
}

/** A word that is no view is taken for a dump; often it was meant as a view. */
static struct error *too_many_dumps(const struct options *options)
{
	for (size_t i = 0; i < options->num_dumps && !options->view_given; i++) {
		const char *word = options->dumps[i];

		if (access(word, F_OK) != 0 && !strpbrk(word, "/.") &&
		    !isdigit((unsigned char)word[0]))
			return error_new(ERROR_USAGE,
					 "'%s' is neither a file nor a view "
					 "(heapscan --help lists the views)",
					 word);
	}
	return error_new(ERROR_USAGE, "%s takes one dump, not %zu ('%s')",
			 options->view->name, options->num_dumps,
			 options->dumps[1]);
}

struct error *options_parse(struct options *options, int argc, char **argv)
{
	struct parser parser = { .argc = argc, .argv = argv };
	struct error *err;

	*options = (struct options){ .top = OPTIONS_TOP_DEFAULT,
				     .fits = OPTIONS_NO_SIZE,
				     .device_free = OPTIONS_NO_SIZE };
	options->dumps = calloc((size_t)argc + 1, sizeof(char *));
	parser.words = calloc((size_t)argc + 1, sizeof(char *));
	if (!options->dumps || !parser.words)
		err = error_no_memory();
	else
		err = parse_words(&parser, options);
	if (!err)
		err = assign_words(&parser, options);
	free(parser.words);
	if (err || options->help || options->version || options->completion)
		return err;
	err = check_applies(&parser, options);
	if (!err)
		err = check_by(options);
	if (!err)
		err = check_modes(options);
	if (!err)
		err = check_sort(options);
	if (!err && options->num_dumps == 0)
		err = error_new(ERROR_USAGE, "name a core file or a process "
				"(see heapscan --help)");
	if (!err && options->view->pair && options->num_dumps != 2)
		err = error_new(ERROR_USAGE, "%s takes two dumps, the older one "
				"first (heapscan %s OLD NEW)",
				options->view->name, options->view->name);
	if (!err && options->num_dumps > 1 && !options->view->many &&
	    !options->view->pair)
		err = too_many_dumps(options);
	if (!err && options->dot && options->format)
		err = error_new(ERROR_USAGE, "--dot and --format %s are two "
				"formats", formats[options->format]);
	if (!err && options->address_given && (options->type || options->match))
		err = error_new(ERROR_USAGE, "%s takes an address or a type, "
				"not both", options->view->name);
	if (!err && options->view->argument && !options->address_given &&
	    !(options->view->or_type && (options->type || options->match)))
		err = error_new(ERROR_USAGE, "%s needs %s after the dump "
				"(heapscan DUMP %s %s)", options->view->name,
				options->view->argument, options->view->name,
				options->view->argument);
	return err;
}

void options_deinit(struct options *options)
{
	free(options->dumps);
	options->dumps = NULL;
}

/* --- help ----------------------------------------------------------------- */

enum { HELP_INDENT = 26, HELP_WIDTH = 79 };

/** Words of text from the indent on, wrapped. */
static void put_wrapped(FILE *out, const char *text)
{
	int at = HELP_INDENT;

	while (*text) {
		int size = (int)strcspn(text, " ");

		if (at > HELP_INDENT && at + 1 + size > HELP_WIDTH) {
			(void)fprintf(out, "\n%*s", HELP_INDENT, "");
			at = HELP_INDENT;
		} else if (at > HELP_INDENT) {
			(void)fputc(' ', out);
			at++;
		}
		(void)fprintf(out, "%.*s", size, text);
		at += size;
		text += size;
		text += strspn(text, " ");
	}
	(void)fputc('\n', out);
}

/** "  head        text", the text on the next line where the head is long. */
static void put_entry(FILE *out, const char *head, const char *text)
{
	(void)fprintf(out, "  %-*s", HELP_INDENT - 2, head);
	if (strlen(head) + 3 > HELP_INDENT)
		(void)fprintf(out, "\n%*s", HELP_INDENT, "");
	put_wrapped(out, text);
}

static void put_option(FILE *out, const struct option_spec *spec)
{
	char head[64], letter[8] = "";

	if (spec->letter)
		(void)snprintf(letter, sizeof(letter), "-%c, ", spec->letter);
	(void)snprintf(head, sizeof(head), "%s--%s%s%s", letter, spec->name,
		       spec->argument ? " " : "",
		       spec->argument ? spec->argument : "");
	put_entry(out, head, spec->help);
}

static void help_options(FILE *out, unsigned int views)
{
	for (unsigned int group = 0; group < NUM_GROUPS; group++) {
		(void)fprintf(out, "\n%s:\n", group_titles[group]);
		for (size_t i = 0; i < COUNT(specs); i++) {
			if (specs[i].group == group && !is_later(&specs[i]) &&
			    (specs[i].views & views))
				put_option(out, &specs[i]);
		}
	}
}

static void help_later(FILE *out)
{
	(void)fputs("\nKnown, but not in this version (refused):\n", out);
	put_entry(out, "views", views_later());
	for (size_t i = 0; i < COUNT(specs); i++) {
		if (is_later(&specs[i]))
			put_option(out, &specs[i]);
	}
}

static void help_program(FILE *out)
{
	(void)fputs(
"heapscan: what is in the memory of a Python process, from a core dump\n"
"\n"
"Usage: heapscan DUMP|PID [VIEW] [options]\n"
"       heapscan VIEW DUMP|PID [options]\n"
"       heapscan MANIFEST|DUMP... shared [options]\n"
"       heapscan diff OLD NEW [options]\n"
"\n"
"DUMP is an ELF core of any origin (heapdump, the kernel, gcore, lldb), plain\n"
"or as .zst, .gz, .xz, .lz4, of x86-64 or aarch64. Digits only are a process\n"
"(./123 is a file). No Python, debugger or debug information is needed. MANIFEST\n"
"is what heapdump --children writes beside its dumps.\n"
"\n"
"Examples:\n"
"  heapscan dump.core.zst                        the overview\n"
"  heapscan dump.core.zst types --match '^shop\\.'\n"
"  heapscan dump.core.zst objects --type dict --top 5\n"
"  heapscan dump.core.zst object 0x7f1c2a3b4c50  one of them, whole\n"
"  heapscan dump.core.zst path 0x7f1c2a3b4c50    who holds it\n"
"  heapscan dump.core.zst retained               what would go with what\n"
"  heapscan 4711 info                            of a running process\n"
"  heapscan diff old.core.zst new.core.zst       what grew between the two\n"
"  heapscan dump.core types -f json -o types.json\n"
"  heapscan dump.core types --fail-if 'size>2GiB'\n"
"\n"
"Views (heapscan VIEW --help explains the columns):\n", out);
	for (size_t i = 0; i < views_count(); i++)
		put_entry(out, views_get(i)->name, views_get(i)->about);
	help_options(out, VIEW_EVERY);
	help_later(out);
	(void)fputs(
"\n"
"Sizes: K, M, G, T are powers of 1024 (512M, 1.5GiB); a bare number is bytes.\n"
"\n"
"Exit status: 0 done; 1 failed; 2 asked wrongly; 3 the answer is partial, as\n"
"the dump is cut or damaged; 5 --fail-if holds; 130 interrupted.\n", out);
}

static const char *unit_text(enum unit unit)
{
	switch (unit) {
	case UNIT_BYTES:
		return "bytes";
	case UNIT_CHANGE:
		return "bytes more, or less than 0";
	case UNIT_RATE:
		return "the same in an hour";
	case UNIT_SHARE:
		return "fraction of 1 (text: percent)";
	case UNIT_ADDRESS:
		return "address, as \"0x...\"";
	case UNIT_COUNT:
	case UNIT_SIGNED:
	case UNIT_ID:
		return "number";
	case UNIT_BOOL:
		return "true or false";
	case UNIT_TEXT:
		return "text";
	case UNIT_CELL:
		break;
	}
	return "number or text";
}

static void help_columns(FILE *out, const char *title,
			 const struct column *columns, size_t count)
{
	(void)fprintf(out, "\n%s:\n", title);
	for (size_t i = 0; i < count; i++) {
		char text[512];

		(void)snprintf(text, sizeof(text), "%s [%s]",
			       columns[i].about, unit_text(columns[i].unit));
		put_entry(out, columns[i].key, text);
	}
}

static void help_view(FILE *out, const struct view *view)
{
	bool overview = view == views_get(0);

	(void)fprintf(out, "heapscan %s: %s\n\nUsage: heapscan "
		      "DUMP|PID%s%s%s%s [options]\n", view->name, view->about,
		      overview ? "" : " ", overview ? "" : view->name,
		      view->argument ? " " : "",
		      view->argument ? view->argument : "");
	if (view->remark)
		(void)fprintf(out, "\n%s", view->remark);
	help_columns(out, "Columns, and fields of a row in JSON and CSV",
		     view->columns, view->num_columns);
	help_columns(out, "Totals in JSON", view->totals, view->num_totals);
	for (size_t i = 0; i < view->num_modes; i++) {
		const struct view *mode = view->modes[i].view;
		char title[64];

		(void)snprintf(title, sizeof(title), "Columns with %s",
			       view->modes[i].option);
		help_columns(out, title, mode->columns, mode->num_columns);
		(void)snprintf(title, sizeof(title), "Totals with %s",
			       view->modes[i].option);
		help_columns(out, title, mode->totals, mode->num_totals);
	}
	if (view->grouped) {
		help_columns(out, "Columns with --by", view->grouped->columns,
			     view->grouped->num_columns);
		help_columns(out, "Totals with --by", view->grouped->totals,
			     view->grouped->num_totals);
	}
	help_options(out, view->bit);
}

void options_help(FILE *out, const struct view *view)
{
	if (view)
		help_view(out, view);
	else
		help_program(out);
}

/* --- completion ----------------------------------------------------------- */

static void put_views(FILE *out, const char *separator)
{
	for (size_t i = 1; i < views_count(); i++)
		(void)fprintf(out, "%s%s", i > 1 ? separator : "",
			      views_get(i)->name);
}

static void completion_bash(FILE *out)
{
	(void)fputs("# bash completion for heapscan\n"
		    "_heapscan()\n{\n"
		    "\tlocal cur=${COMP_WORDS[COMP_CWORD]}\n"
		    "\tlocal prev=${COMP_WORDS[COMP_CWORD-1]}\n"
		    "\tcase $prev in\n", out);
	for (size_t i = 0; i < COUNT(specs); i++) {
		const struct option_spec *spec = &specs[i];

		if (is_later(spec) || !spec->argument)
			continue;
		if (spec->letter)
			(void)fprintf(out, "\t-%c|--%s)", spec->letter,
				      spec->name);
		else
			(void)fprintf(out, "\t--%s)", spec->name);
		if (spec->choices) {
			(void)fputs(" COMPREPLY=($(compgen -W '", out);
			for (size_t j = 0; spec->choices[j]; j++)
				(void)fprintf(out, "%s%s", j ? " " : "",
					      spec->choices[j]);
			(void)fputs("' -- \"$cur\")); return ;;\n", out);
		} else if (spec->kind == OPTION_PATH) {
			(void)fputs(" COMPREPLY=($(compgen -f -- \"$cur\"));"
				    " return ;;\n", out);
		} else {
			(void)fputs(" return ;;\n", out);
		}
	}
	(void)fputs("\tesac\n\tif [[ $cur == -* ]]; then\n"
		    "\t\tCOMPREPLY=($(compgen -W '", out);
	for (size_t i = 0, any = 0; i < COUNT(specs); i++) {
		if (!is_later(&specs[i]))
			(void)fprintf(out, "%s--%s", any++ ? " " : "",
				      specs[i].name);
	}
	(void)fputs("' -- \"$cur\"))\n\telse\n"
		    "\t\tCOMPREPLY=($(compgen -W '", out);
	put_views(out, " ");
	(void)fputs("' -- \"$cur\")\n"
		    "\t\t\t$(compgen -f -- \"$cur\"))\n\tfi\n}\n"
		    "complete -o filenames -F _heapscan heapscan\n", out);
}

static void completion_fish(FILE *out)
{
	(void)fputs("# fish completion for heapscan\n"
		    "complete -c heapscan -a '", out);
	put_views(out, " ");
	(void)fputs("'\n", out);
	for (size_t i = 0; i < COUNT(specs); i++) {
		const struct option_spec *spec = &specs[i];

		if (is_later(spec))
			continue;
		(void)fprintf(out, "complete -c heapscan -l %s", spec->name);
		if (spec->letter)
			(void)fprintf(out, " -s %c", spec->letter);
		if (spec->choices) {
			(void)fputs(" -xa '", out);
			for (size_t j = 0; spec->choices[j]; j++)
				(void)fprintf(out, "%s%s", j ? " " : "",
					      spec->choices[j]);
			(void)fputc('\'', out);
		} else if (spec->kind == OPTION_PATH) {
			(void)fputs(" -rF", out);
		} else if (spec->argument) {
			(void)fputs(" -x", out);
		}
		(void)fputc('\n', out);
	}
}

static void completion_zsh(FILE *out)
{
	(void)fputs("#compdef heapscan\n_arguments \\\n", out);
	for (size_t i = 0; i < COUNT(specs); i++) {
		const struct option_spec *spec = &specs[i];

		if (is_later(spec))
			continue;
		(void)fprintf(out, "  '--%s", spec->name);
		if (spec->argument)
			(void)fprintf(out, "=:%s:", spec->argument);
		if (spec->choices) {
			(void)fputc('(', out);
			for (size_t j = 0; spec->choices[j]; j++)
				(void)fprintf(out, "%s%s", j ? " " : "",
					      spec->choices[j]);
			(void)fputc(')', out);
		} else if (spec->kind == OPTION_PATH) {
			(void)fputs("_files", out);
		}
		(void)fputs("' \\\n", out);
	}
	(void)fputs("  '*:dump or view:{_files; compadd ", out);
	put_views(out, " ");
	(void)fputs("}'\n", out);
}

struct error *options_completion(FILE *out, const char *shell)
{
	static const struct {
		const char *shell;
		void (*print)(FILE *out);
	} shells[] = {
		{ "bash", completion_bash },
		{ "fish", completion_fish },
		{ "zsh", completion_zsh },
	};

	for (size_t i = 0; i < COUNT(shells); i++) {
		if (strcmp(shells[i].shell, shell) == 0) {
			shells[i].print(out);
			return NULL;
		}
	}
	return error_new(ERROR_USAGE,
			 "--completion '%s' is none of bash, fish, zsh", shell);
}
