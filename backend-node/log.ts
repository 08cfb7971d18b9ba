/** The log: one JSON object a line on standard output, by pino. */
import pino, { type Logger } from "pino";

/** Lines that come within this time are written together: a write for each would cost more than many an answer. */
const DELAY_MS = 10;
const MOST_CHARACTERS = 16_384;

export function createLog(level: string): Logger {
  let lines = "";
  const writeOut = () => {
    // On Linux a write to a pipe or file is done when this returns. Source: nodejs.org/api/process.html, "A note on
    // process I/O".
    if (lines !== "") process.stdout.write(lines);
    lines = "";
  };
  process.on("exit", writeOut);
  // Whoever read the log is gone; that is no reason to end.
  process.stdout.on("error", () => {});
  const output = {
    write: (line: string) => {
      if (lines === "") setTimeout(writeOut, DELAY_MS);
      lines += line;
      if (lines.length > MOST_CHARACTERS) writeOut();
    },
  };
  return pino({ level, base: null, timestamp: isoTime, formatters: { level: (label) => ({ level: label }) } }, output);
}

let millisecond = 0;
let member = "";

/** As a member of a line's object; under load many lines share one. */
function isoTime(): string {
  const now = Date.now();
  if (now !== millisecond) {
    millisecond = now;
    member = `,"time":"${new Date(now).toISOString()}"`;
  }
  return member;
}
