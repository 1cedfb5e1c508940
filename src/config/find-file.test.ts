import assert from "node:assert/strict";
import path from "node:path";
import { test } from "vitest";
import { findFile } from "./find-file.ts";

const beside = path.join("/opt/hookmq", "nanomq.conf");
const there = (...files: string[]) => ({ besides: "/opt/hookmq", exists: (name: string) => files.includes(name) });

test("the file is looked for in the original's order", () => {
  const env = { HOOKMQ_CONF_PATH: "h.conf", NANOMQ_CONF_PATH: "n.conf" };
  const all = there(beside, "/etc/nanomq.conf");
  assert.equal(findFile({ given: "c.conf", env, ...all })?.path, "c.conf");
  assert.deepEqual(findFile({ given: undefined, env, ...all }), {
    path: "h.conf",
    because: "named by HOOKMQ_CONF_PATH",
  });
  assert.equal(findFile({ given: undefined, env: { ...env, HOOKMQ_CONF_PATH: "" }, ...all })?.path, "n.conf");
  assert.equal(findFile({ given: undefined, env: {}, ...all })?.path, beside);
  assert.equal(findFile({ given: undefined, env: {}, ...there("/etc/nanomq.conf") })?.path, "/etc/nanomq.conf");
  assert.equal(findFile({ given: undefined, env: {}, ...there() }), undefined);
});
