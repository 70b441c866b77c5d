# SPDX-License-Identifier: Apache-2.0
"""Native stacks as gdb finds them; runs inside gdb.

    gdb -nx -batch -x gdb_stacks.py PROGRAM CORE

Prints "THREAD TID", then "FRAME PC LINE NAME" for each frame, the innermost
first, "INLINED …" for those that the compiler has put into the next one, without
those that were left by a jump, and what "info registers" says of the thread. LINE
is 0 where gdb does not know it."""

import gdb

gdb.execute("set backtrace past-main on")
gdb.execute("set backtrace past-entry on")
for thread in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
    thread.switch()
    print("THREAD %d" % thread.ptid[1])
    frame = gdb.newest_frame()
    while frame is not None and frame.is_valid():
        try:
            pc = frame.pc()
        except gdb.error:       # it is lost
            break
        if frame.type() != gdb.TAILCALL_FRAME:
            print("%s %d %d %s" % (
                "INLINED" if frame.type() == gdb.INLINE_FRAME else "FRAME",
                pc, frame.find_sal().line, frame.name() or "?"))
        frame = frame.older()
    gdb.newest_frame().select()
    for name in "rax", "rbx", "rsp", "rip", "r15", "x0", "x29", "sp", "pc":
        value = gdb.parse_and_eval("$" + name)
        if value.type.code != gdb.TYPE_CODE_VOID:
            print("REGISTER %s %d" % (name, int(value) & (1 << 64) - 1))
