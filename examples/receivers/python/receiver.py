"""A receiver of HookMQ's webhooks: Python 3.9 or newer, standard library only. Begin here and change `work`.

A delivery is answered with 200 when its work is done and its `webhook-id` is on the disk. Both are one transaction of one
SQLite file: what `work` writes through the connection it is given happens exactly once, however often a delivery comes. What
it does elsewhere has to bear being done twice, for a crash in between. SQLite has one writer, so deliveries are worked off
one at a time.

Settings come from the environment: WEBHOOK_SECRET, HOST, PORT, STATE, REMEMBER_IDS. README.md beside this folder says more.
"""

import base64
import binascii
import hashlib
import hmac
import http.server
import json
import os
import re
import signal
import socket
import sqlite3
import sys
import threading
import time
import traceback
import zlib

# One event ends at 1 MiB. Twice that leaves room for a batch of `max_bytes = 1MB`; for a larger one, raise it.
BODY_BYTES_MAX = 2 * 1024 * 1024
# What is read of a body over the limit, and thrown away, so that the answer is heard; then the connection is cut.
DISCARDED_BYTES_MAX = 16 * 1024 * 1024
TIMESTAMP_TOLERANCE_SECONDS = 5 * 60
# Longer than the broker leaves a connection silent: it closes first, and no request meets a connection that is ending.
KEEP_ALIVE_SECONDS = 30
# A thread each. The broker opens `pool_size` of them, 32 unless configured.
CONNECTIONS_MAX = 128
STOP_SECONDS_MAX = 4


def work(event, delivery_id, database):
    """The application's work, for one event. What it raises is answered with 500, undone in `database`, and comes again."""
    print(delivery_id, json.dumps(event, separators=(",", ":")), flush=True)


# --- a request and its answer ---------------------------------------------------------------------------------------------


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status, because):
        super().__init__(because)
        self.status = status


class Gone(Exception):
    """The peer has left in the middle of its request."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body of an answer leave in one segment; none waits for the other's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = KEEP_ALIVE_SECONDS

    def do_POST(self):
        try:
            self.receive()
        except Refusal as refusal:
            note(f"answered {refusal.status}: {refusal}")
            self.answer(refusal.status, str(refusal))
        except Gone:
            # Nobody is there to hear an answer.
            self.close_connection = True
        except Exception:
            note(f"answered 500: {traceback.format_exc()}")
            self.answer(500, "the work failed")
        else:
            self.answer(200, "ok")

    def receive(self):
        body = decoded(self.read(), self.headers.get("content-encoding", "identity"))
        if self.server.key is not None:
            verify(self.headers, body, self.server.key)
        delivery_id = self.headers.get("webhook-id", "")
        # No `.`, which could shift the parts of what is signed.
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,200}", delivery_id):
            raise Refusal(400, "webhook-id is missing, or is none")
        events = events_in(body, self.headers.get("content-type", ""))
        if not self.server.deliveries.done_once(delivery_id, events):
            note(f"{delivery_id} came again: it is done already")

    def read(self):
        lengths = self.headers.get_all("content-length", [])
        if len(lengths) != 1 or not re.fullmatch(r"[0-9]{1,15}", lengths[0]) or "transfer-encoding" in self.headers:
            # http.server does not read chunked bodies. The broker sends none.
            self.close_connection = True
            raise Refusal(411, "a body with a content-length is wanted")
        length = int(lengths[0])
        if length > BODY_BYTES_MAX:
            self.discard(length)
            raise Refusal(413, f"a body may have {BODY_BYTES_MAX} bytes")
        body = self.rfile.read(length)
        if len(body) < length:
            raise Gone
        return body

    def discard(self, length):
        if length > DISCARDED_BYTES_MAX:
            self.close_connection = True
        left = min(length, DISCARDED_BYTES_MAX)
        while left > 0:
            chunk = self.rfile.read(min(left, 65536))
            if not chunk:
                raise Gone
            left -= len(chunk)

    def answer(self, status, text):
        body = f"{text}\n".encode()
        try:
            self.send_response(status)
            self.send_header("content-type", "text/plain")
            self.send_header("content-length", str(len(body)))
            if self.server.stopping or self.close_connection:
                self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
        except OSError:
            # It did not wait for its answer, and will come again.
            self.close_connection = True

    def log_message(self, *_):
        """What matters is told by `note`, without words that strangers may choose."""


def verify(headers, body, key):
    """Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, the body as it was before it was compressed."""
    delivery_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    signatures = headers.get("webhook-signature", "")
    if not (delivery_id and timestamp and signatures):
        raise Refusal(401, "the request is not signed")
    if not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise Refusal(401, "webhook-timestamp is no number of seconds")
    if abs(time.time() - int(timestamp)) > TIMESTAMP_TOLERANCE_SECONDS:
        raise Refusal(401, "webhook-timestamp is more than 5 minutes off: are both clocks right?")
    # http.server reads headers as latin-1: as such they are the bytes that came.
    signed = f"{delivery_id}.{timestamp}.".encode("latin-1") + body
    expected = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    # While a secret is replaced there is one signature for each. Other versions than v1 are not for this key.
    given = signatures.encode("latin-1", "replace").split(b" ")
    if not any([hmac.compare_digest(signature, expected) for signature in given]):
        raise Refusal(401, "no signature matches: is it the same secret?")


def decoded(body, encoding):
    encoding = encoding.strip().lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise Refusal(415, "gzip is the encoding that is read")
    unpacking = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        unpacked = unpacking.decompress(body, BODY_BYTES_MAX + 1)
    except zlib.error:
        raise Refusal(400, "the body is no whole gzip") from None
    if len(unpacked) > BODY_BYTES_MAX:
        raise Refusal(413, f"a body may have {BODY_BYTES_MAX} bytes, unpacked")
    if not unpacking.eof or unpacking.unused_data:
        raise Refusal(400, "the body is no whole gzip")
    return unpacked


def events_in(body, content_type):
    """One event, a JSON array of them, or one a line."""
    try:
        text = body.decode("utf-8")
        if re.search("ndjson|jsonl", content_type, re.IGNORECASE):
            events = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            value = json.loads(text)
            events = value if isinstance(value, list) else [value]
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is no JSON") from None
    if not all(isinstance(event, dict) for event in events):
        raise Refusal(400, "an event is a JSON object")
    return events


# --- ids that were done, on the disk --------------------------------------------------------------------------------------


class Deliveries:
    """The last `ids_max` ids, in a SQLite file. Several processes may share it."""

    def __init__(self, folder, ids_max):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self.ids_max = ids_max
        self.lock = threading.Lock()
        # Transactions are begun and ended below.
        self.database = sqlite3.connect(
            os.path.join(folder, "deliveries.sqlite"), isolation_level=None, check_same_thread=False, timeout=4
        )
        self.database.execute("PRAGMA journal_mode = WAL")
        # A commit has reached the disk when it returns.
        self.database.execute("PRAGMA synchronous = FULL")
        self.database.execute("CREATE TABLE IF NOT EXISTS done (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE)")

    def done_once(self, delivery_id, events):
        """Works off a delivery and remembers it; False when that was done before."""
        with self.lock:
            try:
                self.database.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as cause:
                note(f"the database cannot be written: {cause}")
                raise Refusal(503, "busy: the id could not be written") from None
            try:
                return self.work_off(delivery_id, events)
            finally:
                if self.database.in_transaction:
                    self.database.execute("ROLLBACK")

    def work_off(self, delivery_id, events):
        try:
            added = self.database.execute("INSERT OR IGNORE INTO done (id) VALUES (?)", (delivery_id,))
            if added.rowcount == 0:
                return False
            oldest = added.lastrowid - self.ids_max
            self.database.execute("DELETE FROM done WHERE number <= ?", (oldest,))
        except sqlite3.Error as cause:
            note(f"the id of a delivery could not be written: {cause}")
            raise Refusal(503, "busy: the id could not be written") from None
        for event in events:
            work(event, delivery_id, self.database)
        try:
            self.database.execute("COMMIT")
        except sqlite3.Error as cause:
            note(f"the id of a delivery could not be written: {cause}")
            raise Refusal(503, "busy: the id could not be written") from None
        return True

    def close(self):
        with self.lock:
            self.database.close()


# --- start and stop -------------------------------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address, key, deliveries):
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.key = key
        self.deliveries = deliveries
        self.stopping = False
        self.connections = set()
        self.free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(address, Handler)

    def process_request(self, request, client_address):
        if not self.free.acquire(blocking=False):
            super().shutdown_request(request)
            return
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        if request in self.connections:
            self.connections.discard(request)
            self.free.release()
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        note(f"a connection ended: {sys.exc_info()[1]!r}")

    def stop(self):
        """No more connections, no more requests; those under way are answered."""
        self.stopping = True
        self.shutdown()
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RD)
            except OSError:
                pass


def settings(env):
    port = env.get("PORT", "8888")
    ids_max = env.get("REMEMBER_IDS", "100000")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("PORT is a number up to 65535")
    if not re.fullmatch("[0-9]{1,7}", ids_max) or not 1 <= int(ids_max) <= 5_000_000:
        raise ValueError("REMEMBER_IDS is a number from 1 to 5000000")
    address = (env.get("HOST", "127.0.0.1"), int(port))
    return address, env.get("STATE", "receiver-state"), int(ids_max), key_of(env.get("WEBHOOK_SECRET"))


def key_of(secret):
    """The bytes that `whsec_…` stands for. An empty secret is a mistake, not a wish for none."""
    if secret is None:
        return None
    text = secret[len("whsec_") :] if secret.startswith("whsec_") else secret
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError(
            "WEBHOOK_SECRET is whsec_ and base64, as in the broker's configuration; unset it to take everything"
        )
    return key


def main():
    try:
        address, folder, ids_max, key = settings(os.environ)
        deliveries = Deliveries(folder, ids_max)
        server = Server(address, key, deliveries)
    except (ValueError, OSError, OverflowError, sqlite3.Error) as error:
        note(f"The receiver does not start: {error}")
        return 1
    if key is None:
        note("WARNING: WEBHOOK_SECRET is not set, so whoever reaches this port is believed")

    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    print(f"Receiver is listening on http://{host}:{server.server_address[1]}", flush=True)
    asked_to_stop.wait()

    # For work that hangs there is an end: it comes again.
    cut = threading.Timer(STOP_SECONDS_MAX, os._exit, (1,))
    cut.daemon = True
    cut.start()
    server.stop()
    server.server_close()  # waits for the requests under way
    deliveries.close()
    return 0


def note(line):
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        pass  # whoever read it has gone


if __name__ == "__main__":
    sys.exit(main())
