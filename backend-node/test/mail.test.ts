import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import test, { describe, type TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { createMailer } from "../mail.ts";
import { ORIGIN, silent, startServer, testSettings } from "./server.ts";

type Handler = (number: number) => Promise<number> | number;

/** A mail API that answers each request with the status that `handler` gives; `seen` are the recipients. */
async function mailAPI(context: TestContext, handler: Handler) {
  const seen: string[] = [];
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    seen.push(...JSON.parse(text).to);
    response.writeHead(await handler(seen.length)).end("{}");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/emails`;
  return { seen, url, mail: { url, key: "mail-key", from: "a@example.com" } };
}

async function until(holds: () => boolean, ms = 5_000): Promise<void> {
  for (const deadline = performance.now() + ms; !holds(); await delay(5))
    assert(performance.now() < deadline, "the condition did not hold before the deadline");
}

test("must retry a mail only if a retry can help", async (context) => {
  const statuses = [500, 200, 422];
  const { seen, mail } = await mailAPI(context, (number) => statuses[number - 1] ?? 200);
  const mailer = createMailer(mail, silent);
  mailer.send("first@example.com", "Subject", "text");
  await until(() => seen.length === 2);
  assert.deepEqual(seen, ["first@example.com", "first@example.com"]);
  mailer.send("second@example.com", "Subject", "text");
  await until(() => seen.length === 3);
  await delay(1_200);
  assert.equal(seen.length, 3, "a refused mail must not be sent again");
  await mailer.close();
});

test("must refuse mails beyond its queue, and never wait", async (context) => {
  const { seen, mail } = await mailAPI(context, () => new Promise(() => {}));
  const mailer = createMailer(mail, silent);
  const began = performance.now();
  for (let number = 0; number < 5_000; number++) mailer.send(`${number}@example.com`, "Subject", "text");
  assert(performance.now() - began < 500);
  await until(() => seen.length === 4);
  await mailer.close();
  assert(performance.now() - began < 3_000, "a hanging mail API must not delay the close");
});

test("must send the waiting mails when it closes", async (context) => {
  const { seen, mail } = await mailAPI(context, () => 200);
  const mailer = createMailer(mail, silent);
  for (let number = 0; number < 20; number++) mailer.send(`${number}@example.com`, "Subject", "text");
  await mailer.close();
  assert.equal(seen.length, 20);
});

const APIS: Record<string, Handler> = {
  "is slow": () => delay(900, 200),
  fails: () => 500,
  hangs: () => new Promise(() => {}),
};

describe("must not reveal who has an account", { concurrency: true }, () => {
  for (const [what, handler] of Object.entries(APIS))
    test(`by a mail API that ${what}`, async (context) => {
      const { url } = await mailAPI(context, handler);
      const mail = { MAIL_URL: url, MAIL_KEY: "mail-key", MAIL_FROM: "a@example.com" };
      const server = await startServer(testSettings({ ...mail, SIGNUP: "verified" }));
      context.after(server.close);
      let callers = 0;
      /** Status, body without random values, and milliseconds. */
      const call = async (path: string, body: object) => {
        const headers = {
          "content-type": "application/json",
          origin: ORIGIN,
          "x-forwarded-for": `192.0.2.${++callers}`,
        };
        const began = performance.now();
        const answer = await fetch(`${server.url}/api/auth${path}`, {
          method: "POST",
          headers,
          body: JSON.stringify(body),
        });
        const text = (await answer.text()).replace(/"(id|createdAt|updatedAt|email)":"[^"]*"|(?<=ame_)\d+/g, "*");
        return { shape: `${answer.status} ${text}`, ms: performance.now() - began };
      };
      const account = { name: "Ada", password: "correct horse battery" };
      for (const [path, bodyFor] of [
        ["/request-password-reset", (email: string) => ({ email })],
        ["/send-verification-email", (email: string) => ({ email })],
        ["/sign-up/email", (email: string) => ({ ...account, email })],
        ["/sign-up/email", (email: string) => ({ ...account, email, username: `Name_${callers}` })],
      ] as const) {
        const least = { known: Number.POSITIVE_INFINITY, unknown: Number.POSITIVE_INFINITY };
        // Other load only makes an answer later.
        for (let pair = 0; pair < 12 && !(Math.abs(least.known - least.unknown) < 25); pair++) {
          // An account for each pair, as an account gets three mails a minute.
          const known = `known-${callers}@example.com`;
          await call("/sign-up/email", { ...account, email: known });
          const [first, second] = [
            await call(path, bodyFor(known)),
            await call(path, bodyFor(`${callers}@example.com`)),
          ];
          assert.equal(first.shape, second.shape, path);
          assert.match(first.shape, /^200 /);
          least.known = Math.min(least.known, first.ms);
          least.unknown = Math.min(least.unknown, second.ms);
        }
        assert(Math.abs(least.known - least.unknown) < 25, `${path}: ${JSON.stringify(least)}`);
      }
    });
});

test("must serve others while a mail API hangs", async (context) => {
  const { url } = await mailAPI(context, () => new Promise(() => {}));
  const mail = { MAIL_URL: url, MAIL_KEY: "mail-key", MAIL_FROM: "a@example.com" };
  const server = await startServer(testSettings(mail));
  context.after(server.close);
  const call = (path: string, body: object, address: string) =>
    fetch(`${server.url}/api/auth${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", origin: ORIGIN, "x-forwarded-for": address },
      body: JSON.stringify(body),
    });
  const people = Array.from({ length: 60 }, (_, number) => `${number}@example.com`);
  const account = { name: "Ada", password: "correct horse battery" };
  for (const [number, email] of people.slice(0, 8).entries())
    assert.equal((await call("/sign-up/email", { ...account, email }, `192.0.2.${number}`)).status, 200);
  await Promise.all(
    people.map((_, number) =>
      call("/request-password-reset", { email: people[number % 8] }, `198.51.100.${number}`).then((answer) =>
        answer.text(),
      ),
    ),
  );
  assert.equal((await call("/sign-in/email", { ...account, email: people[0] }, "203.0.113.1")).status, 200);
});
