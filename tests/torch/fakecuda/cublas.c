/* libcublas and libcublasLt of the fake CUDA: handles, and a heuristic that has
 * found something. Multiplying is a stub, whose result is whatever is there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fake.h"

#include <string.h>

static char something;

int cublasCreate_v2(void **handle)
{
	*handle = &something;
	return 0;
}

int cublasLtCreate(void **handle)
{
	*handle = &something;
	return 0;
}

int cublasGetMathMode(void *handle, int *mode)
{
	(void)handle;
	*mode = 0;
	return 0;
}

int cublasGetPointerMode_v2(void *handle, int *mode)
{
	(void)handle;
	*mode = 0;
	return 0;
}

int cublasGetStream_v2(void *handle, void **stream)
{
	(void)handle;
	*stream = NULL;
	return 0;
}

int cublasGetVersion_v2(void *handle, int *version)
{
	(void)handle;
	*version = 120000;
	return 0;
}

int cublasLtMatmulAlgoGetHeuristic(void *handle, void *operation, void *a,
				   void *b, void *c, void *d, void *preference,
				   int wanted, void *results, int *count)
{
	(void)handle, (void)operation, (void)a, (void)b, (void)c, (void)d;
	(void)preference;
	if (wanted < 1) {
		*count = 0;
		return 0;
	}
	/* An algorithm of 64 bytes, its workspace, a status, waves, 4 more. */
	memset(results, 0, 96);
	*count = 1;
	return 0;
}
