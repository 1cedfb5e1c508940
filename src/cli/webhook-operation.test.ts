import { describe, expect, test } from "vitest";
import type { Operation } from "../webhook/operations.ts";
import { idsPerRequestMax, pageCountMax, parseOperation, toWire } from "./webhook-operation.ts";

const everyOne: Operation[] = [
  { what: "endpoints" },
  { what: "pause", endpoint: "lake" },
  { what: "resume", endpoint: "lake" },
  { what: "test", endpoint: "lake", event: "on_message_publish" },
  { what: "queue", endpoint: "lake", after: 0, countMax: 1 },
  { what: "attempts", endpoint: "lake", deliveryId: undefined, countMax: pageCountMax },
  { what: "attempts", endpoint: "lake", deliveryId: "evt_1", countMax: 1 },
  { what: "dead-letters", endpoint: "lake", filter: {}, after: 7, countMax: 1 },
  { what: "dead-letter", endpoint: "lake", deliveryId: "evt_1" },
  {
    what: "replay",
    endpoint: "lake",
    filter: { deliveryIds: ["evt_1", "evt_2"], reason: "rejected", event: "on_client_connack", orderKey: "" },
    after: 0,
    countMax: 1,
  },
  { what: "delete-dead-letters", endpoint: "lake", filter: { reason: "redirect" }, after: 0, countMax: 1 },
];

test.each(everyOne)("$what arrives as it was asked", (operation) => {
  expect(parseOperation(JSON.parse(JSON.stringify(operation)))).toEqual(operation);
});

test("what does not belong to an operation is left behind", () => {
  expect(parseOperation({ what: "pause", endpoint: "lake", filter: {}, __proto__: null })).toEqual({
    what: "pause",
    endpoint: "lake",
  });
});

describe("is refused:", () => {
  const letters = { what: "replay", endpoint: "lake", filter: {}, after: 0, countMax: 1 };
  test.each<[string, unknown]>([
    ["no object", "pause"],
    ["a list", []],
    ["an operation there is not", { what: "toString", endpoint: "lake" }],
    ["no endpoint", { what: "pause" }],
    ["an endpoint without a name", { what: "pause", endpoint: "" }],
    ["an endpoint that is no text", { what: "pause", endpoint: ["lake"] }],
    ["a name that is too long", { what: "pause", endpoint: "e".repeat(5000) }],
    ["a test of no event", { what: "test", endpoint: "lake" }],
    ["a page of nothing", { what: "queue", endpoint: "lake", after: 0, countMax: 0 }],
    ["a page that is too large", { what: "queue", endpoint: "lake", after: 0, countMax: pageCountMax + 1 }],
    ["half a delivery", { what: "queue", endpoint: "lake", after: 0, countMax: 1.5 }],
    ["a place before the first", { what: "queue", endpoint: "lake", after: -1, countMax: 1 }],
    ["a place that is no number", { what: "queue", endpoint: "lake", after: "0", countMax: 1 }],
    ["attempts of a delivery that is no name", { what: "attempts", endpoint: "lake", deliveryId: 7, countMax: 1 }],
    ["a replay without a filter", { ...letters, filter: undefined }],
    ["a filter that is a list", { ...letters, filter: [] }],
    ["a mistyped filter, which would let all through", { ...letters, filter: { reasons: "rejected" } }],
    ["a filter by no text", { ...letters, filter: { reason: null } }],
    ["ids that are no list", { ...letters, filter: { deliveryIds: "evt_1" } }],
    ["too many ids", { ...letters, filter: { deliveryIds: Array(idsPerRequestMax + 1).fill("evt_1") } }],
  ])("%s", (_, value) => {
    expect(parseOperation(value)).toBeUndefined();
  });
});

test("a body of any bytes crosses as base64, in a field that says so", () => {
  const report = {
    position: 1,
    deliveryId: "evt_1",
    event: "on_message_publish",
    orderKey: "c",
    acceptedAt: 1,
    diedAt: 2,
    attempts: 1,
    reason: "rejected",
    detail: "",
    bodyBytes: 3,
  };
  const inLarger = Uint8Array.of(1, 0, 0xff, 0x80, 1).subarray(1, 4);
  expect(toWire({ ...report, body: inLarger })).toEqual({ ...report, bodyBase64: "AP+A" });
});
