/*
 * Tensors of other kinds than the ordinary one: sparse, nested, of oneDNN; see
 * tensorsparts.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The C++ class says how the data is laid out, of compressed sparse tensors a byte
 * behind what all have. A class in Python may lay out what it likes.
 * Sources: PyTorch c10/core/Layout.h, ATen/SparseCsrTensorImpl.h,
 * ATen/OpaqueTensorImpl.h, ATen/NestedTensorImpl.h, torch/nested.
 */
#include <string.h>

#include "analyzer/tensors/tensorsparts.h"

enum {
	LAYOUT_OFFSET = 24,	/* behind three tensors: indices and values */
	DEVICE_CPU = 0,
};

/* By c10::Layout. */
static const char *const layouts[] = {
	"strided", "sparse_coo", "sparse_csr", "_mkldnn", "sparse_csc",
	"sparse_bsr", "sparse_bsc", "jagged",
};

/** Of a class in Python that has no data of its own, as of wrappers. */
static bool is_wrapper(const struct tensors *tensors, size_t i,
		       const struct pyh_type *type)
{
	const struct tensor *tensor = &tensors->items[i];

	return type && strcmp(type->name, "torch.Tensor") != 0 &&
	       strcmp(type->name, "torch.nn.parameter.Parameter") != 0 &&
	       (tensor->storage == TENSORS_NONE ||
		tensors->storages[tensor->storage].read.data == 0) &&
	       tensor->numel > 0;
}

static const char *compressed_layout(struct tensors *tensors,
				     const struct tensor *tensor)
{
	uint8_t layout;

	return memory_try_read(&tensors->memory,
			       tensor->address + tensors->layout.size +
				       LAYOUT_OFFSET, &layout, 1) &&
			       layout < sizeof(layouts) / sizeof(*layouts) &&
			       strncmp(layouts[layout], "sparse_", 7) == 0 ?
		       layouts[layout] : NULL;
}

const char *tensors_layout(struct tensors *tensors, size_t i)
{
	const struct tensor *tensor = &tensors->items[i];
	char text[TORCH_CLASS_MAX];
	const struct pyh_type *type;
	const char *class;

	if (tensor->array)
		return NULL;
	(void)tensors_object(tensors, i, &type);
	if (type && strcmp(type->name, "torch.nested._internal.nested_tensor."
			   "NestedTensor") == 0)
		return "jagged";
	class = torch_table_class(&tensors->classes, tensor->class, text);
	if (!class)
		return NULL;
	if (strcmp(class, "SparseTensorImpl") == 0)
		return "sparse_coo";
	if (strcmp(class, "SparseCsrTensorImpl") == 0)
		return compressed_layout(tensors, tensor);
	if (strcmp(class, "OpaqueTensorImpl") == 0)
		return tensor->device == DEVICE_CPU ? "_mkldnn" : NULL;
	if (strcmp(class, "QTensorImpl") == 0 ||
	    strcmp(class, "NestedTensorImpl") == 0)
		return "strided";
	return strcmp(class, "TensorImpl") == 0 &&
			       !is_wrapper(tensors, i, type) ? "strided" : NULL;
}

bool tensors_is_nested(struct tensors *tensors, size_t i)
{
	char text[TORCH_CLASS_MAX];
	const char *class = torch_table_class(&tensors->classes,
					      tensors->items[i].class, text);

	return class && strcmp(class, "NestedTensorImpl") == 0;
}

struct error *tensors_find_wrappers(struct tensors *tensors)
{
	struct error *err = NULL;

	for (size_t i = 0; !err && i < tensors->num_objects; i++) {
		const struct pyh_type *type;

		(void)tensors_object(tensors, i, &type);
		if (is_wrapper(tensors, i, type))
			err = tensornames_add_wrapper(tensors->names,
						      tensors->items[i].object);
	}
	return err;
}
