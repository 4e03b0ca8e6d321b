#!/usr/bin/env python3
"""Publishes and subscribes with nothing but Python's standard library.

    client.py sub HOST PORT FILTER [COUNT]
    client.py pub HOST PORT TOPIC MESSAGE

A frame is: length (4 bytes), kind (1), flags (1), topic length (2), topic, body.
All numbers are big-endian; length counts everything behind itself."""
import socket
import struct
import sys
import threading

HELLO, WELCOME, SUBSCRIBE, PUBLISH, PING, PONG, ERROR, LOST, GOODBYE = 1, 2, 3, 5, 6, 7, 8, 9, 10


class BrokerError(Exception):
    """The broker refused something, or the connection is over."""


class Client:
    def __init__(self, host, port):
        self.sending, self.closed = threading.Lock(), threading.Event()
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.send(HELLO, b"client.py", b"version=1\n")
        kind, _, body = self.receive()
        if kind != WELCOME:
            raise BrokerError("the broker does not welcome us")
        self.socket.settimeout(None)  # from here on, silence is not an error
        said = dict(line.split("=", 1) for line in body.decode().splitlines())
        threading.Thread(target=self.keep, args=(float(said["heartbeat"]),), daemon=True).start()

    def keep(self, heartbeat):
        """The broker closes a client that is silent for two heartbeats: sends twice in each."""
        try:
            while not self.closed.wait(heartbeat / 2 if heartbeat else None):
                self.send(PING)  # its answer is not waited for
        except OSError:
            pass  # the next call of receive or send raises it

    def close(self):
        self.closed.set()
        self.socket.close()

    def send(self, kind, topic=b"", body=b""):
        header = struct.pack(">IBBH", 4 + len(topic) + len(body), kind, 0, len(topic))
        with self.sending:
            self.socket.sendall(header + topic + body)

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
                raise BrokerError(f"error {code} {topic.decode()}: {body[2:].decode()}")
            elif kind == GOODBYE:
                raise BrokerError(f"the broker says goodbye: {body.decode()}")
            else:
                return kind, topic, body

    def read(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise BrokerError("the broker closed the connection")
            data += piece
        return bytes(data)

    def publish(self, topic, message):
        self.send(PUBLISH, topic.encode(), message.encode())
        self.send(PING, body=b"done?")  # answered once the message is on its way to all
        while self.receive() != (PONG, b"", b"done?"):
            pass

    def messages(self, filter_):
        """Topic and payload of each message, as they come."""
        self.send(SUBSCRIBE, filter_.encode())
        while True:
            kind, topic, body = self.receive()
            if kind == PUBLISH:
                yield topic, body
            elif kind == LOST:
                print(int.from_bytes(body, "big"), "messages were lost", file=sys.stderr)


def main(arguments):
    if len(arguments) in (4, 5) and arguments[0] == "sub":
        left = int(arguments[4]) if len(arguments) == 5 else float("inf")
        for topic, body in Client(*arguments[1:3]).messages(arguments[3]):
            sys.stdout.buffer.write(topic + b" " + body + b"\n")
            sys.stdout.flush()
            left -= 1
            if left <= 0:
                break
    elif len(arguments) == 5 and arguments[0] == "pub":
        Client(*arguments[1:3]).publish(*arguments[3:5])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (BrokerError, OSError) as error:
        sys.exit(f"client.py: {error}")
