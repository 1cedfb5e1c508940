/** SIGTERM and Ctrl-C: the first asks for a stop, a later one insists. */

/** `process`, or a test's. */
export interface Signals {
  on(signal: NodeJS.Signals, heard: (signal: NodeJS.Signals) => void): unknown;
  off(signal: NodeJS.Signals, heard: (signal: NodeJS.Signals) => void): unknown;
}

export interface StopRequest {
  requested: Promise<NodeJS.Signals>;
  /** Somebody does not want to wait for the stop that goes on. */
  insisted: Promise<void>;
  forget(): void;
}

/** Ctrl-C reaches the whole terminal group, and npm and the launcher each pass it on: so many are meant as one. */
const echoMs = 1000;

const stopSignals = ["SIGTERM", "SIGINT"] as const;

export function stopRequested(signals: Signals, now: () => number = () => performance.now()): StopRequest {
  const requested = Promise.withResolvers<NodeJS.Signals>();
  const insisted = Promise.withResolvers<void>();
  let first: number | undefined;
  const heard = (signal: NodeJS.Signals) => {
    first ??= now();
    requested.resolve(signal);
    if (now() - first > echoMs) insisted.resolve();
  };
  for (const signal of stopSignals) signals.on(signal, heard);
  return {
    requested: requested.promise,
    insisted: insisted.promise,
    forget() {
      for (const signal of stopSignals) signals.off(signal, heard);
    },
  };
}

/** For commands that simply end: aborted by the first signal. */
export function abortedBySignal(signals: Signals): AbortSignal {
  const controller = new AbortController();
  void stopRequested(signals).requested.then(() => controller.abort());
  return controller.signal;
}
