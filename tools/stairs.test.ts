import { expect, test } from "vitest";
import { upwardImports } from "./stairs.ts";

for (const [file, specifier, because] of [
  ["broker/turn.ts", "../store/store.ts", undefined],
  ["broker/turn.ts", "./wire.ts", undefined],
  ["broker/turn.ts", "node:net", undefined],
  ["cli/main.ts", "../server.ts", undefined],
  ["server.ts", "./back-link.ts", undefined],
  ["server.ts", "./webhook/options.ts", undefined],
  ["mqtt/packets/publish.ts", "../../base/assert.ts", undefined],
  ["mqtt/packets/publish.ts", "../codec.ts", undefined],
  ["dashboard/app.tsx", "../api/contract.ts", undefined],
  ["store/store.ts", "../broker/turn.ts", "broker/ is above store/"],
  ["mqtt/packets/publish.ts", "../../broker/turn.ts", "broker/ is above mqtt/"],
  ["config/load.ts", "../server.ts", "src/ is above config/"],
  ["webhook/outbox.ts", "../transport/tcp.ts", "transport/ is a neighbour of webhook/: they meet in server.ts"],
  ["dashboard/app.tsx", "../api/server.ts", "the dashboard knows only api/contract.ts"],
  ["api/server.ts", "../dashboard/app.tsx", "nobody imports the dashboard"],
  ["base/clock.ts", "../../test/support/x.ts", "it leaves src/"],
  ["utils/helpers.ts", "../base/clock.ts", "utils/ stands on no step: give it one in tools/stairs.ts"],
  ["cli/main.ts", "../utils/helpers.ts", "utils/ stands on no step: give it one in tools/stairs.ts"],
] as const) {
  test(`${file} ${because === undefined ? "may" : "must not"} import ${specifier}`, () => {
    const found = upwardImports([{ file, text: `import { x } from "${specifier}";` }]);
    expect(found.map((upward) => upward.because)).toEqual(because === undefined ? [] : [because]);
  });
}

test("every form of import is seen, with its line", () => {
  const text = [
    'import type { Turn } from "../broker/turn.ts";',
    "import {",
    "  one,",
    '} from "../broker/one.ts";',
    'export * from "../broker/two.ts";',
    'import "../broker/three.ts";',
    "await import('../broker/four.ts');",
    'new Worker(new URL("../broker/five.ts", import.meta.url));',
  ].join("\n");
  const found = upwardImports([{ file: "store/store.ts", text }]);
  expect(found.map(({ line, imported }) => [line, imported])).toEqual([
    [1, "broker/turn.ts"],
    [4, "broker/one.ts"],
    [5, "broker/two.ts"],
    [6, "broker/three.ts"],
    [7, "broker/four.ts"],
    [8, "broker/five.ts"],
  ]);
});
