/*
 * The mappings of a process by the core that somebody else wrote of it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The segments of the core say what there was; what each is comes from
 * /proc/PID/smaps, where that was read while the process was there, else from
 * NT_FILE. What smaps has and the core does not is listed too.
 */
#ifndef LIVE_COREMAPS_H
#define LIVE_COREMAPS_H

#include "image/base/error.h"
#include "image/live/corestream.h"
#include "image/live/procmaps.h"
#include "image/notes.h"

/**
 * @param notes  of the core
 * @param seen  of the process itself, before; empty where it was gone. They may
 *	be a little older than the core, which is what counts
 */
struct error *core_mappings(const struct corestream *stream,
			    const struct core_notes *notes,
			    const struct procmaps *seen, struct procmaps *ret);

/** True if, by all that is known, the file has the same bytes. */
bool core_mapping_is_clean(const struct procmap *map);

#endif
