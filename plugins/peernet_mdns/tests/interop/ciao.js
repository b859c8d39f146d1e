// Publishes services with @homebridge/ciao: node ciao.js TYPE '[{"name", "port", "txt": [base64 ...]} ...]'
// Prints a JSON object a line; SIGTERM takes them off the network.
"use strict";

const ciao = require("@homebridge/ciao");

const say = (event, fields = {}) => console.log(JSON.stringify({ event, ...fields }));
const [type, services] = process.argv.slice(2);
const responder = ciao.getResponder({ interface: "eth0" });

process.on("SIGTERM", () => responder.shutdown().then(() => process.exit(0)));

for (const { name, port, txt } of JSON.parse(services)) {
    const service = responder.createService({ name, type, port });
    // Its own encoder makes text of every value; the wire takes what stands here.
    service.txt = txt.map((string) => Buffer.from(string, "base64"));
    service.on("name-change", (changed) => say("renamed", { name, changed }));
    service.on("hostname-change", (changed) => say("renamed", { name, changed }));
    service.advertise().then(() => say("published", { name }));
}
