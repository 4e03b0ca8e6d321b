"""JetStream behind a broker: a client of the broker uses a cluster's streams without knowing.

Starts three real nats-servers as a cluster that keeps streams, and the broker that SERVER names as
a leaf node of it. A stream is made, 10,000 messages are published and confirmed, its leader is
killed, and all of them are read; then a bucket of keys and values is used.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import nats
from check import PATIENCE, Server
from nats.js.api import ConsumerConfig, DeliverPolicy, StorageType, StreamConfig

HERE = Path(__file__).resolve().parent
NATS_SERVER = os.environ.get("NATS_SERVER", HERE.parents[1] / "target/python/bin/nats-server")
MESSAGES = 10_000
# Published before their confirmations are waited for.
AT_ONCE = 500


def free_ports(count):
    """So many ports on which nobody listens: all are held until the last is chosen."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Cluster:
    """Three servers that know each other."""

    def __init__(self, directory):
        self.directory = directory
        ports = free_ports(12)
        self.clients, self.routes, self.leafs, self.monitors = (ports[at::4] for at in range(4))
        self.processes = [self.start(at) for at in range(3)]

    def start(self, at):
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in self.routes)
        config = self.directory / f"hub-{at}.conf"
        config.write_text(f"""
server_name: hub-{at}
listen: "127.0.0.1:{self.clients[at]}"
http: "127.0.0.1:{self.monitors[at]}"
cluster {{ name: hubs, listen: "127.0.0.1:{self.routes[at]}", routes: [{routes}] }}
leafnodes {{ listen: "127.0.0.1:{self.leafs[at]}" }}
jetstream {{ store_dir: "{self.directory}/store-{at}", max_mem: 64M, max_file: 256M }}
""")
        return subprocess.Popen([NATS_SERVER, "-c", config], stderr=subprocess.DEVNULL)

    def read(self, at, path):
        address = f"http://127.0.0.1:{self.monitors[at]}{path}"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return json.load(answer)

    def kill(self, name):
        at = int(name.removeprefix("hub-"))
        self.processes[at].send_signal(signal.SIGKILL)
        self.processes[at].wait()

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


async def eventually(what, probe):
    """Waits until `probe` returns something."""
    deadline = asyncio.get_running_loop().time() + 3 * PATIENCE
    while True:
        try:
            if found := await probe():
                return found
        except (OSError, nats.errors.Error, nats.js.errors.Error) as error:
            what = f"{what}: {error!r}"
        assert asyncio.get_running_loop().time() < deadline, f"in vain: {what[:500]}"
        await asyncio.sleep(0.05)


async def is_ready(cluster):
    healthy = all(cluster.read(at, "/healthz")["status"] == "ok" for at in range(3))
    return healthy and any(cluster.read(at, "/leafz")["leafnodes"] for at in range(3))


async def stream_survives_its_leader(client, cluster):
    streams = client.jetstream(timeout=PATIENCE)
    config = StreamConfig(
        name="ORDERS", subjects=["orders.>"], num_replicas=3, storage=StorageType.FILE
    )
    await eventually("a stream is made", lambda: streams.add_stream(config))
    for first in range(0, MESSAGES, AT_ONCE):
        numbers = range(first, first + AT_ONCE)
        await asyncio.gather(*(
            streams.publish(f"orders.{number % 7}", str(number).encode()) for number in numbers
        ))
    leader = (await streams.stream_info("ORDERS")).cluster.leader
    cluster.kill(leader)

    async def has_another():
        info = await streams.stream_info("ORDERS")
        return info.cluster.leader not in (None, "", leader) and info.state.messages == MESSAGES

    await eventually("another server leads", has_another)
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
    reader = await eventually(
        "a consumer is made",
        lambda: streams.pull_subscribe("orders.>", durable="reader", config=config),
    )
    heard = []
    while len(heard) < MESSAGES:
        for message in await reader.fetch(500, timeout=PATIENCE):
            number = int(message.data)
            assert message.subject == f"orders.{number % 7}", message.subject
            heard.append(number)
            await message.ack()
    assert sorted(heard) == list(range(MESSAGES)), "each is there once"

    async def is_acknowledged():
        info = await reader.consumer_info()
        return info.num_ack_pending == 0 and info.num_pending == 0

    await eventually("all are acknowledged", is_acknowledged)


async def keys_and_values(client, cluster):
    streams = client.jetstream(timeout=PATIENCE)
    bucket = await eventually("a bucket is made", lambda: streams.create_key_value(bucket="b"))
    for number in range(20):
        await bucket.put(f"key.{number % 5}", str(number).encode())
    assert sorted(await bucket.keys()) == [f"key.{number}" for number in range(5)]
    assert (await bucket.get("key.3")).value == b"18"
    await bucket.delete("key.3")
    watcher = await bucket.watchall()
    updates = []
    async for entry in watcher:
        if entry is None:
            break
        updates.append((entry.key, entry.operation))
    assert ("key.3", "DEL") in updates, updates
    assert len(updates) == 5, updates


async def main():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        cluster = Cluster(Path(directory))
        try:
            servers = ", ".join(f"127.0.0.1:{port}" for port in cluster.leafs)
            options = [f"link.servers={servers}", "link.name=streams", "link.reconnect_min=1"]
            with Server(*options) as server:
                await eventually("the broker joins", lambda: is_ready(cluster))
                address = f"nats://127.0.0.1:{server.port}"
                client = await nats.connect(address, connect_timeout=PATIENCE)
                for check in (stream_survives_its_leader, keys_and_values):
                    await check(client, cluster)
                    print("ok", check.__name__.replace("_", " "))
                await client.close()
        finally:
            cluster.stop()


if __name__ == "__main__":
    asyncio.run(main())
    sys.exit(0)
