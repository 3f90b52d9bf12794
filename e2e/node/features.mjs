// Uses what mqtt.js has of MQTT, in the version given, and says "ok" when the server has done its part: node features.mjs URL VERSION

import assert from "node:assert/strict";
import { once } from "node:events";
import mqtt from "mqtt";

const [url, version] = process.argv.slice(2);
const five = version === "5";
const open = [];

async function join(clientId, options = {}) {
  const client = await mqtt.connectAsync(url, {
    clientId,
    protocolVersion: Number(version),
    reconnectPeriod: 0,
    ...options,
  });
  client.heard = [];
  client.on("message", (topic, payload, packet) => client.heard.push({ topic, payload: String(payload), packet }));
  open.push(client);
  return client;
}

async function until(what, holds) {
  const deadline = Date.now() + 15000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function everyQosBothWays() {
  const client = await join("both-ways");
  await client.subscribeAsync("qos/#", { qos: 2 });
  for (const qos of [0, 1, 2]) await client.publishAsync(`qos/${qos}`, "x".repeat(50000), { qos });
  await until("three messages", () => client.heard.length === 3);
  assert.deepEqual(
    client.heard.map(({ topic, packet }) => [topic, packet.qos]),
    [
      ["qos/0", 0],
      ["qos/1", 1],
      ["qos/2", 2],
    ],
  );
}

async function retainedAndWill() {
  const publisher = await join("publisher");
  await publisher.publishAsync("kept", "one", { qos: 1, retain: true });
  const watch = await join("watch");
  await watch.subscribeAsync(["kept", "will"], { qos: 1 });
  await until("the retained message", () => watch.heard.length === 1);
  assert.equal(watch.heard[0].packet.retain, true);
  const dying = await join("dying", { will: { topic: "will", payload: "dead", qos: 1 } });
  dying.stream.destroy();
  await until("the will", () => watch.heard.length === 2);
  assert.deepEqual([watch.heard[1].topic, watch.heard[1].payload], ["will", "dead"]);
}

async function aSessionThatWaits() {
  const lasting = { clean: false, ...(five && { properties: { sessionExpiryInterval: 600 } }) };
  const before = await join("sleeper", lasting);
  await before.subscribeAsync("wait/#", { qos: 2 });
  await before.endAsync();
  const publisher = await join("wakes");
  for (const qos of [1, 2]) await publisher.publishAsync(`wait/${qos}`, String(qos), { qos });
  const heard = [];
  const after = mqtt.connect(url, {
    clientId: "sleeper",
    protocolVersion: Number(version),
    reconnectPeriod: 0,
    ...lasting,
  });
  open.push(after);
  after.on("message", (_, payload) => heard.push(String(payload)));
  const [connack] = await once(after, "connect");
  assert.equal(connack.sessionPresent, true);
  await until("what waited", () => heard.length === 2);
  assert.deepEqual(heard, ["1", "2"]);
}

async function sharedSubscriptions() {
  const members = [await join("member-1"), await join("member-2")];
  for (const member of members) await member.subscribeAsync("$share/workers/work/#", { qos: 1 });
  const publisher = await join("boss");
  for (let number = 0; number < 20; number++)
    await publisher.publishAsync(`work/${number}`, String(number), { qos: 1 });
  const all = () => members.flatMap((member) => member.heard.map(({ payload }) => Number(payload)));
  await until("all of the work", () => all().length === 20);
  assert.deepEqual(
    all().sort((a, b) => a - b),
    [...Array(20).keys()],
  );
  assert.ok(
    members.every((member) => member.heard.length > 0),
    "both have some of it",
  );
}

async function properties() {
  const client = await join("properties");
  await client.subscribeAsync("p", { qos: 1, nl: false, rap: true, properties: { subscriptionIdentifier: 7 } });
  const sent = {
    payloadFormatIndicator: true,
    messageExpiryInterval: 60,
    responseTopic: "answer/here",
    correlationData: Buffer.from([0, 1, 2]),
    contentType: "text/plain",
    userProperties: { a: ["1", "2"], b: "3" },
  };
  await client.publishAsync("p", "x", { qos: 1, retain: true, properties: sent });
  await until("the message", () => client.heard.length === 1);
  const { properties, retain } = client.heard[0].packet;
  assert.equal(retain, true, "retain as published");
  assert.equal(properties.subscriptionIdentifier, 7);
  assert.ok(properties.messageExpiryInterval <= 60 && properties.messageExpiryInterval > 50);
  for (const name of ["payloadFormatIndicator", "responseTopic", "contentType"])
    assert.equal(properties[name], sent[name]);
  assert.deepEqual(properties.correlationData, sent.correlationData);
  assert.deepEqual({ ...properties.userProperties }, sent.userProperties);
}

async function topicAliases() {
  const reader = await join("reader", { properties: { topicAliasMaximum: 10 } });
  await reader.subscribeAsync("a/long/topic/#");
  const writer = await join("writer", { autoAssignTopicAlias: true });
  const topics = ["a/long/topic/1", "a/long/topic/2", "a/long/topic/1", "a/long/topic/2", "a/long/topic/1"];
  for (const topic of topics) await writer.publishAsync(topic, topic, { qos: 1 });
  await until("all of them", () => reader.heard.length === topics.length);
  assert.deepEqual(
    reader.heard.map(({ topic }) => topic),
    topics,
  );
  assert.deepEqual(
    reader.heard.map(({ payload }) => payload),
    topics,
  );
  assert.ok(
    reader.heard.some(({ packet }) => packet.properties?.topicAlias),
    "the server uses aliases, too",
  );
}

async function whatTheServerAssigns() {
  const client = mqtt.connect(url, { clientId: "", protocolVersion: 5, reconnectPeriod: 0, keepalive: 65535 });
  open.push(client);
  const [connack] = await once(client, "connect");
  assert.ok(connack.properties.assignedClientIdentifier);
  assert.equal(connack.properties.serverKeepAlive, 3600);
}

const always = [everyQosBothWays, retainedAndWill, aSessionThatWaits, sharedSubscriptions];
for (const part of five ? [...always, properties, topicAliases, whatTheServerAssigns] : always) {
  await part().catch((error) => {
    console.error(`${part.name}:`, error);
    process.exit(1);
  });
}
for (const client of open) client.end(true);
console.log("ok");
