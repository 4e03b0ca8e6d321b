"""The usual work of a NATS client, through nats-py.

Starts servers by the script `serve`, so it runs against the program that SERVER names. Each check
is a function with asserts; all of them run one after the other, or those named on the command line.
"""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import nats
from nats import errors

HERE = Path(__file__).resolve().parent
# How long to wait for what must arrive. Far longer than it takes.
PATIENCE = 30
IS_REFERENCE = "nats-server" in Path(os.environ.get("SERVER", "broker")).name


class Server:
    """A server process. `start` may be called again, and takes the same port."""

    def __init__(self, *options):
        self.options = options
        self.port = 0
        self.start()

    def start(self):
        command = [HERE / "../../serve", str(self.port), *self.options]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        log = []
        for line in self.process.stderr:
            line = line.decode(errors="replace")
            log.append(line)
            found = re.search(r"listening for .* on \S+:(\d+)", line, re.I)
            if found and re.search("client connections|nats", found.string, re.I):
                self.port = int(found[1])
                break
        else:
            raise AssertionError("the server does not say where it listens:\n" + "".join(log))
        # Keeps reading, or a full pipe would stop the server.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def stop(self, how):
        self.process.send_signal(how)
        self.process.wait(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Client:
    """A connection that records the events of its callbacks."""

    def __init__(self):
        self.events = asyncio.Queue()

    async def connect(self, server, **options):
        def note(what):
            async def callback(*of):
                await self.events.put((what, *of))

            return callback

        self.nc = await nats.connect(
            f"nats://127.0.0.1:{server.port}",
            reconnect_time_wait=0.05,
            max_reconnect_attempts=-1,
            error_cb=note("error"),
            disconnected_cb=note("disconnected"),
            reconnected_cb=note("reconnected"),
            closed_cb=note("closed"),
            **options,
        )
        return self.nc

    async def wait_for(self, *what):
        """Waits for one of these events, and returns all up to it."""
        events = []
        while not events or events[-1][0] not in what:
            events.append(await asyncio.wait_for(self.events.get(), PATIENCE))
        return events


async def connect(server, **options):
    return await Client().connect(server, **options)


async def collect(subscription, count):
    return [await subscription.next_msg(PATIENCE) for _ in range(count)]


async def flush(nc):
    """Waits until the server has processed everything sent before.

    The library's own PING may overtake what its background task has not written yet.
    """
    while nc.pending_data_size > 0:
        await asyncio.sleep(0.001)
    await nc.flush(PATIENCE)


async def nothing_more(nc, *subscriptions):
    """What was published before has been delivered by now, but not to these."""
    await flush(nc)
    for subscription in subscriptions:
        assert subscription.pending_msgs == 0, subscription.subject


async def check_publish_and_subscribe(server):
    for options in [{}, {"verbose": True, "pedantic": True}]:
        publisher, nc = await connect(server), await connect(server, **options)
        plain = await nc.subscribe("a.b")
        token, rest = await nc.subscribe("a.*"), await nc.subscribe("a.>")
        other = await nc.subscribe("a.b.c")
        await flush(nc)
        for number in range(100):
            await publisher.publish("a.b", b"%d" % number)
        for subscription in [plain, token, rest]:
            messages = await collect(subscription, 100)
            assert [m.data for m in messages] == [b"%d" % n for n in range(100)]
            assert {m.subject for m in messages} == {"a.b"}
        await publisher.publish("a.b.c", b"")
        for subscription in [rest, other]:
            assert (await collect(subscription, 1))[0].data == b""
        await publisher.publish("a", b"x")
        await flush(publisher)
        await nothing_more(nc, plain, token, rest, other)
        # It receives its own messages.
        await nc.publish("a.b", b"own")
        assert (await collect(plain, 1))[0].data == b"own"
        await nc.close()
        await publisher.close()


async def check_no_echo(server):
    mute, other = await connect(server, no_echo=True), await connect(server)
    subscriptions = [await nc.subscribe("a") for nc in (mute, other)]
    await flush(mute)
    await flush(other)
    await mute.publish("a", b"1")
    await flush(mute)
    await other.publish("a", b"2")
    assert [m.data for m in await collect(subscriptions[1], 2)] == [b"1", b"2"]
    assert [m.data for m in await collect(subscriptions[0], 1)] == [b"2"]
    await mute.close()
    await other.close()


async def check_queue_groups(server):
    clients = [await connect(server) for _ in range(3)]
    members = [await nc.subscribe("work.*", "group") for nc in clients]
    alone = await clients[0].subscribe("work.>", "other")
    for nc in clients:
        await flush(nc)
    for number in range(300):
        await clients[0].publish("work.a", b"%d" % number)
    await collect(alone, 300)
    for nc in clients:
        await flush(nc)
    counts = [member.pending_msgs for member in members]
    assert sum(counts) == 300 and min(counts) > 30, counts
    for nc in clients:
        await nc.close()


async def check_requests(server):
    services, requester = [await connect(server) for _ in range(3)], await connect(server)

    async def answer(message):
        await message.respond(b"re: " + message.data)

    for nc in services:
        await nc.subscribe("service", "workers", cb=answer)
        await flush(nc)
    requests = [requester.request("service", b"%d" % n, timeout=PATIENCE) for n in range(1_000)]
    answers = await asyncio.gather(*requests)
    assert [m.data for m in answers] == [b"re: %d" % n for n in range(1_000)]
    answer = await requester.request("service", b"old", timeout=PATIENCE, old_style=True)
    assert answer.data == b"re: old"
    for nc in [*services, requester]:
        await nc.close()


async def check_no_responders(server):
    nc = await connect(server)
    for old_style in [False, True]:
        for subject in ["nobody", "$JS.API.INFO"]:
            try:
                await nc.request(subject, b"", timeout=PATIENCE, old_style=old_style)
            except errors.NoRespondersError:
                continue
            raise AssertionError("somebody answered")
    await nc.close()


async def check_headers(server):
    nc = await connect(server)
    subscription = await nc.subscribe("a")
    headers = {"X-Id": "7", "Other": "a b: c"}
    await nc.publish("a", b"with", headers=headers)
    await nc.publish("a", b"", headers=headers)
    await nc.publish("a", b"without")
    first, empty, without = await collect(subscription, 3)
    assert (first.data, first.headers) == (b"with", headers)
    assert (empty.data, empty.headers) == (b"", headers)
    assert (without.data, without.headers) == (b"without", None)
    await nc.close()


async def check_unsubscribe_after(server):
    nc = await connect(server)
    after, count_on = await nc.subscribe("a"), await nc.subscribe("a")
    await after.unsubscribe(limit=3)
    for _ in range(5):
        await nc.publish("a", b"x")
    await collect(count_on, 5)
    assert after.delivered == 3 or after.pending_msgs == 3, (after.delivered, after.pending_msgs)
    await count_on.unsubscribe()
    await nc.publish("a", b"x")
    await nothing_more(nc, count_on)
    await nc.close()


async def check_drain(server):
    client, publisher = Client(), await connect(server)
    nc = await client.connect(server)
    received = []

    async def slowly(message):
        await asyncio.sleep(0)
        received.append(message.data)
        await nc.publish("seen", message.data)

    one = await nc.subscribe("a", cb=slowly)
    await nc.subscribe("b", cb=slowly)
    seen = await publisher.subscribe("seen")
    await flush(nc)
    await flush(publisher)
    for _ in range(200):
        await publisher.publish("a", b"a")
    await flush(publisher)
    await one.drain()
    await collect(seen, 200)
    await publisher.publish("a", b"a")
    for _ in range(200):
        await publisher.publish("b", b"b")
    await flush(publisher)
    await nc.drain()
    await client.wait_for("closed")
    assert received == [b"a"] * 200 + [b"b"] * 200, len(received)
    # What it published while draining has arrived.
    assert [m.data for m in await collect(seen, 200)] == [b"b"] * 200
    await publisher.close()


async def check_flush(server):
    nc = await connect(server)
    assert await nc.rtt(PATIENCE) >= 0
    subscription = await nc.subscribe("a")
    for _ in range(50):
        await nc.publish("a", b"x")
        await flush(nc)
    assert subscription.pending_msgs == 50
    assert str(nc.client_ip) == "127.0.0.1" and nc.client_id > 0
    await nc.close()


async def check_reconnect(_):
    for how in [signal.SIGKILL, signal.SIGTERM]:
        with Server() as server:
            client, other = Client(), Client()
            nc, publisher = await client.connect(server), await other.connect(server)
            plain, group = await nc.subscribe("a"), await nc.subscribe("a", "group")
            limited = await nc.subscribe("a")
            await limited.unsubscribe(limit=3)
            await flush(nc)
            await publisher.publish("a", b"before")
            for subscription in [plain, group, limited]:
                await collect(subscription, 1)
            for _ in range(2):
                server.stop(how)
                await client.wait_for("disconnected")
                await other.wait_for("disconnected")
                server.start()
                await client.wait_for("reconnected")
                await other.wait_for("reconnected")
                await flush(nc)
                await publisher.publish("a", b"after")
                for subscription in [plain, group]:
                    assert (await collect(subscription, 1))[0].data == b"after"
                answered = asyncio.ensure_future(nc.request("nobody", b"", timeout=PATIENCE))
                try:
                    await answered
                    raise AssertionError("somebody answered")
                except errors.NoRespondersError:
                    pass
            assert not nc.is_closed and not publisher.is_closed
            await nc.close()
            await publisher.close()


async def check_slow_consumer(_):
    with Server("outbox=1048576") as server:
        client, publisher = Client(), await connect(server)
        nc = await client.connect(server)
        subscription = await nc.subscribe("flood")
        await flush(nc)
        # The event loop is blocked meanwhile, so nothing is read.
        flood(server.port)
        await client.wait_for("reconnected")
        await flush(nc)
        await publisher.publish("flood", b"last")
        while (await subscription.next_msg(PATIENCE)).data != b"last":
            pass
        assert not nc.is_closed
        await nc.close()
        await publisher.close()


def flood(port):
    """Publishes until there is no subscriber any more."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        lines = connection.makefile("rb")
        lines.readline()
        options = '"verbose":false,"pedantic":false,"headers":true,"no_responders":true'
        connection.sendall(b"CONNECT {%b}\r\nSUB heard 1\r\n" % options.encode())
        for _ in range(2_000):
            connection.sendall(b"PUB flood heard 65536\r\n" + b"x" * 65_536 + b"\r\nPING\r\n")
            gone = False
            while (line := lines.readline()) != b"PONG\r\n":
                assert line, "the server closed the connection"
                gone = gone or b" 503" in line
            if gone:
                return
    raise AssertionError("the slow consumer is still there")


async def check_max_payload(_):
    with Server("max_payload=100000") as server:
        client, other = Client(), await connect(server)
        nc = await client.connect(server)
        assert nc.max_payload == 100_000
        subscription = await other.subscribe("a")
        await flush(other)
        await nc.publish("a", b"x" * 100_000)
        assert len((await collect(subscription, 1))[0].data) == 100_000
        try:
            await nc.publish("a", b"x" * 100_001)
            raise AssertionError("the library lets it pass")
        except errors.MaxPayloadError:
            pass
        # Past the library's own check it is an error that closes the connection for good.
        nc._max_payload = 1_000_000
        await nc.publish("a", b"x" * 100_001)
        events = await client.wait_for("closed", "reconnected")
        # The reference resets while the payload is on its way, and its error may be lost.
        told = "maximum payload" in str(nc.last_error).lower()
        assert IS_REFERENCE or (told and events[-1][0] == "closed"), events
        await nc.close()
        await nothing_more(other, subscription)
        await other.close()


async def check_refused_subjects(server):
    if IS_REFERENCE:
        return "skipped, since the reference takes them"
    client = Client()
    nc = await client.connect(server)
    subscription = await nc.subscribe("a")
    await nc.publish("a\x01", b"x")
    await client.wait_for("error")
    assert "permissions violation" in str(nc.last_error).lower(), nc.last_error
    await nc.publish("a", b"goes on")
    assert (await collect(subscription, 1))[0].data == b"goes on"
    await nc.close()


async def main(names):
    checks = {name[6:]: check for name, check in globals().items() if name.startswith("check_")}
    for name in names or checks:
        with Server() as server:
            result = await asyncio.wait_for(checks[name](server), 4 * PATIENCE)
        print(f"nats-py: {name} {result or 'ok'}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
