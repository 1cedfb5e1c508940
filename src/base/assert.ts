/** Guards our own state. What a peer sent is judged by the codec and `broker/inbound.ts`, never by an assert. */
export function assert(condition: unknown, claim: string): asserts condition {
  if (!condition) throw new Error(`broken invariant: ${claim}`);
}
