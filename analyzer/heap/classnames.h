/*
 * Classes of one name: a class statement that runs for each call.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The classes of a program are many, and each has a name of its own. Where most
 * share theirs with many others they were made by code that runs again and again.
 */
#ifndef ANALYZER_CLASSNAMES_H
#define ANALYZER_CLASSNAMES_H

#include <stdint.h>

#include "analyzer/analysis.h"
#include "image/base/error.h"

enum { CLASSES_A_NAME = 10 };	/* where they pile up, on average */

/**
 * Of classes that live by an object alone: if they pile up, how many names they
 * have.
 *
 * @param ret  0: there are few of them, or about as many names as classes
 */
struct error *class_names_few(struct opened *opened,
			      const struct analysis *analysis, uint32_t object,
			      uint32_t *ret);

#endif
