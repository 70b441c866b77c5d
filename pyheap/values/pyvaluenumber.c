/*
 * Values of numbers: int, bool, float, complex, Decimal.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Include/cpython/longintrepr.h, Python/pystrtod.c,
 * Objects/complexobject.c, Modules/_decimal/_decimal.c and libmpdec.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pyheap/values/pyrepr.h"

enum {
	DIGIT_BITS = 30,	/* of an int's digits, on 64-bit machines */
	/* Digits of an int that is converted: enough for the 4300 decimal ones
	   that str() of 3.11 and later is limited to. */
	INT_DIGITS_MAX = 512,
	/* Words of nine decimal digits that these make. */
	DECIMAL_WORDS_MAX = INT_DIGITS_MAX * DIGIT_BITS / 29 + 1,
	BILLION = 1000000000,
};

/* --- int ------------------------------------------------------------------ */

struct int_view {
	uint64_t digits;	/* how many */
	uint64_t data;		/* address of the least significant one */
	bool negative;
};

static bool view_int(struct pyh_repr *repr, uint64_t address,
		     struct int_view *ret)
{
	const struct pyh_runtime *runtime = repr->runtime;
	uint64_t word;

	if (pyh_has(runtime, PYH_LONG_LONG_VALUE_LV_TAG)) {
		if (!pyh_repr_field(repr, address, PYH_LONG_LONG_VALUE_LV_TAG,
				    &word))
			return false;
		// Sign: 0 positive, 1 zero, 2 negative.
		ret->negative = (word & 3) == 2;
		ret->digits = (word & 3) == 1 ? 0 : word >> 3;
		ret->data = address +
			    pyh_offset(runtime, PYH_LONG_LONG_VALUE_OB_DIGIT);
	} else {
		if (!pyh_repr_field(repr, address, PYH_VAR_OB_SIZE, &word))
			return false;
		ret->negative = word >> 63;
		ret->digits = ret->negative ? -word : word;
		ret->data = address + pyh_offset(runtime, PYH_LONG_OB_DIGIT);
		word = 0;
	}
	if (ret->digits >> 44 || (word & 3) == 3) {
		pyh_repr_damaged(repr, "int");
		return false;
	}
	return true;
}

/** How many bits the digits have, of which top is the most significant. */
static uint64_t count_bits(const struct int_view *view, uint32_t top)
{
	uint64_t bits = view->digits * DIGIT_BITS;

	return top ? bits - (uint64_t)(__builtin_clz(top) - 2) :
		     bits ? bits - DIGIT_BITS : 0;
}

/** Divide what digits make by a billion, in place; returns the rest. */
static uint32_t divide(uint32_t *digits, size_t count)
{
	uint64_t rest = 0;

	for (size_t i = count; i-- > 0;) {
		uint64_t value = rest << DIGIT_BITS | digits[i];

		digits[i] = (uint32_t)(value / BILLION);
		rest = value % BILLION;
	}
	return (uint32_t)rest;
}

/** Put a whole number of count digits, which are spoilt. */
static void put_digits(struct pyh_repr *repr, uint32_t *digits, size_t count,
		       uint64_t bits)
{
	uint32_t words[DECIMAL_WORDS_MAX];
	size_t num_words = 0, left = PYH_VALUE_INT_DIGITS;

	do {
		words[num_words++] = divide(digits, count);
		while (count > 0 && digits[count - 1] == 0)
			count--;
	} while (count > 0);
	for (size_t i = num_words; i-- > 0;) {
		char text[16];
		int size = snprintf(text, sizeof(text),
				    i == num_words - 1 ? "%" PRIu32 :
							 "%09" PRIu32,
				    words[i]);

		if ((size_t)size > left) {
			pyh_repr_bytes(repr, text, left);
			pyh_repr_format(repr, "\xe2\x80\xa6(%" PRIu64 " bits)",
					bits);
			return;
		}
		pyh_repr_bytes(repr, text, (size_t)size);
		left -= (size_t)size;
	}
}

void pyh_write_int(struct pyh_repr *repr, const struct pyh_repr_object *object)
{
	uint32_t digits[INT_DIGITS_MAX] = { 0 }, top = 0;
	struct int_view view;
	uint64_t last;

	if (!view_int(repr, object->address, &view))
		return;
	last = view.data + (view.digits - 1) * sizeof(top);
	if (view.digits > 0 && !memory_try_u32(repr->memory, last, &top)) {
		pyh_repr_unread(repr, last);
		return;
	}
	if (view.digits > INT_DIGITS_MAX) {
		pyh_repr_format(repr, "<%sint of %" PRIu64 " bits>",
				view.negative ? "negative " : "",
				count_bits(&view, top));
		return;
	}
	if (!memory_try_read(repr->memory, view.data, digits,
			     (size_t)view.digits * sizeof(*digits))) {
		pyh_repr_unread(repr, view.data);
		return;
	}
	for (size_t i = 0; i < view.digits; i++) {
		if (digits[i] >> DIGIT_BITS) {
			pyh_repr_damaged(repr, "digit of an int");
			return;
		}
	}
	if (view.negative)
		pyh_repr_put(repr, "-");
	put_digits(repr, digits, (size_t)view.digits, count_bits(&view, top));
}

void pyh_write_bool(struct pyh_repr *repr,
		    const struct pyh_repr_object *object)
{
	struct int_view view;
	uint32_t digit = 0;

	if (!view_int(repr, object->address, &view))
		return;
	// False has one digit, too, since 3.12.
	if (view.digits > 1 ||
	    (view.digits == 1 &&
	     (!memory_try_u32(repr->memory, view.data, &digit) || digit > 1)))
		pyh_repr_damaged(repr, "bool");
	else
		pyh_repr_put(repr, digit ? "True" : "False");
}

/* --- float and complex ---------------------------------------------------- */

/** A number in decimal: 0.DIGITS times ten to the power of point. */
struct decimal {
	char digits[20];
	int count, point;
};

/** Take "d.ddde+xx", as printf() writes it, apart. */
static void take_apart(const char *text, struct decimal *ret)
{
	const char *exponent = strchr(text, 'e');

	ret->count = 0;
	for (; text < exponent; text++) {
		if (*text >= '0' && *text <= '9')
			ret->digits[ret->count++] = *text;
	}
	ret->digits[ret->count] = '\0';
	ret->point = (int)strtol(exponent + 1, NULL, 10) + 1;
}

static double value_of(const struct decimal *decimal)
{
	char text[40];

	(void)snprintf(text, sizeof(text), "0.%se%d", decimal->digits,
		       decimal->point);
	return strtod(text, NULL);
}

/** Count the last digit up. */
static void count_up(struct decimal *decimal)
{
	int i = decimal->count - 1;

	while (i >= 0 && decimal->digits[i] == '9')
		decimal->digits[i--] = '0';
	if (i >= 0) {
		decimal->digits[i]++;
		return;
	}
	decimal->digits[0] = '1';
	decimal->point++;
}

/** The shortest decimal that is read back as this number, which is positive. */
static void shorten(double value, struct decimal *ret)
{
	char text[40];

	// All that 15 digits can tell apart come back from them: what is
	// shorter only ends in zeros then.
	for (int precision = value > 1e-300 ? 15 : 1;; precision++) {
		(void)snprintf(text, sizeof(text), "%.*e", precision - 1,
			       value);
		take_apart(text, ret);
		if (precision == 17 || value_of(ret) == value)
			break;
		// Below a power of two the numbers are closer: the next decimal
		// up may be read back where the nearest one is not.
		count_up(ret);
		if (value_of(ret) == value)
			break;
	}
	while (ret->count > 1 && ret->digits[ret->count - 1] == '0')
		ret->digits[--ret->count] = '\0';
}

/** Digits with a point among or beside them, or with an exponent. */
static void put_decimal(struct pyh_repr *repr, const struct decimal *decimal,
			bool dot)
{
	const char *digits = decimal->digits;
	int count = decimal->count, point = decimal->point;

	if (point > 16 || point < -3) {
		pyh_repr_format(repr, "%c%s%s", digits[0],
				count > 1 ? "." : "", digits + 1);
		pyh_repr_format(repr, "e%c%02d", point > 0 ? '+' : '-',
				point > 0 ? point - 1 : 1 - point);
	} else if (point <= 0) {
		pyh_repr_format(repr, "0.%.*s%s", -point, "0000", digits);
	} else if (point < count) {
		pyh_repr_format(repr, "%.*s.%s", point, digits, digits + point);
	} else {
		pyh_repr_format(repr, "%s%.*s%s", digits, point - count,
				"0000000000000000", dot ? ".0" : "");
	}
}

void pyh_repr_double(struct pyh_repr *repr, double value, bool dot)
{
	struct decimal decimal;

	if (isnan(value)) {
		pyh_repr_put(repr, "nan");
		return;
	}
	if (signbit(value)) {
		pyh_repr_put(repr, "-");
		value = -value;
	}
	if (isinf(value)) {
		pyh_repr_put(repr, "inf");
	} else if (value == 0) {
		pyh_repr_put(repr, dot ? "0.0" : "0");
	} else {
		shorten(value, &decimal);
		put_decimal(repr, &decimal, dot);
	}
}

void pyh_write_float(struct pyh_repr *repr,
		     const struct pyh_repr_object *object)
{
	uint64_t bits;
	double value;

	if (!pyh_repr_field(repr, object->address, PYH_FLOAT_OB_FVAL, &bits))
		return;
	memcpy(&value, &bits, sizeof(value));
	pyh_repr_double(repr, value, /* dot= */ true);
}

void pyh_write_complex(struct pyh_repr *repr,
		       const struct pyh_repr_object *object)
{
	uint64_t at = object->address +
		      pyh_offset(repr->runtime, PYH_COMPLEX_CVAL);
	double parts[2];
	bool both;

	if (!memory_try_read(repr->memory, at, parts, sizeof(parts))) {
		pyh_repr_unread(repr, at);
		return;
	}
	both = parts[0] != 0 || signbit(parts[0]);
	if (both) {
		pyh_repr_put(repr, "(");
		pyh_repr_double(repr, parts[0], /* dot= */ false);
		if (isnan(parts[1]) || !signbit(parts[1]))
			pyh_repr_put(repr, "+");
	}
	pyh_repr_double(repr, parts[1], /* dot= */ false);
	pyh_repr_put(repr, both ? "j)" : "j");
}

/* --- Decimal -------------------------------------------------------------- */

/* mpd_t of libmpdec for 64-bit machines: words of 19 digits. */
enum {
	MPD_NEGATIVE = 1, MPD_INFINITE = 2, MPD_NAN = 4, MPD_SNAN = 8,
	MPD_WORD_DIGITS = 19,
	MPD_WORDS_SHOWN = 16,	/* the most significant ones */
};

struct mpd {
	uint8_t flags, padding[7];
	int64_t exponent, digits, words, allocated;
	uint64_t data;
};

/**
 * The coefficient's digits, up to as many as MPD_WORDS_SHOWN words have.
 * @return false, with that said, where they are not to be had
 */
static bool read_coefficient(struct pyh_repr *repr, const struct mpd *mpd,
			     char *text, size_t size)
{
	uint64_t words[MPD_WORDS_SHOWN];
	uint64_t count = (uint64_t)mpd->words;
	size_t shown = count < MPD_WORDS_SHOWN ? (size_t)count :
						 MPD_WORDS_SHOWN;
	uint64_t at = mpd->data + (count - shown) * 8;
	size_t used = 0;

	text[0] = '\0';
	if (!memory_try_read(repr->memory, at, words, shown * 8)) {
		pyh_repr_unread(repr, at);
		return false;
	}
	for (size_t i = shown; i-- > 0;) {
		if (words[i] >= UINT64_C(10000000000000000000)) {
			pyh_repr_damaged(repr, "coefficient");
			return false;
		}
		used += (size_t)snprintf(text + used, size - used,
					 used ? "%019" PRIu64 : "%" PRIu64,
					 words[i]);
	}
	return true;
}

/** Digits of a coefficient, of which text may have the first only. */
static void put_part(struct pyh_repr *repr, const char *text, int64_t from,
		     int64_t to)
{
	int64_t have = (int64_t)strlen(text);

	if (from < have)
		pyh_repr_bytes(repr, text + from,
			       (size_t)((to < have ? to : have) - from));
	if (to > have)
		pyh_repr_cut(repr);
}

/** As to-scientific-string of the decimal arithmetic specification has it. */
static void put_scientific(struct pyh_repr *repr, const struct mpd *mpd,
			   const char *text)
{
	int64_t point = mpd->digits + mpd->exponent;

	if (mpd->exponent > 0 || point < -5) {
		put_part(repr, text, 0, 1);
		if (mpd->digits > 1) {
			pyh_repr_put(repr, ".");
			put_part(repr, text, 1, mpd->digits);
		}
		pyh_repr_format(repr, "E%+" PRId64, point - 1);
	} else if (point <= 0) {
		pyh_repr_format(repr, "0.%.*s", (int)-point, "00000");
		put_part(repr, text, 0, mpd->digits);
	} else {
		put_part(repr, text, 0, point);
		if (mpd->exponent < 0) {
			pyh_repr_put(repr, ".");
			put_part(repr, text, point, mpd->digits);
		}
	}
}

static bool is_sound(const struct mpd *mpd)
{
	const int64_t limit = INT64_C(1) << 61;

	return mpd->words >= 0 && mpd->words < INT64_C(1) << 44 &&
	       mpd->digits >= 0 && mpd->digits < limit &&
	       mpd->exponent > -limit * 2 && mpd->exponent < limit * 2 &&
	       (mpd->digits + MPD_WORD_DIGITS - 1) / MPD_WORD_DIGITS ==
		       mpd->words &&
	       mpd->data % 8 == 0;
}

void pyh_write_decimal(struct pyh_repr *repr,
		       const struct pyh_repr_object *object)
{
	uint64_t at = object->address +
		      pyh_offset(repr->runtime, PYH_DECIMAL_DEC);
	char text[MPD_WORDS_SHOWN * MPD_WORD_DIGITS + 4] = "";
	bool number;
	struct mpd mpd;

	if (!memory_try_read(repr->memory, at, &mpd, sizeof(mpd))) {
		pyh_repr_unread(repr, at);
		return;
	}
	number = !(mpd.flags & (MPD_INFINITE | MPD_NAN | MPD_SNAN));
	pyh_repr_put(repr, "Decimal('");
	if (!is_sound(&mpd) || (number && mpd.words == 0)) {
		pyh_repr_damaged(repr, "mpd_t");
	} else if (mpd.words == 0 ||
		   read_coefficient(repr, &mpd, text, sizeof(text))) {
		pyh_repr_put(repr, mpd.flags & MPD_NEGATIVE ? "-" : "");
		if (mpd.flags & MPD_INFINITE)
			pyh_repr_put(repr, "Infinity");
		else if (mpd.flags & (MPD_NAN | MPD_SNAN))
			pyh_repr_put(repr, mpd.flags & MPD_SNAN ? "sNaN" :
								  "NaN");
		if (number)
			put_scientific(repr, &mpd, text);
		else if (!(mpd.flags & MPD_INFINITE))
			put_part(repr, text, 0, mpd.digits);
	}
	pyh_repr_put(repr, "')");
}
