/*
 * Native stacks; see unwind.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: elfutils libdwfl.h; Arm Architecture Reference Manual, "Pointer
 * authentication", for which bits of an address a signature takes.
 */
#include "image/unwind.h"

#include <elf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <libelf.h>
#include <stdlib.h>

#include "image/registers.h"
#include "image/sigframe.h"
#include "image/unwindtable.h"

enum {
	SIGNALS_MAX = 16,	/* handlers above each other that are undone */
	ARM64_ADDRESS_BITS = 55,	/* and signature; above it are tags */
	AMD64_RSP = 7, AMD64_RIP = 16, ARM64_LR = 30, ARM64_SP = 31,
};

/* Since elfutils 0.188; without it a circle is followed up to the limit. */
int dwfl_frame_reg(Dwfl_Frame *state, unsigned int number, Dwarf_Word *ret)
	__attribute__((weak));

struct unwinder {
	struct image *image;
	struct memory_reader memory;
	Dwfl *dwfl;
	Elf *machine;		/* a header that only tells the machine */
	Elf64_Ehdr header;
	struct unwind_table *tables;	/* by index of module; of memory */
	uint64_t unsigned_bits;	/* those that addresses of code have */
	/* of the walk under way */
	uint64_t registers[CORE_DWARF_REGISTERS_MAX], pc;
	size_t num_registers;
	bool failed;		/* a word was not to be had, at: */
	uint64_t failed_at;
	native_frame_fn *fn;
	void *context;
	size_t count;
	uint64_t last_pc;
	bool last_exact, stopped, circle, misled;
	bool at_signal;		/* the frame told last is a handler's caller */
	bool has_signal, resume;
	uint64_t signal_frame;	/* address of the kernel's rt_sigframe */
	struct native_signal signal;
	/* a frame some way back: who comes by there again goes in a circle */
	uint64_t mark_pc, mark_sp;
};

/* --- the files of modules -------------------------------------------------- */

static int find_elf(Dwfl_Module *dwfl_module, void **userdata, const char *name,
		    Dwarf_Addr base, char **file_name, Elf **ret)
{
	struct unwinder *unwinder;
	struct module *module;

	(void)dwfl_module;
	(void)name;
	(void)file_name;
	unwinder = *userdata;
	for (size_t i = 0; i < modules_count(unwinder->image->modules); i++) {
		module = modules_get(unwinder->image->modules, i);
		if (base >= module->start && base < module->end) {
			*ret = module->file_bytes ?
				elf_memory((char *)(uintptr_t)module->file_bytes,
					   module->file_size) :
				unwind_table_elf(&unwinder->memory, module,
						 &unwinder->tables[i]);
			break;
		}
	}
	return -1;
}

/** Unwind tables are in the file itself: none is looked for elsewhere. */
static int find_debuginfo(Dwfl_Module *module, void **userdata,
			  const char *name, Dwarf_Addr base,
			  const char *file_name, const char *link,
			  GElf_Word checksum, char **ret_name)
{
	(void)module;
	(void)userdata;
	(void)name;
	(void)base;
	(void)file_name;
	(void)link;
	(void)checksum;
	(void)ret_name;
	return -1;
}

static void report_modules(struct unwinder *unwinder)
{
	const struct modules *modules = unwinder->image->modules;

	dwfl_report_begin(unwinder->dwfl);
	for (size_t i = 0; i < modules_count(modules); i++) {
		struct module *module = modules_get(modules, i);
		Dwfl_Module *reported;
		void **userdata;

		if (!module->has_bias)
			continue;
		reported = dwfl_report_module(unwinder->dwfl, module->path,
					      module->start, module->end);
		if (reported && dwfl_module_info(reported, &userdata, NULL,
						 NULL, NULL, NULL, NULL, NULL))
			*userdata = unwinder;
	}
	(void)dwfl_report_end(unwinder->dwfl, NULL, NULL);
}

/* --- what libdwfl asks ----------------------------------------------------- */

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread_arg)
{
	(void)dwfl;
	(void)arg;
	(void)thread_arg;
	return 0;
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *arg, void **thread_arg)
{
	(void)dwfl;
	(void)tid;
	*thread_arg = arg;
	return true;
}

/**
 * Code of aarch64 may sign the addresses that it returns to, in bits that no
 * address has. Where something is mapped at what is left, it is taken for one:
 * by a note, as the kernel's cores have it, others' could not be read.
 */
static uint64_t without_signature(const struct unwinder *unwinder,
				  uint64_t word)
{
	uint64_t address = word & unwinder->unsigned_bits;

	return address != word && word >> ARM64_ADDRESS_BITS == 0 &&
	       memory_find(unwinder->image->memory, address) ? address : word;
}

static void set_unsigned_bits(struct unwinder *unwinder)
{
	const struct modules *modules = unwinder->image->modules;
	uint64_t end = 1;

	unwinder->unsigned_bits = UINT64_MAX;
	if (unwinder->image->machine != EM_AARCH64)
		return;
	for (size_t i = 0; i < modules_count(modules); i++)
		if (modules_get(modules, i)->end > end)
			end = modules_get(modules, i)->end;
	unwinder->unsigned_bits >>= __builtin_clzll(end);
}

static bool read_word(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *ret,
		      void *arg)
{
	struct unwinder *unwinder = arg;
	uint64_t word;

	(void)dwfl;
	if (!memory_try_u64(&unwinder->memory, address, &word)) {
		unwinder->failed = true;
		unwinder->failed_at = address;
		return false;
	}
	*ret = without_signature(unwinder, word);
	return true;
}

static bool set_registers(Dwfl_Thread *thread, void *arg)
{
	struct unwinder *unwinder = arg;

	if (unwinder->image->machine == EM_AARCH64)
		unwinder->registers[ARM64_LR] = without_signature(
			unwinder, unwinder->registers[ARM64_LR]);
	if (!dwfl_thread_state_registers(thread, 0,
					 (unsigned int)unwinder->num_registers,
					 unwinder->registers))
		return false;
	dwfl_thread_state_register_pc(thread, unwinder->pc);
	return true;
}

static const Dwfl_Callbacks file_callbacks = {
	.find_elf = find_elf,
	.find_debuginfo = find_debuginfo,
};

static const Dwfl_Thread_Callbacks thread_callbacks = {
	.next_thread = next_thread,
	.get_thread = get_thread,
	.memory_read = read_word,
	.set_initial_registers = set_registers,
};

/* --- making one ------------------------------------------------------------ */

static struct error *libdw_error(const char *doing)
{
	return error_new(ERROR_UNSUPPORTED, "%s: %s", doing, dwfl_errmsg(-1));
}

static struct error *open_dwfl(struct unwinder *unwinder)
{
	unwinder->header = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
			     ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_CORE, .e_machine = unwinder->image->machine,
		.e_version = EV_CURRENT, .e_ehsize = sizeof(Elf64_Ehdr),
	};
	(void)elf_version(EV_CURRENT);
	unwinder->machine = elf_memory((char *)&unwinder->header,
				       sizeof(unwinder->header));
	unwinder->dwfl = dwfl_begin(&file_callbacks);
	if (!unwinder->machine || !unwinder->dwfl)
		return libdw_error("starting to unwind");
	report_modules(unwinder);
	if (!dwfl_attach_state(unwinder->dwfl, unwinder->machine, 1,
			       &thread_callbacks, unwinder))
		return libdw_error("starting to unwind");
	return NULL;
}

struct error *unwinder_create(struct image *image, struct unwinder **ret)
{
	struct unwinder *unwinder = calloc(1, sizeof(*unwinder));
	size_t count = modules_count(image->modules);
	struct error *err;

	if (!unwinder)
		return error_no_memory();
	unwinder->image = image;
	set_unsigned_bits(unwinder);
	unwinder->tables = calloc(count + 1, sizeof(*unwinder->tables));
	err = unwinder->tables ?
		memory_reader_init(&unwinder->memory, image->memory) :
		error_no_memory();
	if (!err)
		err = open_dwfl(unwinder);
	if (err) {
		unwinder_destroy(unwinder);
		return err;
	}
	*ret = unwinder;
	return NULL;
}

void unwinder_destroy(struct unwinder *unwinder)
{
	size_t count;

	if (!unwinder)
		return;
	count = modules_count(unwinder->image->modules);
	if (unwinder->dwfl)
		dwfl_end(unwinder->dwfl);
	(void)elf_end(unwinder->machine);
	for (size_t i = 0; unwinder->tables && i < count; i++)
		unwind_table_deinit(&unwinder->tables[i]);
	free(unwinder->tables);
	memory_reader_deinit(&unwinder->memory);
	free(unwinder);
}

/* --- walking --------------------------------------------------------------- */

static bool tell(struct unwinder *unwinder, uint64_t pc, uint64_t sp,
		 bool exact)
{
	struct native_frame frame = { .pc = pc, .sp = sp, .exact = exact };

	unwinder->count++;
	unwinder->last_pc = pc;
	unwinder->last_exact = exact;
	unwinder->stopped = !unwinder->fn(unwinder->context, &frame);
	return !unwinder->stopped;
}

/** The stack pointer of a frame; 0: this libdw does not tell. */
static uint64_t stack_pointer(struct unwinder *unwinder, Dwfl_Frame *state)
{
	bool arm = unwinder->image->machine == EM_AARCH64;
	Dwarf_Word sp;

	return dwfl_frame_reg && dwfl_frame_reg(state, arm ? ARM64_SP :
						AMD64_RSP, &sp) == 0 ? sp : 0;
}

/** Two frames of one function at one place of the stack are the same frame. */
static bool goes_in_circle(struct unwinder *unwinder, uint64_t pc, uint64_t sp)
{
	if (sp == 0)
		return false;
	if (unwinder->count > 0 && pc == unwinder->mark_pc &&
	    sp == unwinder->mark_sp)
		return true;
	if ((unwinder->count & (unwinder->count - 1)) == 0) {
		unwinder->mark_pc = pc;
		unwinder->mark_sp = sp;
	}
	return false;
}

bool unwinder_signal(const struct unwinder *unwinder,
		     struct native_signal *ret)
{
	*ret = unwinder->signal;
	return unwinder->has_signal;
}

static void read_signal(struct unwinder *unwinder, uint64_t sp)
{
	struct native_signal *signal = &unwinder->signal;

	unwinder->signal_frame = sp;
	if (unwinder->has_signal)
		return;
	unwinder->has_signal = true;
	signal->frame = unwinder->count;
	signal->is_fault = sigframe_fault(&unwinder->memory,
					  unwinder->image->machine, sp,
					  &signal->address);
}

/* --- frames ----------------------------------------------------------------- */

/** The entry of the unwind table for pc; NULL: there is none. */
static Dwarf_Frame *table_entry(struct unwinder *unwinder, uint64_t pc)
{
	Dwfl_Module *module = dwfl_addrmodule(unwinder->dwfl, pc);
	Dwarf_Frame *frame = NULL;
	Dwarf_Addr bias;
	Dwarf_CFI *table = module ? dwfl_module_eh_cfi(module, &bias) : NULL;

	return table && dwarf_cfi_addrframe(table, pc - bias, &frame) == 0 ?
		frame : NULL;
}

/**
 * Is the instruction before pc a call? Of x86-64 as far as one can tell from
 * behind: e8 and four bytes, or ff /2 with what belongs to it. True as well where
 * the code is not to be had.
 */
static bool may_follow_call(struct unwinder *unwinder, uint64_t pc)
{
	enum { LONGEST = 7 };
	uint8_t code[LONGEST];
	uint32_t word;

	if (unwinder->image->machine == EM_AARCH64) {
		if (!memory_try_read(&unwinder->memory, pc - 4, &word, 4))
			return true;
		return (word & 0xFC000000) == 0x94000000 ||
		       (word & 0xFEFFF000) == 0xD63F0000;
	}
	if (!memory_try_read(&unwinder->memory, pc - LONGEST, code, LONGEST))
		return true;
	for (int size = 2; size <= LONGEST; size++) {
		const uint8_t *at = code + LONGEST - size;

		if ((size == 5 && at[0] == 0xe8) ||
		    (at[0] == 0xff && (at[1] >> 3 & 7) == 2))
			return true;
	}
	return false;
}

/**
 * Where there is no table libdw goes on by the frame pointer, which may be
 * anything: then it has to lead behind a call.
 */
static bool was_misled(struct unwinder *unwinder, uint64_t pc)
{
	Dwarf_Frame *entry;

	if (unwinder->count == 0 || unwinder->at_signal ||
	    (modules_find(unwinder->image->modules, pc) &&
	     may_follow_call(unwinder, pc)))
		return false;
	entry = table_entry(unwinder, unwinder->last_pc -
				      !unwinder->last_exact);
	free(entry);
	return entry == NULL;
}

static int tell_frame(Dwfl_Frame *state, void *arg)
{
	struct unwinder *unwinder = arg;
	bool exact = false;
	uint64_t sp = stack_pointer(unwinder, state);
	bool failed_before = unwinder->failed;
	Dwarf_Addr pc;

	// This reads what it takes to leave the frame. What could not be read of
	// the one before did not matter, if it led to a frame that is told.
	unwinder->failed = false;
	if (!dwfl_frame_pc(state, &pc, &exact)) {
		unwinder->failed |= failed_before;
		return DWARF_CB_ABORT;
	}
	// libdw would guess from a place that has no table; we know better.
	unwinder->resume = unwinder->at_signal &&
			   !modules_find(unwinder->image->modules, pc);
	unwinder->circle = goes_in_circle(unwinder, pc, sp);
	unwinder->misled = was_misled(unwinder, pc);
	if (unwinder->resume || unwinder->circle || unwinder->misled ||
	    unwinder->count >= NATIVE_FRAMES_MAX) {
		unwinder->failed |= failed_before;
		return DWARF_CB_ABORT;
	}
	if (!tell(unwinder, pc, sp, exact))
		return DWARF_CB_ABORT;
	unwinder->at_signal = sp != 0 &&
		sigframe_returns_at(&unwinder->memory,
				    unwinder->image->machine, pc, sp);
	if (unwinder->at_signal)
		read_signal(unwinder, sp);
	return DWARF_CB_OK;
}

/**
 * True if the unwind table says that nothing called the function at pc: the end
 * of a stack. Others end where a return address is 0.
 */
static bool is_outermost(struct unwinder *unwinder, uint64_t pc)
{
	Dwarf_Frame *frame = table_entry(unwinder, pc);
	Dwarf_Op memory[3], *ops;
	bool undefined = false, exact;
	Dwarf_Addr start, end;
	size_t count;
	int number;

	if (!frame)
		return false;
	number = dwarf_frame_info(frame, &start, &end, &exact);
	if (number >= 0 &&
	    dwarf_frame_register(frame, number, memory, &ops, &count) == 0)
		undefined = count == 0 && ops == memory;
	free(frame);
	return undefined;
}

/** @param ended  libdw says that it is the end of the stack */
static enum unwind_end why_ended(struct unwinder *unwinder, bool ended,
				 uint64_t *ret_at)
{
	struct module *module;

	*ret_at = unwinder->last_pc;
	if (unwinder->stopped)
		return UNWIND_STOPPED;
	if (unwinder->count >= NATIVE_FRAMES_MAX)
		return UNWIND_TOO_DEEP;
	if (unwinder->circle && !unwinder->failed)
		return UNWIND_LOST;
	module = modules_find(unwinder->image->modules, unwinder->last_pc);
	if (!module)
		return UNWIND_NO_MODULE;
	if (is_outermost(unwinder, unwinder->last_pc - !unwinder->last_exact))
		return UNWIND_OUTERMOST;
	if (unwinder->misled)
		return UNWIND_NO_TABLE;
	if (unwinder->failed) {
		*ret_at = unwinder->failed_at;
		return UNWIND_NOT_CAPTURED;
	}
	if (ended)
		return UNWIND_LOST;
	return UNWIND_NO_TABLE;
}

/**
 * A call of an address where no code is: undo it, as nothing else can have
 * happened since.
 */
static bool undo_call(struct unwinder *unwinder)
{
	uint64_t from;

	if (modules_find(unwinder->image->modules, unwinder->pc))
		return false;
	if (unwinder->image->machine == EM_AARCH64) {
		from = without_signature(unwinder,
					 unwinder->registers[ARM64_LR]);
	} else {
		if (!memory_try_u64(&unwinder->memory,
				    unwinder->registers[AMD64_RSP], &from))
			return false;
		unwinder->registers[AMD64_RSP] += sizeof(from);
		unwinder->registers[AMD64_RIP] = from;
	}
	if (from == unwinder->pc ||
	    !modules_find(unwinder->image->modules, from))
		return false;
	unwinder->pc = from;
	return true;
}

/** Tell the frames from the registers on; *ret_ended as libdw has it. */
static bool walk_from_registers(struct unwinder *unwinder, bool *ret_ended)
{
	bool arm = unwinder->image->machine == EM_AARCH64;
	uint64_t sp = unwinder->registers[arm ? ARM64_SP : AMD64_RSP];
	uint64_t first = unwinder->pc;

	unwinder->at_signal = false;
	unwinder->resume = false;
	if (undo_call(unwinder) && !tell(unwinder, first, sp, true))
		return false;
	*ret_ended = dwfl_getthread_frames(unwinder->dwfl, 1, tell_frame,
					   unwinder) == 0;
	return unwinder->resume &&
	       sigframe_registers(&unwinder->memory, unwinder->image->machine,
				  unwinder->signal_frame, unwinder->registers,
				  &unwinder->pc);
}

enum unwind_end unwinder_walk(struct unwinder *unwinder, size_t thread,
			      native_frame_fn *fn, void *context,
			      uint64_t *ret_at)
{
	const struct core_thread *of = &unwinder->image->notes.threads[thread];
	uint16_t machine = unwinder->image->machine;
	bool ended = false;

	*ret_at = 0;
	unwinder->has_signal = false;
	unwinder->num_registers = core_dwarf_registers(of, machine,
						       unwinder->registers);
	if (unwinder->num_registers == 0 ||
	    !core_register(of, machine, CORE_PC, &unwinder->pc))
		return UNWIND_NO_REGISTERS;
	unwinder->fn = fn;
	unwinder->context = context;
	unwinder->count = 0;
	unwinder->last_pc = 0;
	unwinder->failed = false;
	unwinder->stopped = false;
	unwinder->circle = false;
	unwinder->misled = false;
	for (int i = 0; i < SIGNALS_MAX; i++)
		if (!walk_from_registers(unwinder, &ended))
			break;
	return why_ended(unwinder, ended, ret_at);
}

const char *unwind_end_text(enum unwind_end end)
{
	switch (end) {
	case UNWIND_OUTERMOST:
	case UNWIND_STOPPED:
		return NULL;
	case UNWIND_NO_REGISTERS:
		return "the core has no registers of it";
	case UNWIND_NO_MODULE:
		return "no module is there";
	case UNWIND_NO_TABLE:
		return "its module has no unwind table there";
	case UNWIND_NOT_CAPTURED:
		return "that part of its stack is not in the dump";
	case UNWIND_TOO_DEEP:
		return "more frames than are followed";
	case UNWIND_LOST:
		return "the stack leads nowhere from there";
	}
	return NULL;
}
