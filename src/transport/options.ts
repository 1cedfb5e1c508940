/** One TCP listener. */
export interface TcpListenerOptions {
  /** As configured: `default`, or the name of `listeners.tcp.<name>`. */
  name: string;
  host: string;
  port: number;
}
