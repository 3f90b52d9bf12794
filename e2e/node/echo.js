// Subscribes, publishes to itself, prints what it hears:  node echo.js URL CLIENT_ID CA_FILE
"use strict";

const fs = require("node:fs");
const mqtt = require("mqtt");

const [url, clientId, ca] = process.argv.slice(2);
const client = mqtt.connect(url, { clientId, ca: fs.readFileSync(ca), protocolVersion: 5, reconnectPeriod: 0 });
const topic = `js/${clientId}`;

client.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
client.on("connect", () => client.subscribe(topic, { qos: 1 }, () => client.publish(topic, "hello from mqtt.js", { qos: 1 })));
client.on("message", (_, payload) => {
  console.log(payload.toString());
  client.end();
});
