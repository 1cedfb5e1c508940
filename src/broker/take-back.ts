/**
 * Undoes in the broker's memory what a refused PUBLISH had done there: nobody whose session lasts is owed it any more, and
 * its topic retains what it retained before. It was not sent to any of them yet, since that waits for the commit. Live
 * clients whose session ends with their connection may have had it: to them nothing more was promised.
 */
import type { Broker } from "./broker.ts";
import { Awaiting } from "./inflight.ts";
import type { KeptMessage } from "./message.ts";
import { forgetBytes, pump } from "./outbound.ts";
import type { Owed, Session } from "./session.ts";
import type { Voided } from "./voided.ts";

export function takeBack(broker: Broker, { messageIds, clientIds, formerRetained }: Voided): void {
  for (const clientId of clientIds) {
    // The session may have ended meanwhile and a new one have its name: what that is owed has other messages' names.
    const session = broker.sessions.get(clientId);
    if (session?.persistent) takeFromSession(broker, session, messageIds);
  }
  for (const [topicName, former] of formerRetained) retainAgain(broker, topicName, former);
}

function takeFromSession(broker: Broker, session: Session, messageIds: ReadonlySet<number>): void {
  const isVoid = ({ message }: Owed) => messageIds.has(message.messageId);
  const waiting = [...session.queue];
  if (waiting.some(isVoid)) {
    session.queue.clear();
    for (const owed of waiting) {
      if (!isVoid(owed)) {
        session.queue.push(owed);
        continue;
      }
      forgetBytes(broker, session, owed);
      owed.message.letGo();
    }
  }
  for (const { packetIdentifier, awaiting, entry } of session.inflight.inOrder()) {
    if (entry === undefined || awaiting === Awaiting.pubcomp || !isVoid(entry)) continue;
    session.inflight.settle(packetIdentifier);
    giveBackQuota(session, packetIdentifier);
    entry.message.letGo();
  }
  pump(broker, session);
}

/** One that waits to be sent again over a new connection has taken none of its quota. */
function giveBackQuota(session: Session, packetIdentifier: number): void {
  const resend = [...session.resend];
  const at = resend.indexOf(packetIdentifier);
  if (at < 0) {
    if (session.connection !== undefined) session.connection.sendQuota++;
    return;
  }
  resend.splice(at, 1);
  session.resend.clear();
  for (const identifier of resend) session.resend.push(identifier);
}

/** Told to the store anew, so that it is right whatever became of the changes before. */
function retainAgain(broker: Broker, topicName: string, former: KeptMessage | undefined): void {
  const { turn, retained } = broker;
  if (former === undefined) {
    turn.add({ type: "retained-cleared", topicName });
    retained.delete(topicName)?.letGo();
    return;
  }
  const messageId = former.keep(turn, broker.nextMessageId);
  turn.add({ type: "retained", topicName, messageId });
  retained.set(former)?.letGo();
}
