/** A port that cannot be had, said so that the operator knows what to do. */

export interface WantedListener {
  /** `listener default`, `the receiver`. */
  what: string;
  host: string;
  port: number;
  /** What to do about a port in use. */
  remedy: string;
}

export function listenFailure(error: unknown, { what, host, port, remedy }: WantedListener): string {
  const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case "EADDRINUSE":
      return `${what} cannot listen on ${address}: the port is in use by another program. Stop that one (ss -ltnp "sport = :${port}" shows it), or ${remedy}.`;
    case "EACCES":
      return `${what} cannot listen on ${address}: permission denied. Ports below 1024 need a privilege; ${remedy}.`;
    case "EADDRNOTAVAIL":
      return `${what} cannot listen on ${address}: this machine has no such address. 0.0.0.0 means all of them.`;
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `${what} cannot listen on ${address}: the name "${host}" is not known.`;
    default:
      return `${what} cannot listen on ${address}: ${message}`;
  }
}
