import { createLogger, type Logger, type LogOptions } from "../base/log.ts";

/** The log file cannot be opened; the message says which and why. */
export class LogRefused extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "LogRefused";
  }
}

/** A logger whose settings can change under those who hold it. */
export class ReplaceableLog implements Logger {
  /** In force. */
  options: LogOptions;
  private log: ReturnType<typeof createLogger>;

  constructor(options: LogOptions) {
    this.options = options;
    this.log = open(options);
  }

  /** Throws, and stays as it is, when the new log file cannot be opened. */
  replace(options: LogOptions): void {
    // Two loggers must not share a file.
    this.log.close();
    try {
      this.log = open(options);
      this.options = options;
    } catch (error) {
      this.log = open(this.options);
      throw error;
    }
  }

  debug(...line: Parameters<Logger["debug"]>): void {
    this.log.debug(...line);
  }

  info(...line: Parameters<Logger["info"]>): void {
    this.log.info(...line);
  }

  warn(...line: Parameters<Logger["warn"]>): void {
    this.log.warn(...line);
  }

  error(...line: Parameters<Logger["error"]>): void {
    this.log.error(...line);
  }

  close(): void {
    this.log.close();
  }
}

function open(options: LogOptions): ReturnType<typeof createLogger> {
  try {
    return createLogger(options);
  } catch (cause) {
    throw new LogRefused(`the log file ${options.file?.path} cannot be opened: ${(cause as Error).message}`, { cause });
  }
}
