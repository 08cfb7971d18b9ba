/** Mail by an HTTPS API, because a Space cannot reach an SMTP port. The body is Resend's: `{from, to, subject, text}`. */
import type { Settings } from "./settings.ts";

/** @throws Error when the API does not take the mail within 10 s. */
export async function sendMail(
  mail: NonNullable<Settings["mail"]>,
  to: string,
  subject: string,
  text: string,
): Promise<void> {
  const answer = await fetch(mail.url, {
    method: "POST",
    headers: { authorization: `Bearer ${mail.key}`, "content-type": "application/json" },
    body: JSON.stringify({ from: mail.from, to: [to], subject, text }),
    signal: AbortSignal.timeout(10_000),
  });
  if (!answer.ok) throw new Error(`the mail API answered ${answer.status}`);
}
