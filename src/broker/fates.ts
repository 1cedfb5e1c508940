/**
 * Tells the Taps that follow messages what becomes of them. Nobody waits for what they add; while the store can keep nothing
 * they are not told, as of messages themselves.
 */
import type { Broker } from "./broker.ts";
import type { KeptMessage, Publisher } from "./message.ts";
import type { TapInterest } from "./route.ts";
import type { DropReason } from "./tap.ts";

type Fates = readonly TapInterest[];

export function tellDelivered(broker: Broker, fates: Fates, message: KeptMessage, receiver: Publisher): void {
  if (isUntold(broker, fates)) return;
  for (const { tap, interest } of fates) tap.delivered?.(message, receiver, interest, broker.turn);
}

export function tellAcked(broker: Broker, message: KeptMessage, receiver: Publisher): void {
  const fates = broker.routes.fatesOfMessage(message);
  if (isUntold(broker, fates)) return;
  for (const { tap, interest } of fates) tap.acked?.(message, receiver, interest, broker.turn);
}

export function tellDropped(
  broker: Broker,
  fates: Fates,
  message: KeptMessage,
  receiver: Publisher | undefined,
  reason: DropReason,
): void {
  if (isUntold(broker, fates)) return;
  for (const { tap, interest } of fates) tap.dropped?.(message, receiver, reason, interest, broker.turn);
}

function isUntold({ turn, figures }: Broker, fates: Fates): boolean {
  if (fates.length > 0 && turn.isTroubled) figures.happeningsUntold += fates.length;
  return fates.length === 0 || turn.isTroubled;
}
