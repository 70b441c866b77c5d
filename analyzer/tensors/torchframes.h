/*
 * Who asked PyTorch's caching allocator for memory, in the words of snapshots:
 * lists of frames, of Python by their code, of C++ by symbols.
 * SPDX-License-Identifier: Apache-2.0
 *
 * In PyTorch's own order: each call of CPython's evaluation loop among the C++
 * frames is preceded by the Python frame that it runs; Python frames for which
 * there is none come last.
 */
#ifndef ANALYZER_TORCHFRAMES_H
#define ANALYZER_TORCHFRAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "image/base/error.h"
#include "image/base/pickle.h"

struct opened;
struct torchframes;

/** opened must outlive them. Without Python, C++ frames are all there are. */
struct error *torchframes_open(struct opened *opened, struct torchframes **ret);
/** NULL is fine. */
void torchframes_close(struct torchframes *frames);
static inline void torchframes_release(struct torchframes **frames)
{
	torchframes_close(*frames);
}

/**
 * Write the frames of a GatheredContext, once for all that have it: equal frames
 * are one object for who loads them. What cannot be read is a finding, and an
 * empty list. A torch_snapshot_source.frames(), with the frames as context.
 */
void torchframes_put(void *frames, struct pickle *pickle, const char *key,
		     uint64_t gathered);

enum { TORCHFRAMES_PLACE = 256 };

/**
 * "train_step train.py:31": where Python code asked, its innermost frame that is
 * not PyTorch's own; "": not recorded, or not to be had.
 */
void torchframes_place(struct torchframes *frames, uint64_t gathered,
		       char text[TORCHFRAMES_PLACE]);

/** The first error there was, of this machine; taken by the caller. */
struct error *torchframes_failed(struct torchframes *frames);

#endif
