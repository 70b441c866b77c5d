/*
 * Telling the release; see pyversion.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pyheap/runtime/pyversion.h"

#include <ctype.h>
#include <string.h>

#include "image/symbols.h"
#include "pyheap/runtime/pydebugoffsets.h"
#include "pyheap/runtime/pypath.h"

enum { LEVEL_ALPHA = 0xA, LEVEL_BETA = 0xB, LEVEL_RC = 0xC, LEVEL_FINAL = 0xF };

static bool is_version(uint64_t version)
{
	unsigned int level = version >> 4 & 0xf;

	return version >> 24 == 3 && (version >> 16 & 0xff) <= 99 &&
	       level >= LEVEL_ALPHA && level <= LEVEL_FINAL;
}

/** The constant Py_Version of 3.11 and later: read-only, often not dumped. */
static bool version_of_symbol(struct image *image, struct memory_reader *reader,
			      struct module *module, uint32_t *ret)
{
	struct symbol symbol;
	uint32_t version;

	if (!module ||
	    !symbols_lookup(module, image->memory, "Py_Version", &symbol) ||
	    !memory_try_u32(reader, symbol.address, &version) ||
	    !is_version(version))
		return false;
	*ret = version;
	return true;
}

/* --- the text of Py_GetVersion() ------------------------------------------ */

static bool take_byte(const uint8_t **at, const uint8_t *end, uint32_t *ret)
{
	uint32_t number = 0;
	unsigned int digits = 0;

	for (; *at < end && isdigit(**at) && digits < 3; digits++)
		number = number * 10 + (uint32_t)(*(*at)++ - '0');
	if (digits == 0 || number > 255)
		return false;
	*ret = number;
	return true;
}

/** "3.11.2 (main, …" or "3.15.0b2+ (…" at bytes; 0: something else. */
static uint32_t parse_version(const uint8_t *at, const uint8_t *end)
{
	uint32_t minor, micro, level = LEVEL_FINAL, serial = 0;

	if (end - at < 2 || at[0] != '3' || at[1] != '.')
		return 0;
	at += 2;
	if (!take_byte(&at, end, &minor) || at == end || *at++ != '.' ||
	    !take_byte(&at, end, &micro))
		return 0;
	if (end - at > 3 && (*at == 'a' || *at == 'b' || *at == 'r')) {
		level = *at == 'a' ? LEVEL_ALPHA :
			*at == 'b' ? LEVEL_BETA : LEVEL_RC;
		at += *at == 'r' ? 2 : 1;
		if (!take_byte(&at, end, &serial) || serial > 15)
			return 0;
	}
	if (at < end && *at == '+')
		at++;
	if (end - at < 2 || at[0] != ' ' || at[1] != '(')
		return 0;
	return 3u << 24 | minor << 16 | micro << 8 | level << 4 | serial;
}

static bool scan_version(void *context, uint64_t address, const uint8_t *bytes,
			 size_t size)
{
	const uint8_t *at = bytes, *end = bytes + size;
	uint32_t *ret = context;

	(void)address;
	// The text begins the buffer that holds it, so it is aligned.
	while ((at = memmem(at, (size_t)(end - at), "3.", 2)) != NULL) {
		*ret = parse_version(at, end);
		if (*ret != 0)
			return false;
		at++;
	}
	return true;
}

static bool version_of_text(struct image *image, struct module *module,
			    uint32_t *ret)
{
	struct memory_reader views = { 0 };
	uint32_t version = 0;
	struct error *err;

	if (!module)
		return false;
	err = memory_reader_init(&views, image->memory);
	if (err) {
		error_free(err);
		return false;
	}
	pyh_each_writable(image, &views, module, true, scan_version, &version);
	memory_reader_deinit(&views);
	if (version == 0)
		return false;
	*ret = version;
	return true;
}

/* --- putting it together -------------------------------------------------- */

static void add_minor(struct pyh_version_guess *guess, unsigned int minor)
{
	if (minor < PYH_MINOR_FIRST || minor > PYH_MINOR_LAST)
		return;
	for (size_t i = 0; i < guess->num_minors; i++)
		if (guess->minors[i] == minor)
			return;
	guess->minors[guess->num_minors++] = minor;
}

static void add_named_minors(struct image *image, const struct module *own,
			     struct pyh_version_guess *guess)
{
	struct pyh_path name;

	if (own && own->path) {
		name = pyh_path_read(own->path);
		if (name.major == 3)
			add_minor(guess, name.minor);
	}
	for (size_t i = 0; i < modules_count(image->modules); i++) {
		const struct module *module = modules_get(image->modules, i);

		if (!module->path)
			continue;
		name = pyh_path_read(module->path);
		if (name.major == 3)
			add_minor(guess, name.minor);
	}
}

void pyh_version_guess(struct image *image, struct memory_reader *reader,
		       const struct pyh_place *place,
		       struct pyh_version_guess *ret)
{
	struct pyh_version_guess guess = { 0 };
	struct pyh_debug_offsets_head head;

	if (pyh_debug_offsets_read(reader, place->address, &head)) {
		guess.version = head.version;
		guess.free_threaded = head.free_threaded;
		guess.debug_offsets = true;
	} else if (!version_of_symbol(image, reader, place->module,
				      &guess.version)) {
		(void)version_of_text(image, place->module, &guess.version);
	}
	if (guess.version != 0) {
		guess.exact = true;
		add_minor(&guess, guess.version >> 16 & 0xff);
		*ret = guess;
		return;
	}
	add_minor(&guess, place->minor);
	add_named_minors(image, place->module, &guess);
	for (unsigned int minor = PYH_MINOR_LAST; minor >= PYH_MINOR_FIRST;
	     minor--)
		// 3.13 and later would have had the debug offsets.
		if (minor <= 12)
			add_minor(&guess, minor);
	*ret = guess;
}

bool pyh_version_of_sys(const struct pyh_probe *probe, uint32_t *ret)
{
	const struct pyh_runtime *runtime = probe->runtime;
	uint64_t object, version;

	if (runtime->num_interpreters == 0 ||
	    runtime->interpreters[0].sysdict == 0 ||
	    !pyh_value_of(probe, runtime->interpreters[0].sysdict,
			  "hexversion", &object) ||
	    !pyh_small_int(probe->runtime, probe->reader, object, &version) ||
	    !is_version(version))
		return false;
	*ret = (uint32_t)version;
	return true;
}
