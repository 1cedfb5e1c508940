import assert from "node:assert/strict";
import { createHmac, createPublicKey, generateKeyPairSync, type KeyObject, verify } from "node:crypto";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { describe, test } from "vitest";
import { Signatures, secretFault } from "./signature.ts";

const published = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const other = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
const plain = "correct horse battery staple";

function sign(secrets: string[], body: string | Uint8Array, { id = "evt_1", timestamp = "1700000000" } = {}): string {
  return new Signatures(secrets).of({ id, timestamp, body: Buffer.from(body) });
}

function ed25519() {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const { d, x } = privateKey.export({ format: "jwk" });
  const seed = Buffer.from(d!, "base64url");
  return { seed, publicBytes: Buffer.from(x!, "base64url"), publicKey };
}

const whsk = (...parts: Uint8Array[]) => `whsk_${Buffer.concat(parts).toString("base64")}`;

function isBy(key: KeyObject, signature: string, signed: string): boolean {
  assert.ok(signature.startsWith("v1a,"));
  return verify(null, Buffer.from(signed), key, Buffer.from(signature.slice(4), "base64"));
}

describe("a signature", () => {
  test("is that of the published example", () => {
    const signature = sign([published], '{"test": 2432232314}', {
      id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
      timestamp: "1614265330",
    });
    assert.equal(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
  });

  test("of any text is taken by the standardwebhooks package", () => {
    const receiver = new Webhook(published);
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.stringMatching(/^evt_[0-9A-Z]{26}$/), (text, id) => {
        const body = Buffer.from(JSON.stringify({ text }));
        const timestamp = `${Math.floor(Date.now() / 1000)}`;
        const headers = { "webhook-id": id, "webhook-timestamp": timestamp };
        const signature = new Signatures([published]).of({ id, timestamp, body });
        assert.deepEqual(receiver.verify(body.toString(), { ...headers, "webhook-signature": signature }), { text });
      }),
    );
  });

  test("of bytes that are no text is a plain HMAC over them as they are", () => {
    const key = Buffer.from(published.slice("whsec_".length), "base64");
    fc.assert(
      fc.property(fc.uint8Array(), (body) => {
        const expected = createHmac("sha256", key)
          .update(Buffer.concat([Buffer.from("evt_1.1700000000."), body]))
          .digest("base64");
        assert.equal(sign([published], body), `v1,${expected}`);
      }),
    );
  });

  test("with several secrets is one for each, in their order, and either receiver takes it", () => {
    const signature = sign([other, published], "{}", { timestamp: `${Math.floor(Date.now() / 1000)}` });
    const [first, second] = signature.split(" ");
    const timestamp = `${Math.floor(Date.now() / 1000)}`;
    assert.notEqual(first, second);
    const both = sign([other, published], "{}", { timestamp });
    assert.deepEqual(both.split(" "), [sign([other], "{}", { timestamp }), sign([published], "{}", { timestamp })]);
    for (const secret of [other, published]) {
      const headers = { "webhook-id": "evt_1", "webhook-timestamp": timestamp, "webhook-signature": both };
      assert.deepEqual(new Webhook(secret).verify("{}", headers), {});
    }
  });

  test("with a plain secret uses its bytes", () => {
    const timestamp = `${Math.floor(Date.now() / 1000)}`;
    const headers = {
      "webhook-id": "evt_1",
      "webhook-timestamp": timestamp,
      "webhook-signature": sign([plain], "{}", { timestamp }),
    };
    assert.deepEqual(new Webhook(plain, { format: "raw" }).verify("{}", headers), {});
  });

  test("with a whsk_ key is ed25519, from a seed as from seed and public key", () => {
    const { seed, publicBytes, publicKey } = ed25519();
    for (const secret of [whsk(seed), whsk(seed, publicBytes)]) {
      const signature = sign([secret], "grün");
      assert.ok(isBy(publicKey, signature, "evt_1.1700000000.grün"));
      assert.ok(!isBy(publicKey, signature, "evt_1.1700000001.grün"));
    }
  });

  test("may mix both kinds while one replaces the other", () => {
    const { seed, publicKey } = ed25519();
    const [first, second] = sign([whsk(seed), published], "{}").split(" ");
    assert.ok(isBy(createPublicKey(publicKey.export({ format: "pem", type: "spki" })), first!, "evt_1.1700000000.{}"));
    assert.equal(second, sign([published], "{}"));
  });

  test("by a key of 64 bytes is made when both halves are of one key", () => {
    const secret = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    assert.equal(secretFault(secret), undefined);
  });
});

describe("a secret is refused, without being quoted,", () => {
  const { seed } = ed25519();
  for (const [title, secret, expected] of [
    ["when it is short", "hunter2 hunter2", /^a secret of at least 16 characters/],
    ["when it is empty", "", /^a secret of at least 16 characters/],
    ["when whsec_ is followed by few bytes", `whsec_${Buffer.alloc(23).toString("base64")}`, /of 24 bytes or more$/],
    ["when whsec_ is followed by no base64", `whsec_${"!".repeat(40)}`, /of 24 bytes or more$/],
    ["when a letter of its base64 is lost", published.slice(0, -3), /of 24 bytes or more$/],
    ["when whsk_ is followed by something else", whsk(seed.subarray(1)), /seed \(32 bytes\)/],
    ["when its two halves are of two keys", whsk(seed, ed25519().publicBytes), /do not belong together$/],
    ["when it is the receiver's key", `whpk_${seed.toString("base64")}`, /^the secret key/],
  ] as const) {
    test(title, () => {
      const fault = secretFault(secret);
      assert.match(fault ?? "", expected);
      if (secret.length > 10) assert.ok(!fault!.includes(secret.slice(6, 15)));
    });
  }

  test("and others are taken", () => {
    for (const secret of [published, other, plain, whsk(seed), "0123456789abcdef"]) {
      assert.equal(secretFault(secret), undefined);
    }
  });
});
