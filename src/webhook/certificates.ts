/**
 * The certificates and the key an endpoint is met with, from files that are read again when they have changed: who renews
 * them need not tell anybody. What cannot be used is told once, and the last good ones stay.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { createSecureContext, type SecureContext } from "node:tls";
import type { Logger } from "../base/log.ts";
import { certificateCheckMs } from "./limits.ts";

export interface TlsOptions {
  /** Absolute paths of PEM files; `undefined`: none. Whom to trust: absent, those that Node.js trusts. */
  authorityFile: string | undefined;
  certificateFile: string | undefined;
  keyFile: string | undefined;
  keyPassword: string | undefined;
  /** `false`: whoever answers is taken for the receiver. */
  verifiesPeer: boolean;
  /** The name that is asked for and that the certificate must have; `undefined`: the host of the URL. */
  serverName: string | undefined;
}

/** Which key of the configuration is to blame, and why. The message holds no secret. */
export class CertificateFault extends Error {
  readonly key: "cacertfile" | "certfile" | "keyfile" | "key_password";

  constructor(key: CertificateFault["key"], message: string) {
    super(message);
    this.key = key;
  }
}

/** The text of a file; throws when there is none. */
export type ReadText = (path: string) => string;

/** Throws CertificateFault. `undefined`: there are no files. */
export function readCertificates(options: TlsOptions, read: ReadText): SecureContext | undefined {
  const { authorityFile, certificateFile, keyFile, keyPassword } = options;
  const textOf = (key: CertificateFault["key"], path: string) => {
    try {
      return read(path);
    } catch (error) {
      throw new CertificateFault(key, `${path} cannot be read: ${messageOf(error)}`);
    }
  };
  const ca = authorityFile === undefined ? undefined : textOf("cacertfile", authorityFile);
  if (ca !== undefined) parseCertificate("cacertfile", authorityFile!, ca);
  if (certificateFile === undefined && keyFile === undefined) {
    return ca === undefined ? undefined : createSecureContext({ ca });
  }
  if (certificateFile === undefined) throw new CertificateFault("keyfile", "a key is of use with its certfile only");
  if (keyFile === undefined) throw new CertificateFault("certfile", "a certificate is of use with its keyfile only");
  const cert = textOf("certfile", certificateFile);
  const certificate = parseCertificate("certfile", certificateFile, cert);
  const key = textOf("keyfile", keyFile);
  const parsed = parseKey(keyFile, key, keyPassword);
  if (!certificate.checkPrivateKey(parsed)) {
    throw new CertificateFault("keyfile", `${keyFile} is not the key of the certificate ${certificateFile}`);
  }
  return createSecureContext({ ca, cert, key, passphrase: keyPassword });
}

/** The first in the file. */
function parseCertificate(key: CertificateFault["key"], path: string, text: string): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch {
    throw new CertificateFault(key, `${path} holds no certificate in PEM form`);
  }
}

function parseKey(path: string, key: string, passphrase: string | undefined): KeyObject {
  try {
    return createPrivateKey({ key, passphrase: passphrase ?? "" });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const isLocked = key.includes("ENCRYPTED");
    if (isLocked && passphrase === undefined) {
      throw new CertificateFault("keyfile", `${path} is locked with a password: key_password`);
    }
    if (isLocked && code !== "ERR_OSSL_UNSUPPORTED") {
      throw new CertificateFault("key_password", `${path} does not open with this password`);
    }
    throw new CertificateFault("keyfile", `${path} holds no private key in PEM form`);
  }
}

/** For one endpoint, as its files are now. */
export class Certificates {
  private readonly options: TlsOptions;
  private readonly log: Logger;
  private readonly endpoint: string;
  private readonly paths: readonly string[];
  /** The last good ones; `undefined`: there never were any. */
  private context: SecureContext | undefined;
  private seen: string;
  private nextCheckAt: number;

  /** `now` and all that follow are of `Clock.monotonic`. */
  constructor(options: TlsOptions, { endpoint, log, now }: { endpoint: string; log: Logger; now: number }) {
    this.options = options;
    this.log = log;
    this.endpoint = endpoint;
    const { authorityFile, certificateFile, keyFile } = options;
    this.paths = [authorityFile, certificateFile, keyFile].filter((path) => path !== undefined);
    this.seen = stateOf(this.paths);
    this.nextCheckAt = now + certificateCheckMs;
    this.read();
  }

  /** What connections are made with; `undefined`: nothing that could be used. */
  get current(): SecureContext | undefined {
    return this.context;
  }

  /** Looks, every few seconds at most, whether there are others now. */
  haveChanged(now: number): boolean {
    if (now < this.nextCheckAt) return false;
    this.nextCheckAt = now + certificateCheckMs;
    const state = stateOf(this.paths);
    if (state === this.seen) return false;
    this.seen = state;
    return this.read();
  }

  private read(): boolean {
    const { endpoint } = this;
    try {
      this.context = readCertificates(this.options, (path) => readFileSync(path, "utf8"));
      return true;
    } catch (error) {
      const reason = messageOf(error);
      const facts = { endpoint, reason };
      if (this.context === undefined) this.log.error("webhook certificates cannot be used: nothing can be sent", facts);
      else this.log.error("webhook certificates have changed and cannot be used: the last good ones stay", facts);
      return false;
    }
  }
}

/** Changes whenever one of the files does. */
function stateOf(paths: readonly string[]): string {
  const states = paths.map((path) => {
    const facts = statSync(path, { throwIfNoEntry: false });
    return facts === undefined ? "none" : `${facts.ino} ${facts.size} ${facts.mtimeMs}`;
  });
  return states.join("\n");
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
