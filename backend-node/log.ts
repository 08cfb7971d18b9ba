/** The log: one JSON object a line on standard output. */
import pino, { type Logger } from "pino";

export interface Log extends Logger {
  /** Writes the line of an answered request, in the format of other lines at level info. */
  request(line: RequestLine): void;
}

export interface RequestLine {
  requestId: string;
  method: string;
  path: string;
  status: number;
  ms: number;
  /** The hash of the client's address. */
  client: string;
}

/** Lines within this time share a write: a write for each line would cost more than a short answer. */
const DELAY_MS = 10;
const MOST_CHARACTERS = 16_384;

export function createLog(level: string): Log {
  let lines = "";
  const writeOut = () => {
    // On Linux a write to a pipe or file is done when this returns. Source: nodejs.org/api/process.html, "A note on
    // process I/O".
    if (lines !== "") process.stdout.write(lines);
    lines = "";
  };
  process.on("exit", writeOut);
  // The reader of the log is gone; the server goes on.
  process.stdout.on("error", () => {});
  const output = {
    write: (line: string) => {
      if (lines === "") setTimeout(writeOut, DELAY_MS);
      lines += line;
      if (lines.length > MOST_CHARACTERS) writeOut();
    },
  };
  const log = pino({ level, base: null, timestamp, formatters: { level: (label) => ({ level: label }) } }, output);
  const logsRequests = log.isLevelEnabled("info");
  return Object.assign(log, {
    request: ({ requestId, method, path, status, ms, client }: RequestLine) => {
      // Without pino, which takes an eighth of a short answer's time for this frequent line. Only the path needs
      // escaping: the server makes all other texts.
      if (logsRequests)
        output.write(
          `{"level":"info"${timestamp()},"requestId":"${requestId}","method":"${method}","path":${JSON.stringify(path)},` +
            `"status":${status},"ms":${ms},"client":"${client}","msg":"request"}\n`,
        );
    },
  });
}

let millisecond = 0;
let member = "";

/** The member `time` of a line. Under load many lines share it. */
function timestamp(): string {
  const now = Date.now();
  if (now !== millisecond) {
    millisecond = now;
    member = `,"time":"${new Date(now).toISOString()}"`;
  }
  return member;
}

/** A short reason: a WebSocket fails with an event, a connection to several addresses with a code. */
export function reason(error: unknown): string {
  const { message, code, name, error: inner } = (error ?? {}) as Record<string, unknown>;
  return String(message || code || (inner && reason(inner)) || name || error);
}
