// Finds and publishes services with bonjour-service:
// node bonjour_service.js TYPE '[{"name", "port", "txt": [base64 ...]} ...]'
// Prints a JSON object a line; SIGTERM takes its own off the network.
"use strict";

const { Bonjour } = require("bonjour-service");

const say = (event, fields = {}) => console.log(JSON.stringify({ event, ...fields }));
const [type, services] = process.argv.slice(2);
const bonjour = new Bonjour();

process.on("SIGTERM", () => bonjour.unpublishAll(() => bonjour.destroy(() => process.exit(0))));

for (const { name, port, txt } of JSON.parse(services)) {
    const service = bonjour.publish({ name, type, port });
    // Its own encoder makes text of every value; the wire takes what stands here.
    const strings = txt.map((string) => Buffer.from(string, "base64"));
    service.txtService.encode = () => strings;
    service.on("up", () => say("published", { name: service.name }));
}

const shown = ({ name, host, port, addresses, rawTxt }) => ({
    name,
    host,
    port,
    addresses,
    txt: (rawTxt ?? []).map((string) => string.toString("base64")),
});
const browser = bonjour.find({ type });
browser.on("up", (service) => say("up", shown(service)));
browser.on("down", (service) => say("down", shown(service)));
browser.on("srv-update", (service) => say("updated", shown(service)));
browser.on("txt-update", (service) => say("updated", shown(service)));
