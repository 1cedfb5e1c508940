import assert from "node:assert/strict";
import type { LookupAddress } from "node:dns";
import { describe, test } from "vitest";
import { EgressGuard, type EgressOptions, rangeFault } from "./egress.ts";

const guarded: EgressOptions = { mode: "guarded" };
const publicOnly: EgressOptions = { mode: "public_only" };
const allow = (...ranges: string[]): EgressOptions => ({ mode: "allow", ranges });

/** Metadata and the like, in every spelling. */
const never = [
  "0.0.0.0",
  "0.1.2.3",
  "169.254.169.254",
  "169.254.0.1",
  "100.100.100.200",
  "192.0.0.192",
  "224.0.0.1",
  "239.255.255.255",
  "255.255.255.255",
  "::",
  "fe80::1",
  "fe80::1%lo",
  "febf::1",
  "fd00:ec2::254",
  "fd20:ce::254",
  "ff02::1",
  "::ffff:169.254.169.254",
  "::ffff:a9fe:a9fe",
  "::ffff:0:a9fe:a9fe",
  "64:ff9b::a9fe:a9fe",
  "64:ff9b:1::a9fe:a9fe",
  "2002:a9fe:a9fe::1",
  "::a9fe:a9fe",
  "::ffff:0.0.0.0",
  "64:ff9b::100.100.100.200",
];
const near = [
  "127.0.0.1",
  "127.8.8.8",
  "10.0.0.1",
  "172.16.0.1",
  "192.168.1.1",
  "100.64.0.1",
  "::1",
  "fd12:3456::1",
  "::ffff:127.0.0.1",
  "2002:0a00:0001::1",
  "64:ff9b::192.168.0.1",
];
const far = ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "2002:0101:0101::1", "64:ff9b::1.1.1.1"];

for (const [title, options, refused, allowed] of [
  ["guarded refuses what is never meant, and nothing else", guarded, never, [...near, ...far]],
  ["public_only refuses what is near as well", publicOnly, [...never, ...near, "192.0.2.1", "2001:db8::1"], far],
  ["allow takes what is listed", allow("10.0.0.0/8", "::1"), [...never, ...far, "127.0.0.1"], ["10.9.9.9", "::1"]],
  ["allow takes an address in each of its spellings", allow("10.0.0.0/8"), [], ["::ffff:10.0.0.1", "2002:a00:1::1"]],
  ["allow of everything leaves out what is never meant", allow("0.0.0.0/0", "::/0"), never, [...near, ...far]],
  [
    "allow of one such address by name takes it",
    allow("169.254.7.7", "fe80::7/128"),
    ["169.254.7.8", "fe80::8"],
    ["169.254.7.7", "fe80::7", "::ffff:169.254.7.7"],
  ],
] as const) {
  describe(title, () => {
    const guard = new EgressGuard(options);
    for (const address of refused) test(`${address} is refused`, () => assert.equal(guard.permits(address), false));
    for (const address of allowed) test(`${address} is allowed`, () => assert.equal(guard.permits(address), true));
  });
}

describe("a name", () => {
  const found = (...addresses: string[]): LookupAddress[] =>
    addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));

  function lookUp(addresses: LookupAddress[], options: Parameters<EgressGuard["lookup"]>[1]) {
    const guard = new EgressGuard(guarded, (_hostname, resolved) => resolved(null, addresses));
    return new Promise<unknown>((resolve) => {
      guard.lookup("h.example", options, (error, ...answer) => resolve(error === null ? answer : error));
    });
  }

  test("with several addresses gives those that are allowed", async () => {
    const addresses = found("169.254.169.254", "10.0.0.1", "fe80::1", "::1");
    assert.deepEqual(await lookUp(addresses, { all: true }), [found("10.0.0.1", "::1")]);
    assert.deepEqual(await lookUp(addresses, {}), ["10.0.0.1", 4]);
    assert.deepEqual(await lookUp(addresses, { family: 6 }), ["::1", 6]);
  });

  test("with none that is allowed is refused, and the refusal says why", async () => {
    const error = await lookUp(found("169.254.169.254", "fe80::1"), { all: true });
    assert.ok(error instanceof Error && "code" in error && error.code === "EGRESS_REFUSED");
    assert.equal(error.message, "egress = guarded does not let connect to h.example (169.254.169.254, fe80::1)");
  });

  test("without an address is not found", async () => {
    const error = await lookUp([], { all: true });
    assert.ok(error instanceof Error && "code" in error && error.code === "ENOTFOUND");
  });
});

test("a host that is an address is judged without looking it up, a name is not judged yet", () => {
  const guard = new EgressGuard(guarded);
  assert.match(guard.faultOf("169.254.169.254")?.message ?? "", /does not let connect to 169\.254\.169\.254$/);
  for (const host of ["127.0.0.1", "::1", "metadata.google.internal"]) assert.equal(guard.faultOf(host), undefined);
});

test("ranges are told from what is none", () => {
  for (const text of ["10.0.0.0/8", "10.0.0.1", "::1", "fd00::/8"]) assert.equal(rangeFault(text), undefined);
  for (const text of ["", "10.0.0.0/33", "10.1", "localhost", "*", "fe80::1%eth0", "10.0.0.0/8 "]) {
    assert.match(rangeFault(text) ?? "", /^an address or a range/);
  }
});
