/*
 * --method signal: a signal ends the process, the kernel writes the core.
 * SPDX-License-Identifier: Apache-2.0
 *
 *	method_signal_check(&target, signal, force, &core);
 *	method_signal_dump(&target, &live, signal, fd, &core, &result);
 *	core_file_remove(&core);	(once the dump is safe)
 */
#ifndef DUMPER_METHOD_SIGNAL_H
#define DUMPER_METHOD_SIGNAL_H

#include "dumper/core_file.h"
#include "image/live/live.h"

/**
 * Whether it can be expected to work; nothing is sent or set. Refuses a signal
 * that writes no core, one that the process ignores, handles or blocks (unless
 * force), a process the kernel writes no core of, and cores that go elsewhere.
 */
struct error *method_signal_check(const struct target *target, int signal,
				  bool force, struct core_file *ret);

/**
 * Send the signal, wait for the process to end, make a dump of its core. After
 * an error that follows the signal, its message says where the core is.
 */
struct error *method_signal_dump(const struct target *target,
				 const struct live_options *live, int signal,
				 int fd, struct core_file *core,
				 struct live_result *ret);

#endif
