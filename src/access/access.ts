import type { ReasonCode } from "../mqtt/reason-code.ts";
import { ReasonCode as Reason } from "../mqtt/reason-code.ts";

/** What a CONNECT says of who is there. */
interface Credentials {
  readonly clientId: string;
  readonly userName: string | undefined;
  readonly password: Uint8Array | undefined;
  readonly remoteAddress: string;
}

/** Who a connected client is. */
interface Identity {
  readonly clientId: string;
  readonly userName: string | undefined;
  readonly remoteAddress: string;
}

/** Who is this, and what may they do. */
export interface Access {
  /** `success`, or the Reason Code to refuse the connection with. May take its time: it is one of the three doors. */
  authenticate(credentials: Credentials): ReasonCode | Promise<ReasonCode>;
  mayPublish(identity: Identity, topicName: string): boolean;
  maySubscribe(identity: Identity, topicFilter: string): boolean;
}

/** Everyone may connect, publish and subscribe. */
export const openAccess: Access = {
  authenticate: () => Reason.success,
  mayPublish: () => true,
  maySubscribe: () => true,
};
