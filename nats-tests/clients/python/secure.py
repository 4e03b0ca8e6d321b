"""Users and TLS of the NATS port, through nats-py: log-ins of all kinds, permissions, services.

Starts the broker that SERVER names, with certificates that `openssl` makes. Each check is a
function with asserts. What a file of users or of settings says differs from nats-server's, so this
runs against a broker only.
"""

import asyncio
import base64
import os
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

import nacl.signing
import nats
from check import PATIENCE, Client, Server
from nats import errors

BROKER = Path(os.environ.get("SERVER", Path(__file__).resolve().parents[3] / "target/debug/broker"))
# The seed of a user's key, in the text form of NATS: its bytes are 0 to 31.
SEED_BYTES = bytes(range(32))


def crc16(data):
    total = 0
    for byte in data:
        total ^= byte << 8
        for _ in range(8):
            total = (total << 1) ^ 0x1021 if total & 0x8000 else total << 1
        total &= 0xFFFF
    return total.to_bytes(2, "little")


def text_form(data):
    return base64.b32encode(data + crc16(data)).decode().rstrip("=")


SEED = text_form(bytes([0x90 | 160 >> 5, (160 & 31) << 3]) + SEED_BYTES)
KEY = text_form(bytes([160]) + bytes(nacl.signing.SigningKey(SEED_BYTES).verify_key))


def openssl(directory, *arguments, text=None):
    subprocess.run(
        ["openssl", *arguments], cwd=directory, input=text, text=True, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )


def make_certificates(directory):
    """A root, and certificates for the broker and for one client, signed by it."""
    for name, subject in [("ca", "/CN=a root"), ("server", "/CN=broker"), ("client", "/CN=robot")]:
        openssl(directory, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name + ".key")
        (directory / (name + ".key")).chmod(0o600)
        if name == "ca":
            openssl(directory, "req", "-x509", "-new", "-key", "ca.key", "-subj", subject,
                    "-days", "100", "-out", "ca.pem")
            continue
        names = "DNS:localhost,IP:127.0.0.1" if name == "server" else "DNS:robot.example"
        (directory / "names").write_text("subjectAltName=" + names)
        openssl(directory, "req", "-new", "-key", name + ".key", "-subj", subject, "-out", "request")
        openssl(directory, "x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "100", "-extfile", "names", "-out", name + ".pem")


def kept(secret):
    made = subprocess.run([BROKER, "--hash-secret"], input=secret, text=True, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return made.stdout.strip().removeprefix("secret = ")


def write_users(directory):
    users = directory / "users.ini"
    users.write_text(f"""
[alice]
secret = {kept("a secret of alice")}
publish = >
subscribe = _INBOX.>, orders.>, !orders.secret

[service]
token = {kept("a token of a service")}
subscribe = ask.>
allow_responses = yes

[robot]
certificate = robot.example
publish = >
subscribe = >

[signer]
nkey = {KEY}
subscribe = >
""")
    users.chmod(0o640)
    return users


def trust(directory, with_certificate=False):
    context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    if with_certificate:
        context.load_cert_chain(str(directory / "client.pem"), str(directory / "client.key"))
    return context


ALICE = {"user": "alice", "password": "a secret of alice"}


async def refused(server, **options):
    try:
        nc = await nats.connect(f"nats://127.0.0.1:{server.port}", allow_reconnect=False,
                                max_reconnect_attempts=0, connect_timeout=PATIENCE, **options)
    except errors.Error as error:
        return str(error).lower()
    await nc.close()
    raise AssertionError(f"{options} came in")


async def check_users(server, _):
    told = await refused(server, user="alice", password="another")
    assert "authorization violation" in told, told
    # nats-py says nothing of its own if it has nothing to show.
    await refused(server)
    client = Client()
    nc = await client.connect(server, **ALICE)
    signer = await nats.connect(f"nats://127.0.0.1:{server.port}", nkeys_seed_str=SEED)
    heard = await signer.subscribe("orders.>")
    await signer.flush()
    subscription = await nc.subscribe("orders.>")
    await nc.publish("orders.secret", b"kept from alice")
    await nc.publish("orders.a", b"heard by both")
    assert (await subscription.next_msg(PATIENCE)).data == b"heard by both"
    assert (await heard.next_msg(PATIENCE)).subject == "orders.secret"
    await nc.subscribe("news.>")
    await client.wait_for("error")
    assert "permissions violation" in str(nc.last_error).lower(), nc.last_error
    await nc.flush()
    await nc.close()
    await signer.close()


async def check_services(server, _):
    service = await nats.connect(f"nats://127.0.0.1:{server.port}", token="a token of a service")

    async def answer(message):
        await message.respond(b"answer to " + message.data)

    await service.subscribe("ask.>", queue="services", cb=answer)
    await service.flush()
    client = Client()
    nc = await client.connect(server, **ALICE)
    for number in range(20):
        data = str(number).encode()
        reply = await nc.request("ask.it", data, timeout=PATIENCE)
        assert reply.data == b"answer to " + data, reply.data
    await nc.close()
    await service.close()


async def check_tls(server, directory):
    client = Client()
    # INFO asks for the upgrade; the client does it by itself.
    nc = await client.connect(server, tls=trust(directory), tls_hostname="localhost", **ALICE)
    subscription = await nc.subscribe("orders.>")
    large = bytes(range(256)) * 2_000
    for _ in range(5):
        await nc.publish("orders.large", large)
    for _ in range(5):
        assert (await subscription.next_msg(PATIENCE)).data == large
    await nc.close()
    other = ssl.create_default_context()
    try:
        await nats.connect(f"tls://127.0.0.1:{server.port}", tls=other, tls_hostname="localhost",
                           allow_reconnect=False, connect_timeout=PATIENCE, **ALICE)
    except (ssl.SSLError, errors.Error):
        pass
    else:
        raise AssertionError("a root that nobody trusts was trusted")


async def check_mutual_tls(server, directory):
    client = Client()
    nc = await client.connect(server, tls=trust(directory, True), tls_hostname="localhost")
    subscription = await nc.subscribe("anything")
    await nc.publish("anything", b"as robot")
    assert (await subscription.next_msg(PATIENCE)).data == b"as robot"
    await nc.close()
    told = await refused(server, tls=trust(directory), tls_hostname="localhost")
    assert "authorization violation" in told, told


async def check_handshake_first(server, directory):
    client = Client()
    nc = await client.connect(server, tls=trust(directory), tls_hostname="localhost",
                              tls_handshake_first=True, **ALICE)
    await nc.flush()
    await nc.close()


CHECKS = {
    check_users: (),
    check_services: (),
    check_tls: ("tls",),
    check_mutual_tls: ("tls", "tls.client_certificates=optional"),
    check_handshake_first: ("tls", "tls.nats_handshake_first=yes"),
}


async def main(names):
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        make_certificates(directory)
        users = f"users.file={write_users(directory)}"
        tls = [f"tls.certificate={directory / 'server.pem'}", f"tls.key={directory / 'server.key'}",
               f"tls.client_ca={directory / 'ca.pem'}"]
        for check, options in CHECKS.items():
            name = check.__name__[6:]
            if names and name not in names:
                continue
            more = [option for option in options if option != "tls"] + (tls if options else [])
            with Server(users, *more) as server:
                await asyncio.wait_for(check(server, directory), 4 * PATIENCE)
            print(f"nats-py, users and TLS: {name} ok", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
