"""An http handler with nothing but Python's standard library.

    python3 examples/handlers/http_server.py 8000

In config/db_event_listener.toml (hmacSecret only if HOOK_KEY is set for both):

    handler = { http = "http://127.0.0.1:8000/events", hmacSecret = { env = "HOOK_KEY" } }
"""

import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = os.environ.get("HOOK_KEY", "").encode()
MAX_AGE_SECONDS = 300


def is_signed(signature, body):
    """Whether a call is ours and new: t=<seconds>,v1=<HMAC-SHA256 of "<seconds>." and the body>."""
    parts = dict(part.partition("=")[::2] for part in signature.split(","))
    second = parts.get("t", "")
    expected = hmac.new(KEY, second.encode() + b"." + body, hashlib.sha256).hexdigest()
    is_ours = hmac.compare_digest(expected.encode(), parts.get("v1", "").encode())
    return is_ours and abs(time.time() - int(second)) <= MAX_AGE_SECONDS


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if KEY and not is_signed(self.headers.get("Dbevent-Signature", ""), body):
            return self.answer(401)
        for event in json.loads(body):
            # Your work goes here. For rows of a full sync (Origin "full_sync") see print_changes.py.
            print(event["Action"], event["TableName"], event["PK"], event["Data"], flush=True)
        self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
