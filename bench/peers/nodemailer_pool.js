// Peer: nodemailer with a pool of persistent connections. It is fed ready bytes, or with --compose puts the personal
// values into the templates and builds the message itself. Reads the sample (templates, people) from standard input.
// Arguments and the printed line are those of the other peers (peer.py).
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import nodemailer from "nodemailer";

const { values: options } = parseArgs({
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string" },
    count: { type: "string" },
    connections: { type: "string", default: "10" },
    compose: { type: "boolean", default: false },
  },
});
const sample = JSON.parse(readFileSync(0, "utf8"));
const count = Number(options.count);
const connections = Number(options.connections);
const ready = Buffer.from(sample.ready, "ascii");

const transport = nodemailer.createTransport({
  pool: true,
  maxConnections: connections,
  maxMessages: Infinity,
  host: options.host,
  port: Number(options.port),
  secure: false,
  ignoreTLS: true,
});

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (text) => text.replace(/[&<>"']/g, (character) => escapes[character]);
const filled = (template, fields, escape) => template.replace(/{{ (\w+) }}/g, (_, name) => escape(fields[name]));
const asIs = (text) => text;

function mail(person) {
  if (!options.compose) {
    return { envelope: { from: sample.sender, to: [person.address] }, raw: ready };
  }
  return {
    from: { name: sample.sender_name, address: sample.sender },
    to: person.address,
    subject: filled(sample.subject, person.fields, asIs),
    text: filled(sample.text, person.fields, asIs),
    html: filled(sample.html, person.fields, escaped),
  };
}

let next = 0;
async function keepSending() {
  while (next < count) {
    await transport.sendMail(mail(sample.people[next++ % sample.people.length]));
  }
}

const cpuBefore = process.cpuUsage();
const started = process.hrtime.bigint();
// Twice as many in flight as connections, so that none ever waits for the next message.
await Promise.all(Array.from({ length: connections * 2 }, keepSending));
const seconds = Number(process.hrtime.bigint() - started) / 1e9;
const cpu = process.cpuUsage(cpuBefore);
console.log(JSON.stringify({ messages: count, seconds, cpu_seconds: (cpu.user + cpu.system) / 1e6 }));
transport.close();
