"""A small HTTP service with a heap of about N objects, for bench.py.

SPDX-License-Identifier: Apache-2.0

usage: service.py N     prints READY and its port, then serves
"""
import http.server
import json
import os
import runpy
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        body = json.dumps({"objects": len(kept), "at": time.time()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *unused):
        pass


def serve(seconds):
    """In the place of heap.py's last call: the heap is made, and held."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print("READY", server.server_address[1], file=out, flush=True)
    server.serve_forever()


out, sys.stdout = sys.stdout, open(os.devnull, "w")
kept = []
time.sleep = serve
runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)),
                            "heap.py"), run_name="__main__")
