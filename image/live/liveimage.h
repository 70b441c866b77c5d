/*
 * A process that stands still, as an image: no file is made of it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every reader of images works on it; memory is read when it is asked for. Its
 * threads are not in it.
 */
#ifndef LIVE_LIVEIMAGE_H
#define LIVE_LIVEIMAGE_H

#include "image/base/error.h"
#include "image/image.h"
#include "image/live/standing.h"

/**
 * @param standing  borrowed; must outlive the image
 * @param ret  for image_close()
 */
struct error *live_image_open(struct standing *standing, struct image **ret);

#endif
