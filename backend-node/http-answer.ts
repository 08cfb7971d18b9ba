/** Answers before they are written: status, headers, body, and the common format of errors. */
import type { OutgoingHttpHeaders } from "node:http";
import { HttpError } from "./http-error.ts";

const { STATUS_CODES } = process.getBuiltinModule("node:http");

export interface Answer {
  status: number;
  headers: OutgoingHttpHeaders;
  body?: string | Buffer;
}

export function json(status: number, value: unknown): Answer {
  return { status, headers: { "content-type": "application/json; charset=utf-8" }, body: JSON.stringify(value) };
}

/** `{code, message, requestId}`, and `more` where a standard wants it. Better Auth's client reads X-Retry-After. */
export function errorAnswer(error: HttpError, requestId: string, more: object = {}): Answer {
  const answer = json(error.status, { code: error.code, message: error.message, requestId, ...more });
  const headers = { ...error.headers, ...answer.headers };
  if (headers["retry-after"] !== undefined) headers["x-retry-after"] = headers["retry-after"];
  return { ...answer, headers };
}

/** The library's `code` and `message`, if present. A 5xx passes on neither. */
export function inErrorShape(answer: Answer, requestId: string): Answer {
  let { code, message } = defaultError(answer.status);
  let more = {};
  if (answer.status < 500) {
    try {
      const given = JSON.parse(String(answer.body));
      if (typeof given.code === "string") code = given.code;
      if (typeof given.message === "string") message = given.message;
      // OAuth's own shape, RFC 6749 section 5.2.
      if (typeof given.error === "string") more = { error: given.error, error_description: given.error_description };
    } catch {
      // The library answers 404 with an empty body.
    }
  }
  return errorAnswer(new HttpError(answer.status, code, message, answer.headers), requestId, more);
}

/** Default code and message of a status. */
export function defaultError(status: number): { code: string; message: string } {
  const message = STATUS_CODES[status] ?? "Error";
  return { code: message.toUpperCase().replaceAll(" ", "_"), message };
}
