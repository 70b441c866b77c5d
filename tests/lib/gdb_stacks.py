# SPDX-License-Identifier: Apache-2.0
"""Native stacks as gdb finds them; runs inside gdb.

    gdb -nx -batch -x gdb_stacks.py PROGRAM CORE

Prints "THREAD TID", then "FRAME PC NAME" for each frame, the innermost first,
without those that the stack has not got (inlined, or left by a jump), and what "info registers" says of the thread."""

import gdb

gdb.execute("set backtrace past-main on")
gdb.execute("set backtrace past-entry on")
for thread in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
    thread.switch()
    print("THREAD %d" % thread.ptid[1])
    frame = gdb.newest_frame()
    while frame is not None:
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):
            print("FRAME %d %s" % (frame.pc(), frame.name() or "?"))
        frame = frame.older()
    gdb.newest_frame().select()
    for name in "rax", "rbx", "rsp", "rip", "r15":
        print("REGISTER %s %d" % (name, int(gdb.parse_and_eval("$" + name))
                                  & (1 << 64) - 1))
