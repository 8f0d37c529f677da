"""A client of the bus in another language: the NATS protocol and CloudEvents by hand, with the standard library alone.

Usage: client.py HOST:PORT      Prints the first event of the stream as JSON, and publishes one of its own.
"""

import json
import socket
import sys
from urllib.parse import quote, unquote

host, port = sys.argv[1].rsplit(":", 1)
connection = socket.create_connection((host, int(port)), timeout=20)
lines = connection.makefile("rb")
info = json.loads(lines.readline().split(b" ", 1)[1])


def send(text: bytes) -> None:
    connection.sendall(text)


def answer():
    """The headers and the payload of the next message."""
    while True:
        line = lines.readline()
        if line.startswith(b"PING"):
            send(b"PONG\r\n")
        elif line.startswith((b"MSG", b"HMSG")):
            words = line.split()
            total = int(words[-1])
            of_headers = int(words[-2]) if words[0] == b"HMSG" else 0
            block = lines.read(total + 2)
            headers = {}
            for header in block[:of_headers].decode().split("\r\n")[1:]:
                name, _, value = header.partition(":")
                if name:
                    headers[name.lower()] = value.strip()
            return headers, block[of_headers:total]
        elif line.startswith(b"-ERR") or not line:
            sys.exit(f"the server says {line!r}")


def request(subject: str, payload: bytes, headers: bytes = b""):
    if headers:
        total = len(headers) + len(payload)
        send(f"HPUB {subject} answers {len(headers)} {total}\r\n".encode() + headers + payload + b"\r\n")
    else:
        send(f"PUB {subject} answers {len(payload)}\r\n".encode() + payload + b"\r\n")
    return answer()


def partition(key: str, partitions: int) -> int:
    """FNV-1a of 32 bits, modulo."""
    value = 0x811C9DC5
    for byte in key.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value % partitions


send(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB answers 1\r\n')

_, payload = request("$JS.API.STREAM.INFO.outrigger", b"")
partitions = int(json.loads(payload)["config"]["metadata"]["outrigger-partitions"])

headers, payload = request("$JS.API.DIRECT.GET.outrigger", b'{"seq":1}')
event = {name[3:]: unquote(value, errors="strict") for name, value in headers.items() if name.startswith("ce-")}
event["data"] = json.loads(payload)
print(json.dumps(event))

key = "größe"
attributes = {
    "specversion": "1.0",
    "id": "python-1",
    "type": "order.paid",
    "source": "python",
    "datacontenttype": "application/json",
    "partitionkey": key,
}
text = "NATS/1.0\r\nNats-Msg-Id: python-1\r\n"
for name, value in attributes.items():
    text += f"ce-{name}: {quote(value, safe='/:')}\r\n"
subject = f"outrigger.{partition(key, partitions)}.{attributes['type']}"
_, payload = request(subject, b'{"paid":true}', (text + "\r\n").encode())
if "error" in json.loads(payload):
    sys.exit(f"not taken: {payload!r}")
