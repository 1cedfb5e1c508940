import { isIP } from "node:net";
import type { ValueType } from "../schema.ts";
import { entryName, key, optional, required, section, sectionWithNamed } from "../schema.ts";
import { flag, text } from "../value-types.ts";

export interface HostAndPort {
  host: string;
  port: number;
}

/** `host:port`, `:port`, `port`, `[::]:1883`; also with a scheme in front, as `--url` and the older files have it. */
const bindAddress: ValueType<HostAndPort> = {
  type: "host:port, :port or port",
  read(input) {
    const address =
      typeof input === "string" ? parseBind(input.replace(/^(?:nmq-tcp|broker\+tcp|mqtt):\/\//i, "")) : undefined;
    if (address === undefined)
      return { expected: "host:port, :port, port or [IPv6]:port, with a port from 0 to 65535" };
    return { value: address };
  },
};

export function parseBind(text: string): HostAndPort | undefined {
  const match = /^(?:(?:\[([^\]]+)\]|([^\s:[\]/]*)):)?(\d{1,5})$/.exec(text.trim());
  if (match === null || Number(match[3]) > 65_535) return undefined;
  const [, ipv6, host] = match;
  if (ipv6 !== undefined && isIP(ipv6.replace(/%.*$/, "")) !== 6) return undefined;
  return { host: ipv6 ?? (host || "0.0.0.0"), port: Number(match[3]) };
}

export const defaultBind = "0.0.0.0:1883";

function listenerOfLater(meaning: string) {
  const one = (type: ValueType<unknown>, secret = false) => optional(type, { meaning: "", secret });
  const keys = {
    enable: one(flag),
    bind: one(text()),
    keyfile: one(text()),
    certfile: one(text()),
    cacertfile: one(text()),
    key_password: one(text(), true),
    verify_peer: one(flag),
    fail_if_no_peer_cert: one(flag),
  };
  const named = { label: "<name>", checkName: entryName, schema: section(keys, { meaning: "" }) };
  return sectionWithNamed(keys, { meaning, status: "later", note: "nothing listens there", named });
}

const namedTcp = section(
  {
    bind: required(bindAddress, { meaning: "Where it listens." }),
    enable: key(flag, { default: "true", meaning: "`false` leaves this listener out." }),
  },
  { meaning: "A further TCP listener with a name of its own." },
);

export const listeners = section(
  {
    tcp: sectionWithNamed(
      {
        bind: optional(bindAddress, {
          meaning: `Where MQTT clients connect. Without any TCP listener here: \`${defaultBind}\`.`,
        }),
        enable: key(flag, { default: "true", meaning: "`false` leaves this listener out." }),
      },
      { meaning: "MQTT over TCP.", named: { label: "<name>", checkName: entryName, schema: namedTcp } },
    ),
    ssl: listenerOfLater("MQTT over TLS."),
    ws: listenerOfLater("MQTT over WebSocket."),
    wss: listenerOfLater("MQTT over WebSocket over TLS."),
  },
  { meaning: "Where clients connect." },
);
