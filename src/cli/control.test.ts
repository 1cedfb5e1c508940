import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { askBroker, controlPathOf, listenForControl } from "./control.ts";
import type { ControlRequest } from "./control-protocol.ts";

let folder: string;
let socketPath: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "hookmq-control-"));
  socketPath = path.join(folder, "hookmq.sock");
});

afterEach(() => rmSync(folder, { recursive: true }));

const reload = { command: "reload", conf: "/etc/other.conf", oldConf: true } as const;

test("stands beside the pid file", () => {
  expect(controlPathOf("/run/hookmq/hookmq.pid")).toBe("/run/hookmq/hookmq.sock");
  expect(controlPathOf("/run/broker")).toBe("/run/broker.sock");
});

test("carries the request there and the answer back, and only its owner may ask", async () => {
  const asked: ControlRequest[] = [];
  const control = await listenForControl(socketPath, async (request) => {
    asked.push(request);
    return { succeeded: false, lines: ["one", "zwei – 2"] };
  });
  expect(statSync(socketPath).mode & 0o777).toBe(0o600);
  expect(await askBroker(socketPath, reload)).toEqual({ succeeded: false, lines: ["one", "zwei – 2"] });
  expect(asked).toEqual([reload]);
  await control.close();
  expect(existsSync(socketPath)).toBe(false);
});

test("tells how far it is before it answers", async () => {
  const control = await listenForControl(socketPath, async (request, progress) => {
    progress({ done: 1, total: 2 });
    progress({ done: 2, total: 2 });
    return { succeeded: true, lines: [JSON.stringify(request)] };
  });
  const heard: unknown[] = [];
  const request = { command: "store-backup", file: "/b" } as const;
  const { lines } = await askBroker(socketPath, request, (progress) => heard.push(progress));
  expect(lines).toEqual([JSON.stringify(request)]);
  expect(heard).toEqual([
    { done: 1, total: 2 },
    { done: 2, total: 2 },
  ]);
  await control.close();
});

test("fails for the asker when nobody listens", async () => {
  await expect(askBroker(socketPath, reload)).rejects.toThrow("ENOENT");
});

test("replaces the socket of a broker that was killed, but no other file", async () => {
  const first = await listenForControl(socketPath, async () => ({ succeeded: true, lines: [] }));
  const second = await listenForControl(socketPath, async () => ({ succeeded: true, lines: ["second"] }));
  expect((await askBroker(socketPath, reload)).lines).toEqual(["second"]);
  await Promise.all([first.close(), second.close()]);
  writeFileSync(socketPath, "precious");
  await expect(listenForControl(socketPath, async () => ({ succeeded: true, lines: [] }))).rejects.toThrow(
    "EADDRINUSE",
  );
});

for (const [what, bytes] of [
  ["is no JSON", "reload!\n"],
  ["is another command", '{"command":"format"}\n'],
  ["names a file that is no text", '{"command":"reload","conf":7}\n'],
  ["copies to no file", '{"command":"store-backup"}\n'],
  ["asks the webhooks nothing", '{"command":"webhook"}\n'],
  ["asks the webhooks for what there is not", '{"command":"webhook","operation":{"what":"forget","endpoint":"e"}}\n'],
  ["never ends", "x".repeat(20_000)],
] as const) {
  test(`a request that ${what} reaches nobody`, async () => {
    let handled = false;
    const control = await listenForControl(socketPath, async () => {
      handled = true;
      return { succeeded: true, lines: [] };
    });
    const socket = createConnection(socketPath);
    socket.on("error", () => {});
    socket.resume();
    socket.write(bytes);
    await once(socket, "close");
    expect(handled).toBe(false);
    await control.close();
  });
}
