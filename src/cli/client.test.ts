import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { decodePacket, encodePacket } from "../mqtt/codec.ts";
import { Framer } from "../mqtt/framer.ts";
import type { Packet, ProtocolVersion, Publish } from "../mqtt/packet.ts";
import { ReasonCode } from "../mqtt/reason-code.ts";
import { type PayloadSource, pub } from "./pub.ts";
import { type SubOptions, sub } from "./sub.ts";
import { FakeTerminal } from "./fake-terminal.ts";

/** Answers like a broker, as far as a test does not answer itself. */
class FakeBroker {
  readonly heard: Packet[] = [];
  port = 0;
  answer: (packet: Packet) => Packet | readonly Packet[] | "silence" | "close" | undefined = () => undefined;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  constructor(version: ProtocolVersion) {
    this.server = createServer((socket) => {
      this.sockets.add(socket);
      socket.on("error", () => {});
      const framer = new Framer(
        {
          packet: (bytes, start, bodyStart, end) => {
            const packet = decodePacket(version, bytes[start], bytes, bodyStart, end);
            this.heard.push(packet);
            const answer = this.answer(packet) ?? usualAnswer(packet);
            if (answer === "silence") return;
            if (answer === "close") return void socket.destroy();
            for (const one of Array.isArray(answer) ? answer : [answer]) socket.write(encodePacket(version, one));
          },
          begins: () => {},
        },
        1_000_000,
      );
      socket.on("data", (chunk) => framer.push(chunk));
    });
  }

  async listen(): Promise<void> {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    this.port = (this.server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    const closed = once(this.server, "close");
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  get types(): string[] {
    return this.heard.map(({ type }) => type);
  }
}

function usualAnswer(packet: Packet): Packet | "silence" {
  const { success } = ReasonCode;
  switch (packet.type) {
    case "connect":
      return { type: "connack", sessionPresent: false, reasonCode: success };
    case "publish":
      if (packet.qos === 0) return "silence";
      return {
        type: packet.qos === 1 ? "puback" : "pubrec",
        packetIdentifier: packet.packetIdentifier,
        reasonCode: success,
      };
    case "pubrel":
      return { ...packet, type: "pubcomp" };
    case "subscribe":
      return {
        type: "suback",
        packetIdentifier: packet.packetIdentifier,
        reasonCodes: packet.subscriptions.map(({ qos }) => qos),
      };
    case "pingreq":
      return { type: "pingresp" };
    default:
      return "silence";
  }
}

let broker: FakeBroker;
let terminal: FakeTerminal;

async function start(version: ProtocolVersion = 4): Promise<void> {
  broker = new FakeBroker(version);
  terminal = new FakeTerminal();
  await broker.listen();
}

beforeEach(() => start());
afterEach(() => broker.stop());

function client(protocolVersion: ProtocolVersion) {
  return {
    host: "127.0.0.1",
    port: broker.port,
    protocolVersion,
    clientId: "tester",
    userName: undefined,
    password: undefined,
    keepAliveSeconds: 60,
  };
}

function publish(payload: PayloadSource, fields: object = {}, version: ProtocolVersion = 4): Promise<number> {
  const options = { ...client(version), topicName: "nmq/pub", qos: 0 as const, retain: false, payload, ...fields };
  return pub(options, terminal);
}

function subscribe(fields: Partial<SubOptions> = {}, stop = new AbortController().signal): Promise<number> {
  const usual = { topicFilters: ["nmq/#"], qos: 2 as const, verbose: false, count: undefined, waitSeconds: undefined };
  return sub({ ...client(4), ...usual, ...fields }, terminal, stop);
}

const hello: PayloadSource = { from: "text", text: "Hello World!" };

describe("pub", () => {
  for (const [version, qos, expected] of [
    [3, 0, ["connect", "publish", "disconnect"]],
    [4, 1, ["connect", "publish", "disconnect"]],
    [5, 2, ["connect", "publish", "pubrel", "disconnect"]],
  ] as const) {
    test(`sends a message at QoS ${qos} in version ${version} and says good-bye`, async () => {
      await broker.stop();
      await start(version);
      expect(await publish(hello, { qos, retain: true, userName: "ann", password: "s" }, version)).toBe(0);
      await expect.poll(() => broker.types).toEqual(expected);
      expect(broker.heard[0]).toMatchObject({ protocolVersion: version, clientId: "tester", userName: "ann" });
      const message = broker.heard[1] as Publish;
      expect(message).toMatchObject({ topicName: "nmq/pub", qos, retain: true });
      expect(Buffer.from(message.payload).toString()).toBe("Hello World!");
    });
  }

  test("sends a message for each line, in order", async () => {
    const input = Readable.from(["one\ntwo\n", "\nfo", "ur"]);
    expect(await publish({ from: "lines", input }, { qos: 1 })).toBe(0);
    const payloads = broker.heard.flatMap((packet) =>
      packet.type === "publish" ? [Buffer.from(packet.payload).toString()] : [],
    );
    expect(payloads).toEqual(["one", "two", "", "four"]);
  });

  test("sends a file's bytes as they are, and says when there is none", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "hookmq-pub-"));
    const file = path.join(folder, "payload");
    writeFileSync(file, Buffer.from([0, 255, 10]));
    expect(await publish({ from: "file", path: file })).toBe(0);
    await expect.poll(() => broker.types).toContain("publish");
    expect([...(broker.heard[1] as Publish).payload]).toEqual([0, 255, 10]);
    rmSync(folder, { recursive: true });
    expect(await publish({ from: "file", path: file })).toBe(1);
    expect(terminal.complaints[0]).toMatch(/cannot be read: ENOENT/);
  });

  for (const qos of [1, 2] as const) {
    test(`says why the broker refused a message at QoS ${qos}`, async () => {
      await broker.stop();
      await start(5);
      broker.answer = (packet) =>
        packet.type === "publish" && packet.qos > 0
          ? {
              type: qos === 1 ? "puback" : "pubrec",
              packetIdentifier: 1,
              reasonCode: ReasonCode.quotaExceeded,
              properties: { reasonString: "disk full" },
            }
          : undefined;
      expect(await publish(hello, { qos }, 5)).toBe(1);
      expect(terminal.complaints).toEqual(["the broker refused the message: quota exceeded (0x97): disk full"]);
    });
  }
});

describe("a connection", () => {
  test("that is refused is said in the broker's words", async () => {
    broker.answer = () => ({ type: "connack", sessionPresent: false, reasonCode: ReasonCode.notAuthorized });
    expect(await publish(hello)).toBe(1);
    expect(terminal.complaints).toEqual(["the broker refused the connection: not authorized (0x87)"]);
  });

  test("to nobody says what to do", async () => {
    const { port } = broker;
    await broker.stop();
    expect(await publish(hello, { port })).toBe(1);
    expect(terminal.complaints).toEqual([expect.stringMatching(`nobody listens on 127.0.0.1:${port}: .*hookmq start`)]);
    await start();
  });

  test("closed before it is answered is said", async () => {
    broker.answer = () => "close";
    expect(await publish(hello)).toBe(1);
    expect(terminal.complaints[0]).toMatch(/closed the connection|broke the connection off/);
  });

  test("to what speaks no MQTT is said", async () => {
    const web = createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")).listen(0, "127.0.0.1");
    await once(web, "listening");
    expect(await publish(hello, { port: (web.address() as AddressInfo).port })).toBe(1);
    expect(terminal.complaints[0]).toMatch(/not MQTT|closed the connection|broke the connection off/);
    web.close();
  });

  test("ended by the broker says the reason it gave", async () => {
    await broker.stop();
    await start(5);
    broker.answer = (packet) =>
      packet.type === "subscribe" ? { type: "disconnect", reasonCode: ReasonCode.serverShuttingDown } : undefined;
    expect(await subscribe({ protocolVersion: 5 })).toBe(1);
    expect(terminal.complaints).toEqual(["the broker closed the connection: server shutting down (0x8b)"]);
  });

  test("is kept alive, and given up when the broker falls silent", async () => {
    let pings = 0;
    broker.answer = (packet) => (packet.type === "pingreq" && ++pings > 1 ? "silence" : undefined);
    expect(await subscribe({ keepAliveSeconds: 0.05 })).toBe(1);
    expect(pings).toBe(2);
    expect(terminal.complaints).toEqual(["the broker does not answer any more"]);
  });
});

describe("sub", () => {
  const message = (qos: 0 | 1 | 2, packetIdentifier: number, text: string): Publish => {
    const rest = qos === 0 ? { qos } : { qos, packetIdentifier, dup: false };
    return { type: "publish", topicName: "nmq/pub", payload: Buffer.from(text), retain: false, ...rest };
  };
  const messages = (...list: Publish[]) => {
    broker.answer = (packet) => (packet.type === "subscribe" ? [usualAnswer(packet) as Packet, ...list] : undefined);
  };

  test("prints each message, acknowledges it by its QoS, and ends after as many as asked", async () => {
    messages(message(0, 0, "null"), message(1, 7, "one"), message(2, 8, "two"), message(0, 0, "more"));
    broker.answer = (
      (subscribed) => (packet) =>
        packet.type === "pubrec" ? { ...packet, type: "pubrel" } : subscribed(packet)
    )(broker.answer);
    expect(await subscribe({ count: 3, verbose: true, topicFilters: ["nmq/#", "a"] })).toBe(0);
    expect(terminal.lines).toEqual(["nmq/pub null", "nmq/pub one", "nmq/pub two"]);
    await expect.poll(() => broker.types).toEqual(["connect", "subscribe", "puback", "pubrec", "disconnect"]);
  });

  test("prints a QoS 2 message once, though it came twice", async () => {
    messages(message(2, 8, "two"), message(2, 8, "two"), message(0, 0, "end"));
    expect(await subscribe({ count: 2 })).toBe(0);
    expect(terminal.lines).toEqual(["two", "end"]);
  });

  test("passes the very bytes on, but spares a person control characters", async () => {
    messages(message(0, 0, "\u001b[2J\u00e4"));
    expect(await subscribe({ count: 1 })).toBe(0);
    expect(Buffer.from(terminal.lines[0], "latin1").toString()).toBe("\u001b[2J\u00e4");
    terminal = new FakeTerminal(true);
    expect(await subscribe({ count: 1 })).toBe(0);
    expect(terminal.lines).toEqual(["\\u001b[2J\u00e4"]);
  });

  test("ends with 27 when its time is over", async () => {
    expect(await subscribe({ waitSeconds: 0.05, count: 1 })).toBe(27);
    expect(terminal.complaints).toEqual([]);
  });

  test("ends with 0 when it is told to stop", async () => {
    const stop = new AbortController();
    const ended = subscribe({}, stop.signal);
    await expect.poll(() => broker.types).toContain("subscribe");
    stop.abort();
    expect(await ended).toBe(0);
    await expect.poll(() => broker.types).toContain("disconnect");
  });

  test("says which topic filter was refused", async () => {
    broker.answer = (packet) =>
      packet.type === "subscribe" ? { type: "suback", packetIdentifier: 1, reasonCodes: [1, 0x80] } : undefined;
    expect(await subscribe({ topicFilters: ["a", "b"] })).toBe(1);
    expect(terminal.complaints[0]).toMatch('refused the subscription to "b" (unspecified error');
  });
});
