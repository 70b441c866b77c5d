/*
 * Telling roots: what the files of pyroots share.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef PYHEAP_PYROOTWALK_H
#define PYHEAP_PYROOTWALK_H

#include <stdbool.h>
#include <stdint.h>

#include "pyheap/references/pyroots.h"
#include "pyheap/threads/pystack.h"

struct pyh_root_walk {
	const struct pyh_runtime *runtime;
	struct memory_reader *memory;
	pyh_root_fn *fn;
	void *context;
	bool stopped;
};

/** Tell a root, unless it is none: address 0, or no address at all. */
static inline void pyh_root_tell(struct pyh_root_walk *walk,
				 const struct pyh_root *root)
{
	if (root->address != 0 && root->address % 8 == 0 && !walk->stopped)
		walk->stopped = !walk->fn(walk->context, root);
}

/**
 * True if what is at an address begins as an object does: with a type.
 *
 * @param is  bits of PYH_TPFLAGS_KINDS that its type must have; 0: any
 */
bool pyh_root_is_object(struct pyh_root_walk *walk, uint64_t address,
			uint64_t is);

/**
 * Take the tags off root->address, a reference in a frame (_PyStackRef), which
 * say how it is held.
 *
 * @return false if it leads to no object
 */
bool pyh_root_untag(const struct pyh_runtime *runtime, struct pyh_root *root);

/** Tell what a thread holds until later. @param native  its number or 0 */
void pyh_root_queues(struct pyh_root_walk *walk,
		     const struct pyh_thread *thread, uint64_t native);

/** Tell what the frames of a thread hold. @param native  its number or 0 */
void pyh_root_frames(struct pyh_root_walk *walk,
		     const struct pyh_thread *thread, uint64_t native);

#endif
