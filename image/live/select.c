/*
 * Which ranges of a live process go into a dump; see select.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "image/live/select.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/base/guard.h"

/*
 * Of an ELF file's pages that equal the file, a dump for another machine needs
 * what is read there: headers, build id, dynamic symbols, unwind tables, and
 * the read-only data that type names lie in. Text is left out: nothing here
 * disassembles, and debuggers find it by build id.
 *
 * Measured: read-only pages without text come to 3.6 MiB of Debian's python3
 * (1.5 MiB compressed, under 20 ms of one processor), to 6.8 MiB with 18
 * modules loaded (2.5 MiB); its text would be 9 MiB more. They are taken whole
 * up to these limits, which are for libraries with GPU code in their read-only
 * data. There the head holds the symbols and the tail the unwind tables, as
 * GNU ld and lld lay them out.
 */
static const uint64_t MODULE_MAX = UINT64_C(64) << 20;
static const uint64_t MODULE_HEAD = UINT64_C(24) << 20;
static const uint64_t MODULE_TAIL = UINT64_C(8) << 20;

static const char *const reason_words[] = {
	[FORMAT_CAPTURED] = "captured",
	[FORMAT_ZERO] = "zero",
	[FORMAT_DEVICE] = "device",
	[FORMAT_UNREADABLE] = "unreadable",
	[FORMAT_FILE] = "file",
	[FORMAT_SHARED] = "shared",
	[FORMAT_DONTDUMP] = "dontdump",
	[FORMAT_EXCLUDED] = "excluded",
	[FORMAT_PAYLOAD] = "payload",
	[FORMAT_SWAPPED] = "swapped",
	[FORMAT_FAILED] = "failed",
	[FORMAT_KERNEL] = "kernel",
	[FORMAT_DONTFORK] = "dontfork",
	[FORMAT_WIPEONFORK] = "wipeonfork",
	[FORMAT_CONTENT] = "content",
};

const char *select_reason_word(enum format_reason reason)
{
	return (size_t)reason < sizeof(reason_words) / sizeof(*reason_words) ?
		reason_words[reason] : "unknown";
}

/* From little to much. */
static const struct {
	enum select_content content;
	const char *word;
} contents[] = {
	{ SELECT_STACKS, "stacks" },
	{ SELECT_HEAP, "heap" },
	{ SELECT_FULL, "full" },
};

enum { NUM_CONTENTS = sizeof(contents) / sizeof(*contents) };

int select_content_rank(enum select_content content)
{
	for (int i = 0; i < NUM_CONTENTS; i++)
		if (contents[i].content == content)
			return i;
	return NUM_CONTENTS;
}

const char *select_content_word(enum select_content content)
{
	int rank = select_content_rank(content);

	return rank < NUM_CONTENTS ? contents[rank].word : "unknown";
}

struct error *select_content_parse(const char *word, enum select_content *ret)
{
	for (int i = 0; i < NUM_CONTENTS; i++) {
		if (strcmp(contents[i].word, word) != 0)
			continue;
		*ret = contents[i].content;
		return NULL;
	}
	return error_new(ERROR_USAGE, "'%s' is none of stacks, heap, full", word);
}

/* --- rules ---------------------------------------------------------------- */

static bool parse_range(const char *text, struct select_rule *rule)
{
	unsigned long long start, end;
	char *after;

	if (strncasecmp(text, "0x", 2) != 0)
		return false;
	errno = 0;
	start = strtoull(text, &after, 16);
	if (*after != '-' || errno != 0)
		return false;
	end = strtoull(after + 1, &after, 16);
	if (*after != '\0' || errno != 0 || start >= end)
		return false;
	rule->start = start;
	rule->end = end;
	return true;
}

static struct error *parse_pattern(const char *text, struct select_rule *rule)
{
	PCRE2_SIZE at;
	PCRE2_UCHAR message[128];
	int code;

	rule->pattern = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
				      PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
	if (rule->pattern)
		return NULL;
	(void)pcre2_get_error_message(code, message, sizeof(message));
	return error_new(ERROR_USAGE,
			 "'%s' is neither a range (0xSTART-0xEND) nor a "
			 "regular expression: %s at offset %zu", text,
			 (const char *)message, (size_t)at);
}

struct error *select_rules_add(struct select_rules *rules, bool exclude,
			       const char *text)
{
	struct select_rule rule = { .exclude = exclude };
	struct select_rule *grown;

	if (!parse_range(text, &rule)) {
		struct error *err = parse_pattern(text, &rule);

		if (err)
			return err;
	}
	rule.text = strdup(text);
	grown = reallocarray(rules->items, rules->count + 1, sizeof(*grown));
	if (grown)
		rules->items = grown;
	if (!grown || !rule.text) {
		pcre2_code_free(rule.pattern);
		free(rule.text);
		return error_no_memory();
	}
	rules->items[rules->count++] = rule;
	return NULL;
}

void select_rules_deinit(struct select_rules *rules)
{
	for (size_t i = 0; i < rules->count; i++) {
		pcre2_code_free(rules->items[i].pattern);
		free(rules->items[i].text);
	}
	free(rules->items);
	*rules = (struct select_rules){ 0 };
}

static bool rule_matches(const struct select_rule *rule,
			 const struct procmap *map, uint64_t address)
{
	pcre2_match_data *match;
	int found;

	if (rule->end != 0)
		return address >= rule->start && address < rule->end;
	match = pcre2_match_data_create(1, NULL);
	if (!match)
		return false;
	found = pcre2_match(rule->pattern, (PCRE2_SPTR)map->name,
			    PCRE2_ZERO_TERMINATED, 0, 0, match, NULL);
	pcre2_match_data_free(match);
	return found >= 0;
}

enum verdict { VERDICT_NONE, VERDICT_INCLUDE, VERDICT_EXCLUDE };

static enum verdict judge(const struct select_rules *rules,
			  const struct procmap *map, uint64_t address)
{
	enum verdict verdict = VERDICT_NONE;

	for (size_t i = 0; rules && i < rules->count; i++) {
		if (!rule_matches(&rules->items[i], map, address))
			continue;
		if (rules->items[i].exclude)
			return VERDICT_EXCLUDE;
		verdict = VERDICT_INCLUDE;
	}
	return verdict;
}

bool select_is_included(const struct select_rules *rules,
			const struct procmap *map, uint64_t address)
{
	return judge(rules, map, address) == VERDICT_INCLUDE;
}

/** The lowest edge of a rule's range above address, at most end. */
static uint64_t next_edge(const struct select_options *options,
			  uint64_t address, uint64_t end)
{
	uint64_t mask = options->page_size - 1;

	for (size_t i = 0; options->rules && i < options->rules->count; i++) {
		const struct select_rule *rule = &options->rules->items[i];
		uint64_t low = rule->start & ~mask;
		uint64_t high = (rule->end + mask) & ~mask;

		if (rule->end == 0)
			continue;
		if (low > address && low < end)
			end = low;
		if (high > address && high < end)
			end = high;
	}
	return end;
}

/* --- mappings ------------------------------------------------------------- */

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

enum format_reason select_never(const struct procmap *map)
{
	static const char *const kernels[] = {
		"[vvar", "[vsyscall]", "[vectors]", "[sigpage]", "[uprobes]",
	};

	for (size_t i = 0; i < sizeof(kernels) / sizeof(*kernels); i++)
		if (starts_with(map->name, kernels[i]))
			return FORMAT_KERNEL;
	if (map->flags & (PROCMAP_IO | PROCMAP_PFN))
		return FORMAT_DEVICE;
	// Reading a device's mapping may move GPU pages, or stop the machine:
	// every node of /dev is one, but for those that are plain memory, and
	// files of /sys and /proc may be. A name that is neither a path nor in
	// brackets (anon_inode:, socket:) is a kernel object's.
	if (map->name[0] != '\0' && map->name[0] != '[' &&
	    !procmap_is_shared_memory(map) &&
	    (map->name[0] != '/' || starts_with(map->name, "/dev/") ||
	     starts_with(map->name, "/sys/") ||
	     starts_with(map->name, "/proc/") ||
	     starts_with(map->name, "/dmabuf")))
		return FORMAT_DEVICE;
	// Memory that may only be written can still be read by the kernel,
	// but nothing is gained by trying.
	if (!(map->protection & (PF_R | PF_X)))
		return FORMAT_UNREADABLE;
	return FORMAT_CAPTURED;
}

/** What one piece of a mapping is taken by. */
enum policy {
	POLICY_NONE,		/* nothing; see the reason */
	POLICY_ANONYMOUS,	/* what is there; the rest is zero */
	POLICY_FILE,		/* pages that differ from the file */
	POLICY_SHARED,		/* what has data */
	POLICY_PRESENT,		/* only what is there: a fault would wait */
	POLICY_ALL,		/* every page */
};

struct walk {
	const struct procmaps *maps;
	const struct select_options *options;
	struct selection *selection;
	size_t capacity;
	uint32_t mapping;	/* the one being walked */
	enum policy policy;
	enum format_reason absent;	/* for pages that are not taken */
	uint64_t keep_below, keep_above;	/* of a file's own pages */
};

/** The mappings of one file lie together; the first of them. */
static size_t first_of_file(const struct procmaps *maps, size_t i)
{
	const struct procmap *map = &maps->items[i];

	while (i > 0) {
		const struct procmap *below = &maps->items[i - 1];

		// A library's gap of PROT_NONE and its .bss have no file.
		if (below->inode != map->inode || below->device != map->device)
			break;
		i--;
	}
	return i;
}

bool select_is_module(const struct procmaps *maps, size_t i)
{
	const struct procmap *map = &maps->items[i];

	if (!procmap_is_file(map) || (map->flags & FORMAT_MAPPING_SHARED))
		return false;
	for (size_t k = first_of_file(maps, i); k < maps->count; k++) {
		const struct procmap *other = &maps->items[k];

		if (other->inode != map->inode || other->device != map->device)
			break;
		if (other->protection & PF_X)
			return true;
	}
	return false;
}

/**
 * How much of a module's file pages to keep: sets the addresses up to which
 * and from which on. The budget is used up in address order.
 */
static void plan_module(struct walk *walk, size_t i)
{
	const struct procmap *map = &walk->maps->items[i];
	size_t first = first_of_file(walk->maps, i);
	uint64_t budget = MODULE_MAX, size = map->end - map->start, taken;
	bool module = false, text_only = true;

	walk->keep_below = map->start;
	walk->keep_above = map->end;
	for (size_t k = first; k < walk->maps->count; k++) {
		const struct procmap *other = &walk->maps->items[k];

		if (other->inode != map->inode || other->device != map->device)
			break;
		module |= (other->protection & PF_X) != 0;
		if (!(other->protection & PF_X) && other->file_offset == 0)
			text_only = false;
		if (k < i && !(other->protection & PF_X)) {
			taken = other->end - other->start;
			budget -= taken < budget ? taken : budget;
		}
	}
	if (!module) {
		// Of a file that is gone nobody else has the pages.
		if (map->flags & FORMAT_MAPPING_DELETED)
			walk->policy = POLICY_PRESENT;
		return;
	}
	// Linked without -z separate-code, headers, symbols and unwind tables
	// stand in one segment with the text. And a file that is gone cannot
	// be asked for its text later.
	if ((map->protection & PF_X) && !text_only &&
	    !(map->flags & FORMAT_MAPPING_DELETED))
		return;
	if (size <= budget && size <= MODULE_HEAD + MODULE_TAIL) {
		walk->keep_below = map->end;
		return;
	}
	taken = budget < MODULE_HEAD ? budget : MODULE_HEAD;
	walk->keep_below = taken < size ? map->start + taken : map->end;
	if (size > MODULE_HEAD + MODULE_TAIL)
		walk->keep_above = map->end - MODULE_TAIL;
}

/** Decide how the piece of a mapping that begins at address is taken. */
static void plan_piece(struct walk *walk, size_t i, uint64_t address)
{
	const struct procmap *map = &walk->maps->items[i];
	enum verdict verdict = judge(walk->options->rules, map, address);
	bool shared = map->flags & FORMAT_MAPPING_SHARED;
	uint64_t size = map->end - map->start;

	walk->mapping = (uint32_t)i;
	walk->policy = POLICY_NONE;
	walk->absent = select_never(map);
	walk->keep_below = walk->keep_above = map->end;
	if (walk->absent != FORMAT_CAPTURED)
		return;
	if (verdict == VERDICT_EXCLUDE) {
		walk->absent = FORMAT_EXCLUDED;
	} else if ((map->flags & PROCMAP_DONTDUMP) &&
		   verdict != VERDICT_INCLUDE) {
		walk->absent = FORMAT_DONTDUMP;
	} else if (map->flags & PROCMAP_NOT_INHERITED) {
		walk->absent = FORMAT_DONTFORK;
		if (map->flags & PROCMAP_HELD)
			walk->policy = POLICY_ALL;
	} else if (walk->options->running &&
		   (map->flags & FORMAT_MAPPING_WIPEONFORK)) {
		walk->absent = FORMAT_WIPEONFORK;
	} else if (map->flags & PROCMAP_UFFD) {
		walk->policy = POLICY_PRESENT;
		walk->absent = FORMAT_UNREADABLE;
	} else if (shared && procmap_is_shared_memory(map)) {
		walk->absent = FORMAT_SHARED;
		if (walk->options->content == SELECT_FULL ||
		    (walk->options->content == SELECT_HEAP &&
		     size <= SELECT_SHARED_MAX) || verdict == VERDICT_INCLUDE)
			walk->policy = POLICY_SHARED;
	} else if (verdict == VERDICT_INCLUDE && procmap_is_file(map)) {
		walk->policy = POLICY_ALL;
	} else if (shared) {
		walk->absent = FORMAT_FILE;
	} else if (map->inode != 0 && !starts_with(map->name, "/dev/zero") &&
		   !starts_with(map->name, "/anon_hugepage")) {
		walk->policy = POLICY_FILE;
		walk->absent = FORMAT_FILE;
		plan_module(walk, i);
	} else {
		// The kernel gives the vdso no pages of the process's own.
		walk->policy = strcmp(map->name, "[vdso]") == 0 ?
			POLICY_ALL : POLICY_ANONYMOUS;
		walk->absent = FORMAT_ZERO;
	}
}

/* --- pages ---------------------------------------------------------------- */

static struct error *append(struct walk *walk, uint64_t start, uint64_t end,
			    enum format_reason reason)
{
	struct selection *selection = walk->selection;
	struct select_range *last = selection->count ?
		&selection->ranges[selection->count - 1] : NULL;

	if (start >= end)
		return NULL;
	if (last && last->end == start && last->mapping == walk->mapping &&
	    last->reason == reason) {
		last->end = end;
		return NULL;
	}
	if (selection->count == walk->capacity) {
		size_t more = walk->capacity ? 2 * walk->capacity : 1024;
		struct select_range *grown = reallocarray(
			selection->ranges, more, sizeof(*grown));

		if (!grown)
			return error_no_memory();
		selection->ranges = grown;
		walk->capacity = more;
	}
	selection->ranges[selection->count++] = (struct select_range){
		.start = start,
		.end = end,
		.mapping = walk->mapping,
		.reason = (uint16_t)reason,
		.known_zero = reason == FORMAT_ZERO,
	};
	return NULL;
}

/** A file's own page: kept for a module's sake, or left to the file. */
static struct error *file_pages(struct walk *walk, uint64_t start, uint64_t end)
{
	uint64_t low = end < walk->keep_below ? end : walk->keep_below;
	uint64_t high = start > walk->keep_above ? start : walk->keep_above;
	struct error *err;

	if (low < start)
		low = start;
	if (high > end)
		high = end;
	if (high < low)
		high = low;
	err = append(walk, start, low, FORMAT_CAPTURED);
	if (!err)
		err = append(walk, low, high, FORMAT_FILE);
	if (!err)
		err = append(walk, high, end, FORMAT_CAPTURED);
	return err;
}

/** Why somebody else's core does not have a page: as far as one can guess. */
static enum format_reason left_out(const struct walk *walk)
{
	switch (walk->policy) {
	case POLICY_FILE:
		return FORMAT_FILE;
	case POLICY_SHARED:
		return FORMAT_SHARED;
	default:
		return FORMAT_EXCLUDED;
	}
}

static struct error *take_run(void *context, const struct page_run *run)
{
	struct walk *walk = context;
	enum format_reason reason = FORMAT_CAPTURED;

	if (run->kind == PAGE_GUARD)
		reason = FORMAT_UNREADABLE;
	else if (run->kind == PAGE_LEFT_OUT)
		reason = left_out(walk);
	else if (run->kind == PAGE_SWAPPED && !walk->options->read_swap)
		reason = FORMAT_SWAPPED;
	else if (run->kind == PAGE_ZERO)
		reason = FORMAT_ZERO;
	else if (walk->policy == POLICY_FILE &&
		 (run->kind == PAGE_ABSENT || run->kind == PAGE_FILE))
		return file_pages(walk, run->start, run->end);
	else if (run->kind == PAGE_ABSENT)
		reason = walk->absent;
	return append(walk, run->start, run->end, reason);
}

/**
 * A fork leaves pages of files out: the process itself has them. If it ends
 * meanwhile, what it has not told of is taken whole.
 */
static struct error *scan_running(struct walk *walk, uint64_t start,
				  uint64_t end)
{
	const struct selection *selection = walk->selection;
	struct error *err = pagemap_scan(walk->options->running, start, end,
					 false, take_run, walk);
	uint64_t told = start;

	if (!err || err->kind != ERROR_OS)
		return err;
	error_free(err);
	if (selection->count > 0 &&
	    selection->ranges[selection->count - 1].end > start)
		told = selection->ranges[selection->count - 1].end;
	return append(walk, told, end, FORMAT_CAPTURED);
}

static struct error *scan(struct walk *walk, struct pagemap *pagemap,
			  uint64_t start, uint64_t end)
{
	if (walk->options->scan)
		return walk->options->scan(walk->options->scan_context, start,
					   end, take_run, walk);
	if (walk->options->running && (walk->policy == POLICY_SHARED ||
				       walk->policy == POLICY_PRESENT))
		return scan_running(walk, start, end);
	// take_run() asks whose a page is for this policy only.
	return pagemap_scan(pagemap, start, end, walk->policy == POLICY_FILE,
			    take_run, walk);
}

/**
 * Shared memory: pages that other processes filled are not in this one's page
 * map, and reading a hole would allocate it on the target's account. The file
 * behind the mapping knows where data is; where it cannot be opened
 * (map_files needs CAP_CHECKPOINT_RESTORE), only what the target itself has
 * mapped in is taken.
 */
static struct error *shared_pages(struct walk *walk, struct pagemap *pagemap,
				  uint64_t start, uint64_t end)
{
	const struct procmap *map = &walk->maps->items[walk->mapping];
	uint64_t at = start, base = map->start - map->file_offset;
	uint64_t mask = walk->options->page_size - 1;
	char name[64];

	(void)snprintf(name, sizeof(name), "map_files/%" PRIx64 "-%" PRIx64,
		       map->start, map->end);
	CLEANUP(close_fd) int fd = walk->options->process_fd < 0 ? -1 :
		openat(walk->options->process_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || map->start < map->file_offset)
		return scan(walk, pagemap, start, end);
	while (at < end) {
		off_t data = lseek(fd, (off_t)(at - base), SEEK_DATA);
		off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		uint64_t low = hole < 0 ? end : base + (uint64_t)data;
		uint64_t high = hole < 0 ? end : base + (uint64_t)hole;
		struct error *err;

		low = low < at ? at : low > end ? end : low & ~mask;
		high = high > end ? end : (high + mask) & ~mask;
		if (high <= at)
			high = low = end;
		err = append(walk, at, low, FORMAT_ZERO);
		if (!err)
			err = append(walk, low, high, FORMAT_CAPTURED);
		if (err)
			return err;
		at = high;
	}
	return NULL;
}

static struct error *walk_piece(struct walk *walk, struct pagemap *pagemap,
				uint64_t start, uint64_t end)
{
	switch (walk->policy) {
	case POLICY_NONE:
		return append(walk, start, end, walk->absent);
	case POLICY_ALL:
		return append(walk, start, end, FORMAT_CAPTURED);
	case POLICY_SHARED:
		return shared_pages(walk, pagemap, start, end);
	case POLICY_ANONYMOUS:
	case POLICY_FILE:
	case POLICY_PRESENT:
		break;
	}
	return scan(walk, pagemap, start, end);
}

/**
 * Short holes of zeroes between taken ranges become part of them: a segment
 * costs 56 bytes and a debugger's patience. They are not read, though.
 */
static void fill_short_holes(struct selection *selection)
{
	for (size_t i = 1; i + 1 < selection->count; i++) {
		struct select_range *range = &selection->ranges[i];
		const struct select_range *low = range - 1, *high = range + 1;

		if (range->reason == FORMAT_ZERO &&
		    range->end - range->start < SELECT_HOLE_MIN &&
		    low->mapping == range->mapping &&
		    high->mapping == range->mapping &&
		    low->reason == FORMAT_CAPTURED &&
		    high->reason == FORMAT_CAPTURED)
			range->reason = FORMAT_CAPTURED;
	}
}

static void add_up(struct selection *selection)
{
	memset(selection->bytes, 0, sizeof(selection->bytes));
	selection->bytes_read = 0;
	for (size_t i = 0; i < selection->count; i++) {
		const struct select_range *range = &selection->ranges[i];

		selection->bytes[range->reason] += range->end - range->start;
		if (range->reason == FORMAT_CAPTURED && !range->known_zero)
			selection->bytes_read += range->end - range->start;
	}
}

struct error *select_ranges(const struct procmaps *maps,
			    struct pagemap *pagemap,
			    const struct select_options *options,
			    struct selection *ret)
{
	struct selection selection = { 0 };
	struct walk walk = {
		.maps = maps,
		.options = options,
		.selection = &selection,
	};
	struct error *err = NULL;

	for (size_t i = 0; !err && i < maps->count; i++) {
		const struct procmap *map = &maps->items[i];
		uint64_t at = map->start;

		while (!err && at < map->end) {
			uint64_t edge = next_edge(options, at, map->end);

			plan_piece(&walk, i, at);
			err = walk_piece(&walk, pagemap, at, edge);
			at = edge;
		}
	}
	if (err) {
		selection_deinit(&selection);
		return err;
	}
	fill_short_holes(&selection);
	add_up(&selection);
	*ret = selection;
	return NULL;
}

void selection_deinit(struct selection *selection)
{
	free(selection->ranges);
	*selection = (struct selection){ 0 };
}

/* --- holes ---------------------------------------------------------------- */

/** Append a piece of a range, or lengthen the last one by it. */
static void put(struct selection *selection, struct select_range range,
		uint64_t start, uint64_t end)
{
	struct select_range *last = selection->count ?
		&selection->ranges[selection->count - 1] : NULL;

	if (start >= end)
		return;
	range.start = start;
	range.end = end;
	if (last && last->end == start && last->mapping == range.mapping &&
	    last->reason == range.reason &&
	    last->known_zero == range.known_zero)
		last->end = end;
	else
		selection->ranges[selection->count++] = range;
}

/** Few enough to be told of one by one? */
static bool has_few_zeroes(const struct selection *selection)
{
	size_t count = 0;

	for (size_t i = 0; i < selection->count; i++)
		count += selection->ranges[i].reason == FORMAT_CAPTURED &&
			 selection->ranges[i].known_zero;
	return count <= SELECT_HOLES_TOLD;
}

struct error *selection_leave_out(struct selection *selection,
				  const struct select_span *holes,
				  size_t count, enum format_reason reason)
{
	bool tell_zeroes = has_few_zeroes(selection);
	struct selection made = { 0 };
	size_t first = 0;

	// Each edge of a hole can cut one range in two.
	made.ranges = calloc(selection->count + 2 * count + 1,
			     sizeof(*made.ranges));
	if (!made.ranges)
		return error_no_memory();
	for (size_t i = 0; i < selection->count; i++) {
		const struct select_range *range = &selection->ranges[i];
		struct select_range left_out = *range;
		uint64_t at = range->start;

		left_out.known_zero &= tell_zeroes;
		left_out.reason = (uint16_t)(left_out.known_zero ? FORMAT_ZERO :
								   reason);
		while (first < count && holes[first].end <= at)
			first++;
		for (size_t k = first; range->reason == FORMAT_CAPTURED &&
		     k < count && holes[k].start < range->end; k++) {
			uint64_t low = holes[k].start, high = holes[k].end;

			low = low < at ? at : low;
			high = high > range->end ? range->end : high;
			put(&made, *range, at, low);
			put(&made, left_out, low, high);
			at = high;
		}
		put(&made, *range, at, range->end);
	}
	free(selection->ranges);
	selection->ranges = made.ranges;
	selection->count = made.count;
	add_up(selection);
	return NULL;
}

/** True where a span may say that a range, or a part of it, stays. */
static bool is_choice(const struct select_range *range)
{
	return range->reason == FORMAT_CAPTURED ||
	       range->reason == FORMAT_SWAPPED;
}

struct error *selection_keep_only(struct selection *selection,
				  const struct select_span *spans, size_t count,
				  enum format_reason reason)
{
	struct selection made = { 0 };
	size_t first = 0;

	// Each edge of a span can cut one range in two.
	made.ranges = calloc(selection->count + 2 * count + 1,
			     sizeof(*made.ranges));
	if (!made.ranges)
		return error_no_memory();
	for (size_t i = 0; i < selection->count; i++) {
		const struct select_range *range = &selection->ranges[i];
		struct select_range left_out = *range;
		uint64_t at = range->start;

		if (is_choice(range)) {
			left_out.reason = (uint16_t)reason;
			left_out.known_zero = false;
		}
		while (first < count && spans[first].end <= at)
			first++;
		for (size_t k = first;
		     k < count && spans[k].start < range->end; k++) {
			uint64_t low = spans[k].start, high = spans[k].end;

			low = low < at ? at : low;
			high = high > range->end ? range->end : high;
			put(&made, left_out, at, low);
			put(&made, *range, low, high);
			at = high;
		}
		put(&made, left_out, at, range->end);
	}
	free(selection->ranges);
	selection->ranges = made.ranges;
	selection->count = made.count;
	add_up(selection);
	return NULL;
}

/* --- segments ------------------------------------------------------------- */

enum { KEY_MAX = 64 << 20 };	/* bytes of a mapping */

/**
 * Does it tell what the rest is? Variables of modules, which lie above the heap,
 * and what is mapped right behind them; stacks. Data that a program maps from a
 * large file does not.
 */
static bool is_key(const struct procmaps *maps, uint32_t mapping)
{
	const struct procmap *map = &maps->items[mapping];
	const struct procmap *below = mapping > 0 ? map - 1 : map;

	return map->end - map->start <= KEY_MAX &&
	       (map->protection & PF_W) &&
	       (map->inode != 0 || strcmp(map->name, "[stack]") == 0 ||
		(below->end == map->start && below->inode != 0));
}

struct error *select_segments(const struct selection *selection,
			      const struct procmaps *maps, bool rearrange,
			      struct corewriter *writer)
{
	size_t i = 0;

	while (i < selection->count) {
		const struct select_range *range = &selection->ranges[i];
		uint32_t mapping = range->mapping;
		struct core_segment segment = {
			.start = range->start,
			.protection = maps->items[mapping].protection,
			.zero_tail = true,
			.early = rearrange && is_key(maps, mapping),
		};
		struct error *err;

		for (; i < selection->count; i++, range++) {
			if (range->mapping != mapping ||
			    range->reason != FORMAT_CAPTURED)
				break;
			segment.captured += range->end - range->start;
			segment.end = range->end;
		}
		for (; i < selection->count; i++, range++) {
			if (range->mapping != mapping ||
			    range->reason == FORMAT_CAPTURED)
				break;
			segment.zero_tail &= range->reason == FORMAT_ZERO;
			segment.end = range->end;
		}
		err = corewriter_add_segment(writer, &segment);
		if (err)
			return err;
	}
	return NULL;
}
