/*
 * Who refers to one object, as rows.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_REFERRER_ROWS_H
#define ANALYZER_REFERRER_ROWS_H

#include "analyzer/heap/referrers.h"
#include "analyzer/show/render.h"
#include "pyheap/references/pyedge.h"

/** As an array of the row that is open, for programs. */
void referrer_rows_nested(const struct referrers *referrers,
			  struct render *render,
			  const struct pyh_naming *naming);

/** As a table of their own, for people. */
void referrer_rows_table(const struct referrers *referrers,
			 struct render *render,
			 const struct pyh_naming *naming);

#endif
