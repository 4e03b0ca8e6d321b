// The usual work of a NATS client, through nats.js.
//
// Starts servers by the script `serve`, so it runs against the program that SERVER names. Each
// check is a function with asserts; all of them run one after the other, or those named on the
// command line. The library is found by NODE_PATH.

"use strict";

const assert = require("node:assert/strict");
const net = require("node:net");
const path = require("node:path");
const { once } = require("node:events");
const { spawn } = require("node:child_process");
const { Worker, isMainThread, parentPort, workerData } = require("node:worker_threads");

// Older Node has this under another name only.
globalThis.crypto ??= require("node:crypto").webcrypto;
const nats = require("@nats-io/transport-node");

// How long to wait for what must arrive, in milliseconds. Far longer than it takes.
const PATIENCE = 30_000;

// A server process. `start` may be called again, and takes the same port.
class Server {
  constructor(...options) {
    this.options = options;
    this.port = 0;
  }

  static async with(options, check) {
    const server = new Server(...options);
    try {
      await server.start();
      await check(server);
    } finally {
      server.process.kill("SIGKILL");
    }
  }

  async start() {
    const serve = path.join(__dirname, "../../serve");
    this.process = spawn(serve, [String(this.port), ...this.options], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let log = "";
    for await (const part of this.process.stderr.iterator({ destroyOnReturn: false })) {
      log += part;
      const lines = log.split("\n").slice(0, -1);
      const listening = lines.filter((line) => /client connections|nats/i.test(line));
      const found = listening.join("\n").match(/listening for .* on \S+:(\d+)/i);
      if (found) {
        this.port = Number(found[1]);
        // Keeps reading, or a full pipe would stop the server.
        this.process.stderr.resume();
        return;
      }
    }
    throw new Error(`the server does not say where it listens:\n${log}`);
  }

  async stop(how) {
    const exit = once(this.process, "exit");
    this.process.kill(how);
    await exit;
  }
}

// Gives up waiting for a promise after PATIENCE.
function patiently(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function connect(server, options = {}) {
  const servers = `127.0.0.1:${server.port}`;
  return nats.connect({
    servers,
    reconnectTimeWait: 50,
    maxReconnectAttempts: -1,
    timeout: PATIENCE,
    ...options,
  });
}

// Waits until the connection has reported this status.
async function waitForStatus(statuses, what) {
  const loop = async () => {
    for (;;) {
      const { value, done } = await statuses.next();
      assert(!done, `no ${what} before the end`);
      if (value.type === what) return value;
    }
  };
  return patiently(loop(), what);
}

// The next messages of a subscription.
async function collect(subscription, count) {
  const loop = async () => {
    subscription.iterator ??= subscription[Symbol.asyncIterator]();
    const messages = [];
    while (messages.length < count) {
      const { value, done } = await subscription.iterator.next();
      assert(!done, `only ${messages.length} messages of ${subscription.getSubject()}`);
      messages.push(value);
    }
    return messages;
  };
  return patiently(loop(), `${count} messages of ${subscription.getSubject()}`);
}

// Those received up to the end of it.
async function rest(subscription) {
  const messages = [];
  for await (const message of subscription) messages.push(message);
  return messages;
}

const texts = (messages) => messages.map((message) => message.string());
const numbers = (count) => Array.from({ length: count }, (_, number) => String(number));

const checks = {
  async publish_and_subscribe(server) {
    for (const options of [{}, { verbose: true, pedantic: true }]) {
      const [publisher, nc] = [await connect(server), await connect(server, options)];
      const [plain, token, all] = ["a.b", "a.*", "a.>"].map((filter) => nc.subscribe(filter));
      const other = nc.subscribe("a.b.c");
      await nc.flush();
      numbers(100).forEach((number) => publisher.publish("a.b", number));
      for (const subscription of [plain, token, all]) {
        const messages = await collect(subscription, 100);
        assert.deepEqual(texts(messages), numbers(100));
        assert(messages.every((message) => message.subject === "a.b"));
      }
      publisher.publish("a.b.c");
      for (const subscription of [all, other]) {
        assert.equal((await collect(subscription, 1))[0].data.length, 0);
      }
      publisher.publish("a", "x");
      await publisher.flush();
      // It receives its own messages, and nothing else.
      nc.publish("a.b", "own");
      assert.deepEqual(texts(await collect(plain, 1)), ["own"]);
      await nc.flush();
      const counts = [plain, token, all, other].map((subscription) => subscription.getReceived());
      assert.deepEqual(counts, [101, 101, 102, 1]);
      await nc.close();
      await publisher.close();
    }
  },

  async no_echo(server) {
    const [mute, other] = [await connect(server, { noEcho: true }), await connect(server)];
    const subscriptions = [mute.subscribe("a"), other.subscribe("a")];
    await mute.flush();
    await other.flush();
    mute.publish("a", "1");
    await mute.flush();
    other.publish("a", "2");
    assert.deepEqual(texts(await collect(subscriptions[1], 2)), ["1", "2"]);
    assert.deepEqual(texts(await collect(subscriptions[0], 1)), ["2"]);
    await mute.close();
    await other.close();
  },

  async queue_groups(server) {
    const clients = [await connect(server), await connect(server), await connect(server)];
    const members = clients.map((nc) => nc.subscribe("work.*", { queue: "group" }));
    const alone = clients[0].subscribe("work.>", { queue: "other" });
    for (const nc of clients) await nc.flush();
    numbers(300).forEach((number) => clients[0].publish("work.a", number));
    assert.deepEqual(texts(await collect(alone, 300)), numbers(300));
    for (const nc of clients) await nc.flush();
    const counts = members.map((member) => member.getReceived());
    assert.equal(counts.reduce((a, b) => a + b), 300);
    assert(Math.min(...counts) > 30, `${counts}`);
    for (const nc of clients) await nc.close();
  },

  async requests(server) {
    const services = [await connect(server), await connect(server), await connect(server)];
    for (const nc of services) {
      const callback = (_, message) => message.respond(`re: ${message.string()}`);
      nc.subscribe("service", { queue: "workers", callback });
      await nc.flush();
    }
    const requester = await connect(server);
    for (const options of [{}, { noMux: true }]) {
      const request = (number) =>
        requester.request("service", number, { timeout: PATIENCE, ...options });
      const answers = await Promise.all(numbers(1_000).map(request));
      assert.deepEqual(texts(answers), numbers(1_000).map((number) => `re: ${number}`));
    }
    for (const nc of [...services, requester]) await nc.close();
  },

  async no_responders(server) {
    const nc = await connect(server);
    for (const options of [{}, { noMux: true }]) {
      for (const subject of ["nobody", "$JS.API.INFO"]) {
        const request = nc.request(subject, "", { timeout: PATIENCE, ...options });
        const told = (error) =>
          [error, error.cause].some((error) => error instanceof nats.errors.NoRespondersError);
        await assert.rejects(request, told);
      }
    }
    await nc.close();
  },

  async headers(server) {
    const nc = await connect(server);
    const subscription = nc.subscribe("a");
    const headers = nats.headers();
    headers.append("X-Id", "7");
    headers.append("X-Id", "8");
    headers.append("Other", "a b: c");
    nc.publish("a", "with", { headers });
    nc.publish("a", "", { headers });
    nc.publish("a", "without");
    const messages = await collect(subscription, 3);
    assert.deepEqual(texts(messages), ["with", "", "without"]);
    for (const message of messages.slice(0, 2)) {
      assert.deepEqual(message.headers.values("X-Id"), ["7", "8"]);
      assert.equal(message.headers.get("Other"), "a b: c");
    }
    assert.equal(messages[2].headers, undefined);
    await nc.close();
  },

  async unsubscribe_after(server) {
    const nc = await connect(server);
    const [first, second] = [nc.subscribe("a", { max: 3 }), nc.subscribe("a")];
    numbers(5).forEach((number) => nc.publish("a", number));
    assert.deepEqual(texts(await patiently(rest(first), "the end")), ["0", "1", "2"]);
    assert.deepEqual(texts(await collect(second, 5)), numbers(5));
    second.unsubscribe();
    nc.publish("a", "x");
    await nc.flush();
    assert.equal(second.getReceived(), 5);
    await nc.close();
  },

  async drain(server) {
    const [nc, publisher] = [await connect(server), await connect(server)];
    const received = [];
    const callback = (_, message) => {
      received.push(message.string());
      nc.publish("seen", message.data);
    };
    const one = nc.subscribe("a", { callback });
    nc.subscribe("b", { callback });
    const seen = publisher.subscribe("seen");
    await nc.flush();
    await publisher.flush();
    numbers(200).forEach(() => publisher.publish("a", "a"));
    await publisher.flush();
    await patiently(one.drain(), "the end of a subscription");
    await collect(seen, 200);
    publisher.publish("a", "a");
    numbers(200).forEach(() => publisher.publish("b", "b"));
    await publisher.flush();
    await patiently(nc.drain(), "the end of a connection");
    assert.deepEqual(received, [...Array(200).fill("a"), ...Array(200).fill("b")]);
    // What it published while draining has arrived.
    assert.deepEqual(texts(await collect(seen, 200)), Array(200).fill("b"));
    await publisher.close();
  },

  async flush(server) {
    const nc = await connect(server);
    assert((await nc.rtt()) >= 0);
    const subscription = nc.subscribe("a");
    for (const number of numbers(50)) {
      nc.publish("a", number);
      await nc.flush();
      assert.equal(subscription.getReceived(), Number(number) + 1);
    }
    assert(nc.info.client_id > 0 && nc.info.headers);
    await nc.close();
  },

  async reconnect() {
    for (const how of ["SIGKILL", "SIGTERM"]) {
      await Server.with([], async (server) => {
        const clients = [await connect(server), await connect(server)];
        const statuses = clients.map((nc) => nc.status()[Symbol.asyncIterator]());
        const [nc, publisher] = clients;
        const subscriptions = [nc.subscribe("a"), nc.subscribe("a", { queue: "group" })];
        const limited = nc.subscribe("a", { max: 2 });
        await nc.flush();
        publisher.publish("a", "before");
        for (const subscription of [...subscriptions, limited]) {
          assert.deepEqual(texts(await collect(subscription, 1)), ["before"]);
        }
        for (let round = 0; round < 2; round++) {
          await server.stop(how);
          for (const status of statuses) await waitForStatus(status, "disconnect");
          await server.start();
          for (const status of statuses) await waitForStatus(status, "reconnect");
          await nc.flush();
          publisher.publish("a", "after");
          for (const subscription of subscriptions) {
            assert.deepEqual(texts(await collect(subscription, 1)), ["after"]);
          }
        }
        assert(!nc.isClosed() && !publisher.isClosed());
        await nc.close();
        await publisher.close();
      });
    }
  },

  async slow_consumer() {
    await Server.with(["outbox=1048576"], async (server) => {
      const [nc, publisher] = [await connect(server), await connect(server)];
      const status = nc.status()[Symbol.asyncIterator]();
      const subscription = nc.subscribe("flood");
      await nc.flush();
      // This thread is blocked meanwhile, so nothing is read.
      const done = new Int32Array(new SharedArrayBuffer(4));
      const worker = new Worker(__filename, { workerData: { port: server.port, done } });
      worker.on("error", (error) => console.error(error));
      Atomics.wait(done, 0, 0, PATIENCE);
      assert.equal(done[0], 1, "the slow consumer is still there");
      await waitForStatus(status, "reconnect");
      await nc.flush();
      publisher.publish("flood", "last");
      while (texts(await collect(subscription, 1))[0] !== "last");
      assert(!nc.isClosed());
      await nc.close();
      await publisher.close();
      await worker.terminate();
    });
  },

  async max_payload() {
    await Server.with(["max_payload=100000"], async (server) => {
      const [nc, other] = [await connect(server), await connect(server)];
      assert.equal(nc.info.max_payload, 100_000);
      const subscription = other.subscribe("a");
      await other.flush();
      nc.publish("a", "x".repeat(100_000));
      assert.equal((await collect(subscription, 1))[0].data.length, 100_000);
      assert.throws(() => nc.publish("a", "x".repeat(100_001)));
      await nc.flush();
      await other.flush();
      assert.equal(subscription.getReceived(), 1);
      await nc.close();
      await other.close();
    });
  },
};

// Publishes until there is no subscriber any more. Runs in a thread of its own.
async function flood({ port, done }) {
  const socket = net.connect(port, "127.0.0.1");
  const options = '"verbose":false,"pedantic":false,"headers":true,"no_responders":true';
  socket.write(`CONNECT {${options}}\r\nSUB heard 1\r\n`);
  const publication = `PUB flood heard 65536\r\n${"x".repeat(65_536)}\r\nPING\r\n`;
  let answers = "";
  socket.write(publication);
  for await (const part of socket) {
    answers += part;
    if (!answers.endsWith("PONG\r\n")) continue;
    if (answers.includes(" 503")) {
      Atomics.store(done, 0, 1);
      Atomics.notify(done, 0);
      socket.destroy();
      return;
    }
    answers = "";
    socket.write(publication);
  }
  throw new Error("the server closed the connection");
}

async function main(names) {
  for (const name of names.length > 0 ? names : Object.keys(checks)) {
    await Server.with([], (server) => checks[name](server));
    console.log(`nats.js: ${name} ok`);
  }
}

if (isMainThread) {
  main(process.argv.slice(2)).then(
    () => process.exit(0),
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
} else {
  flood(workerData);
}
