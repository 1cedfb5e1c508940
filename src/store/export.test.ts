import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, test } from "vitest";
import { exportRecords } from "./export.ts";
import { createFormat, newestFormat } from "./sqlite-schema.ts";

let database: DatabaseSync;
beforeEach(() => {
  database = new DatabaseSync(":memory:");
});
afterEach(() => database.close());

const at = 1_700_000_000_000;
const instant = "2023-11-14T22:13:20.000Z";

test("a delivery that waits, a dead letter and what is known of their endpoint", () => {
  createFormat(database, newestFormat);
  database.exec(`
    INSERT INTO endpoints VALUES (1, 'default', 5, 1, 2, 0, 0, 1, 2, 1, 3, 1, 4, '[7,9]', '{"fault":"refused"}', ${at}, '');
    INSERT INTO shared_bodies VALUES (7, x'7b7d');
    INSERT INTO deliveries VALUES (7, 1, 1, 'evt_7', 'on_client_connack', 'pump', ${at}, NULL, 3, 2, ${at}, 2, 7, NULL, '{"path":"/x"}');
    INSERT INTO dead_letters VALUES (8, 1, 'evt_8', 'on_message_publish', 'pump', ${at}, ${at}, 13, 'rejected', '400 no', ${at}, x'7b7d', '');
  `);
  expect([...exportRecords(database)]).toEqual([
    {
      type: "endpoint",
      endpoint: 1,
      name: "default",
      accepted: 5,
      delivered: 1,
      dead: 2,
      dropped: 0,
      expired: 0,
      messages: 1,
      messageBytes: 2,
      clientEvents: 1,
      clientEventBytes: 3,
      deadLetters: 1,
      deadLetterBytes: 4,
      underWay: [7, 9],
      breaker: '{"fault":"refused"}',
      heldUntil: instant,
      batches: null,
    },
    {
      type: "delivery",
      position: 7,
      deliveryId: "evt_7",
      endpoint: "default",
      clientEvent: true,
      event: "on_client_connack",
      orderKey: "pump",
      acceptedAt: instant,
      expiresAt: null,
      attempts: 3,
      failures: 2,
      dueAt: instant,
      bodyBytes: 2,
      head: '{"path":"/x"}',
      body: "e30=",
    },
    {
      type: "dead-letter",
      position: 8,
      deliveryId: "evt_8",
      endpoint: "default",
      event: "on_message_publish",
      orderKey: "pump",
      acceptedAt: instant,
      expiresAt: instant,
      attempts: 13,
      reason: "rejected",
      detail: "400 no",
      diedAt: instant,
      head: "",
      body: "e30=",
    },
  ]);
});

test("a store of format 1, which knows no attempts and no dead letters", () => {
  createFormat(database, 1);
  database.exec(`
    INSERT INTO endpoints VALUES (1, 'default', 1, 0, 0, 0, 0, 2);
    INSERT INTO deliveries VALUES (1, 'evt_1', 1, 'on_message_publish', 'pump', ${at}, NULL, 2, NULL, x'7b7d');
  `);
  expect([...exportRecords(database)]).toMatchObject([
    { type: "endpoint", name: "default", accepted: 1 },
    { type: "delivery", position: 1, deliveryId: "evt_1", endpoint: "default", acceptedAt: instant, body: "e30=" },
  ]);
});
