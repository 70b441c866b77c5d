/*
 * Two dumps beside each other: types, owners and the ledger; see diff.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/cmd.h"
#include "analyzer/diff/diff.h"
#include "analyzer/heap/type_rows.h"
#include "analyzer/ledger/ledger.h"

/** One dump's rows of `types`, by type or by owner. */
static struct error *add_types(struct diff *diff, const struct scan *scan,
			       enum diff_kind kind, enum diff_side side)
{
	struct options options = *scan->options;
	struct scan one = { .options = &options, .opened = diff->sides[side] };
	struct type_counts counts;
	struct type_rows rows = { 0 };
	struct error *err = opened_counts(one.opened, &counts);

	// Filters of sizes are about what changed, not about either dump.
	options.min_size = 0;
	options.sort = NULL;
	options.by = kind == DIFF_OWNER ? BY_OWNER : BY_TYPE;
	if (!err)
		err = type_rows_collect(&one, &counts, &rows);
	for (size_t i = 0; !err && i < rows.num_rows; i++) {
		const struct type_row *row = &rows.rows[i];
		struct diff_row add = {
			.name = (char *)row->name,
			.counted = true,
		};

		if (diff->same && kind == DIFF_TYPE)
			add.address = row->total.type->address;
		err = diff_add_side(diff, kind, side, add, row->total.count,
				    row->total.size);
	}
	type_rows_deinit(&rows);
	return err;
}

struct error *diff_types(struct diff *diff, const struct scan *scan)
{
	static const enum diff_kind kinds[] = { DIFF_TYPE, DIFF_OWNER };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		struct error *err = NULL;

		for (int side = 0; !err && side < DIFF_SIDES; side++)
			err = add_types(diff, scan, kinds[i],
					(enum diff_side)side);
		err = diff_forgive(diff, kinds[i], err);
		if (err)
			return err;
		diff_join(diff, kinds[i]);
	}
	return NULL;
}

static struct error *add_ledger(struct diff *diff, bool groups,
				enum diff_side side)
{
	const struct ledger *ledger;
	struct error *err = ledger_of(diff->sides[side], /* owners= */ !groups,
				      &ledger);

	for (int i = 0; !err && i < LEDGER_NUM_CATEGORIES; i++) {
		enum ledger_category category = (enum ledger_category)i;
		const struct ledger_row *row = &ledger->rows[category];
		const char *name = groups ?
			ledger_group_name(ledger_group_of(category)) :
			ledger_name(category);

		if (row->bytes == 0)
			continue;
		err = diff_add_side(
			diff, DIFF_MEMORY, side,
			(struct diff_row){
				.name = (char *)name,
				.counted = !groups && ledger_counts(category) },
			row->count, row->bytes);
	}
	return err;
}

struct error *diff_memory(struct diff *diff, bool groups)
{
	struct error *err = NULL;

	for (int side = 0; !err && side < DIFF_SIDES; side++)
		err = add_ledger(diff, groups, (enum diff_side)side);
	err = diff_forgive(diff, DIFF_MEMORY, err);
	if (!err)
		diff_join(diff, DIFF_MEMORY);
	return err;
}
