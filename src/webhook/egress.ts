/**
 * Where an endpoint may be connected to, judged on the address itself when a connection is made: a name is resolved for each
 * connection, and what it resolves to today may be another address than yesterday's. A redirect is never followed, so no
 * receiver leads elsewhere.
 *
 * | `egress` | is refused |
 * |---|---|
 * | guarded | link-local and cloud metadata, 0.0.0.0/8, multicast, broadcast |
 * | public_only | all that is not a public address as well |
 * | allow [cidr…] | all that is not listed; what `guarded` refuses only where that very address is listed |
 *
 * A management listener of our own would be refused in `isNeverMeant`.
 */
import { lookup as systemLookup, type LookupAddress } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import ipaddr from "ipaddr.js";
import { assert } from "../base/assert.ts";

export type EgressOptions =
  | { mode: "guarded" | "public_only" }
  /** Addresses, and ranges as `10.0.0.0/8`. */
  | { mode: "allow"; ranges: readonly string[] };

/** All addresses of a name; tests hand in their own. */
export type Resolve = (
  hostname: string,
  resolved: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Range = [Address, number];

/** The code of the error with which a connection fails that is not allowed. */
export const egressRefused = "EGRESS_REFUSED";

class EgressRefused extends Error {
  readonly code = egressRefused;
}

export class EgressGuard {
  private readonly options: EgressOptions;
  private readonly resolve: Resolve;
  private readonly ranges: readonly Range[];

  constructor(options: EgressOptions, resolve: Resolve = resolveByTheSystem) {
    this.options = options;
    this.resolve = resolve;
    this.ranges = options.mode === "allow" ? options.ranges.map(parsedRange) : [];
  }

  /** For a host as written in a URL: a fault where it is an address that is refused. Names are judged by `lookup`. */
  faultOf(hostname: string): Error | undefined {
    return isIP(hostname) === 0 || this.permits(hostname) ? undefined : this.refusal(hostname, [hostname]);
  }

  permits(text: string): boolean {
    const address = innermost(ipaddr.parse(text));
    switch (this.options.mode) {
      case "guarded":
        return !isNeverMeant(address);
      case "public_only":
        return !isNeverMeant(address) && isPublic(address);
      case "allow":
        return this.ranges.some(
          (range) => isIn(address, range) && (!isNeverMeant(address) || range[1] === bitsOf(address)),
        );
      default:
        return this.options satisfies never;
    }
  }

  /** What connections resolve names with: only addresses that are allowed come out. */
  readonly lookup: LookupFunction = (hostname, { all, family }, resolved) => {
    this.resolve(hostname, (error, addresses) => {
      if (error !== null) return resolved(error, []);
      const wanted = family === 4 || family === 6 ? addresses.filter((each) => each.family === family) : addresses;
      const permitted = wanted.filter(({ address }) => this.permits(address));
      if (permitted.length === 0 && wanted.length > 0) {
        const refused = wanted.map(({ address }) => address);
        return resolved(this.refusal(hostname, refused), []);
      }
      const [first] = permitted;
      if (first === undefined) return resolved(noAddress(hostname), []);
      if (all === true) resolved(null, permitted);
      else resolved(null, first.address, first.family);
    });
  };

  private refusal(hostname: string, addresses: readonly string[]): Error {
    const shown = addresses.length > 3 ? `${addresses.slice(0, 3).join(", ")}, …` : addresses.join(", ");
    const what = shown === hostname ? hostname : `${hostname} (${shown})`;
    return new EgressRefused(`egress = ${this.options.mode} does not let connect to ${what}`);
  }
}

/** What is wrong with an item of `allow`; `undefined`: nothing. */
export function rangeFault(text: string): string | undefined {
  const isRange = ipaddr.isValidCIDR(text) || (isIP(text) !== 0 && !text.includes("%"));
  return isRange ? undefined : "an address or a range of them like 10.0.0.0/8 or fd00::/8";
}

function parsedRange(text: string): Range {
  assert(rangeFault(text) === undefined, "the configuration lets through ranges that are some only");
  if (text.includes("/")) return ipaddr.parseCIDR(text);
  const address = innermost(ipaddr.parse(text));
  return [address, bitsOf(address)];
}

const cidr = (text: string): Range => ipaddr.parseCIDR(text);

const neverMeant = [
  "0.0.0.0/8", // "this host": connects to ourselves
  "169.254.0.0/16", // link-local, and there the metadata of most clouds
  "100.100.100.200/32", // metadata of Alibaba Cloud
  "192.0.0.192/32", // metadata of Oracle Cloud
  "224.0.0.0/4", // multicast
  "255.255.255.255/32",
  "::/128",
  "fe80::/10", // link-local
  "fd00:ec2::254/128", // metadata of AWS
  "fd20:ce::254/128", // metadata of Google Cloud
  "ff00::/8", // multicast
].map(cidr);

function isNeverMeant(address: Address): boolean {
  return neverMeant.some((range) => isIn(address, range));
}

const globalUnicast = cidr("2000::/3");

function isPublic(address: Address): boolean {
  if (address.range() !== "unicast") return false;
  return address.kind() === "ipv4" || isIn(address, globalUnicast);
}

function isIn(address: Address, [base, bits]: Range): boolean {
  return address.kind() === base.kind() && address.match(base, bits);
}

function bitsOf(address: Address): number {
  return address.kind() === "ipv4" ? 32 : 128;
}

/** Ways to write an IPv4 address in IPv6, each with the place of its first byte. */
const wrappings = [
  { range: cidr("::ffff:0:0/96"), at: 12 }, // IPv4-mapped [RFC 4291 2.5.5.2]
  { range: cidr("::ffff:0:0:0/96"), at: 12 }, // IPv4-translated [RFC 2765 2.1]
  { range: cidr("64:ff9b::/96"), at: 12 }, // NAT64 [RFC 6052 2.1]
  { range: cidr("64:ff9b:1::/48"), at: 12 }, // NAT64 of a local network [RFC 8215]
  { range: cidr("2002::/16"), at: 2 }, // 6to4 [RFC 3056 2]
  { range: cidr("::/96"), at: 12 }, // IPv4-compatible [RFC 4291 2.5.5.1]
];

/** The address that packets go to in the end. */
function innermost(address: Address): Address {
  if (address.kind() === "ipv4" || ["::1", "::"].includes(address.toString())) return address;
  const wrapping = wrappings.find(({ range }) => isIn(address, range));
  if (wrapping === undefined) return address;
  return ipaddr.fromByteArray(address.toByteArray().slice(wrapping.at, wrapping.at + 4));
}

function resolveByTheSystem(hostname: string, resolved: Parameters<Resolve>[1]): void {
  systemLookup(hostname, { all: true }, (error, addresses) => resolved(error, addresses ?? []));
}

function noAddress(hostname: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${hostname} has no address`), { code: "ENOTFOUND" });
}
