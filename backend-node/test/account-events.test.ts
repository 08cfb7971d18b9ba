import assert from "node:assert/strict";
import type { DatabaseSync } from "node:sqlite";
import { Writable } from "node:stream";
import test from "node:test";
import pino from "pino";
import type { AuditEvent } from "../audit.ts";
import { REQUEST_ID_HEADER } from "../client-address.ts";
import type { Log } from "../log.ts";
import { libraryRequest, ORIGIN, openTestLibrary, PASSWORD, testSettings } from "./server.ts";

const MAIL = { MAIL_URL: "http://localhost:1/emails", MAIL_KEY: "mail-key", MAIL_FROM: "a@example.com" };

interface Mail {
  to: string[];
  subject: string;
  text: string;
}

/** A library with its audit lines and mails. */
async function openWatched(context: test.TestContext, change: NodeJS.ProcessEnv = MAIL) {
  const lines: string[] = [];
  const output = new Writable({
    write: (line, _encoding, done) => {
      lines.push(String(line));
      done();
    },
  });
  const mails: Mail[] = [];
  context.mock.method(globalThis, "fetch", async (_url: string, init: { body: string }) => {
    mails.push(JSON.parse(init.body));
    return new Response("{}");
  });
  const opened = await openTestLibrary(testSettings(change), undefined, pino({}, output) as unknown as Log);
  const audited = () => lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === "audit") as AuditEvent[];
  let cookie = "";
  const call = async (path: string, body?: object, headers: object = {}) => {
    const request = libraryRequest(path, { body, headers: { origin: ORIGIN, cookie, ...headers } });
    const answer = await opened.library.handle(request);
    const cookies = answer.headers.getSetCookie().map((line) => line.split(";")[0] ?? "");
    if (cookies.length > 0) cookie = cookies.filter((pair) => !pair.endsWith("=")).join("; ");
    return answer;
  };
  const ada = { name: "Ada Lovelace", email: "ada@example.com", password: PASSWORD };
  const { user } = await (await call("/sign-up/email", ada)).json();
  const forget = () => {
    cookie = "";
  };
  const linkIn = (mail: Mail | undefined) => /https:\S+/.exec(mail?.text ?? "")?.[0].replace(/.*\/api\/auth/, "") ?? "";
  return { ...opened, lines, mails, audited, call, ada, user, linkIn, forget };
}

test("must log a sign-in, right and wrong, by user id and by hash of what was entered", async (context) => {
  const { audited, call, ada, user, forget, lines } = await openWatched(context);
  forget();
  const headers = { [REQUEST_ID_HEADER]: "id-1" };
  assert.equal((await call("/sign-in/email", { ...ada, password: "wrong password" }, headers)).status, 401);
  assert.equal((await call("/sign-in/email", ada)).status, 200);
  const [up, wrong, right] = audited();
  assert.deepEqual([up?.event, up?.outcome, up?.user], ["sign-up", "success", user.id]);
  assert.deepEqual(
    [wrong?.event, wrong?.outcome, wrong?.code, wrong?.user, wrong?.requestId],
    ["sign-in", "failure", "INVALID_EMAIL_OR_PASSWORD", undefined, "id-1"],
  );
  assert.match(wrong?.account ?? "", /^[0-9a-f]{12}$/);
  assert.deepEqual(
    [right?.event, right?.outcome, right?.method, right?.user],
    ["sign-in", "success", "password", user.id],
  );
  for (const secret of [PASSWORD, "wrong password", "ada@example.com", "Lovelace", "session_token"])
    assert(!lines.join("").includes(secret), `must not log ${secret}`);
});

test("must notify the owner of a new password, and log it", async (context) => {
  const { audited, call, mails } = await openWatched(context);
  const body = { currentPassword: "wrong password", newPassword: "another long one" };
  assert.equal((await call("/change-password", body)).status, 400);
  assert.equal(mails.length, 0, "a failure must send no mail");
  assert.equal((await call("/change-password", { ...body, currentPassword: PASSWORD })).status, 200);
  assert.deepEqual(
    mails.map(({ to, subject }) => [to, subject]),
    [[["ada@example.com"], "The password was changed"]],
  );
  assert.deepEqual(
    audited().map(({ event, outcome }) => [event, outcome]),
    [
      ["sign-up", "success"],
      ["password-changed", "failure"],
      ["password-changed", "success"],
    ],
  );
});

test("must notify the owner of a password that was reset by mail", async (context) => {
  const { call, mails, linkIn, forget, audited, user, ada, database } = await openWatched(context);
  forget();
  await call("/request-password-reset", { email: ada.email, redirectTo: ORIGIN });
  const token = linkIn(mails[0]).match(/reset-password\/([^?]+)/)?.[1];
  assert(token);
  const kept = JSON.stringify((database.connection as DatabaseSync).prepare("SELECT * FROM verification").all());
  assert(kept.includes(user.id) && !kept.includes(token), "the table must not hold the link");
  assert.equal((await call("/reset-password", { newPassword: "another long one", token })).status, 200);
  assert.deepEqual([mails[1]?.to, mails[1]?.subject], [[ada.email], "The password was reset"]);
  const last = audited().at(-1);
  assert.deepEqual([last?.event, last?.user], ["password-reset", user.id]);
});

test("must notify the owner of a second factor, and log a password alone as a challenge", async (context) => {
  const { call, mails, forget, audited, ada } = await openWatched(context);
  const { totpURI, backupCodes } = await (await call("/two-factor/enable", { password: PASSWORD })).json();
  assert.equal(mails.length, 0, "the factor is not on yet");
  const code = await (await authenticator(totpURI))();
  assert.equal((await call("/two-factor/verify-totp", { code })).status, 200);
  assert.deepEqual(
    mails.map(({ subject }) => subject),
    ["A second factor was turned on"],
  );

  forget();
  assert.equal((await call("/sign-in/email", ada)).status, 200);
  assert.equal((await call("/two-factor/verify-backup-code", { code: backupCodes[0] })).status, 200);
  assert.deepEqual(
    audited()
      .slice(-3)
      .map(({ event, outcome, method }) => [event, outcome, method]),
    [
      ["second-factor-enabled", "success", undefined],
      ["sign-in", "challenge", "password"],
      ["sign-in", "success", "backup-code"],
    ],
  );
  assert.equal((await call("/two-factor/disable", { password: PASSWORD })).status, 200);
  assert.equal(mails.at(-1)?.subject, "The second factor was turned off");
});

/** Codes of an authenticator app for this URI. */
async function authenticator(totpURI: string): Promise<() => Promise<string>> {
  const { createOTP } = await import("@better-auth/utils/otp");
  const { base32 } = await import("@better-auth/utils/base32");
  const secret = new URL(totpURI).searchParams.get("secret") ?? "";
  return () => createOTP(new TextDecoder().decode(base32.decode(secret))).totp();
}

test("must accept a code of an authenticator app once, and require one after a reset of the password too", async (context) => {
  const { call, mails, linkIn, forget, ada } = await openWatched(context);
  const { totpURI } = await (await call("/two-factor/enable", { password: PASSWORD })).json();
  const code = await authenticator(totpURI);
  context.mock.timers.enable({ apis: ["Date"], now: Date.now() });
  const shown = await code();
  assert.equal((await call("/two-factor/verify-totp", { code: shown })).status, 200);

  forget();
  await call("/request-password-reset", { email: ada.email, redirectTo: ORIGIN });
  const link = mails.map(linkIn).find((text) => text.startsWith("/reset-password/"));
  const token = link?.match(/reset-password\/([^?]+)/)?.[1];
  const next = { ...ada, password: "another long one" };
  assert.equal((await call("/reset-password", { newPassword: next.password, token })).status, 200);
  assert.equal(
    (await (await call("/sign-in/email", next)).json()).twoFactorRedirect,
    true,
    "the factor is still required",
  );
  assert.equal((await call("/two-factor/verify-totp", { code: shown })).status, 200);

  forget();
  await call("/sign-in/email", next);
  const again = await call("/two-factor/verify-totp", { code: shown }).catch((error) => error);
  assert.deepEqual([again.status ?? again.statusCode], [401], "a second use must be refused");
  assert.equal(await (await call("/get-session")).text(), "null");
});

test("must not let a mailbox replace the password of an account with a second factor", async (context) => {
  const { call, mails, forget, ada } = await openWatched(context, { ...MAIL, PLUGINS: "magic-link,email-otp" });
  const byMail = async () => {
    forget();
    assert.equal((await call("/sign-in/magic-link", { email: ada.email })).status, 200);
    assert.equal((await call("/email-otp/send-verification-otp", { email: ada.email, type: "sign-in" })).status, 200);
    return mails.slice(-2).map(({ subject }) => subject);
  };
  const { totpURI } = await (await call("/two-factor/enable", { password: PASSWORD })).json();
  const confirm = async () => call("/two-factor/verify-totp", { code: await (await authenticator(totpURI))() });
  assert.equal((await confirm()).status, 200);
  assert.deepEqual(await byMail(), Array(2).fill("Sign in with your password"));
  assert(!mails.slice(-2).some(({ text }) => /https:|\d{6}/.test(text)), "neither a link nor a code");

  ada.email = "bob@example.com";
  forget();
  await call("/sign-up/email", ada);
  assert.deepEqual(await byMail(), ["Your link to sign in", "Your code"]);
});

test("must end the session that a new sign-in replaces", async (context) => {
  const { call, ada, library } = await openWatched(context);
  const cookieOf = (answer: Response) => answer.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  const first = cookieOf(await call("/sign-in/email", ada));
  const elsewhere = cookieOf(await call("/sign-in/email", ada, { cookie: "" }));
  const second = cookieOf(await call("/sign-in/email", ada, { cookie: first }));
  const user = async (cookie: string) => (await library.readSession(cookie, undefined)) ?? "null";
  assert.equal(await user(first), "null");
  assert.match(await user(second), /ada@example.com/);
  assert.match(await user(elsewhere), /ada@example.com/, "another device's session must continue");
});

test("must change an address only by links in the old and the new mailbox, and notify the old one", async (context) => {
  const { call, mails, linkIn, audited, database, ada } = await openWatched(context);
  (database.connection as DatabaseSync).exec("UPDATE user SET emailVerified = 1");
  assert.equal((await call("/change-email", { newEmail: "new@example.com", callbackURL: ORIGIN })).status, 200);
  assert.deepEqual(mails.at(-1)?.to, [ada.email], "the old mailbox comes first");
  await call(linkIn(mails.at(-1)));
  assert.deepEqual(mails.at(-1)?.to, ["new@example.com"]);
  assert.notEqual(audited().at(-1)?.event, "address-changed");
  await call(linkIn(mails.at(-1)));
  assert.deepEqual([mails.at(-1)?.to, mails.at(-1)?.subject], [[ada.email], "The mail address was changed"]);
  assert.deepEqual([audited().at(-1)?.event, audited().at(-1)?.outcome], ["address-changed", "success"]);
  const { user } = await (await call("/get-session")).json();
  assert.equal(user.email, "new@example.com");
});

test("must not verify an address by a link that was sent to another account", async (context) => {
  const { call, mails, linkIn, forget, library, ada } = await openWatched(context);
  assert.equal((await call("/send-verification-email", { email: ada.email })).status, 200);
  const link = linkIn(mails.at(-1));
  assert.equal((await call("/delete-user", { password: PASSWORD })).status, 200);
  forget();
  const second = await (await call("/sign-up/email", { ...ada, name: "Eve" })).json();
  forget();
  const answer = await library.handle(libraryRequest(link.replace(/&callbackURL=.*/, "")));
  assert.equal(answer.status, 401, "the link is of the deleted account");
  await call("/sign-in/email", ada);
  const { user } = await (await call("/get-session")).json();
  assert.deepEqual([user.id, user.emailVerified], [second.user.id, false]);

  // Its sound look-alike: the link of the account itself.
  assert.equal((await call("/send-verification-email", { email: ada.email })).status, 200);
  await call(linkIn(mails.at(-1)));
  assert.equal((await (await call("/get-session")).json()).user.emailVerified, true);
});

test("must make the owner of a listed address an administrator, once it is verified", async (context) => {
  const settings = { ...MAIL, ADMIN_EMAILS: "Ada@example.com, other@example.com" };
  const { call, mails, linkIn, audited, ada, user } = await openWatched(context, settings);
  const list = () => call("/admin/list-users?limit=10");
  assert.equal((await list()).status, 403, "the address is not verified");
  await call("/send-verification-email", { email: ada.email });
  await call(linkIn(mails.at(-1)));
  assert.equal((await list()).status, 200);
  const made = await call("/admin/create-user", { name: "Bob", email: "bob@example.com", password: PASSWORD });
  const bob = (await made.json()).user.id;
  assert.equal((await call("/admin/set-user-password", { userId: bob, newPassword: "a third long one" })).status, 200);
  assert.deepEqual(
    [mails.at(-1)?.to, mails.at(-1)?.subject],
    [["bob@example.com"], "An administrator set a new password"],
  );
  assert.deepEqual(
    audited()
      .slice(-2)
      .map((line) => [line.event, line.outcome, line.user, line.target]),
    [
      ["admin/create-user", "success", user.id, bob],
      ["admin/set-user-password", "success", user.id, bob],
    ],
  );
  await call("/sign-in/email", { email: "bob@example.com", password: "a third long one" });
  assert.equal((await list()).status, 403, "no other user");
});

test("must end a session at its greatest age, and after a time without use", async (context) => {
  const { call, library } = await openWatched(context, { SESSION_IDLE_HOURS: "2", SESSION_MAX_HOURS: "5" });
  const signedIn = await call("/sign-in/email", { email: "ada@example.com", password: PASSWORD });
  const cookie = signedIn.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  const start = Date.now();
  const session = async (hours: number) => {
    context.mock.timers.setTime(start + hours * 3600_000);
    return (
      (await library.readSession(cookie, undefined)) ??
      (await (await call("/get-session", undefined, { cookie })).text())
    );
  };
  context.mock.timers.enable({ apis: ["Date"], now: start });
  for (const hours of [1, 2.5, 4, 4.9]) assert.match(await session(hours), /ada@example.com/, `used after ${hours} h`);
  assert.equal(await session(5), "null", "a session in use must end at its greatest age");

  const again = await call("/sign-in/email", { email: "ada@example.com", password: PASSWORD, rememberMe: false });
  const unused = again.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  context.mock.timers.setTime(start + 7.1 * 3600_000);
  assert.equal(
    await (await call("/get-session", undefined, { cookie: unused })).text(),
    "null",
    "two hours without use",
  );
});

test("must require a new sign-in before a sensitive change by an old session", async (context) => {
  const { call } = await openWatched(context);
  const start = Date.now();
  context.mock.timers.enable({ apis: ["Date"], now: start });
  const change = () =>
    call("/change-email", { newEmail: "new@example.com" }).then(
      ({ status }) => status,
      (error) => error.code,
    );
  context.mock.timers.setTime(start + 59 * 60_000);
  assert.equal(await change(), 200);
  context.mock.timers.setTime(start + 61 * 60_000);
  assert.equal(await change(), "SESSION_NOT_FRESH");
  const rename = (body: object) =>
    call("/update-user", body).then(
      ({ status }) => status,
      (error) => error.code,
    );
  assert.equal(await rename({ name: "Ada King" }), 200, "a change of name must be allowed");
  assert.equal(await rename({ username: "ada_king" }), "SESSION_NOT_FRESH", "a change of user name must be refused");
});

test("must not let a revoked session add a way to sign in, whatever copy of it there is", async (context) => {
  const { call, ada } = await openWatched(context, { ...MAIL, SESSION_CACHE_SECONDS: "60" });
  const signedIn = await call("/sign-in/email", ada, { cookie: "" });
  const pairs = signedIn.headers.getSetCookie().map((line) => line.split(";")[0]);
  const stolen = { cookie: pairs.join("; ") };
  const own = await call("/sign-in/email", ada, { cookie: "" });
  assert.equal(own.status, 200);
  assert.equal((await call("/revoke-other-sessions", {})).status, 200);
  assert.match(
    await (await call("/get-session", undefined, stolen)).text(),
    /ada@example.com/,
    "a copy shows it still",
  );
  for (const path of ["/change-email", "/passkey/verify-registration", "/passkey/delete-passkey", "/unlink-account"]) {
    const refusal = await call(path, { newEmail: "new@example.com" }, stolen).catch((error) => error);
    assert.equal(refusal.status, 401, path);
  }
});

test("must log a call that was refused before the library got it", async (context) => {
  const { startServer } = await import("./server.ts");
  const lines: { msg: string; event?: string; code?: string }[] = [];
  const output = new Writable({
    write: (line, _encoding, done) => {
      lines.push(JSON.parse(line));
      done();
    },
  });
  const log = Object.assign(pino({}, output), { request: () => {} }) as unknown as Log;
  const server = await startServer(testSettings(), log);
  context.after(server.close);
  const headers = { "content-type": "application/json", "x-forwarded-for": "198.51.100.9" };
  const guess = () =>
    fetch(`${server.url}/api/auth/sign-in/email`, {
      method: "POST",
      headers,
      body: JSON.stringify({ email: "stranger@example.com", password: "a wrong guess" }),
    });
  let status = 0;
  for (let tries = 0; tries < 30 && status !== 429; tries++) ({ status } = await guess());
  assert.equal(status, 429);
  assert(lines.some(({ msg, event, code }) => msg === "audit" && event === "sign-in" && code === "TOO_MANY_REQUESTS"));
});
