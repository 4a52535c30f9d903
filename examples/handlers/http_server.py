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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = os.environ.get("HOOK_KEY", "").encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if KEY and not hmac.compare_digest(
            "sha256=" + hmac.new(KEY, body, hashlib.sha256).hexdigest(),
            self.headers.get("Dbevent-Signature", ""),
        ):
            return self.answer(401)
        for event in json.loads(body):
            print(event["Action"], event["TableName"], event["PK"], event["Data"], flush=True)
        self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
