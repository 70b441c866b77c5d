/*
 * Why PyTorch could not have memory; see failure.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "analyzer/threads/failure.h"

#include <stdlib.h>
#include <string.h>

#include "analyzer/heap/heapgraph.h"
#include "analyzer/opened.h"
#include "cudaheap/cachingfits.h"
#include "cudaheap/torchtrace.h"
#include "image/base/guard.h"

enum {
	MESSAGE_MAX = 8192,		/* bytes of a message that are parsed */
	EVENTS_BACK = 1 << 20,		/* that are looked back */
};

/** What all functions here need. */
struct search {
	struct opened *opened;
	struct pyh_runtime *runtime;
	struct thread_names *names;
	struct memory_reader *memory;	/* of names */
	struct failure *failure;
	char message[MESSAGE_MAX];
};

/* --- the exception -------------------------------------------------------- */

static bool read_message(struct thread_names *names,
			 const struct pyh_runtime *runtime, uint64_t exception,
			 char *text, size_t size)
{
	uint64_t str = pyh_exception_argument(
		runtime, thread_names_memory(names), exception);

	return thread_names_long_str(names, str, text, size);
}

bool failure_message(const struct failure *failure, struct opened *opened,
		     struct thread_names *names, char *text, size_t size)
{
	const struct pyh_runtime *runtime = opened_runtime_if_found(opened);

	return runtime && failure->exception != 0 &&
	       read_message(names, runtime, failure->exception, text, size);
}

/** Take it, if it is about memory. What it says may not have been captured. */
static bool take(struct search *search, uint64_t exception,
		 enum failure_how how, const struct thread_stack *stack)
{
	const char *type = thread_names_type_of(search->names, exception);
	bool is_class = torch_oom_is_class(type);
	struct torch_oom oom = { .device = -1 };

	if (read_message(search->names, search->runtime, exception,
			 search->message, sizeof(search->message)))
		(void)torch_oom_parse(search->message, &oom);
	if (!is_class && oom.kind == TORCH_OOM_NONE)
		return false;
	*search->failure = (struct failure){
		.how = how, .exception = exception, .type = type,
		.stack = stack, .oom = oom };
	search->failure->num_places = pyh_exception_places(
		search->runtime, search->memory, exception,
		search->failure->places, PYH_PLACES_MAX);
	return true;
}

/** What the watcher was told: "TYPE in thread TID: MESSAGE", and why that. */
static bool read_reason(const char *reason, struct failure *failure,
			uint32_t *ret_tid)
{
	static const char in_thread[] = " in thread ";
	static const char refused[] = ": Python was refused ";
	const char *at = strstr(reason, in_thread);
	struct torch_oom *oom = &failure->oom;
	char *end;

	if (!at || at == reason || (size_t)(at - reason) >= FAILURE_TYPE_MAX)
		return false;
	memcpy(failure->type_text, reason, (size_t)(at - reason));
	failure->type_text[at - reason] = '\0';
	failure->type = failure->type_text;
	*ret_tid = (uint32_t)strtoul(at + strlen(in_thread), &end, 10);
	if (!torch_oom_parse(end, oom) &&
	    strncmp(end, refused, strlen(refused)) == 0) {
		oom->kind = TORCH_OOM_CPU;
		(void)torch_oom_parse_size(end + strlen(refused),
					   &oom->requested);
	}
	return true;
}

/**
 * A dump that was made at the throw has no exception of Python's, but where it will
 * be raised, and all as it was when memory ran out.
 */
static bool take_reason(struct search *search,
			const struct thread_stacks *stacks)
{
	const struct core_notes *notes = &opened_image(search->opened)->notes;
	const char *trigger = core_notes_fact(notes, FORMAT_FACT_TRIGGER);
	const char *reason = core_notes_fact(notes, FORMAT_FACT_REASON);
	struct failure *failure = search->failure;
	uint32_t tid;

	if (!trigger || !reason || strcmp(trigger, "on-oom") != 0 ||
	    !read_reason(reason, failure, &tid))
		return false;
	failure->how = FAILURE_THROWN;
	failure->tid = tid;
	for (size_t i = 0; i < stacks->count; i++) {
		const struct thread_stack *stack = &stacks->items[i];

		if (!stack->core || stack->core->tid != tid)
			continue;
		failure->stack = stack;
		while (failure->num_places < PYH_PLACES_MAX &&
		       failure->num_places < stack->num_python) {
			failure->places[failure->num_places] =
				stack->python[failure->num_places];
			failure->num_places++;
		}
	}
	return true;
}

/** An exception, or what it came from. */
static bool take_chain(struct search *search, uint64_t address,
		       enum failure_how how, const struct thread_stack *stack)
{
	struct pyh_exception exception;

	for (int i = 0; i < PYH_EXCEPTIONS_MAX && address != 0 &&
			pyh_exception_read(search->runtime, search->memory,
					   address, &exception); i++) {
		if (take(search, address, how, stack))
			return true;
		how = FAILURE_CHAINED;
		address = exception.cause ? exception.cause : exception.context;
	}
	return false;
}

static bool take_of_threads(struct search *search,
			    const struct thread_stacks *stacks)
{
	for (size_t i = 0; i < stacks->count; i++)
		if (take_chain(search, stacks->items[i].exceptions.raised,
			       FAILURE_RAISED, &stacks->items[i]))
			return true;
	for (size_t i = 0; i < stacks->count; i++)
		if (take_chain(search, stacks->items[i].exceptions.handled,
			       FAILURE_HANDLED, &stacks->items[i]))
			return true;
	return false;
}

/** Objects of its classes; the first of them, where no thread has one. */
static void look_at_objects(struct search *search, const struct heapgraph *heap)
{
	struct failure *failure = search->failure;
	uint32_t num_types = pyh_types_count(heap->pyh_types);
	CLEANUP(free_pointer) bool *wanted = calloc(num_types + 1,
						    sizeof(*wanted));
	bool any = !wanted;	// without memory each name is looked at
	uint64_t kept = 0;

	for (uint32_t i = 0; wanted && i < num_types; i++)
		any |= wanted[i] = torch_oom_is_class(
			pyh_types_get(heap->pyh_types, i)->name);
	for (uint32_t i = 0; any && i < heap->count; i++) {
		uint64_t address;

		if (wanted ? !wanted[heap->types[i]] :
			     !torch_oom_is_class(heapgraph_type(heap, i)->name))
			continue;
		address = heapgraph_address(heap, i);
		if (failure->how == FAILURE_NONE)
			(void)take(search, address, FAILURE_KEPT, NULL);
		kept++;
	}
	failure->kept = kept;
}

/* --- the allocator -------------------------------------------------------- */

static bool within(const struct torch_oom_size *size, uint64_t bytes)
{
	uint64_t apart = size->bytes > bytes ? size->bytes - bytes :
					       bytes - size->bytes;

	return size->known && apart <= size->error;
}

/** Bytes of whole pages that are in a free block wherever it lies. */
static uint64_t whole_pages(const struct torch_device *device,
			    const struct torch_block *block)
{
	const struct torch_pool *pool;
	uint64_t page;

	if (block->pool >= device->num_pools)
		return 0;
	pool = &device->pools[block->pool];
	page = caching_page(pool->is_small);
	// Those of private pools are nobody else's.
	if (pool->owner || block->size < page)
		return 0;
	if (block->segment < device->num_segments &&
	    device->segments[block->segment].is_whole)
		return block->size;
	return (block->size / page - 1) * page;
}

static void add_up(const struct torch_device *device,
		   struct failure_device *ret)
{
	ret->known = true;
	ret->allocated = device->allocated;
	ret->reserved = device->reserved;
	for (size_t i = 0; i < device->num_blocks; i++) {
		const struct torch_block *block = &device->blocks[i];

		if (block->state != CACHING_FREE)
			continue;
		ret->free += block->size;
		ret->pieces++;
		ret->largest = block->size > ret->largest ? block->size :
							    ret->largest;
		ret->pages += whole_pages(device, block);
		ret->stuck += block->size - caching_returnable(device, block);
	}
	for (size_t i = 0; i < device->num_segments; i++)
		ret->expandable |= device->segments[i].is_expandable;
}

/**
 * The newest event of that kind that the message can be about.
 *
 * @return whether nothing has happened since
 */
static bool take_event(struct memory_reader *memory,
		       const struct torch_device *device, struct failure *failure)
{
	struct torch_oom *oom = &failure->oom;
	struct torch_trace trace;
	struct torch_event event;
	bool same = true;

	torch_trace_find(memory, device, &trace);
	for (uint64_t back = 0; back < trace.count && back < EVENTS_BACK;
	     back++) {
		bool read = torch_trace_event(&trace, memory,
					      trace.count - 1 - back, &event);

		same &= read && (event.action == TORCH_OOM ||
				 event.action == TORCH_SNAPSHOT ||
				 event.action == TORCH_ANNOTATE);
		if (!read || event.action != TORCH_OOM ||
		    (oom->requested.known &&
		     !within(&oom->requested, event.size)) ||
		    (oom->free.known && !within(&oom->free, event.address)))
			continue;
		oom->requested = (struct torch_oom_size){
			.bytes = event.size, .known = true };
		oom->free = (struct torch_oom_size){
			.bytes = event.address, .known = true };
		failure->is_exact = true;
		return same;
	}
	return false;
}

/** Where all is as it was, the allocator says what the message does not. */
static void compare_then(const struct torch_device *device, bool same,
			 struct failure *failure)
{
	struct torch_oom *oom = &failure->oom;

	failure->device.knows_then = same || oom->allocated.known;
	failure->device.as_then =
		oom->allocated.known ? within(&oom->allocated, device->allocated) :
				       same;
	if (oom->allocated.known || !same || device->reserved < device->allocated)
		return;
	oom->allocated = (struct torch_oom_size){
		.bytes = device->allocated, .known = true };
	oom->cached = (struct torch_oom_size){
		.bytes = device->reserved - device->allocated, .known = true };
}

/** Where the message does not say which: the only one whose memory has run out. */
static void find_device(const struct caching_allocator *allocator,
			struct torch_oom *oom)
{
	int found = -1, count = 0;

	for (size_t i = 0; i < allocator->num_devices; i++)
		if (allocator->devices[i].is_known &&
		    allocator->devices[i].stats.num_ooms > 0) {
			found = allocator->devices[i].index;
			count++;
		}
	if (oom->device < 0 && oom->kind == TORCH_OOM_TRIED && count == 1)
		oom->device = found;
}

static struct error *look_at_allocator(struct search *search)
{
	CLEANUP(caching_allocator_release)
	struct caching_allocator *allocator = NULL;
	struct failure *failure = search->failure;
	struct error *err = caching_allocator_open(
		opened_image(search->opened), &allocator);

	if (err || allocator->kind != CACHING_NATIVE)
		return err;
	find_device(allocator, &failure->oom);
	for (size_t i = 0; i < allocator->num_devices; i++) {
		const struct torch_device *device = &allocator->devices[i];

		if (device->index != failure->oom.device || !device->is_known)
			continue;
		add_up(device, &failure->device);
		failure->device.expandable |=
			allocator->settings.source &&
			allocator->settings.expandable_segments;
		compare_then(device,
			     take_event(search->memory, device, failure) ||
				     failure->how == FAILURE_THROWN, failure);
		if (failure->oom.requested.known)
			failure->device.least = caching_least_pages(
				allocator, device, failure->oom.requested.bytes);
	}
	return NULL;
}

/* --- the arithmetic ------------------------------------------------------- */

/**
 * Whether the limit that a program has set for itself refused it, whatever the
 * device has: it is one on what PyTorch reserves, with the segment that it would
 * have asked for. Source: CUDACachingAllocator.cpp, alloc_block().
 */
static bool is_beyond_limit(const struct failure *failure)
{
	const struct torch_oom *oom = &failure->oom;
	uint64_t more = failure->device.known && failure->device.expandable ?
				oom->requested.bytes :
				caching_segment(oom->requested.bytes);

	return oom->allowed.known && oom->allocated.known &&
	       (!oom->total.known || oom->allowed.bytes < oom->total.bytes) &&
	       oom->free.bytes >= oom->requested.bytes &&
	       oom->allocated.bytes +
			       (oom->cached.known ? oom->cached.bytes : 0) +
			       more > oom->allowed.bytes;
}

static enum failure_verdict judge(struct failure *failure)
{
	const struct torch_oom *oom = &failure->oom;
	uint64_t all = oom->free.bytes + oom->cached.bytes;

	switch (oom->kind) {
	case TORCH_OOM_HUGE:
		return FAILURE_NO_SIZE;
	case TORCH_OOM_DRIVER:
		return FAILURE_OUTSIDE;
	case TORCH_OOM_REJECTED:
		return FAILURE_LIMIT;
	case TORCH_OOM_NONE:
	case TORCH_OOM_CPU:
		return FAILURE_UNKNOWN;
	case TORCH_OOM_TRIED:
	case TORCH_OOM_ASYNC:
		break;
	}
	if (!oom->requested.known || !oom->free.known)
		return FAILURE_UNKNOWN;
	if (is_beyond_limit(failure))
		return FAILURE_LIMIT;
	if (!oom->cached.known)
		return FAILURE_UNKNOWN;
	if (all < oom->requested.bytes) {
		failure->short_of = oom->requested.bytes - all;
		return FAILURE_TOO_LITTLE;
	}
	return FAILURE_PIECES;
}

static enum failure_expandable judge_expandable(const struct failure *failure)
{
	const struct torch_oom *oom = &failure->oom;
	uint64_t page;

	if (oom->kind != TORCH_OOM_TRIED)
		return EXPANDABLE_UNKNOWN;
	if (failure->device.known && failure->device.expandable)
		return EXPANDABLE_ON;
	switch (failure->verdict) {
	case FAILURE_TOO_LITTLE:
	case FAILURE_LIMIT:
		return EXPANDABLE_WOULD_NOT;
	case FAILURE_PIECES:
		break;
	default:
		return EXPANDABLE_UNKNOWN;
	}
	if (!failure->device.known || !failure->device.as_then)
		return EXPANDABLE_MIGHT;
	// What is in use has its pages wherever the pieces lie.
	if (failure->device.least > failure->device.reserved + oom->free.bytes +
					    oom->free.error)
		return EXPANDABLE_WOULD_NOT;
	// Whole pages of what is free can go to who asks, and no more than that.
	page = caching_page(false);
	return oom->free.bytes / page * page + failure->device.pages >=
	       oom->requested.bytes ? EXPANDABLE_WOULD : EXPANDABLE_MIGHT;
}

static struct error *find(struct opened *opened, struct thread_names *names,
			  const struct thread_stacks *stacks,
			  const struct heapgraph *heap, bool with_allocator,
			  struct failure *ret)
{
	struct search *search = calloc(1, sizeof(*search));
	struct error *err = NULL;

	*ret = (struct failure){ .how = FAILURE_NONE };
	if (!search)
		return error_no_memory();
	search->opened = opened;
	search->runtime = opened_runtime_if_found(opened);
	search->names = names;
	search->memory = thread_names_memory(names);
	search->failure = ret;
	if (search->runtime) {
		if (!take_reason(search, stacks))
			(void)take_of_threads(search, stacks);
		if (heap)
			look_at_objects(search, heap);
	}
	if (with_allocator && ret->how != FAILURE_NONE) {
		err = look_at_allocator(search);
		ret->verdict = judge(ret);
		ret->expandable = judge_expandable(ret);
	}
	free(search);
	return err;
}

bool failure_is_devices(const struct failure *failure)
{
	return failure->oom.kind != TORCH_OOM_CPU &&
	       (failure->oom.kind != TORCH_OOM_NONE ||
		torch_oom_is_class(failure->type));
}

struct error *failure_find(struct opened *opened, struct thread_names *names,
			   const struct thread_stacks *stacks,
			   const struct heapgraph *heap, struct failure *ret)
{
	return find(opened, names, stacks, heap, true, ret);
}

struct error *failure_find_exception(struct opened *opened,
				     struct thread_names *names,
				     const struct thread_stacks *stacks,
				     const struct heapgraph *heap,
				     struct failure *ret)
{
	return find(opened, names, stacks, heap, false, ret);
}
