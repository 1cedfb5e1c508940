import type { ReasonCode } from "./reason-code.ts";

/** A peer broke the protocol. `broker/connection.ts` catches it, tells a v5 peer the Reason Code, and closes. */
export class ProtocolError extends Error {
  readonly reasonCode: ReasonCode;

  constructor(reasonCode: ReasonCode, message: string) {
    super(message);
    this.name = "ProtocolError";
    this.reasonCode = reasonCode;
  }
}
