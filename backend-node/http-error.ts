/** An error answer. The client gets `{code, message, requestId}`; no other error's text reaches the client. */
import type { OutgoingHttpHeaders } from "node:http";

export class HttpError extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: OutgoingHttpHeaders;
  constructor(status: number, code: string, message: string, headers: OutgoingHttpHeaders = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

export function databaseAway(): HttpError {
  return new HttpError(503, "DATABASE_UNAVAILABLE", "the database does not answer; try again", { "retry-after": "2" });
}

export function databaseFull(): HttpError {
  return new HttpError(503, "DATABASE_FULL", "the disk of the database is full; try again later", {
    "retry-after": "60",
  });
}
