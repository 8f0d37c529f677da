"""A service of the shop in Python, with the standard library alone: what is bought most.

It registers at the hub and says that it lives; it is called like any service (GET /recommendations); and it handles events
of the hub's bus, each once: what it counts and which event it was are one transaction of its own database.

Environment:
  HUB          the hub, such as http://127.0.0.1:7700
  TOKEN_FILE   a file with a token for it (`shop token recommendation-service`); read again for each request
  DATABASE     the SQLite file [recommendations.sqlite]
  LISTEN       where it serves [127.0.0.1:0]
"""

import base64
import http.client
import json
import os
import random
import signal
import sqlite3
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.request import Request, urlopen

SERVICE = "recommendation-service"
EVENTS = ["order.created"]
HEARTBEAT = 10.0  # seconds; the hub gives up on who is silent for 90
PULL = 20.0  # seconds that a pull waits for events
PATIENCE = 5.0  # seconds for an answer beyond that
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds between two attempts

hub = os.environ["HUB"].rstrip("/")
stopping = threading.Event()


def ask(method, path, body=None, kind="application/json", patience=PATIENCE):
    """The JSON that the hub answers; an HTTPError where it refuses, an OSError where it is away."""
    request = Request(hub + path, method=method, headers={"content-type": kind})
    if os.environ.get("TOKEN_FILE"):
        with open(os.environ["TOKEN_FILE"], encoding="ascii") as file:
            request.add_header("authorization", f"Bearer {file.read().strip()}")
    data = None if body is None else json.dumps(body).encode()
    with urlopen(request, data, timeout=patience) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def forever(what, step):
    """Takes `step` again and again until told to stop; after a failure, after a pause that grows, and is random so that
    not all come back to the hub at once."""
    failures = 0
    while not stopping.is_set():
        try:
            step()
            failures = 0
        except (OSError, http.client.HTTPException, ValueError, sqlite3.Error) as error:  # an HTTPError is an OSError
            print(f"{what}: {error}", flush=True)
            failures += 1
            longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 16))
            stopping.wait(random.uniform(0, longest))


class Counts:
    """What was bought how often, and which events are in that: the inbox."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.db = sqlite3.connect(path, check_same_thread=False)
        self.db.executescript(
            "PRAGMA synchronous = FULL;"
            "CREATE TABLE IF NOT EXISTS inbox (source TEXT, id TEXT, PRIMARY KEY (source, id));"
            "CREATE TABLE IF NOT EXISTS bought (product TEXT PRIMARY KEY, quantity INTEGER NOT NULL);"
        )

    def handle(self, event):
        """Counts an order, unless it is counted already: a bus delivers at least once."""
        try:
            lines = [(line["productId"], int(line["quantity"])) for line in event["data"]["lines"]]
        except (KeyError, TypeError, ValueError) as error:
            print(f"passed over {event['id']}, which is no order: {error!r}", flush=True)
            return
        with self.lock, self.db:  # committed together, or neither
            new = self.db.execute("INSERT OR IGNORE INTO inbox VALUES (?, ?)", (event["source"], event["id"]))
            if new.rowcount == 0:
                return
            self.db.executemany(
                "INSERT INTO bought VALUES (?, ?) ON CONFLICT DO UPDATE SET quantity = quantity + excluded.quantity",
                lines,
            )

    def most(self, limit):
        with self.lock:
            rows = self.db.execute("SELECT product, quantity FROM bought ORDER BY quantity DESC, product LIMIT ?", (limit,))
            return [{"productId": product, "quantity": quantity} for product, quantity in rows]


class Registration:
    """An instance at the hub."""

    def __init__(self, address):
        self.id = str(uuid.uuid4())
        self.instance = {"id": self.id, "service": SERVICE, "version": "1.0.0", "address": address}

    def register(self):
        ask("PUT", f"/v1/registry/instances/{self.id}", self.instance)

    def live(self):
        try:
            ask("POST", f"/v1/registry/instances/{self.id}/heartbeat")
        except HTTPError as error:
            if error.code != 404:
                raise
            self.register()  # not known (any more): a first time, or a hub that lost its disk
        stopping.wait(HEARTBEAT)

    def leave(self):
        try:
            ask("DELETE", f"/v1/registry/instances/{self.id}")
        except OSError as error:
            print(f"could not leave the hub: {error}", flush=True)


class Member:
    """A member of the service's group on the bus."""

    def __init__(self, counts):
        self.counts = counts
        self.group = f"/v1/subscriptions/{SERVICE}/members"
        self.member = None

    def step(self):
        """Takes events and handles them; joins first where it is no member (any more)."""
        if self.member is None:
            self.member = ask("POST", self.group, {"types": EVENTS})["member"]
        try:
            pull = {"limit": 32, "waitMs": int(PULL * 1000)}
            events = ask("POST", f"{self.group}/{self.member}/pull", pull, patience=PULL + PATIENCE)
            done = []
            for event in events:
                self.counts.handle(event)
                done.append(event["deliverylease"])
            if done:
                ask("POST", f"{self.group}/{self.member}/settle", {"done": done})
        except HTTPError as error:
            if error.code == 404:
                self.member = None
            raise

    def leave(self):
        if self.member is not None:
            try:
                ask("DELETE", f"{self.group}/{self.member}")
            except OSError as error:
                print(f"could not leave the group: {error}", flush=True)


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    counts: Counts

    def do_GET(self):
        if self.is_misdirected():
            problem = {"type": "https://outrigger.dev/problems/misdirected", "title": "Misdirected", "status": 421}
            self.answer(421, problem, "application/problem+json")
            return
        path = self.path.partition("?")[0]
        if path == "/recommendations":
            self.answer(200, {"products": self.counts.most(10)})
        elif path == "/health":
            self.answer(200, {"status": "up"})
        else:
            problem = {"type": "about:blank", "title": "Not found", "status": 404}
            self.answer(404, problem, "application/problem+json")

    def is_misdirected(self):
        """Whether the call is for a service that was at this address before: its token names whom it is for. (Who calls
        is not verified here: that takes EdDSA, which the standard library lacks.)"""
        token = self.headers.get("authorization", "").removeprefix("Bearer ").split(".")
        if len(token) != 3:
            return False
        try:
            claims = json.loads(base64.urlsafe_b64decode(token[1] + "=" * (-len(token[1]) % 4)))
            return claims["aud"] != SERVICE
        except (ValueError, KeyError, TypeError):
            return False

    def answer(self, status, body, kind="application/json"):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        if stopping.is_set():
            self.send_header("connection", "close")  # connect elsewhere next time
            self.close_connection = True
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def main():
    Api.counts = Counts(os.environ.get("DATABASE", "recommendations.sqlite"))
    host, _, port = os.environ.get("LISTEN", "127.0.0.1:0").rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Api)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"{host}:{server.server_address[1]}"

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    registration, member = Registration(address), Member(Api.counts)
    for what, step in (("registry", registration.live), ("bus", member.step)):
        threading.Thread(target=forever, args=(what, step), daemon=True).start()
    print(f"ready at http://{address}", flush=True)

    stopping.wait()
    registration.leave()
    member.leave()
    time.sleep(1)  # until everybody has heard that it left; what they still send is answered
    server.shutdown()


if __name__ == "__main__":
    main()
