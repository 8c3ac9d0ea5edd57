"""Receives notifications of jobwarden: pip install -r requirements.txt && python receiver.py SECRET_FILE PORT"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

with open(sys.argv[1]) as lines:
    SECRETS = [Webhook(line.strip()) for line in lines if line.strip()]
SEEN = set()  # In production a table with a unique key, in the transaction that changes the state of the job.


def is_signed(body: bytes, headers: dict) -> bool:
    for secret in SECRETS:  # Two while the secret is being replaced.
        try:
            secret.verify(body, headers, json_parse=False)
            return True
        except (WebhookVerificationError, ValueError):
            pass
    return False


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not is_signed(body, dict(self.headers)):
            return self.send_error(401)
        event = from_http_event(HTTPMessage(dict(self.headers), body))
        again = "" if event.get_id() not in SEEN else " again"
        SEEN.add(event.get_id())
        data = event.get_data()
        print(f"{event.get_id()}{again}: {data['kind']} {data['namespace']}/{data['jobName']}: {data['message']!r}", flush=True)
        self.send_response(204)  # Only now: what is not acknowledged comes again.
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Receiver).serve_forever()
