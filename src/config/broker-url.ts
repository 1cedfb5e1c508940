/** The older way to name a listener, `nmq-tcp://0.0.0.0:1883`: still that of `--url`, `url=` and NANOMQ_BROKER_URL. */

const listenerOfScheme: Readonly<Record<string, "tcp" | "ssl" | "ws" | "wss">> = {
  "nmq-tcp": "tcp",
  "broker+tcp": "tcp",
  mqtt: "tcp",
  "tls+nmq-tcp": "ssl",
  mqtts: "ssl",
  "nmq-ws": "ws",
  "nmq+ws": "ws",
  "nmq-wss": "wss",
  "nmq+wss": "wss",
};

/** Which listener of the `listeners` section an address is for; one without a scheme is for TCP. */
export function listenerOfUrl(url: string): { listener: "tcp" | "ssl" | "ws" | "wss"; bind: string } | undefined {
  const [, scheme, bind] = /^(?:([a-z+-]+):\/\/)?(.*)$/i.exec(url.trim()) ?? [];
  if (bind === undefined || bind === "") return undefined;
  if (scheme === undefined) return { listener: "tcp", bind };
  const listener = listenerOfScheme[scheme.toLowerCase()];
  return listener === undefined ? undefined : { listener, bind };
}
