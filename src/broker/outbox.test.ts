import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { outboxBytesMax, outboxBytesMaxCrowded, outboxBytesMaxTotal, outboxEarlyFlushBytes } from "./limits.ts";
import { Outbox, type OutboxHost } from "./outbox.ts";
import { SlabPool, slabBytesMax } from "./slabs.ts";
import type { Wire } from "./wire.ts";

class Host implements OutboxHost {
  readonly slabs = new SlabPool();
  readonly figures = { bytesSent: 0 };
  waitingBytes = 0;
  lentBytesInUse = false;
  readonly dirty: Outbox[] = [];

  outboxDirty(outbox: Outbox): void {
    this.dirty.push(outbox);
  }

  /** What the broker does at the end of a turn. */
  endTurn(): void {
    for (const outbox of this.dirty.splice(0)) outbox.flush();
  }
}

/** Takes bytes at once, or, while `slow`, when it is drained; looks at them only then. */
class PatientWire implements Wire {
  readonly remoteAddress = "192.0.2.1";
  readonly remotePort = 1;
  slow = false;
  writes = 0;
  readonly taken: Buffer[] = [];
  private readonly untaken: Uint8Array[] = [];

  write(bytes: Uint8Array): boolean {
    this.writes++;
    if (!this.slow && this.untaken.length === 0) {
      this.taken.push(Buffer.from(bytes));
      return true;
    }
    this.untaken.push(bytes);
    return false;
  }

  /** The network has taken what waited. */
  drain(): boolean {
    if (this.untaken.length === 0) return false;
    for (const bytes of this.untaken.splice(0)) this.taken.push(Buffer.from(bytes));
    return true;
  }

  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {}
}

function begin() {
  const host = new Host();
  const wire = new PatientWire();
  const outbox = new Outbox(wire, host);
  const reserve = (bytes: Uint8Array) => {
    const at = outbox.reserve(bytes.length);
    outbox.slab.set(bytes, at);
  };
  return { host, wire, outbox, reserve };
}

const act = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("append" as const), bytes: fc.constantFrom(1, 4, 100, 3000) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("reserve" as const), bytes: fc.constantFrom(1, 4, 100, 3000, 17_000) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom("append" as const, "reserve" as const),
      bytes: fc.constantFrom(slabBytesMax - 1, slabBytesMax),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("append" as const), bytes: fc.constantFrom(slabBytesMax + 1, 200_000) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("endTurn" as const, "drain" as const, "slow" as const, "fast" as const),
      bytes: fc.constant(0),
    }),
  },
);

describe("all that is put in comes out, once and in order", () => {
  test("whatever is put in how, whenever the peer is slow, though lent bytes change behind each turn", () => {
    fc.assert(
      fc.property(fc.array(act, { maxLength: 80 }), (acts) => {
        const { host, wire, outbox, reserve } = begin();
        const expected: Buffer[] = [];
        /** Lent for this turn only, unless the host is told that some are still in use. */
        let lent: Buffer[] = [];
        const endTurn = () => {
          host.endTurn();
          if (!host.lentBytesInUse) for (const bytes of lent) bytes.fill(0xee);
          lent = [];
          host.lentBytesInUse = false;
        };
        acts.forEach(({ kind, bytes }, i) => {
          if (kind === "append" || kind === "reserve") {
            const content = Buffer.alloc(bytes, i);
            expected.push(Buffer.from(content));
            if (kind === "reserve") reserve(content);
            else {
              lent.push(content);
              outbox.append(content, 0, bytes);
            }
          } else if (kind === "endTurn") endTurn();
          else if (kind === "drain") {
            if (wire.drain()) outbox.drained();
          } else wire.slow = kind === "slow";
        });
        wire.slow = false;
        endTurn();
        while (wire.drain()) outbox.drained();
        assert.equal(Buffer.compare(Buffer.concat(wire.taken), Buffer.concat(expected)), 0);
        assert.equal(outbox.unread, 0);
        assert.equal(outbox.blocked, false);
        assert.equal(host.waitingBytes, 0);
        // An outbox with nothing to write owns no slab.
        assert.equal(outbox.slab.length, 0);
      }),
      { numRuns: 300 },
    );
  });
});

describe("one write a turn", () => {
  test("for any number of small packets", () => {
    const { host, wire, outbox, reserve } = begin();
    for (let i = 0; i < 1000; i++) {
      reserve(Buffer.alloc(4, i));
      outbox.append(Buffer.alloc(30, i), 0, 30);
    }
    assert.equal(host.dirty.length, 1);
    assert.equal(wire.writes, 0);
    host.endTurn();
    assert.equal(wire.writes, 1);
    assert.equal(wire.taken[0].length, 34_000);
  });

  test("and none at all for a turn without any", () => {
    const { host, wire, outbox } = begin();
    outbox.flush();
    host.endTurn();
    assert.equal(wire.writes, 0);
  });

  test("neighbouring bytes of one buffer are written from where they are", () => {
    const { host, wire, outbox } = begin();
    const chunk = Buffer.alloc(30_000, 7);
    for (let at = 0; at < chunk.length; at += 100) outbox.append(chunk, at, at + 100);
    assert.equal(outbox.slab.length, 0);
    host.endTurn();
    assert.equal(wire.writes, 1);
    assert.equal(wire.taken[0].length, 30_000);
  });

  test("much is written before the turn ends", () => {
    const { wire, outbox } = begin();
    outbox.append(Buffer.alloc(outboxEarlyFlushBytes, 1), 0, outboxEarlyFlushBytes);
    assert.equal(wire.writes, 1);
  });
});

describe("a slow peer", () => {
  function blocked() {
    const all = begin();
    all.wire.slow = true;
    all.outbox.append(Buffer.of(1), 0, 1);
    all.host.endTurn();
    assert.equal(all.outbox.blocked, true);
    return all;
  }

  test("leaves the outbox full beyond its limit, and free again once it has taken all", () => {
    const { host, wire, outbox } = blocked();
    const packet = Buffer.alloc(64 * 1024);
    let packets = 0;
    while (!outbox.full) {
      outbox.append(packet, 0, packet.length);
      host.endTurn();
      packets++;
    }
    assert.ok(
      packets * packet.length > outboxBytesMax && packets * packet.length <= outboxBytesMax + 2 * packet.length,
    );
    assert.equal(outbox.unread, packets * packet.length);
    assert.ok(host.waitingBytes <= outbox.unread);
    wire.slow = false;
    while (wire.drain()) outbox.drained();
    assert.deepEqual([outbox.full, outbox.unread, host.waitingBytes], [false, 0, 0]);
  });

  test("is given what waits bit by bit: the rest stays where it counts", () => {
    const { host, wire, outbox } = begin();
    wire.slow = true;
    const large = Buffer.alloc(slabBytesMax + 1);
    for (let i = 0; i < 4; i++) {
      outbox.append(large, 0, large.length);
      host.endTurn();
    }
    assert.equal(host.waitingBytes, 3 * large.length);
    wire.drain();
    outbox.drained();
    assert.equal(host.waitingBytes, 2 * large.length);
    wire.slow = false;
    wire.drain();
    outbox.drained();
    assert.equal(host.waitingBytes, 0);
    assert.equal(Buffer.concat(wire.taken).length, 4 * large.length);
    assert.equal(host.figures.bytesSent, 4 * large.length);
  });

  test("has a smaller limit where many are slow", () => {
    const { host, outbox } = blocked();
    host.waitingBytes = outboxBytesMaxTotal + 1;
    const packet = Buffer.alloc(64 * 1024);
    let bytes = 0;
    for (; !outbox.full; bytes += packet.length) outbox.append(packet, 0, packet.length);
    assert.ok(bytes <= outboxBytesMaxCrowded + 2 * packet.length);
  });

  test("that leaves takes nothing with it: what waited is off the books, what comes late is for nobody", () => {
    const { host, wire, outbox, reserve } = blocked();
    for (let i = 0; i < 10; i++) outbox.append(Buffer.alloc(60_000), 0, 60_000);
    reserve(Buffer.alloc(100));
    outbox.close();
    const { writes } = wire;
    assert.equal(host.waitingBytes, 0);
    host.endTurn();
    if (wire.drain()) outbox.drained();
    assert.equal(wire.writes, writes);
    assert.equal(outbox.slab.length, 0);
  });
});

test("slabs go back to the pool: the next outbox gets the one that the last has given back", () => {
  const { host, reserve, outbox } = begin();
  reserve(Buffer.alloc(10));
  const { slab } = outbox;
  host.endTurn();
  const next = new Outbox(new PatientWire(), host);
  next.reserve(10);
  assert.equal(next.slab, slab);
});
