import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterEach, expect, test } from "vitest";
import { type ReceiverOptions, type RunningReceiver, receiver, startReceiver } from "./receiver.ts";
import { FakeTerminal } from "./fake-terminal.ts";

const plain: ReceiverOptions = {
  host: "127.0.0.1",
  port: 0,
  delayMs: 0,
  status: 503,
  failRate: 0,
  close: false,
  hang: false,
  quiet: false,
  allHeaders: false,
};

let running: RunningReceiver | undefined;
let terminal: FakeTerminal;

afterEach(async () => {
  await running?.stop();
  running = undefined;
});

async function start(options: Partial<ReceiverOptions> = {}, random?: () => number): Promise<void> {
  terminal = new FakeTerminal();
  running = await startReceiver({ ...plain, ...options }, terminal, random);
}

function post(body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`http://127.0.0.1:${running!.port}/hook`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
  });
}

test("prints the tutorial's two lines for each request and answers ok", async () => {
  await start();
  const response = await post('{"action":"client_connack"}');
  expect([response.status, await response.text()]).toEqual([200, "ok"]);
  expect(terminal.lines).toEqual(["header: content-type: [application/json]", 'Received: {"action":"client_connack"}']);
  expect(running!.received).toBe(1);
});

test("prints every header when asked", async () => {
  await start({ allHeaders: true });
  await post("x", { "webhook-id": "evt_1" });
  expect(terminal.lines[0]).toBe("POST /hook");
  expect(terminal.lines).toContain("header: webhook-id: [evt_1]");
});

test("prints no terminal command that a sender put into its body", async () => {
  await start();
  await post("\u001b[2Jclear");
  expect(terminal.lines[1]).toBe("Received: \\u001b[2Jclear");
});

test("fails as often as asked, with the status asked for", async () => {
  const draws = [0.1, 0.9, 0.2];
  await start({ failRate: 0.5, status: 500 }, () => draws.shift()!);
  const statuses = [];
  for (let i = 0; i < 3; i++) statuses.push((await post("x")).status);
  expect(statuses).toEqual([500, 200, 500]);
});

test("closes without an answer when asked", async () => {
  await start({ close: true });
  await expect(post("x")).rejects.toThrow("fetch failed");
  expect(running!.received).toBe(1);
});

test("waits before it answers when asked", async () => {
  await start({ delayMs: 80 });
  const before = performance.now();
  await post("x");
  expect(performance.now() - before).toBeGreaterThanOrEqual(79);
});

test("hangs when asked, and can be stopped all the same", async () => {
  await start({ hang: true });
  const socket = connect(running!.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx");
  await expect.poll(() => running!.received).toBe(1);
  await running!.stop();
  await once(socket, "close");
  expect(socket.bytesRead).toBe(0);
});

test("answers 413 to a body beyond its bound, and keeps none of it", async () => {
  await start();
  expect((await post(Buffer.alloc(17 * 1024 * 1024, "x"))).status).toBe(413);
  expect(terminal.lines).toEqual([]);
});

test("a request that breaks off prints nothing and harms nobody", async () => {
  await start();
  const socket = connect(running!.port, "127.0.0.1");
  socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx", () => socket.destroy());
  await once(socket, "close");
  expect((await post("y")).status).toBe(200);
  expect(terminal.lines).toEqual(["header: content-type: [application/json]", "Received: y"]);
});

test("counts in quiet", async () => {
  await start({ quiet: true });
  await Promise.all([post("x"), post("y")]);
  await expect.poll(() => terminal.lines, { timeout: 5000 }).toEqual(["2 received (+2)"]);
});

test("says what listens where, and at its end how many came", async () => {
  terminal = new FakeTerminal();
  const stop = new AbortController();
  const ended = receiver(plain, terminal, stop.signal);
  await expect.poll(() => terminal.lines[0]).toMatch(/^Receiver is listening on http:\/\/127.0.0.1:\d+ /);
  stop.abort();
  expect(await ended).toBe(0);
  expect(terminal.lines.at(-1)).toBe("0 requests received");
});

test("a port in use is said, with what to do", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  terminal = new FakeTerminal();
  expect(await receiver({ ...plain, port }, terminal, new AbortController().signal)).toBe(1);
  expect(terminal.complaints).toEqual([
    expect.stringMatching(`cannot listen on 127.0.0.1:${port}: the port is in use.*--port`),
  ]);
  other.close();
});
