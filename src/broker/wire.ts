/** A connection's bytes, as the broker sees them. `transport/` implements it; the broker knows no socket. */
export interface Wire {
  readonly remoteAddress: string;
  readonly remotePort: number;
  /**
   * Hands bytes to the network. True when all of them were taken at once: the buffer may be used again. False: some still
   * wait, the buffer must be left alone, and `WireUser.drained` is called when they are gone.
   */
  write(bytes: Uint8Array): boolean;
  /** Stops and resumes reading from the peer. */
  pause(): void;
  resume(): void;
  /** Sends what was written, then closes; reads on for a moment so that a reset does not destroy the last packet. */
  end(): void;
  /** Closes at once. */
  destroy(): void;
}

/** The broker's side of a Wire. */
export interface WireUser {
  /**
   * The chunk is the user's from here on: a Wire never writes into it again, so its bytes may be sent on as they are.
   * A Wire that reads into a shared buffer hands over a copy.
   */
  received(chunk: Buffer): void;
  drained(): void;
  /** The peer has closed or the network has failed; called once, never after the user's own `destroy`. */
  closed(): void;
}
