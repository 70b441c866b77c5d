/*
 * Leak suspects: which known pattern one is, and the sentence about it.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANALYZER_SUSPECT_WORDS_H
#define ANALYZER_SUSPECT_WORDS_H

#include "analyzer/heap/copies.h"
#include "analyzer/heap/suspects.h"

/**
 * Fill path, sentence and evidence of a suspect that has been found, and make
 * its pattern the most telling one that the graph shows.
 */
struct error *suspect_put_words(struct opened *opened,
				const struct analysis *analysis,
				struct paths *paths,
				const struct suspects *all,
				struct suspect *suspect);

/** The same of one that is copies. */
struct error *suspect_put_copies(const struct copies *copies,
				 const struct analysis *analysis,
				 struct paths *paths,
				 const struct suspects *all,
				 struct suspect *suspect);

#endif
