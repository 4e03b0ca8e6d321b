#!/usr/bin/env python3
"""Publishes and subscribes with nothing but Python's standard library.

    client.py sub HOST PORT FILTER [COUNT]
    client.py pub HOST PORT TOPIC MESSAGE

A frame is: length (4 bytes), kind (1), flags (1), topic length (2), topic, body.
All numbers are big-endian; length counts everything behind itself."""
import socket
import struct
import sys

HELLO, WELCOME, SUBSCRIBE, PUBLISH, PING, PONG, ERROR, LOST, GOODBYE = 1, 2, 3, 5, 6, 7, 8, 9, 10


class Client:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.send(HELLO, b"client.py", b"version=1\n")
        if self.receive()[0] != WELCOME:
            sys.exit("the broker does not welcome us")
        self.socket.settimeout(None)  # from here on, silence is nothing bad

    def send(self, kind, topic=b"", body=b""):
        length = 4 + len(topic) + len(body)
        self.socket.sendall(struct.pack(">IBBH", length, kind, 0, len(topic)) + topic + body)

    def receive(self):
        """The next frame that is not a PING; those are answered right here."""
        while True:
            length, kind, _flags, topic_len = struct.unpack(">IBBH", self.read(8))
            topic = self.read(topic_len)
            body = self.read(length - 4 - topic_len)
            if kind == PING:
                self.send(PONG, body=body)
            elif kind == ERROR:
                code = int.from_bytes(body[:2], "big")
                sys.exit(f"error {code} {topic.decode()}: {body[2:].decode()}")
            elif kind == GOODBYE:
                sys.exit(f"the broker is shutting down: {body.decode()}")
            else:
                return kind, topic, body

    def read(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                sys.exit("the broker closed the connection")
            data += piece
        return data


def subscribe(client, filter_, count=0):
    client.send(SUBSCRIBE, filter_.encode())
    left = count or float("inf")
    while left > 0:
        kind, topic, body = client.receive()
        if kind == PUBLISH:
            left -= 1
            sys.stdout.buffer.write(topic + b" " + body + b"\n")
            sys.stdout.flush()
        elif kind == LOST:
            print(int.from_bytes(body, "big"), "messages were lost", file=sys.stderr)


def publish(client, topic, message):
    client.send(PUBLISH, topic.encode(), message.encode())
    client.send(PING, body=b"done?")  # answered once the message is on its way to all
    while client.receive() != (PONG, b"", b"done?"):
        pass


if len(sys.argv) in (5, 6) and sys.argv[1] == "sub":
    subscribe(Client(*sys.argv[2:4]), sys.argv[4], int(sys.argv[5]) if len(sys.argv) == 6 else 0)
elif len(sys.argv) == 6 and sys.argv[1] == "pub":
    publish(Client(*sys.argv[2:4]), *sys.argv[4:6])
else:
    sys.exit(__doc__)
