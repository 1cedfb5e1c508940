/** What no single key of an endpoint can know: whether its keys fit each other, and the files that it names. */
import type { Files } from "../base/hocon/files.ts";
import type { HoconObject, HoconValue, Problem } from "../base/hocon/value.ts";
import { valueAt } from "../base/hocon/value.ts";
import { CertificateFault, readCertificates } from "../webhook/certificates.ts";
import { EgressGuard } from "../webhook/egress.ts";
import { below } from "./fit.ts";
import type { EndpointKeys } from "./sections/webhook.ts";
import { isHttps, toTls } from "./settings.ts";

export interface EndpointCheck {
  keys: EndpointKeys;
  /** As written, with what it takes from `webhook`. */
  tree: HoconObject;
  /** Of the endpoint, for messages. */
  path: string;
  files: Files;
  /** Of the configuration file. */
  folder: string;
}

export function checkEndpoint(check: EndpointCheck): { errors: Problem[]; warnings: Problem[] } {
  // What has a mistake in it is told already, and its value is none.
  if (hasMistake(check.tree)) return { errors: [], warnings: [] };
  return {
    errors: [...tlsErrors(check), ...authErrors(check), ...batchErrors(check)],
    warnings: [...tlsWarnings(check), ...egressWarnings(check)],
  };
}

function hasMistake(value: HoconValue): boolean {
  switch (value.kind) {
    case "broken":
      return true;
    case "list":
      return value.items.some(hasMistake);
    case "object":
      return [...value.fields.values()].some((field) => hasMistake(field.value));
    default:
      return false;
  }
}

function* tlsErrors({ keys, tree, path: where, files, folder }: EndpointCheck): Iterable<Problem> {
  const read = (file: string) => {
    const reading = files.read(file);
    if (reading.outcome === "text") return reading.text;
    throw new Error(reading.outcome === "missing" ? "there is no such file" : reading.because);
  };
  try {
    readCertificates(toTls(keys, folder), read);
  } catch (error) {
    if (!(error instanceof CertificateFault)) throw error;
    const [name, at] = written(tree, ["tls", error.key], ["ssl", error.key]);
    yield { at: at.at, what: `${below(where, name)} cannot be used: ${error.message}` };
  }
}

const oauth2Needs = ["token_url", "client_id", "client_secret"] as const;

function* authErrors({ keys: { auth }, tree, path: where }: EndpointCheck): Iterable<Problem> {
  const { basic, bearer, oauth2 } = auth;
  const at = (...key: string[]) => valueAt(tree, ["auth", ...key])?.at ?? tree.at;
  const isBasic = basic.username !== undefined || basic.password !== undefined;
  const isOAuth2 = oauth2Needs.some((key) => oauth2[key] !== undefined);
  if ([isBasic, bearer !== undefined, isOAuth2].filter(Boolean).length > 1) {
    const expected =
      "one of basic, bearer and oauth2; what is inherited is taken away by `auth.bearer = null` and the like";
    yield { at: at(), what: `${below(where, "auth")} says in several ways who we are`, expected };
  }
  if (isBasic && basic.username === undefined) {
    yield { at: at("basic"), what: `${below(where, "auth.basic.username")} is missing`, expected: "user name" };
  }
  for (const key of isOAuth2 ? oauth2Needs : []) {
    if (oauth2[key] !== undefined) continue;
    yield { at: at("oauth2"), what: `${below(where, `auth.oauth2.${key}`)} is missing` };
  }
}

/** Their events are not one body each. */
const notInBatches: ReadonlySet<string> = new Set(["cloudevents-binary", "raw", "template"]);

function* batchErrors({ keys: { format }, tree, path: where }: EndpointCheck): Iterable<Problem> {
  const batch = valueAt(tree, ["batch"]);
  if (batch === undefined || !notInBatches.has(format)) return;
  const expected = "`format` = edge or cloudevents beside it, or no batches";
  yield { at: batch.at, what: `${below(where, "batch")} cannot hold events of \`format\` ${format}`, expected };
}

function* tlsWarnings({ keys, tree, path: where }: EndpointCheck): Iterable<Problem> {
  if (!isHttps(keys.url)) {
    for (const name of ["tls", "ssl"]) {
      const at = valueAt(tree, [name])?.at;
      if (at !== undefined) yield { at, what: `${below(where, name)}: no effect: the url begins with http://` };
    }
    return;
  }
  if (toTls(keys, "/").verifiesPeer) return;
  const [name, at] = written(tree, ["tls", "verify_peer"], ["ssl", "verify_peer"]);
  yield { at: at.at, what: `${below(where, name)} = false: whoever answers is taken for the receiver` };
}

/** A name is judged when it is connected to; an address in the URL is known now. */
function* egressWarnings({ keys: { url, egress }, tree, path: where }: EndpointCheck): Iterable<Problem> {
  const fault = new EgressGuard(egress).faultOf(new URL(url).hostname.replace(/^\[(.*)\]$/, "$1"));
  if (fault === undefined) return;
  const at = valueAt(tree, ["url"])?.at ?? tree.at;
  yield { at, what: `${below(where, "url")}: ${fault.message}: every delivery becomes a dead letter` };
}

/** The first of these keys that is written, and where. */
function written(tree: HoconObject, ...keys: readonly string[][]): [name: string, value: HoconValue] {
  for (const key of keys) {
    const value = valueAt(tree, key);
    if (value !== undefined && value.kind !== "null") return [key.join("."), value];
  }
  return [keys[0]!.join("."), tree];
}
