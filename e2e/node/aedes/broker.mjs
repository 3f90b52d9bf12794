// In the place of aedes: each broker that a test makes is a TraceMQ process, and what a test does to a client's stream goes
// over TCP. Of aedes' own methods there are those that MQTT can do; any other is an error with the words "not on the wire".

import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import mqtt from "mqtt";

// What a test may look for and find missing, as promises and the test runner do.
const HARMLESS = new Set(["then", "toJSON", "constructor", "nodeType", "inspect", "asymmetricMatch"]);

function onTheWire(methods) {
  return new Proxy(methods, {
    get(target, name) {
      if (name in target) return target[name];
      if (typeof name === "symbol" || HARMLESS.has(name)) return undefined;
      throw new Error(`not on the wire: broker.${name}`);
    },
    set(_, name) {
      throw new Error(`not on the wire: broker.${String(name)} =`);
    },
  });
}

async function start(folder) {
  fs.writeFileSync(path.join(folder, "tracemq.toml"), "");
  const options = ["--data-dir", path.join(folder, "data"), "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"];
  const command = ["serve", "--config", path.join(folder, "tracemq.toml"), ...options];
  const server = spawn(process.env.TRACEMQ_BIN, command, { stdio: ["ignore", "pipe", "ignore"] });
  for await (const line of createInterface({ input: server.stdout })) {
    const words = line.trim().split(/\s+/);
    if (words[0] === "mqtt") return { server, port: Number(words[1].split(":").pop()) };
  }
  throw new Error("TraceMQ did not start");
}

export class Aedes {
  static async createBroker(options) {
    if (options && Object.keys(options).length > 0) {
      throw new Error(`not on the wire: options ${Object.keys(options)}`);
    }
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "aedes-"));
    const { server, port } = await start(folder);
    let helper;
    const ask = async () => {
      helper ??= mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { clientId: "the-brokers-own", reconnectPeriod: 0 });
      return helper;
    };
    const listen = async (topic, hear, done) => {
      const client = await ask();
      client.on("message", (heard, payload, packet) => {
        hear({ ...packet, topic: heard, payload }, () => {});
      });
      await client.subscribeAsync(topic, { qos: 2 });
      done?.();
    };
    return onTheWire({
      handle(stream) {
        const socket = net.connect(port, "127.0.0.1");
        stream.pipe(socket).pipe(stream);
        const end = () => {
          stream.destroy();
          socket.destroy();
        };
        for (const side of [stream, socket]) side.on("error", end).on("close", end);
        return onTheWire({ close: end });
      },
      publish(packet, ...rest) {
        const done = rest.pop();
        const { topic, payload, qos, retain } = packet;
        ask()
          .then((client) => client.publishAsync(topic, payload ?? "", { qos, retain }))
          .then(() => done?.(), done);
      },
      subscribe: listen,
      mq: onTheWire({ on: listen }),
      on(event) {
        if (!["clientError", "connectionError", "error"].includes(event))
          throw new Error(`not on the wire: event ${event}`);
      },
      async close(done) {
        if (server.exitCode === null && server.signalCode === null) {
          const ended = once(server, "exit");
          server.kill("SIGKILL");
          await ended;
        }
        fs.rmSync(folder, { recursive: true, force: true });
        done?.();
      },
    });
  }
}

export default Aedes;
