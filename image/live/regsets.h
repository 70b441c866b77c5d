/*
 * The registers of a stopped thread, all sets of them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LIVE_REGSETS_H
#define LIVE_REGSETS_H

#include "image/live/seize.h"

enum { REGSETS_SCRATCH_SIZE = 64 << 10 };

/**
 * Read them; only by the thread of this program that traces it. One that was
 * killed meanwhile is marked as gone.
 *
 * @param scratch  REGSETS_SCRATCH_SIZE bytes
 */
struct error *regsets_read(struct frozen_thread *thread, uint8_t *scratch);

void regsets_release(struct frozen_thread *thread);

#endif
