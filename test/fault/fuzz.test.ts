/**
 * Bent packets over real connections against a broker in a process of its own, many at a time, for HOOKMQ_FUZZ_SECONDS.
 * HOOKMQ_FUZZ_SEED repeats what is sent; how it meets on the way is chance (`fuzz-in-process.test.ts` repeats exactly).
 *
 * The process lives on, its log knows of no error, two clients that talk at QoS 1 all along lose nothing, and in the end
 * the process holds no more than in the beginning.
 */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, test } from "vitest";
import { TestClient } from "../support/client.ts";
import type { Report } from "./broker-process.ts";
import { script } from "./mutations.ts";
import { Random } from "./random.ts";

const seconds = Number(process.env.HOOKMQ_FUZZ_SECONDS ?? 8);
const timeoutMs = (seconds + 60) * 1000;
const givenSeed = process.env.HOOKMQ_FUZZ_SEED;
const seed = givenSeed === undefined ? Date.now() % 2 ** 31 : Number(givenSeed);

const connectionsAtATime = 40;
/** Pooled slabs, remembered routes and retained messages stay, within their limits. */
const bytesInUseMore = 40 * 1024 * 1024;
/** Pages that the engine has taken once and keeps for the next time. */
const residentBytesMore = 250 * 1024 * 1024;
const patienceMs = 10_000;

let child: ChildProcess;
afterEach(() => {
  child.kill();
});

test(
  `bent packets over the network, HOOKMQ_FUZZ_SEED=${seed}`,
  async () => {
    child = fork(new URL("./broker-process.ts", import.meta.url), { execArgv: ["--expose-gc"] });
    const reports: Report[] = [];
    child.on("message", (report) => reports.push(report as Report));
    const died = once(child, "exit").then(([code, signal]) => {
      throw new Error(`the broker has died (${code ?? signal}) of HOOKMQ_FUZZ_SEED=${seed}`);
    });
    died.catch(() => {});

    const [{ port }] = await Promise.race([next(reports, "listening"), died]);
    const speaker = await TestClient.connect(port, { clientId: "speaker" });
    const listener = await TestClient.connect(port, { clientId: "listener" });
    await listener.subscribe("speaker/says", { qos: 1 });
    await Promise.race([warmUp(port), died]);
    const before = await Promise.race([holdings(reports), died]);

    const until = performance.now() + seconds * 1000;
    const isOver = () => performance.now() >= until;
    const random = new Random(seed);
    const fuzzers = Array.from({ length: connectionsAtATime }, () =>
      fuzz(port, new Random(random.below(2 ** 31)), isOver),
    );
    const talk = async () => {
      for (let said = 1; !isOver(); said++) {
        speaker.sendPublish("speaker/says", String(said), { qos: 1, packetIdentifier: (said % 65_535) + 1 });
        assert.equal(Buffer.from((await listener.receive()).payload).toString(), String(said));
        await speaker.answerTo("puback", (said % 65_535) + 1);
      }
    };
    await Promise.race([Promise.all([talk(), ...fuzzers]), died]);
    await listener.nothing();
    speaker.destroy();
    listener.destroy();

    await Promise.race([settled(reports, before), died]);
    assert.deepEqual(
      reports.filter(({ type }) => type === "error"),
      [],
    );
  },
  timeoutMs,
);

/** Connects again and again, says what a script says, and leaves in some way. */
async function fuzz(port: number, random: Random, isOver: () => boolean): Promise<void> {
  const clientIds = Array.from({ length: 20 }, (_, i) => `fuzz ${i}`).concat("", "__proto__", "\u0001");
  while (!isOver()) {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    socket.on("error", () => {});
    let closed = false;
    socket.once("close", () => {
      closed = true;
    });
    // Some read nothing of what they get.
    if (random.chance(0.9)) socket.resume();
    for (const piece of script(random, clientIds)) {
      if (closed || isOver()) break;
      await send(socket, random, piece);
    }
    if (random.chance(0.7)) socket.destroy();
    else socket.end(() => socket.destroy());
    if (!closed) await once(socket, "close");
  }
}

async function send(socket: Socket, random: Random, piece: Buffer): Promise<void> {
  const cut = random.chance(0.3) ? random.below(piece.length + 1) : piece.length;
  socket.write(piece.subarray(0, cut));
  if (random.chance(0.4)) await new Promise(setImmediate);
  if (cut < piece.length) socket.write(piece.subarray(cut));
  if (random.chance(0.05)) await new Promise((resolve) => setTimeout(resolve, random.below(20)));
}

/** A second of the same traffic, so that what a process takes once for all is there before it is measured. */
async function warmUp(port: number): Promise<void> {
  const until = performance.now() + Math.min(1000, seconds * 100);
  await Promise.all(
    Array.from({ length: connectionsAtATime }, (_, i) => fuzz(port, new Random(i), () => performance.now() >= until)),
  );
}

async function next<T extends Report["type"]>(reports: Report[], type: T): Promise<Extract<Report, { type: T }>[]> {
  const since = performance.now();
  for (;;) {
    const found = reports.filter((report) => report.type === type);
    if (found.length > 0) return found as Extract<Report, { type: T }>[];
    assert.ok(performance.now() - since < patienceMs, `no report: ${type}`);
    await new Promise(setImmediate);
  }
}

type Holdings = Extract<Report, { type: "holds" }>;

async function holdings(reports: Report[]): Promise<Holdings> {
  child.send("what do you hold?");
  const [holds] = await next(reports, "holds");
  reports.splice(reports.indexOf(holds), 1);
  return holds;
}

/** Resolves when everything but memory's usual ups and downs is as before. */
async function settled(reports: Report[], before: Holdings): Promise<void> {
  const since = performance.now();
  for (;;) {
    const { type: _, bytesInUse, residentBytes, ...left } = await holdings(reports);
    const isEmpty = Object.values(left).every((count) => count === 0);
    const more = { bytesInUse: bytesInUse - before.bytesInUse, residentBytes: residentBytes - before.residentBytes };
    if (isEmpty && more.bytesInUse < bytesInUseMore && more.residentBytes < residentBytesMore) return;
    const found = JSON.stringify({ left, more });
    assert.ok(performance.now() - since < patienceMs, `left over: ${found}, HOOKMQ_FUZZ_SEED=${seed}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
