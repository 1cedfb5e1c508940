/** Something that cannot be is so: our state can no longer be trusted. Ends the process, which starts again from the store. */
export class BrokenInvariant extends Error {
  constructor(claim: string) {
    super(`broken invariant: ${claim}`);
    this.name = "BrokenInvariant";
  }
}

/** Guards our own state. What a peer sent is judged by the codec and `broker/inbound.ts`, never by an assert. */
export function assert(condition: unknown, claim: string): asserts condition {
  if (!condition) throw new BrokenInvariant(claim);
}
