/**
 * The webhook receiver, a process of its own: answers every POST at once (or never), finds the stamp in the event's
 * payload, and tells the generator how many distinct messages it has seen. Started by `webhook-sink.ts`.
 */
import { createServer } from "node:net";
import { microsNow, microsSince } from "./clock.ts";
import { Histogram } from "./histogram.ts";
import { HttpRequests } from "./http-requests.ts";
import { SequenceCheck } from "./sequence.ts";
import { textStamp } from "./stamp.ts";
import type { SinkSettings, ToGenerator, ToSink } from "./webhook-sink.ts";

const { port, answers, senders, receivers = 1 } = JSON.parse(process.argv[2]) as SinkSettings;

const answer = Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n\r\nok");
const payloadMark = Buffer.from('"payload":"');
const progressMs = 2;
const slowMs = 10_000;

const sequence = new SequenceCheck({ senders, receivers });
const latency = new Histogram();
let received = 0;
let firstAtMicros: number | undefined;
let lastAtMicros: number | undefined;
let malformed = 0;
let measuring = false;
let finishAt: number | undefined;

const server = createServer({ noDelay: true }, (socket) => {
  let answersDue = 0;
  const requests = new HttpRequests((body, path) => {
    const receiver = answers === "by-path" ? Number(path.slice(1)) : 0;
    if (Number.isInteger(receiver)) {
      answersDue++;
      take(body, receiver);
    } else if (path === "/slow") setTimeout(() => socket.write(answer), slowMs);
  });
  socket.on("data", (chunk) => {
    try {
      requests.receive(chunk);
    } catch {
      malformed++;
      socket.destroy();
      return;
    }
    if (answers !== "never" && answersDue > 0)
      socket.write(answersDue === 1 ? answer : Buffer.alloc(answer.length * answersDue, answer));
    answersDue = 0;
  });
  socket.on("error", () => socket.destroy());
});

server.listen(port, "127.0.0.1", () => tell({ kind: "listening" }));

process.on("message", (message: ToSink) => {
  if (message.kind === "measure") measuring = message.on;
  else finishAt = message.events;
});
process.on("disconnect", () => process.exit());

let told = 0;
setInterval(() => {
  if (received !== told) tell({ kind: "progress", received });
  told = received;
  if (finishAt === undefined || received < finishAt) return;
  finishAt = undefined;
  tell({
    kind: "figures",
    figures: {
      received,
      malformed,
      duplicates: sequence.duplicates,
      outOfOrder: sequence.outOfOrder,
      firstAtMicros,
      lastAtMicros,
      latencyMicrosP50: latency.percentile(50),
      latencyMicrosP99: latency.percentile(99),
    },
  });
}, progressMs);

/** One event, or several: within a JSON string the mark would be escaped. */
function take(body: Buffer, receiver: number): void {
  let at = body.indexOf(payloadMark);
  if (at < 0) malformed++;
  for (; at >= 0; at = body.indexOf(payloadMark, at)) {
    at += payloadMark.length;
    takeEvent(body, at, receiver);
  }
}

function takeEvent(body: Buffer, at: number, receiver: number): void {
  if (body.length < at + textStamp.bytes) {
    malformed++;
    return;
  }
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const sender = textStamp.sender(view, at);
  if (sender >= senders) {
    malformed++;
    return;
  }
  if (!sequence.arrived(receiver, sender, textStamp.sequence(view, at))) return;
  received++;
  lastAtMicros = microsNow();
  firstAtMicros ??= lastAtMicros;
  if (measuring) latency.add(microsSince(textStamp.micros(view, at), lastAtMicros));
}

function tell(message: ToGenerator): void {
  process.send?.(message);
}
