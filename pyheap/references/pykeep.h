/*
 * What a dump without payload must hold of a CPython heap.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Arenas and the states of interpreters stay in any case. Of the memory that
 * malloc gave, every object stays, and every buffer of an object but those of
 * plain numbers and bytes: bytearray, array.array, ctypes. numpy's arrays and
 * PyTorch's tensors are objects of which nothing but their size is known here,
 * so their data is nobody's.
 *
 * Free-threaded builds have objects and buffers in mimalloc's memory, of which
 * nothing is dropped, and nothing of theirs in malloc's.
 */
#ifndef PYHEAP_PYKEEP_H
#define PYHEAP_PYKEEP_H

#include "image/model.h"

extern const struct model pyh_model;

#endif
