import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, test } from "vitest";
import type { Logger } from "../base/log.ts";
import { silentLogger } from "../base/log.ts";
import { CertificateFault, Certificates, readCertificates, type TlsOptions } from "./certificates.ts";
import { certificateCheckMs } from "./limits.ts";
import { plainRequest } from "./options.ts";

const shelf = path.join(import.meta.dirname, "../../test/support/certificates");
const fixture = (name: string) => path.join(shelf, name);
const none: TlsOptions = plainRequest.tls;
const client = { ...none, certificateFile: fixture("client.pem"), keyFile: fixture("client.key") };
const read = (options: TlsOptions) => readCertificates(options, (file) => readFileSync(file, "utf8"));

describe("certificates", () => {
  test("are read: an authority, a certificate with its key, a key with a password", () => {
    assert.equal(read(none), undefined);
    assert.ok(read({ ...none, authorityFile: fixture("authority.pem") }));
    assert.ok(read(client));
    assert.ok(read({ ...client, keyFile: fixture("client-locked.key"), keyPassword: "open-sesame" }));
  });

  for (const [title, options, key, message] of [
    ["a missing file", { ...none, authorityFile: "/no/such.pem" }, "cacertfile", /^\/no\/such\.pem cannot be read: /],
    ["no certificate", { ...none, authorityFile: fixture("make.sh") }, "cacertfile", /make\.sh holds no certificate/],
    ["a key without a certificate", { ...client, certificateFile: undefined }, "keyfile", /with its certfile only/],
    ["a certificate without a key", { ...client, keyFile: undefined }, "certfile", /with its keyfile only/],
    ["another's key", { ...client, keyFile: fixture("server.key") }, "keyfile", /is not the key of the certificate/],
    ["no key", { ...client, keyFile: fixture("client.pem") }, "keyfile", /holds no private key/],
    ["a locked key", { ...client, keyFile: fixture("client-locked.key") }, "keyfile", /is locked with a password/],
    [
      "a wrong password",
      { ...client, keyFile: fixture("client-locked.key"), keyPassword: "hunter2" },
      "key_password",
      /^((?!hunter2).)*does not open with this password$/,
    ],
  ] as const) {
    test(`are refused for ${title}`, () => {
      assert.throws(
        () => read(options),
        (error) => {
          assert.ok(error instanceof CertificateFault);
          assert.equal(error.key, key);
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }
});

describe("when its files change", () => {
  let folder: string;
  const complaints: string[] = [];
  const log: Logger = { ...silentLogger, error: (message, facts) => complaints.push(`${message}: ${facts?.reason}`) };
  const place = (name: string, as: string) => {
    // Renamed into its place, as those who renew certificates do.
    copyFileSync(fixture(name), path.join(folder, "new"));
    renameSync(path.join(folder, "new"), path.join(folder, as));
  };

  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), "hookmq-certificates-"));
    complaints.length = 0;
  });

  afterEach(() => rmSync(folder, { recursive: true }));

  const certificatesAt = () => {
    const options = {
      ...none,
      certificateFile: path.join(folder, "client.pem"),
      keyFile: path.join(folder, "client.key"),
    };
    return new Certificates(options, { endpoint: "e", log, now: 0 });
  };

  test("an endpoint has the new ones, looked for every few seconds only", () => {
    place("client.pem", "client.pem");
    place("client.key", "client.key");
    const certificates = certificatesAt();
    const first = certificates.current;
    assert.ok(first);
    assert.equal(certificates.haveChanged(certificateCheckMs), false);
    place("other-client.pem", "client.pem");
    place("other-client.key", "client.key");
    assert.equal(certificates.haveChanged(2 * certificateCheckMs - 1), false);
    assert.equal(certificates.haveChanged(2 * certificateCheckMs), true);
    assert.notEqual(certificates.current, first);
    assert.deepEqual(complaints, []);
  });

  test("what cannot be used is told once, the last good ones stay, and good ones are taken again", () => {
    place("client.pem", "client.pem");
    place("client.key", "client.key");
    const certificates = certificatesAt();
    const first = certificates.current;
    place("other-client.pem", "client.pem"); // Its key is not there yet.
    for (const round of [1, 2, 3]) assert.equal(certificates.haveChanged(round * certificateCheckMs), false);
    assert.equal(certificates.current, first);
    assert.equal(complaints.length, 1);
    assert.match(complaints[0]!, /the last good ones stay: .* is not the key of the certificate/);
    rmSync(path.join(folder, "client.key"));
    assert.equal(certificates.haveChanged(4 * certificateCheckMs), false);
    assert.equal(certificates.current, first);
    assert.equal(complaints.length, 2);
    place("other-client.key", "client.key");
    assert.equal(certificates.haveChanged(5 * certificateCheckMs), true);
    assert.notEqual(certificates.current, first);
  });

  test("what could not be used from the start can be later", () => {
    const certificates = certificatesAt();
    assert.equal(certificates.current, undefined);
    assert.match(complaints.join(), /nothing can be sent: .*client\.pem cannot be read/);
    writeFileSync(path.join(folder, "client.pem"), readFileSync(fixture("client.pem")));
    place("client.key", "client.key");
    assert.equal(certificates.haveChanged(certificateCheckMs), true);
    assert.ok(certificates.current);
  });
});
