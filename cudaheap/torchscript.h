/*
 * Objects of TorchScript: what modules that were scripted, traced or loaded by
 * torch.jit.load() are in C++.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A c10::ivalue::Object has its class, a c10::ClassType, and behind that a vector
 * of c10::IValue, two words each, one for each attribute of the class. Where the
 * class has its attributes differs from release to release; it is told by what
 * follows them: a vector of their types, each of which is also in the attribute.
 *
 * Source: PyTorch aten/src/ATen/core/ivalue_inl.h, class_type.h of 1.13 to 2.15.
 */
#ifndef CUDAHEAP_TORCHSCRIPT_H
#define CUDAHEAP_TORCHSCRIPT_H

#include <stdbool.h>
#include <stdint.h>

#include "cudaheap/torchclass.h"

enum { TORCH_SLOT_NAME_MAX = 56 };

/** What an attribute is for. */
enum torch_slot_kind {
	TORCH_SLOT_BUFFER,
	TORCH_SLOT_PARAMETER,
	TORCH_SLOT_OTHER,
};

struct torch_slot {
	uint64_t value;		/* a tensor's or an object's address, or a number */
	enum torch_slot_kind kind;
	char name[TORCH_SLOT_NAME_MAX];	/* "?" where it is no name */
};

struct torch_script {
	uint64_t slots, attributes;	/* where they begin */
	uint32_t count;			/* of either */
	uint32_t stride;		/* bytes of an attribute */
};

/** Read the object at an address; false: it is none, or not as it is known. */
bool torch_script_read(struct torch_classes *classes, uint64_t address,
		       struct torch_script *ret);

/** One of its attributes; false: it was not captured. */
bool torch_script_slot(struct torch_classes *classes,
		       const struct torch_script *script, uint32_t i,
		       struct torch_slot *ret);

#endif
