/*
 * Values of dates and times.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: CPython Include/datetime.h and Modules/_datetimemodule.c: dates and
 * times are packed into bytes, the most significant first.
 */
#include <inttypes.h>
#include <string.h>

#include "pyheap/values/pyrepr.h"

enum {
	DATE_BYTES = 4,		/* year of two, month, day */
	TIME_BYTES = 6,		/* hour, minute, second; microseconds of three */
};

/** The name that the reprs of these types begin with: their tp_name. */
static void put_name(struct pyh_repr *repr,
		     const struct pyh_repr_object *object)
{
	const struct pyh_type *type = object->type;

	// That of a class written in Python is its bare name.
	pyh_repr_put(repr, type == object->base ? type->name :
						  pyh_repr_short_name(type));
}

/** Read the packed bytes; false, with that said. */
static bool read_data(struct pyh_repr *repr,
		      const struct pyh_repr_object *object,
		      enum pyh_field field, uint8_t *data, size_t size)
{
	uint64_t at = object->address + pyh_offset(repr->runtime, field);

	if (memory_try_read(repr->memory, at, data, size))
		return true;
	pyh_repr_unread(repr, at);
	return false;
}

static bool is_date(const uint8_t *data)
{
	unsigned int year = (unsigned int)data[0] << 8 | data[1];

	return year >= 1 && year <= 9999 && data[2] >= 1 && data[2] <= 12 &&
	       data[3] >= 1 && data[3] <= 31;
}

static void put_date(struct pyh_repr *repr, const uint8_t *data)
{
	if (is_date(data))
		pyh_repr_format(repr, "%d, %d, %d", data[0] << 8 | data[1],
				data[2], data[3]);
	else
		pyh_repr_damaged(repr, "date");
}

static void put_time(struct pyh_repr *repr, const uint8_t *data)
{
	int micros = data[3] << 16 | data[4] << 8 | data[5];

	if (data[0] > 23 || data[1] > 59 || data[2] > 59 || micros > 999999) {
		pyh_repr_damaged(repr, "time");
		return;
	}
	pyh_repr_format(repr, "%d, %d", data[0], data[1]);
	if (data[2] || micros)
		pyh_repr_format(repr, ", %d", data[2]);
	if (micros)
		pyh_repr_format(repr, ", %d", micros);
}

static void put_zone(struct pyh_repr *repr,
		     const struct pyh_repr_object *object,
		     enum pyh_field hastzinfo, enum pyh_field tzinfo)
{
	uint64_t aware;

	if (!pyh_field(repr->runtime, repr->memory, object->address, hastzinfo,
		       &aware) || !aware)
		return;
	pyh_repr_put(repr, ", tzinfo=");
	pyh_repr_value_at(repr, object->address, tzinfo);
}

static void put_fold(struct pyh_repr *repr,
		     const struct pyh_repr_object *object, enum pyh_field field)
{
	uint64_t fold;

	if (pyh_field(repr->runtime, repr->memory, object->address, field,
		      &fold) && fold)
		pyh_repr_put(repr, ", fold=1");
}

void pyh_write_date(struct pyh_repr *repr,
		    const struct pyh_repr_object *object)
{
	uint8_t data[DATE_BYTES];

	put_name(repr, object);
	pyh_repr_put(repr, "(");
	if (read_data(repr, object, PYH_DATE_DATA, data, sizeof(data)))
		put_date(repr, data);
	pyh_repr_put(repr, ")");
}

void pyh_write_datetime(struct pyh_repr *repr,
			const struct pyh_repr_object *object)
{
	uint8_t data[DATE_BYTES + TIME_BYTES];

	put_name(repr, object);
	pyh_repr_put(repr, "(");
	if (read_data(repr, object, PYH_DATETIME_DATA, data, sizeof(data))) {
		put_date(repr, data);
		pyh_repr_put(repr, ", ");
		put_time(repr, data + DATE_BYTES);
		put_fold(repr, object, PYH_DATETIME_FOLD);
		put_zone(repr, object, PYH_DATETIME_HASTZINFO,
			 PYH_DATETIME_TZINFO);
	}
	pyh_repr_put(repr, ")");
}

void pyh_write_time(struct pyh_repr *repr,
		    const struct pyh_repr_object *object)
{
	uint8_t data[TIME_BYTES];

	put_name(repr, object);
	pyh_repr_put(repr, "(");
	if (read_data(repr, object, PYH_TIME_DATA, data, sizeof(data))) {
		put_time(repr, data);
		put_zone(repr, object, PYH_TIME_HASTZINFO, PYH_TIME_TZINFO);
		put_fold(repr, object, PYH_TIME_FOLD);
	}
	pyh_repr_put(repr, ")");
}

/** Days, seconds and microseconds; false, with that said. */
static bool read_delta(struct pyh_repr *repr, uint64_t delta, int32_t parts[3])
{
	static const enum pyh_field fields[3] = {
		PYH_DELTA_DAYS, PYH_DELTA_SECONDS, PYH_DELTA_MICROSECONDS,
	};
	uint64_t value;

	for (int i = 0; i < 3; i++) {
		if (!pyh_repr_field(repr, delta, fields[i], &value))
			return false;
		parts[i] = (int32_t)(uint32_t)value;
	}
	if (parts[0] > -1000000000 && parts[0] < 1000000000 && parts[1] >= 0 &&
	    parts[1] < 24 * 3600 && parts[2] >= 0 && parts[2] < 1000000)
		return true;
	pyh_repr_damaged(repr, "timedelta");
	return false;
}

void pyh_write_delta(struct pyh_repr *repr,
		     const struct pyh_repr_object *object)
{
	static const char *const names[3] = { "days", "seconds",
					      "microseconds" };
	int32_t parts[3];
	bool any = false;

	put_name(repr, object);
	pyh_repr_put(repr, "(");
	if (read_delta(repr, object->address, parts)) {
		for (int i = 0; i < 3; i++) {
			if (parts[i] == 0)
				continue;
			pyh_repr_format(repr, "%s%s=%" PRId32, any ? ", " : "",
					names[i], parts[i]);
			any = true;
		}
		if (!any)
			pyh_repr_put(repr, "0");
	}
	pyh_repr_put(repr, ")");
}

/** True of what timezone() returns timezone.utc for: no name, and no offset. */
static bool is_utc(struct pyh_repr *repr, uint64_t offset, uint64_t name)
{
	uint64_t part;

	if (name)
		return false;
	for (int field = PYH_DELTA_DAYS; field <= PYH_DELTA_MICROSECONDS;
	     field++)
		if (!pyh_field(repr->runtime, repr->memory, offset,
			       (enum pyh_field)field, &part) || part)
			return false;
	return true;
}

void pyh_write_timezone(struct pyh_repr *repr,
			const struct pyh_repr_object *object)
{
	uint64_t offset, name;

	if (!pyh_repr_field(repr, object->address, PYH_TIMEZONE_OFFSET,
			    &offset) ||
	    !pyh_repr_field(repr, object->address, PYH_TIMEZONE_NAME, &name))
		return;
	put_name(repr, object);
	if (is_utc(repr, offset, name)) {
		pyh_repr_put(repr, ".utc");
		return;
	}
	pyh_repr_put(repr, "(");
	pyh_repr_value(repr, offset);
	if (name) {
		pyh_repr_put(repr, ", ");
		pyh_repr_value(repr, name);
	}
	pyh_repr_put(repr, ")");
}
