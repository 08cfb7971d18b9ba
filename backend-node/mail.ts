/**
 * Mail by an HTTPS API, because a Space cannot reach an SMTP port. The body is Resend's: `{from, to, subject, text}`.
 *
 * Mails leave after the answer, from a queue: a slow, failing or hanging API must neither reveal who has an account nor
 * block other requests.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { Settings } from "./settings.ts";

export interface Mailer {
  /** Queues a mail. Never waits or fails. */
  send(to: string, subject: string, text: string): void;
  /** Sends the waiting mails, for a second at most. */
  close(): Promise<void>;
}

const MOST_WAITING = 1_000;
const SENDING = 4;
const DEADLINE_MS = 10_000;
/** Milliseconds between the tries. */
const PAUSES_MS = [1_000, 5_000, 25_000];
const CLOSE_DEADLINE_MS = 1_000;

export function createMailer(mail: NonNullable<Settings["mail"]>, log: Logger): Mailer {
  const waiting: object[] = [];
  let sending = 0;
  const closing = new AbortController();
  const idle = Promise.withResolvers<void>();

  const work = async () => {
    sending++;
    for (let body = waiting.shift(); body !== undefined; body = waiting.shift()) await sendWithRetries(body);
    sending--;
    if (closing.signal.aborted && sending === 0) idle.resolve();
  };

  const sendWithRetries = async (body: object) => {
    for (let attempt = 0; ; attempt++) {
      const failure = await post(mail, body);
      if (failure === undefined) return log.info({ attempts: attempt + 1 }, "mail sent");
      const pause = PAUSES_MS[attempt];
      if (!failure.again || pause === undefined || closing.signal.aborted)
        return log.error({ reason: failure.reason, attempts: attempt + 1 }, "mail not sent");
      log.warn({ reason: failure.reason, seconds: pause / 1000 }, "mail not sent yet");
      await delay(pause, undefined, { signal: closing.signal, ref: false }).catch(() => {});
    }
  };

  return {
    send: (to, subject, text) => {
      if (waiting.length >= MOST_WAITING)
        return log.error({ reason: `the queue is full: ${MOST_WAITING} mails are waiting` }, "mail not sent");
      waiting.push({ from: mail.from, to: [to], subject, text });
      if (sending < SENDING) void work();
    },
    close: async () => {
      closing.abort();
      if (sending === 0) return;
      await Promise.race([idle.promise, delay(CLOSE_DEADLINE_MS, undefined, { ref: false })]);
      if (sending > 0) log.error({ waiting: waiting.length, sending }, "mails were not sent before the stop");
    },
  };
}

/** The reason of a failure, and whether another try could help; undefined when the API accepted the mail. */
async function post(
  { url, key }: NonNullable<Settings["mail"]>,
  body: object,
): Promise<{ reason: string; again: boolean } | undefined> {
  try {
    const answer = await fetch(url, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    await answer.body?.cancel();
    if (answer.ok) return undefined;
    const again = answer.status >= 500 || answer.status === 408 || answer.status === 429;
    return { reason: `the mail API answered ${answer.status}`, again };
  } catch (error) {
    const { name, cause } = error as Error & { cause?: { code?: string } };
    return { reason: name === "TimeoutError" ? "no answer within 10 s" : (cause?.code ?? name), again: true };
  }
}
