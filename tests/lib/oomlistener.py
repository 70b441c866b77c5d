# SPDX-License-Identifier: Apache-2.0
"""Whom the library of heapdump --on-oom tells, in the place of heapdump."""
import contextlib
import os
import socket
import struct
import threading

THROWN, RAISED, REFUSED = range(3)
MESSAGE_SIZE = 352


class Listener:
    """As a context manager it listens. Of each message .heard has the kind, the
    type, the text and the size, as dumper/onoom/onoom_protocol.h has them."""

    def __init__(self, library, answer=b"a"):
        self.library, self.answer, self.heard = library, answer, []
        self.name = "test-on-oom.%d.%d" % (os.getpid(), id(self))
        self.secret = "0123456789abcdef" * 2
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def environment(self, *more):
        """Of a process that is to tell it; more: libraries to preload."""
        return {"LD_PRELOAD": ":".join([self.library, *more]),
                "HEAPDUMP_ON_OOM": "%s:%s" % (self.name, self.secret)}

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                with connection:
                    message = connection.recv(4096)
                    version, kind, tid, _, size = struct.unpack_from(
                        "IIiIQ", message)
                    assert version == 1 and message[24:56].decode() == \
                        self.secret and len(message) == MESSAGE_SIZE and tid > 0
                    self.heard.append((
                        kind, message[56:152].split(b"\0")[0].decode(),
                        message[152:].split(b"\0")[0].decode(), size))
                    connection.send(self.answer)

    def __enter__(self):
        self.socket.bind("\0" + self.name)
        self.socket.listen(16)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()
